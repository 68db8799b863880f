"""HTTP clients that send mails of all sizes and kinds and keep what they asked for and what they were told."""
import asyncio
import base64
import contextlib
import dataclasses
import json
import random
import time
import urllib.parse

from relay import digest_of, text_digest

LINE = "The quick brown fox jumps over the lazy dog, %08d times or so.\n"
ACCENTED = "D\u00e9j\u00e0 vu %08d" + " \u2014 encore une fois" * 20 + "\n"  # long, and not ASCII
SMALLEST, LARGEST = 200, 2000000


class NoAnswer(Exception):
    """mailhatch left a request without an answer."""


@dataclasses.dataclass
class Sent:
    """What one mail asked for and what was answered. `status` 0: the client left before."""

    number: int
    relay: str
    kind: str
    message_id: str
    sender: str
    recipients: tuple
    digest: str
    size: int
    status: int = 0
    answer: dict = None
    posted: float = 0.0  # when the kernel had taken the last of the request; 0.0: never
    ended: float = 0.0  # when the answer was there, or the connection was lost

    @property
    def outcome(self):
        if not self.status:
            return "left"
        if self.status == 200:
            return self.answer["status"]
        return self.answer.get("delivery") or "?"

    def told(self):
        """One line of the answer."""
        a = self.answer or {}
        return "%s%s" % (self.outcome, "".join(" %s=%r" % (k, a[k]) for k in ("code", "stage", "detail") if k in a))

    def fates(self):
        """{recipient: accepted, not_sent, rejected or unknown}, as the answer has it."""
        if not self.status:
            return dict.fromkeys(self.recipients, "unknown")
        overall = {"sent": "accepted", "partial": "?"}.get(self.outcome, self.outcome)
        told = {r["email"]: r["status"] for r in self.answer.get("recipients") or ()}
        return {r: told.get(r, overall) for r in self.recipients}


class Mails:
    """Makes requests from one seed."""

    def __init__(self, seed, relays, largest=LARGEST):
        self.rng, self.seed, self.relays, self.largest, self.count = random.Random(seed), seed, relays, largest, 0

    def size(self):
        """As many of each order of magnitude, but few of the largest."""
        top = self.largest if self.rng.random() < 0.1 else min(self.largest, 60000)
        return int(SMALLEST * (top / SMALLEST) ** self.rng.random())

    def make(self, relay=None):
        """(Sent, path, content type, body). `relay`: or whichever comes."""
        self.count += 1
        n, rng = self.count, self.rng
        kind = rng.choices(("text", "accents", "raw", "file"), (50, 15, 20, 15))[0]
        size, relay = self.size(), relay or rng.choice(self.relays)
        message_id = "%d.%s@soak.example.org" % (n, self.seed)
        sender = "bounce+%d@example.org" % n
        recipients = tuple("r%d.%d@example.net" % (i, n) for i in range(rng.choice((1, 1, 1, 2, 3, 6))))
        content = rng.randbytes(size) if kind == "file" else self.text(kind, size).encode()
        digest = (digest_of if kind == "file" else text_digest)(content)
        sent = Sent(n, relay, kind, message_id, sender, recipients, digest, size)
        if kind == "raw":
            return sent, *self.raw(sent, content)
        return sent, *self.json(sent, content)

    def text(self, kind, size):
        line = ACCENTED if kind == "accents" else LINE
        first = line % self.rng.randrange(10**8)
        text = (first + "." + line % self.rng.randrange(10**8)) * (size // (2 * len(first)) + 1)
        return text[:size].rstrip() + "\n"

    def raw(self, sent, content):
        head = "From: ann@example.org\r\nTo: all@example.net\r\nSubject: raw\r\n"
        head += "Message-ID: <%s>\r\n\r\n" % sent.message_id
        query = urllib.parse.urlencode(
            [("from", sent.sender), ("relay", sent.relay), *(("to", r) for r in sent.recipients)]
        )
        return "/v1/emails?" + query, "message/rfc822", head.encode() + content.replace(b"\n", b"\r\n")

    def json(self, sent, content):
        mail = {
            "from": "Ann <ann@example.org>",
            "to": list(sent.recipients),
            "envelope": {"from": sent.sender},
            "subject": "Soak %d" % sent.number,
            "relay": sent.relay,
            "headers": {"Message-ID": "<%s>" % sent.message_id},
        }
        if self.rng.random() < 0.1:
            mail["partial"] = "reject"
        if sent.kind == "file":
            mail["text"] = "See the file.\n"
            mail["attachments"] = [{"filename": "a.bin", "content": base64.b64encode(content).decode()}]
        else:
            mail["text"] = content.decode()
        return "/v1/emails", "application/json", json.dumps(mail).encode()


class Client:
    """One kept connection, one request at a time. Now and then it leaves without waiting for the answer."""

    head = ""  # further lines of each request's head

    def __init__(self, address, mails, leaves=0.01):
        self.host, port = address.rsplit(":", 1)
        self.port, self.mails, self.leaves = int(port), mails, leaves
        self.reader = self.writer = None
        self.running = None

    async def run(self, until, done):
        """Sends until the event is set; done(sent) is told of each."""
        while not until.is_set():
            sent, *request = self.mails.make()
            self.running = sent
            await self.send(sent, *request)
            self.running = None
            done(sent)
            if sent.status >= 500:
                await asyncio.sleep(0.01 if sent.answer["code"] != "relay_unavailable" else 0.1)
        self.close()

    def close(self):
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None

    async def open(self):
        if not self.writer:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port, limit=1 << 20)
            self.writer.transport.set_write_buffer_limits(0)

    async def send(self, sent, path, kind, body):
        head = "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n" % (
            path, kind, len(body), self.head)
        await self.open()
        self.writer.write(head.encode() + body)
        if self.mails.rng.random() < self.leaves:
            await asyncio.sleep(self.mails.rng.random() * 0.05)
            self.close()
            return
        try:
            await self.writer.drain()
            sent.posted = time.monotonic()
            sent.status, sent.answer = await self.answer()
        except (OSError, EOFError) as e:
            self.close()
            raise NoAnswer("%r: %r" % (sent, e)) from e
        finally:
            sent.ended = time.monotonic()

    async def answer(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = await self.reader.readexactly(int(fields["content-length"]))
        if fields.get("connection") == "close":
            self.close()
        return int(head.split()[1]), json.loads(body)


class Patient(Client):
    """One that lives on when mailhatch dies: what it got no answer to has `status` 0."""

    def __init__(self, address, mails):
        super().__init__(address, mails, leaves=0)

    async def run(self, until, done):
        while not until.is_set():
            try:
                await self.open()
            except OSError:
                await asyncio.sleep(0.02)
                continue
            sent, *request = self.mails.make()
            self.running = sent
            with contextlib.suppress(NoAnswer):
                await self.send(sent, *request)
            self.running = None
            done(sent)
            if sent.status >= 500:
                await asyncio.sleep(0.02)
        self.close()


async def get(address, path):
    """The body of one GET."""
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(("GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path).encode())
    with contextlib.closing(writer):
        return (await reader.read()).partition(b"\r\n\r\n")[2].decode()
