"""What nothing moves costs nothing: connections that stop in any phase, on each listener and towards relays, take no
processor time, are over at their deadline, and hinder neither probes nor a stop. Time here is the process's own (its
CPU time), so that a busy machine changes nothing."""
import contextlib
import json
import os
import socket
import ssl
import struct
import threading
import time
import unittest

import harness
from harness import Gateway, cert_path, mail, raw_exchange, split_responses, wait_for
from peer import Peer, hang, wait_gone

WINDOW = 1.0  # seconds that are watched
BOUND = 0.1  # CPU seconds in them; one connection that keeps a loop busy takes all of them
KEY = "key-of-a-sender-0123456789"
READER = "key-of-a-reader-0123456789"
BODY = json.dumps(harness.MAIL).encode()
AUTH = b"Authorization: Bearer " + KEY.encode() + b"\r\n"
POST = b"POST /v1/emails HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + AUTH
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /openapi.yaml HTTP/1.1\r\nHost: localhost\r\n" + AUTH
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
FIRST_CHUNK = b"%x\r\n%s\r\n" % (len(BODY), BODY)
ENDLESS = {  # what fills the library's buffer and has no end
    "zeros": CHUNKED + b"0" * 20000,
    "chunk extension": CHUNKED + b"1;a=" + b"x" * 20000,
    "zeros behind a chunk": CHUNKED + FIRST_CHUNK + b"0" * 20000,
    "extension behind a chunk": CHUNKED + FIRST_CHUNK + b"1;" + b"x" * 20000,
    "a trailer": CHUNKED + FIRST_CHUNK + b"0\r\nX: " + b"x" * 20000,
    "trailers": CHUNKED + FIRST_CHUNK + b"0\r\n" + b"X: y\r\n" * 4000,
}
HALTED = {  # stops in mid-request
    "silent": b"",
    "request line": b"PO",
    "head": POST,
    "header": POST + b"X-Long: " + b"x" * 5000,
    "no body": POST + b"Content-Length: 1000\r\n\r\n",
    "body": POST + b"Content-Length: 1000\r\n\r\n{",
    "no chunk": CHUNKED,
    "chunk line": CHUNKED + b"00",
    "chunk": CHUNKED + b"ff\r\n{",
    "trailer": CHUNKED + FIRST_CHUNK + b"0\r\nX: y\r\n",
}


def half_tls(s):
    """Takes STARTTLS and the ClientHello, and sends the beginning of a record."""
    s.send(b"220 go\r\n")
    s.sock.recv(1)
    s.send(b"\x16\x03\x03\x40")
    wait_gone(s)


def cpu(pid):
    """CPU seconds of a process, all threads (proc(5): utime and stime)."""
    with open("/proc/%d/stat" % pid, encoding="ascii") as f:
        fields = f.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def watch(g, seconds=WINDOW):
    """CPU seconds that the gateway takes while the clock runs on."""
    before, end = cpu(g.process.pid), time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > end, what="time passes")
    return cpu(g.process.pid) - before


def is_closed(s):
    """Whether the server has closed this connection; what it says before is dropped."""
    s.setblocking(False)
    try:
        while s.recv(65536):
            pass
        return True
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


class Idle(unittest.TestCase):
    keys = {"MAILHATCH_API_KEYS": "shop:%s,watch:%s scope=read" % (KEY, READER)}

    def gateway(self, relay=None, args=("--sandbox",), **env):
        g = Gateway({**self.keys, **env}, () if relay else args, relay=relay)
        self.addCleanup(g.stop)
        return g

    def peer(self, **more):
        p = Peer(**more)
        self.addCleanup(p.stop)
        return p

    def open(self, where, data=b"", shut=False, small=False):
        s = socket.socket()
        self.addCleanup(s.close)
        if small:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = where.rsplit(":", 1)
        s.settimeout(15)
        s.connect((host, int(port)))
        with contextlib.suppress(ConnectionError):  # refused early
            s.sendall(data)
            if shut:
                s.shutdown(socket.SHUT_WR)
        return s

    def costs_nothing(self, g, phases):
        """`phases`: functions that bring about a connection each. If all together cost too much, each is tried alone,
        to name it."""
        for act in phases.values():
            act()
        spent = watch(g)
        if spent <= BOUND:
            return
        alone = {}
        for name, act in phases.items():
            act()
            alone[name] = "%.2f" % watch(g, 0.5)
        self.fail("%.2f s of CPU in %.1f s; each alone, added to the others: %r" % (spent, WINDOW, alone))


class TestPlain(Idle):
    def test_halted_in_every_phase(self):
        g = self.gateway()
        self.costs_nothing(
            g,
            {
                **{name: lambda d=data: self.open(g.api, d) for name, data in HALTED.items()},
                **{"shut " + name: lambda d=data: self.open(g.api, d, shut=True) for name, data in HALTED.items()},
                "between requests": lambda: self.open(g.api, GET + b"\r\n"),
            },
        )

    def test_endless_lines(self):
        """Refused within seconds and cheap until then; also of clients that left by an end, by a reset, or half."""
        g = self.gateway()
        before, files = cpu(g.process.pid), descriptors(g.process.pid)
        open_ones = {name: self.open(g.api, data) for name, data in ENDLESS.items()}
        for data in ENDLESS.values():
            self.open(g.api, data, shut=True)
            self.open(g.api, data).close()
            s = self.open(g.api, data)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
        for name, s in open_ones.items():
            s.settimeout(15)
            with s.makefile("rb") as stream:
                self.assertIn(stream.readline().split()[1], (b"400", b"413", b"431"), name)
        wait_for(lambda: descriptors(g.process.pid) <= files, what="all connections are gone")
        self.assertLess(cpu(g.process.pid) - before, 0.4)
        self.assertTrue([e for e in g.events("connections") if "had no end" in e["msg"]], g.log())

    def test_answers_that_nobody_reads(self):
        """Also pipelined behind one that waits for the relay."""
        p = self.peer(on={"body": hang})
        g = self.gateway(relay=p.url(), MAILHATCH_DRAIN_TIMEOUT="1s")
        waiting = self.open(g.api, WHOLE + (GET + b"\r\n") * 100)
        wait_for(lambda: any(c.startswith("MAIL") for c in p.commands()), what="the mail is under way")
        self.costs_nothing(
            g,
            {
                "unread": lambda: self.open(g.api, (GET + b"\r\n") * 300, small=True),
                "half-closed": lambda: self.open(g.api, WHOLE, shut=True),
                "suspended": lambda: waiting.sendall(GET),
            },
        )

    def test_deadlines(self):
        """Whatever it stopped in."""
        g = self.gateway(MAILHATCH_REQUEST_TIMEOUT="1s")
        open_ones = {name: self.open(g.api, data) for name, data in {**HALTED, **ENDLESS}.items()}
        for name, s in open_ones.items():
            wait_for(lambda s=s: is_closed(s), what="the end of " + name)

    def test_a_full_buffer_without_a_byte_to_spare(self):
        """Of these, one fills it exactly: nothing lies unread then, and the deadline ends it."""
        g = self.gateway(MAILHATCH_REQUEST_TIMEOUT="3s")
        open_ones = [self.open(g.api, CHUNKED + b"0" * (size - len(CHUNKED))) for size in range(16080, 16180)]
        wait_for(lambda: is_closed(open_ones[-1]), what="one that is over-full ends")
        self.assertLessEqual(watch(g, 0.5), BOUND)
        self.assertFalse(is_closed(open_ones[0]), "the buffer is smaller than all of these")
        for s in open_ones:
            wait_for(lambda s=s: is_closed(s), what="the end")

    def test_a_stop_does_not_wait_for_them(self):
        """They have reserved room for a mail."""
        g = self.gateway(MAILHATCH_REQUEST_TIMEOUT="60s", MAILHATCH_DRAIN_TIMEOUT="60s")
        for name in ("zeros behind a chunk", "extension behind a chunk"):
            self.open(g.api, ENDLESS[name])
        wait_for(lambda: g.metric("mailhatch_inflight_bytes"), what="a body comes")
        g.signal(15)
        self.assertEqual(g.wait(10), 0)


class TestBodies(Idle):
    """Where no body belongs, none is waited for."""

    def test_refused_at_once(self):
        g = self.gateway(MAILHATCH_REQUEST_TIMEOUT="60s")
        reader = b"Host: localhost\r\nAuthorization: Bearer " + READER.encode() + b"\r\n"
        for where, path, methods in (
            (g.api, b"/v1/relays", (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE")),
            (g.api, b"/nothing", (b"GET", b"DELETE")),
            (g.admin_at, b"/livez", (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS")),
            (g.admin_at, b"/nothing", (b"GET", b"POST")),
        ):
            for method in methods:
                for framing in (
                    b"Content-Length: 1000\r\n\r\n",
                    b"Content-Length: 100000\r\n\r\n",
                    b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 20000,
                ):
                    data = method + b" " + path + b" HTTP/1.1\r\n" + reader + framing
                    begun = time.monotonic()
                    got = raw_exchange(where, data, timeout=15)
                    self.assertLess(time.monotonic() - begun, 10, data[:60])
                    if got:  # else reset with bytes unread
                        self.assertRegex(got, rb"^HTTP/1.1 4\d\d ", data[:60])

    def test_code(self):
        g = self.gateway()
        for where, head in ((g.api, AUTH), (g.admin_at, b"")):
            path = b"/v1/errors" if head else b"/livez"
            request = b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n" + head + b"\r\n"
            (answer,) = split_responses(raw_exchange(where, request))
            self.assertEqual((answer.status, answer.code), (400, "invalid_request"))
            self.assertIn("no body", answer.json["detail"])

    def test_an_empty_one_is_none(self):
        g = self.gateway()
        answer = g.request("GET", "/v1/errors", None, {"Content-Length": "0", "Authorization": "Bearer " + READER})
        self.assertEqual(answer.status, 200)


class TestTls(Idle):
    def setUp(self):
        self.g = self.gateway(
            MAILHATCH_TLS_CERT_FILE=cert_path("good.pem"), MAILHATCH_TLS_KEY_FILE=cert_path("good.key")
        )
        self.context = ssl.create_default_context(cafile=cert_path("ca.pem"))

    def hello(self):
        """A ClientHello, and what makes the rest of a handshake."""
        to_us, from_us = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context.wrap_bio(to_us, from_us, server_hostname="localhost")
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        return tls, to_us, from_us.read()

    def part_of_hello(self, n):
        return self.open(self.g.api, self.hello()[2][:n])

    def part_of_finish(self, n):
        """The server's flight is read, and some of the answer to it is sent."""
        tls, to_us, data = self.hello()
        s = self.open(self.g.api, data)
        out = b""
        while not out:
            to_us.write(s.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                out = self.finish(tls)
        s.sendall(out[:n])
        return s

    @staticmethod
    def finish(tls):
        raise NotImplementedError

    def over_tls(self, data, then=b"", small=False):
        s = self.open(self.g.api, small=small)
        tls = self.context.wrap_socket(s, server_hostname="localhost")
        self.addCleanup(tls.close)
        with contextlib.suppress(OSError):
            tls.sendall(data)
        if then:
            os.write(tls.fileno(), then)
        return tls

    def test_handshake(self):
        """A load balancer's port check, and all the ways to stop in a handshake; then it goes on all the same."""
        self.costs_nothing(
            self.g,
            {
                "silent": lambda: self.open(self.g.api),
                **{"hello, %d" % n: lambda n=n: self.part_of_hello(n) for n in (1, 3, 5, 6, 100)},
                "a whole hello": lambda: self.part_of_hello(10000),
                "a record that is never whole": lambda: self.open(self.g.api, b"\x16\x03\x01\x40\x00" + b"\x01" * 9000),
            },
        )

    def test_handshake_in_pieces(self):
        """It goes on when the rest comes, however late."""
        with socket.create_server(("127.0.0.1", 0)) as relay_point:
            relay_point.settimeout(15)
            done = threading.Thread(target=self.drip, args=(relay_point,), daemon=True)
            done.start()
            with socket.create_connection(relay_point.getsockname(), 15) as s:
                with self.context.wrap_socket(s, server_hostname="localhost") as tls:
                    tls.sendall(GET + b"Connection: close\r\n\r\n")
                    self.assertTrue(tls.recv(100).startswith(b"HTTP/1.1 200"))
            done.join(15)

    def drip(self, relay_point):
        """Carries bytes to the gateway a few at a time, each alone in its segment, and the other way as they are."""
        client, _ = relay_point.accept()
        with client, harness.connect(self.g.api) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def back():
                with contextlib.suppress(OSError):
                    while data := server.recv(65536):
                        client.sendall(data)

            threading.Thread(target=back, daemon=True).start()
            with contextlib.suppress(OSError):
                while data := client.recv(65536):
                    for i in range(0, len(data), 16):
                        server.sendall(data[i : i + 16])

    def test_halted_in_every_phase(self):
        self.costs_nothing(
            self.g,
            {
                **{name: lambda d=data: self.over_tls(d) for name, data in HALTED.items()},
                "part of a record": lambda: self.over_tls(POST, b"\x17\x03\x03\x00"),
                "record without its end": lambda: self.over_tls(POST, b"\x17\x03\x03\x04\x00" + b"x" * 500),
                "unread": lambda: self.over_tls((GET + b"\r\n") * 300, small=True),
                "between requests": lambda: self.over_tls(GET + b"\r\n"),
            },
        )

    def test_endless_lines(self):
        before = cpu(self.g.process.pid)
        open_ones = {name: self.over_tls(data) for name, data in ENDLESS.items()}
        small = {"in one record": self.over_tls(CHUNKED + b"0" * (16000 - len(CHUNKED)))}
        for name, tls in {**open_ones, **small}.items():
            tls.settimeout(15)
            self.assertIn(tls.recv(65536).split()[1], (b"400", b"413", b"431"), name)
            wait_for(lambda s=tls: is_closed(s), what="the end of " + name)
        self.assertLess(cpu(self.g.process.pid) - before, 0.5)


class TestAdmin(Idle):
    def test_silence(self):
        """More than it takes: the oldest make room, and probes are answered."""
        g = self.gateway()
        self.costs_nothing(g, {"%d" % i: lambda: self.open(g.admin_at, b"GET" if i % 2 else b"") for i in range(100)})
        kept = [self.open(g.admin_at, (b"", b"G", b"GET /livez HTTP/1.1\r\n")[i % 3]) for i in range(300)]
        begun = time.monotonic()
        answers = [g.admin("/livez").status for _ in range(5)]
        took = time.monotonic() - begun
        self.assertEqual(answers, [200] * 5)
        self.assertTrue(any(is_closed(s) for s in kept[:200]), "nobody made room")
        self.assertLess(took, 10, "they were let in only when the others' time was over")

    def test_unread_answers_make_room_too(self):
        g = self.gateway()
        for _ in range(400):
            self.open(g.admin_at, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 40, small=True)
        self.assertEqual(g.admin("/livez").status, 200)

    def test_a_head_has_seconds(self):
        g = self.gateway()
        first = [self.open(g.admin_at, data) for data in (b"", b"GET /livez HTTP/1.1\r\nHost:")]
        begun = time.monotonic()
        wait_for(lambda: all(is_closed(s) for s in first), what="the admin listener ends what says nothing")
        self.assertLess(time.monotonic() - begun, 14)

    def test_at_max_connections(self):
        """A full API, and /livez answers; the API too, once there is room."""
        g = self.gateway(MAILHATCH_MAX_CONNECTIONS="20")
        kept = [self.open(g.api, b"G") for _ in range(60)]
        self.assertEqual(g.admin("/livez").status, 200)
        self.assertLessEqual(watch(g), BOUND)
        for s in kept:
            s.close()
        self.assertEqual(g.get("/v1/errors", {"Authorization": "Bearer " + KEY}).status, 200)


class TestDescriptors(Idle):
    limit = 300

    def started(self):
        p = self.peer()
        g = Gateway(self.keys, relay=p.url(), launcher=("sh", "-c", 'ulimit -n %d; exec "$@"' % self.limit, "sh"))
        self.addCleanup(g.stop)
        return g, p

    def test_kept_for_the_others(self):
        g, p = self.started()
        (line,) = g.events("limits")
        self.assertEqual((line["level"], line["limit"]), ("warn", self.limit))
        self.assertLess(line["max_connections"], self.limit)
        with contextlib.closing(g.connection()) as c:
            headers = {"Authorization": "Bearer " + KEY}
            self.assertEqual(g.request("GET", "/v1/errors", None, headers, c).status, 200)
            kept = [self.open(g.api, b"G" if i % 2 else b"") for i in range(self.limit + 100)]
            self.assertEqual(g.admin("/livez").status, 200)
            self.assertLessEqual(watch(g), BOUND)
            self.assertEqual(g.post(mail(), headers, c).status, 200, "no descriptor was left for the relay")
        self.assertEqual(len(p.mails), 1)
        for s in kept:
            s.close()


class TestOtherProtocols(Idle):
    """What cannot become HTTP is closed at once, and the log says what it was."""

    SPEECH = {
        "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x16"),
        "the PROXY protocol": (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n"),
        "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n",),
        "SMTP": (b"EHLO localhost\r\n", b"HELO x\r\n"),
        "SOCKS": (b"\x05\x01\x00", b"\x04\x01\x00\x50\x7f\0\0\x01\0"),
        "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",),
        "something else": (b"\0\0\0\x08\x04\xd2\x16\x2f", b"\x80\x2e\x01\x03\x01", b"AMQP\0\0\x09\x01", b"\xff\xf4"),
    }

    def check(self, g, where, listener, not_here=()):
        for name, all_first in self.SPEECH.items():
            for first in all_first if name not in not_here else ():
                seen = len(g.events("connections"))
                begun = time.monotonic()
                got = raw_exchange(where, first, timeout=15)
                self.assertLess(time.monotonic() - begun, 10, first)
                self.assertNotIn(b" 200 ", got)
                if listener == "https":
                    self.assertEqual(got, b"")
                else:
                    self.assertIn(b"speaks %s, and" % name.encode(), got)
                    self.assertEqual(split_responses(got)[0].code, "invalid_request")
                self.named(g, name, listener, seen)

    def named(self, g, name, listener, seen):
        """A line a second at most: the first of a second is told."""
        if seen == 0:
            line = wait_for(lambda: g.events("connections"), what="a line")[0]
            self.assertIn("speaks %s," % name, line["msg"])
            self.assertEqual((line["level"], line["address"]), ("warn", "127.0.0.1"))
            self.assertEqual(line["listener"], "admin" if listener == "admin" else "api")

    def test_api(self):
        g = self.gateway()
        self.check(g, g.api, "api")

    def test_admin(self):
        g = self.gateway()
        self.check(g, g.admin_at, "admin")

    def test_https(self):
        g = self.gateway(MAILHATCH_TLS_CERT_FILE=cert_path("good.pem"), MAILHATCH_TLS_KEY_FILE=cert_path("good.key"))
        self.check(g, g.api, "https", not_here=("TLS",))

    def test_a_client_of_https(self):
        """What a person sees who writes https:// for a plain port, and what the log says of it."""
        g = self.gateway()
        for where in (g.api, g.admin_at):
            with self.assertRaises(ssl.SSLError):
                ssl.create_default_context().wrap_socket(harness.connect(where), server_hostname="localhost")
        lines = wait_for(lambda: len(g.events("connections")) == 2 and g.events("connections"), what="two lines")
        self.assertEqual([line["listener"] for line in lines], ["api", "admin"])
        self.assertTrue(all("TLS" in line["msg"] for line in lines), lines)

    def test_empty_lines_before_a_request(self):
        """RFC 9112 §2.2; and a first byte that comes alone."""
        g = self.gateway()
        for first in (b"\r\n", b"\r\n\r\n", b"G"):
            with contextlib.closing(harness.connect(g.api)) as s:
                s.sendall(first)
                s.sendall((GET + b"Connection: close\r\n\r\n")[first == b"G" :])
                self.assertTrue(s.recv(100).startswith(b"HTTP/1.1 200"), first)


class TestRelays(Idle):
    """Towards the relays it is the same."""

    def silent(self, first=b""):
        """A server that takes connections, says `first` and nothing more."""
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    s, _ = server.accept()
                    self.addCleanup(s.close)
                    s.sendall(first)

        threading.Thread(target=serve, daemon=True).start()
        return server.getsockname()[1]

    def test_relays_that_stop(self):
        relays = {
            "mute": "smtp://ann@localhost:%d" % self.silent(),
            "mute-tls": "smtps://ann@localhost:%d" % self.silent(),
            "half-line": "smtp://ann@localhost:%d" % self.silent(b"220-hello\r\n220 wor"),
            "half-record": "smtps://ann@localhost:%d" % self.silent(b"\x16\x03\x03\x40\x00\x02"),
        }
        for stage in ("ehlo", "starttls", "auth", "mail", "body"):
            relays[stage] = self.peer(on={stage: hang}).url()
        relays["half-tls"] = self.peer(on={"starttls": half_tls}).url()
        lines = ["default_relay: mute", "relays:"]
        for name, url in relays.items():
            lines += ["  %s:" % name, "    url: %s" % url, "    password: %s" % harness.PASSWORD]
            lines += ["    ca_file: %s" % cert_path("ca.pem")]
        path = os.path.join(harness.run_dir(), "idle-relays.yaml")
        with open(path, "w", encoding="ascii") as f:
            f.write("\n".join(lines) + "\n")
        g = self.gateway(args=(), MAILHATCH_CONFIG=path, MAILHATCH_DRAIN_TIMEOUT="1s")
        for name in relays:
            body = json.dumps(mail(relay=name)).encode()
            self.open(g.api, POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        wait_for(lambda: g.metric("mailhatch_sessions") >= len(relays), what="they are under way")
        self.costs_nothing(g, {"all": lambda: None})


if __name__ == "__main__":
    unittest.main()
