"""An SMTP server that does what a test tells it to do, at the stage where it is told: refuse, close, reset, hang,
drip, lie. It records what it received.

    with Peer(on={"mail": reply("421 4.3.2 later"), "body": close}, caps=BASIC) as peer:

Stages: banner, ehlo, ehlo_tls (EHLO after TLS; "ehlo" is used when absent), starttls, tls (the handshake), auth,
mail, rcpt, data (DATA, before the body is read), bdat (a BDAT command, before its bytes are read), body (all of the
body is here), rset, noop, quit. An action is a function of the session; a string is a reply; a list gives one
action for each time the stage is reached (counted over all sessions), the last one staying. An action that returns
has answered; `Gone` ends the session. `default` does what an orderly server would do."""
import base64
import contextlib
import functools
import socket
import re
import ssl
import struct
import threading

import harness

ALL = ("PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "SIZE 10000000", "DSN", "ENHANCEDSTATUSCODES")
BASIC = ("8BITMIME", "ENHANCEDSTATUSCODES")  # lock-step and DATA
PIPELINED = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES")
USER = "ann"


class Gone(Exception):
    """The session is over."""


def default(s):
    s.default_action()


def reply(*lines):
    """The lines of one or several replies, CRLF added."""
    return lambda s: s.send("".join(line + "\r\n" for line in lines))


def send_bytes(data, then=None):
    def act(s):
        s.send(data)
        if then:
            then(s)

    return act


def close(s):
    raise Gone


def reset(s):
    """RST in place of FIN."""
    s.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.sock.close()
    raise Gone


def hang(s):
    """Says nothing and reads nothing until the test is over."""
    s.peer.stopped.wait(120)
    raise Gone


def wait_gone(s):
    """Says nothing, reads on, until the client leaves."""
    with contextlib.suppress(OSError):
        while s.sock.recv(65536):
            pass
    raise Gone


def drip(data, every=0.2):
    """A byte now and then."""

    def act(s):
        for i in range(len(data)):
            s.send(data[i : i + 1])
            if s.peer.stopped.wait(every):
                raise Gone
        wait_gone(s)

    return act


def chain(*actions):
    def act(s):
        for a in actions:
            s.act(a)

    return act


def reply_close(*lines):
    return chain(reply(*lines), close)


def after(event, action):
    """Waits for a threading.Event of the test, then acts."""

    def act(s):
        event.wait(60)
        s.act(action)

    return act


def read_some(n, then):
    """Reads n octets of the body, then acts."""

    def act(s):
        s.read_exactly(n)
        s.act(then)

    return act


class Mail:
    def __init__(self, sender, params):
        self.sender, self.params, self.rcpts, self.rcpt_params, self.data = sender, params, [], [], b""


class Session(threading.Thread):
    def __init__(self, peer, sock):
        super().__init__(daemon=True)
        self.peer, self.sock, self.raw = peer, sock, sock
        self.buffer = b""
        self.commands, self.mails = [], []
        self.tls, self.user, self.password, self.sni = None, None, None, None
        self.mail, self.line, self.stage_name, self.code = None, "", "", 0
        self.chunk_size, self.chunk_last = 0, False

    # what actions use

    def send(self, data):
        if isinstance(data, str):
            data = data.encode()
        if data[:3].isdigit():
            self.code = int(data[:3])
        if self.stage_name == "body" and re.search(rb"(?m)^2\d\d(?: [^\r\n]*)?\r\n\Z", data):
            self.note_mail()  # before the client can know: a test looks as soon as it has its answer
        self.sock.sendall(data)

    def act(self, action):
        if isinstance(action, str):
            action = reply(action)
        action(self)

    def read_exactly(self, n):
        pieces, missing = [self.buffer], n - len(self.buffer)
        while missing > 0:
            piece = self.sock.recv(min(missing + 65536, 1 << 20))
            if not piece:
                raise Gone
            pieces.append(piece)
            missing -= len(piece)
        data = b"".join(pieces)
        data, self.buffer = data[:n], data[n:]
        return data

    def fill(self):
        chunk = self.sock.recv(65536)
        if not chunk:
            raise Gone
        self.buffer += chunk

    def read_line(self):
        while b"\r\n" not in self.buffer:
            if len(self.buffer) > 100000:
                raise Gone
            self.fill()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode("utf-8", "surrogateescape")

    def stage(self, name):
        self.stage_name, self.code = name, 0
        self.act(self.peer.action(name))

    def shake_hands(self, context=None):
        context = context or (self.peer.one_context if self.peer.tickets else self.peer.context())
        if self.buffer:
            raise Gone  # a client that talks before TLS is up; the test sees it in `commands`
        context.sni_callback = lambda sock, name, ctx: setattr(self, "sni", name)
        self.sock = context.wrap_socket(self.raw, server_side=True)
        self.tls = self.sock.version()

    # the orderly server

    def run(self):
        try:
            if self.peer.tls_mode == "implicit":
                self.stage("tls")
            self.stage("banner")
            while True:
                self.line = self.read_line()
                self.commands.append(self.line)
                self.command(self.line.split(" ")[0].upper())
        except (Gone, OSError, ssl.SSLError, ValueError) as e:
            self.end = e
        finally:
            with contextlib.suppress(OSError):
                self.sock.close()

    def command(self, verb):
        if verb == "EHLO":
            self.mail = None
            self.stage("ehlo_tls" if self.tls and "ehlo_tls" in self.peer.on else "ehlo")
        elif verb == "MAIL":
            self.stage("mail")
            if self.code // 100 == 2 and not (self.peer.keeps_transaction and self.mail):
                self.mail = Mail(*self.path())
        elif verb == "RCPT":
            self.rcpt()
        elif verb == "DATA":
            self.stage("data")
            if self.code == 354:
                self.read_dotted()
                self.end_of_body()
        elif verb == "BDAT":
            self.bdat()
        elif verb == "RSET":
            self.mail = None
            self.stage("rset")
        elif verb in ("STARTTLS", "AUTH", "NOOP", "QUIT"):
            self.stage(verb.lower())
        else:
            self.send("500 5.5.2 what?\r\n")

    def path(self):
        inside = self.line[self.line.index("<") + 1 :]
        address, _, params = inside.partition(">")
        return address, params.split()

    def rcpt(self):
        self.stage("rcpt")
        if self.code // 100 == 2 and self.mail:
            address, params = self.path()
            self.mail.rcpts.append(address)
            self.mail.rcpt_params.append(params)

    def read_dotted(self):
        lines, rest = [], self.buffer
        while lines[-1:] != [b".\r\n"]:
            *more, rest = rest.split(b"\n")
            if more:
                lines += (line + b"\n" for line in more)
                if b".\r\n" in lines[-len(more) :]:
                    end = lines.index(b".\r\n", len(lines) - len(more))
                    rest = b"".join(lines[end + 1 :]) + rest
                    del lines[end + 1 :]
                    continue
            piece = self.sock.recv(1 << 20)
            if not piece:
                raise Gone
            rest += piece
        self.buffer = rest
        if self.mail:
            self.mail.data += b"".join(line[1:] if line.startswith(b".") else line for line in lines[:-1])

    def bdat(self):
        words = self.line.split()
        self.chunk_size, self.chunk_last = int(words[1]), len(words) > 2 and words[2].upper() == "LAST"
        self.stage("bdat")

    def end_of_body(self):
        self.stage("body")
        self.mail = None

    def note_mail(self):
        if self.mail:
            self.mails.append(self.mail)
            self.peer.note_mail(self.mail)
        self.mail = None

    def default_action(self):
        getattr(self, "do_" + self.stage_name.replace("ehlo_tls", "ehlo"))()

    def do_banner(self):
        self.send("220 peer.test ESMTP\r\n")

    def do_ehlo(self):
        caps = [c for c in self.peer.caps if self.tls or c != "REQUIRETLS"]  # RFC 8689 §2: behind TLS only
        if self.peer.tls_mode == "starttls" and not self.tls:
            caps.append("STARTTLS")
        if self.peer.auth and (self.tls or self.peer.tls_mode == "none"):
            caps.append("AUTH " + self.peer.auth)
        lines = ["peer.test greets you", *caps]
        self.send("".join("250%s%s\r\n" % (" " if i == len(lines) - 1 else "-", line) for i, line in enumerate(lines)))

    def do_starttls(self):
        self.send("220 2.0.0 go ahead\r\n")
        self.stage("tls")

    def do_tls(self):
        self.shake_hands()

    def do_auth(self):
        words = self.line.split()
        if words[1].upper() == "PLAIN":
            if len(words) < 3:
                self.send("334 \r\n")
                words.append(self.read_line())
            _, self.user, self.password = base64.b64decode(words[2]).decode().split("\0")
        else:
            if len(words) < 3:
                self.send("334 VXNlcm5hbWU6\r\n")
                words.append(self.read_line())
            self.user = base64.b64decode(words[2]).decode()
            self.send("334 UGFzc3dvcmQ6\r\n")
            self.password = base64.b64decode(self.read_line()).decode()
        good = (self.user, self.password) == (USER, harness.PASSWORD)
        self.send("235 2.7.0 welcome\r\n" if good else "535 5.7.8 no\r\n")

    def do_mail(self):
        self.send("503 5.5.1 nested MAIL\r\n" if self.mail else "250 2.1.0 ok\r\n")

    def do_rcpt(self):
        self.send("250 2.1.5 ok\r\n" if self.mail else "503 5.5.1 MAIL first\r\n")

    def do_data(self):
        if self.mail and self.mail.rcpts:
            self.send("354 go\r\n")
        else:
            self.send("554 5.5.1 no valid recipients\r\n")
            if not self.peer.keeps_transaction:
                self.mail = None

    def do_bdat(self):
        data = self.read_exactly(self.chunk_size)
        if not (self.mail and self.mail.rcpts):
            self.send("554 5.5.1 no valid recipients\r\n" if self.mail else "503 5.5.1 MAIL first\r\n")
            return
        self.mail.data += data
        if self.chunk_last:
            self.end_of_body()
        else:
            self.send("250 2.0.0 %d octets\r\n" % self.chunk_size)

    def do_body(self):
        self.send("250 2.0.0 queued as %d\r\n" % (len(self.peer.mails) + 1))

    def do_rset(self):
        self.send("250 2.0.0 ok\r\n")

    do_noop = do_rset

    def do_quit(self):
        self.send("221 2.0.0 bye\r\n")
        raise Gone


class Peer:
    """tls_mode: "starttls", "implicit" or "none". `auth`: what AUTH offers ("" offers none). cert: a name from
    certs.py. min_tls/max_tls: ssl.TLSVersion. keeps_transaction: as Exim 4.96, a refused RCPT and 554 to the
    body leave the first MAIL open until RSET.
    tickets: one TLS context for all sessions, so that they can be resumed. port: 0 is one that the kernel picks."""

    def __init__(
        self,
        on=None,
        caps=ALL,
        tls_mode="starttls",
        auth="PLAIN LOGIN",
        cert="good",
        min_tls=None,
        max_tls=None,
        ciphers=None,
        client_ca=None,
        rcvbuf=None,
        keeps_transaction=False,
        backlog=128,
        tickets=False,
        port=0,
    ):
        self.on = {k: v if isinstance(v, list) else [v] for k, v in (on or {}).items()}
        self.caps, self.tls_mode, self.auth, self.cert, self.keeps_transaction = (
            caps,
            tls_mode,
            auth,
            cert,
            keeps_transaction,
        )
        self.tls_settings = (min_tls, max_tls, ciphers, client_ca)
        self.tickets = tickets
        self.lock = threading.Lock()
        self.counts, self.sessions, self.mails = {}, [], []
        self.stopped = threading.Event()
        self.listener = socket.socket()
        if rcvbuf:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if port:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(backlog)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    @functools.cached_property
    def one_context(self):
        return self.context()

    def context(self):
        low, high, ciphers, client_ca = self.tls_settings
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if ciphers:
            c.set_ciphers(ciphers)
        elif self.cert in ("weakkey", "sha1") or (low or high):
            c.set_ciphers("ALL:@SECLEVEL=0")
        if low:
            c.minimum_version = low
        if high:
            c.maximum_version = high
        c.load_cert_chain(harness.cert_path(self.cert + ".pem"), harness.cert_path(self.cert + ".key"))
        if client_ca:
            c.verify_mode = ssl.CERT_REQUIRED
            c.load_verify_locations(client_ca)
        return c

    def begin_flights(self, gateway, on_each_session=False, **fields):
        """One mail and what comes behind it, in order: the next one leaves in one flight. Then `on` holds. With one
        more mail that goes so, other sessions need no such beginning."""
        on, self.on = self.on, {}
        assert gateway.post(harness.mail(**fields)).status == 200
        harness.wait_for(lambda: "RSET" in self.commands(), what="the proof that refused chunks are discarded")
        if on_each_session:
            assert gateway.post(harness.mail(**fields)).status == 200
        self.on = on
        self.counts.clear()

    def action(self, stage):
        choices = self.on.get(stage)
        if not choices:
            return default
        with self.lock:
            n = self.counts.get(stage, 0)
            self.counts[stage] = n + 1
        return choices[min(n, len(choices) - 1)]

    def note_mail(self, mail):
        with self.lock:
            self.mails.append(mail)

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = Session(self, sock)
            with self.lock:
                self.sessions.append(session)
            session.start()

    def url(self, scheme=None, user=USER, host="localhost"):
        """The relay URL for this peer; tls none has no user (no password over plain text)."""
        if self.tls_mode == "none" and scheme is None:
            return "smtp://127.0.0.1:%d?tls=none" % self.port
        scheme = scheme or ("smtps" if self.tls_mode == "implicit" else "smtp")
        return "%s://%s%s:%d" % (scheme, user + "@" if user and self.auth else "", host, self.port)

    def commands(self):
        return [c for s in self.sessions for c in s.commands]

    def stop(self):
        self.stopped.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)
        for s in self.sessions:
            with contextlib.suppress(OSError):
                s.sock.shutdown(socket.SHUT_RDWR)
        for s in self.sessions:
            s.join(10)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
