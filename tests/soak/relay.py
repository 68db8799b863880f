"""A relay that misbehaves by a seeded plan and keeps an honest record: a mail is taken when its body was complete and
the relay decided to accept it, whether or not the client got to see the 250."""
import asyncio
import base64
import collections
import contextlib
import dataclasses
import email
import hashlib
import random
import re
import socket
import struct

ONE_FLIGHT = ("PIPELINING", "CHUNKING", "8BITMIME", "SIZE 30000000", "ENHANCEDSTATUSCODES")
PIPELINED = ("PIPELINING", "8BITMIME", "SIZE 30000000", "ENHANCEDSTATUSCODES")
LOCKSTEP = ("8BITMIME", "ENHANCEDSTATUSCODES")
PORTS = range(20000, 32000)  # below what the kernel gives to clients: a closed port here cannot connect to itself
STAGES = ("banner", "ehlo", "auth", "mail", "rcpt", "data", "bdat", "body")


class Gone(Exception):
    """The session is over."""


@dataclasses.dataclass
class Taken:
    """One line of the record."""

    relay: str
    session: int
    message_id: str
    sender: str
    recipients: tuple
    digest: str
    size: int
    answered: str = "nothing"


@dataclasses.dataclass
class Manners:
    """How often what goes wrong. Chances are for each time the stage is reached, or each session where it says so."""

    refuse: float = 0.01  # 4xx or 5xx
    refuse_recipient: float = 0.04
    busy: float = 0.003  # 421 and the end
    leave: float = 0.005  # close or reset instead of an answer
    stall: float = 0.004  # answers late, now and then later than the client waits
    slow_session: float = 0.05
    limited_session: float = 0.4  # ends after some mails
    cut_session: float = 0.3  # ends after some bytes, either way
    cut_bytes: int = 400000
    leave_between: float = 0.02  # for each mail taken: closes some time after its answer
    outages: bool = True  # refuses connections for a while, restarts
    bad_password: float = 0.0
    stall_seconds: tuple = (0.05, 3.0)


CALM = Manners(0, 0, 0, 0, 0, 0, 0, 0, 1, 0, False)


def digest_of(content):
    return hashlib.sha256(content).hexdigest()[:24]


def text_digest(content):
    """Of a text, whose line ends and last line end are the mail format's business."""
    return digest_of(content.replace(b"\r\n", b"\n").rstrip(b"\n"))


def read_mail(raw):
    """(Message-ID, digest of the content): the content is the last leaf of the MIME tree."""
    head, _, body = raw.partition(b"\r\n\r\n")
    found = re.search(rb"(?im)^message-id:\s*<([^>]*)>", head)
    message_id = found[1].decode("ascii", "replace") if found else "?"
    if not re.search(rb"(?im)^content-(type:\s*multipart|transfer-encoding:\s*(base64|quoted))", head):
        return message_id, text_digest(body)
    leaf = list(email.message_from_bytes(raw).walk())[-1]
    content = leaf.get_payload(decode=True)
    return message_id, (digest_of if leaf.get_filename() else text_digest)(content)


def addr_of(line):
    return line[line.index("<") + 1 : line.index(">")]


class Transaction:
    def __init__(self, sender):
        self.sender, self.recipients, self.data, self.refused = sender, [], bytearray(), False


class Session:
    """One connection: the orderly conversation, and at each stage what the plan has for it."""

    def __init__(self, relay, number, reader, writer):
        self.relay, self.number, self.reader, self.writer = relay, number, reader, writer
        self.rng = random.Random("%s/%s/%d" % (relay.seed, relay.name, number))
        self.manners = relay.manners
        self.buffer, self.received, self.sent = bytearray(), 0, 0
        self.mail, self.mails, self.last, self.ending = None, 0, None, None
        self.sealed = relay.tls_mode == "implicit"
        roll, m = self.rng.random, self.manners
        self.slow = roll() < m.slow_session
        self.limit = self.rng.randint(1, 30) if roll() < m.limited_session else None
        cut = int(self.rng.random() ** 3 * m.cut_bytes) if roll() < m.cut_session else None
        self.cut_in, self.cut_out = (cut, None) if roll() < 0.6 else (None, cut and 40 + cut % 4000)

    # the wire

    def note(self, what):
        self.relay.faults[what] += 1

    def end(self, how=None):
        """FIN or RST, as it comes."""
        how = how or self.rng.choice(("close", "reset"))
        if how == "reset":
            raw = self.writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
        else:
            self.writer.close()
        raise Gone

    async def fill(self):
        if self.cut_in is not None and self.received >= self.cut_in and not self.relay.calm:
            self.note("cut while reading")
            self.end()
        await self.flush()
        piece = await self.reader.read(16384 if self.slow else 1 << 18)
        if not piece:
            raise Gone
        if self.cut_in is not None and not self.relay.calm:
            piece = piece[: max(self.cut_in - self.received, 0)]
        self.received += len(piece)
        self.buffer += piece
        if self.slow:
            await asyncio.sleep(0.004)

    async def flush(self):
        if not self.writer.transport.is_closing():
            await self.writer.drain()

    def send(self, line):
        if self.writer.is_closing():
            raise Gone
        data = line.encode() + b"\r\n"
        if self.cut_out is not None and self.sent + len(data) >= self.cut_out and not self.relay.calm:
            self.writer.write(data[: max(self.cut_out - self.sent, 0)])
            if self.last:
                self.last.answered = "cut within %r" % line
            self.note("cut while writing")
            self.end()
        self.writer.write(data)
        self.sent += len(data)

    async def line(self):
        while (at := self.buffer.find(b"\r\n")) < 0:
            if len(self.buffer) > 100000:
                raise Gone
            await self.fill()
        line = bytes(self.buffer[:at])
        del self.buffer[: at + 2]
        return line.decode("utf-8", "replace")

    async def take(self, n):
        while len(self.buffer) < n:
            await self.fill()
        data = bytes(self.buffer[:n])
        del self.buffer[:n]
        return data

    async def dotted(self):
        looked = 0
        if self.buffer.startswith(b".\r\n"):
            del self.buffer[:3]
            return b""
        while (at := self.buffer.find(b"\r\n.\r\n", looked)) < 0:
            looked = max(len(self.buffer) - 4, 0)
            await self.fill()
        data = bytes(self.buffer[: at + 2])
        del self.buffer[: at + 5]
        return re.sub(rb"(?m)^\.", b"", data)

    # the plan

    async def fault(self, stage):
        """True when the plan has answered in place of the orderly server. May end the session."""
        if self.relay.calm:
            return False
        m, roll = self.manners, self.rng.random()
        refuse = m.refuse_recipient if stage == "rcpt" else m.refuse
        for what, chance in (("refuse", refuse), ("421", m.busy), ("leave", m.leave), ("stall", m.stall)):
            roll -= chance
            if roll < 0:
                break
        else:
            return False
        self.note(what + " at " + stage)
        if what == "leave":
            self.end()
        if what == "stall":
            low, high = m.stall_seconds
            await asyncio.sleep(low + (high - low) * self.rng.random() ** 2)
            return False
        if what == "421":
            self.send("421 4.3.2 the relay goes down")
            await self.flush()
            self.end("close")
        self.refuse(stage)
        return True

    def refuse(self, stage):
        if stage == "banner":
            self.send(self.rng.choice(("450 4.3.2 not now", "421 4.7.0 too many connections", "554 5.3.2 no")))
            self.end("close")
        elif stage == "auth":
            wrong = self.rng.random() < self.manners.bad_password
            self.send("535 5.7.8 no" if wrong else "454 4.7.0 cannot check passwords now")
        else:
            code = self.rng.choice(("451 4.3.0 later", "450 4.2.1 later", "550 5.7.1 no", "554 5.6.0 no"))
            self.send(code)

    # the conversation

    async def run(self):
        if not await self.fault("banner"):
            self.send("220 %s.test ESMTP%s" % (self.relay.name, self.relay.greeting(self.number)))
        while True:
            line = await self.line()
            verb = line.split(" ")[0].lower()
            step = getattr(self, "on_" + verb, None)
            if step:
                await step(line)
            else:
                self.send("500 5.5.2 what?")

    async def on_ehlo(self, line):
        self.mail = None
        if await self.fault("ehlo"):
            return
        lines = [self.relay.name + ".test", *self.relay.caps, *self.offers()]
        self.send("\r\n".join("250%s%s" % (" " if i + 1 == len(lines) else "-", s) for i, s in enumerate(lines)))

    def offers(self):
        if not self.relay.tls:
            return []
        return ["AUTH PLAIN"] if self.sealed else ["STARTTLS"]

    async def on_starttls(self, line):
        self.send("220 2.0.0 go")
        await self.writer.start_tls(self.relay.tls)
        self.sealed = True
        self.buffer.clear()

    async def on_auth(self, line):
        if await self.fault("auth"):
            return
        words = line.split()
        if len(words) < 3:
            self.send("334 ")
            words.append(await self.line())
        good = base64.b64decode(words[2]).split(b"\0")[2].decode() in self.relay.passwords
        self.send("235 2.7.0 welcome" if good else "535 5.7.8 no")

    async def on_mail(self, line):
        if await self.fault("mail"):
            return
        if self.mail:
            self.send("503 5.5.1 nested MAIL")
            return
        self.mail = Transaction(addr_of(line))
        self.send("250 2.1.0 ok")

    async def on_rcpt(self, line):
        if await self.fault("rcpt"):
            return
        if not self.mail:
            self.send("503 5.5.1 MAIL first")
        elif self.relay.max_recipients and len(self.mail.recipients) >= self.relay.max_recipients:
            self.send("452 4.5.3 too many recipients")
        else:
            self.mail.recipients.append(addr_of(line))
            self.send("250 2.1.5 ok")

    def no_recipients(self):
        """As RFC 2920 §3.1 has it; a sticky relay then keeps the transaction until RSET, as Exim 4.96 does."""
        if self.mail and self.mail.recipients:
            return False
        self.send("554 5.5.1 no valid recipients" if self.mail else "503 5.5.1 MAIL first")
        if not self.relay.sticky:
            self.mail = None
        return True

    async def on_data(self, line):
        if self.no_recipients():
            return
        if await self.fault("data"):
            self.mail = None
            return
        self.send("354 go")
        self.mail.data += await self.dotted()
        await self.body()

    async def on_bdat(self, line):
        words = line.split()
        chunk = await self.take(int(words[1]))
        last = len(words) > 2
        if self.mail and self.mail.refused:
            self.send("503 5.5.1 refused before")
        elif self.no_recipients():
            return
        elif not last and await self.fault("bdat"):
            self.mail.refused = True
        else:
            self.mail.data += chunk
            if not last:
                self.send("250 2.0.0 %d octets" % len(chunk))
                return
            await self.body()
        if last:
            self.mail = None

    async def body(self):
        """The body is here: refuse it, or take it and then answer, or not answer."""
        mail, self.mail = self.mail, None
        if await self.fault("body"):
            return
        message_id, digest = read_mail(bytes(mail.data))
        self.last = Taken(self.relay.name, self.number, message_id, mail.sender, tuple(mail.recipients), digest,
                          len(mail.data))
        self.relay.record.append(self.last)
        self.mails += 1
        self.relay.behind += bool(self.buffer)
        await self.answer_taken()
        self.last.answered = "250"
        self.last = None
        if self.limit and self.mails >= self.limit and not self.relay.calm:
            await self.limit_reached()
        if self.rng.random() < self.manners.leave_between and not self.relay.calm:
            self.note("close between mails")
            self.ending = asyncio.get_running_loop().call_later(self.rng.random() * 0.3, self.writer.close)

    async def answer_taken(self):
        m = self.manners
        if not self.relay.calm and self.rng.random() < m.leave:
            self.note("taken and left")
            self.last.answered = "nothing: left"
            self.end()
        if not self.relay.calm and self.rng.random() < m.stall:
            self.note("taken and answered late")
            self.last.answered = "late"
            await self.flush()
            await asyncio.sleep(m.stall_seconds[1] * self.rng.random())
        self.send("250 2.0.0 taken as %d" % len(self.relay.record))

    async def limit_reached(self):
        self.note("limit of mails")
        if self.rng.random() < 0.5:
            self.send("421 4.7.0 enough mails")
        await self.flush()
        self.end("close" if self.rng.random() < 0.7 else "reset")

    async def on_rset(self, line):
        self.mail = None
        self.send("250 2.0.0 ok")

    async def on_noop(self, line):
        self.send("250 2.0.0 ok")

    async def on_quit(self, line):
        self.send("221 2.0.0 bye")
        await self.flush()
        self.end("close")


class Relay:
    """`sticky`: as Exim 4.96, a body refused for want of recipients leaves the transaction open until RSET. `tls`: an
    ssl.SSLContext, from the first byte or, with `starttls`, after STARTTLS; with AUTH. `strange`: each session is
    another server's, as far as its greeting tells."""

    def __init__(self, name, seed, caps, manners, tls=None, password="", sticky=False, max_recipients=0,
                 starttls=False, strange=False):
        self.name, self.seed, self.caps, self.manners, self.tls = name, seed, caps, manners, tls
        self.password, self.sticky, self.max_recipients, self.strange = password, sticky, max_recipients, strange
        self.passwords = {password}
        self.tls_mode = "none" if not tls else "starttls" if starttls else "implicit"
        self.rng = random.Random("%s/%s" % (seed, name))
        self.record, self.faults, self.sessions = [], collections.Counter(), {}
        self.calm, self.port, self.server, self.opened = False, None, None, 0
        self.behind = 0  # mails taken when more was here already than their body

    def greeting(self, number):
        """Letters, not digits: in numbers mailhatch sees no other server."""
        if not self.strange:
            return ""
        return " " + "".join(chr(ord("a") + number // 26**i % 26) for i in range(5))

    async def start(self):
        for port in [self.port] if self.port else self.rng.sample(PORTS, 200):
            with contextlib.suppress(OSError):
                self.server = await asyncio.start_server(self.serve, "127.0.0.1", port, limit=1 << 18,
                                                         ssl=self.tls if self.tls_mode == "implicit" else None,
                                                         reuse_address=True)
                self.port = port
                return True
        return False

    async def stop(self):
        """The listener goes; the sessions stay."""
        if self.server:
            self.server.close()
            self.server = None

    def drop_sessions(self):
        for session in list(self.sessions.values()):
            session.writer.transport.abort()

    async def serve(self, reader, writer):
        self.opened += 1
        session = Session(self, self.opened, reader, writer)
        self.sessions[session.number] = session
        try:
            await session.run()
        except (Gone, OSError, asyncio.CancelledError):
            pass
        finally:
            if session.ending:
                session.ending.cancel()
            writer.close()
            del self.sessions[session.number]

    async def outages(self):
        """Now and then: nobody listens for a while, or the relay restarts."""
        while True:
            await asyncio.sleep(2 + self.rng.random() * 6)
            restart = self.rng.random() < 0.5
            self.faults["restart" if restart else "refuses connections"] += 1
            await self.stop()
            if restart:
                self.drop_sessions()
            try:
                await asyncio.sleep(0.1 + self.rng.random() * 1.5)
            finally:
                while not await self.start():
                    await asyncio.sleep(0.1)
