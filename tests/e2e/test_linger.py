"""Early answers to large bodies are read by clients that write first and read later: over plain HTTP, TLS and Unix
sockets, before and in the middle of an upload; and what a connection that is closed so may cost has bounds."""
import concurrent.futures
import contextlib
import http.client
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

import harness
from harness import Gateway, cert_path, wait_for
from test_tls_api import client_context

MIB = 1 << 20
SIZES = (1 * MIB, 4 * MIB, 16 * MIB, 34 * MIB)
TIMES = 10  # each size; so 40 of 40
AT_ONCE = 6
BODY = memoryview(b" " * max(SIZES))
KEY = "one-secret-key-123"
BEARER = b"Authorization: Bearer " + KEY.encode() + b"\r\n"
JSON = b"Content-Type: application/json\r\n"
NODE = shutil.which("node")


def post(head=b"", path=b"/v1/emails", method=b"POST"):
    return method + b" " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + head


def length(n):
    return b"Content-Length: %d\r\n\r\n" % n


def read_all(s):
    got = b""
    while chunk := s.recv(65536):
        got += chunk
    return got


def answers_in(data):
    return ["%d %s" % (a.status, a.code) for a in harness.split_responses(data)]


class Linger(unittest.TestCase):
    maxDiff = None

    @contextlib.contextmanager
    def gateway(self, **env):
        settings = {"MAILHATCH_API_KEYS": "web:" + KEY, **env}
        with Gateway({k: v for k, v in settings.items() if v is not None}, ["--sandbox"]) as g:
            yield g

    def all_read(self, client, want):
        """Forty uploads, some side by side; each got the answer that is wanted."""
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            got = list(pool.map(client, SIZES * TIMES))
        self.assertEqual([a for a in got if a != want], [])

    def write_then_read(self, where, head, size, wrap=None):
        """As Java's HttpURLConnection does: the whole body is written before anything is read."""
        try:
            with contextlib.closing(harness.connect(where)) as plain:
                s = wrap(plain) if wrap else plain
                s.sendall(head + length(size))
                s.sendall(BODY[:size])
                return answers_in(read_all(s))
        except OSError as e:
            return repr(e)


class TestBefore(Linger):
    """Refusals that need no body."""

    def test_write_then_read(self):
        """Whatever refuses: keys, paths, methods, types, sizes, framing; and libmicrohttpd itself."""
        cases = (
            (post(JSON), "401 missing_api_key"),
            (post(BEARER + JSON, b"/nothing"), "404 not_found"),
            (post(BEARER + JSON, method=b"PUT"), "405 method_not_allowed"),
            (post(BEARER + b"Content-Type: text/plain\r\n"), "415 unsupported_media_type"),
            (post(BEARER + JSON + b"Transfer-Encoding: gzip, chunked\r\n"), "400 invalid_request"),
            (post(BEARER + JSON + b"Content-Length: 7\r\n"), "400 invalid_request"),
            (post(JSON, method=b"GET"), "401 missing_api_key"),
            (post(b"no colon\r\n"), "400 None"),
        )
        work = [(head, want, size) for head, want in cases for size in SIZES]
        with self.gateway() as g, concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            got = list(pool.map(lambda w: self.write_then_read(g.api, w[0], w[2]), work))
        self.assertEqual([(a, w[1:]) for a, w in zip(got, work) if a != [w[1]]], [])

    def test_forty_of_forty(self):
        with self.gateway() as g:
            self.all_read(lambda size: self.write_then_read(g.api, post(JSON), size), ["401 missing_api_key"])

    def test_larger_than_max_body(self):
        with self.gateway(MAILHATCH_MAX_BODY="100000") as g:
            head = post(BEARER + JSON)
            self.all_read(lambda size: self.write_then_read(g.api, head, size), ["413 payload_too_large"])

    def test_python(self):
        def client(size):
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=harness.PATIENCE * 2)
            with contextlib.closing(c):
                try:
                    c.request("POST", "/v1/emails", BODY[:size], {"Content-Type": "application/json"})
                    return c.getresponse().status
                except OSError as e:
                    return repr(e)

        with self.gateway() as g:
            port = int(g.api.rsplit(":", 1)[1])
            self.all_read(client, 401)

    def test_curl(self):
        """Without Expect: it would not send a body at all."""
        with self.gateway() as g, tempfile.NamedTemporaryFile() as f:
            f.write(BODY)
            f.flush()

            def client(size):
                command = "head -c %d %s | curl -sS -H Expect: -w '%%{http_code}' -o /dev/null --data-binary @- %s"
                url = "http://%s/v1/emails" % g.api
                done = subprocess.run(["sh", "-c", command % (size, f.name, url)], capture_output=True, text=True)
                return done.stdout + done.stderr

            self.all_read(client, "401")

    @unittest.skipUnless(NODE, "node is not installed (tests/e2e/install.sh)")
    def test_node(self):
        script = str(pathlib.Path(__file__).with_name("linger.mjs"))
        with self.gateway() as g:
            url = "http://%s/v1/emails" % g.api
            sizes = [str(size) for size in SIZES * TIMES]
            done = subprocess.run([NODE, script, url, *sizes], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.stdout.splitlines(), ["401 missing_api_key"] * len(sizes), done.stderr)

    def test_tls(self):
        files = {"MAILHATCH_TLS_CERT_FILE": cert_path("good.pem"), "MAILHATCH_TLS_KEY_FILE": cert_path("good.key")}
        context = client_context()

        def wrap(plain):
            return context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=True)

        with self.gateway(**files) as g:
            self.all_read(lambda size: self.write_then_read(g.api, post(JSON), size, wrap), ["401 missing_api_key"])

    def test_unix_socket(self):
        with tempfile.TemporaryDirectory(prefix="mailhatch-linger-") as d:
            with self.gateway(MAILHATCH_LISTEN="unix:%s/api" % d) as g:
                self.all_read(lambda size: self.write_then_read(g.api, post(JSON), size), ["401 missing_api_key"])

    def test_admin_listener(self):
        with self.gateway() as g:
            head = post(JSON, b"/livez")
            self.all_read(lambda size: self.write_then_read(g.admin_at, head, size), ["405 method_not_allowed"])

    def test_several_loops(self):
        with self.gateway(MAILHATCH_HTTP_LOOPS="2", MAILHATCH_MAX_CONNECTIONS_PER_ADDRESS="50") as g:
            self.all_read(lambda size: self.write_then_read(g.api, post(JSON), size), ["401 missing_api_key"])

    def test_what_lies_behind_a_refused_request(self):
        """Pipelined: the first answer closes, and the second request, large or in small pieces, does not reset it."""
        with self.gateway() as g:
            for size in SIZES:
                with contextlib.closing(harness.connect(g.api)) as s:
                    s.sendall(post(BEARER + b"Content-Length: 1\r\n") + length(1) + b"x")
                    s.sendall(post(BEARER + JSON) + length(size))
                    s.sendall(BODY[:size])
                    self.assertEqual(answers_in(read_all(s)), ["400 invalid_request"])


class TestDuring(Linger):
    """Answers in the middle of an upload."""

    def test_chunks_beyond_max_body(self):
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"

        def client(size):
            try:
                with contextlib.closing(harness.connect(g.api)) as s:
                    s.sendall(post(BEARER + JSON + b"Transfer-Encoding: chunked\r\n\r\n"))
                    for _ in range(size // 65536):
                        s.sendall(chunk)
                    s.sendall(b"0\r\n\r\n")
                    return answers_in(read_all(s))
            except OSError as e:
                return repr(e)

        with self.gateway(MAILHATCH_MAX_BODY="100000") as g:
            self.all_read(client, ["413 payload_too_large"])

    def test_form_that_is_refused_early(self):
        """422 or 400, known long before the end: a part that nobody knows."""
        start = b"--b\r\nContent-Disposition: form-data; name=\"nonsense\"\r\n\r\nx\r\n--b--\r\n"
        head = post(BEARER + b"Content-Type: multipart/form-data; boundary=b\r\n")

        def client(size):
            try:
                with contextlib.closing(harness.connect(g.api)) as s:
                    s.sendall(head + length(size) + start)
                    s.sendall(BODY[: size - len(start)])
                    return answers_in(read_all(s)[:12] + b"\r\n\r\n")
            except OSError as e:
                return repr(e)

        with self.gateway(MAILHATCH_MAX_BODY="20MB") as g:
            for size in SIZES:
                self.assertIn(client(size), (["422 None"], ["400 None"], ["413 None"]), size)

    def test_time_is_over(self):
        """408 while a client pauses in its upload; it then sends the rest, and reads."""
        tls = {"MAILHATCH_TLS_CERT_FILE": cert_path("good.pem"), "MAILHATCH_TLS_KEY_FILE": cert_path("good.key")}
        heads = (length(16 * MIB), b"Transfer-Encoding: chunked\r\n\r\nffffff\r\n")
        for settings in ({}, tls):
            with self.gateway(MAILHATCH_REQUEST_TIMEOUT="1s", **settings) as g, contextlib.ExitStack() as stack:
                clients = []
                for head in heads * 2:
                    s = harness.connect(g.api)
                    s = client_context().wrap_socket(s, server_hostname="localhost") if settings else s
                    stack.enter_context(contextlib.closing(s))
                    s.sendall(post(BEARER + JSON) + head + b" " * 100000)
                    clients.append(s)
                answered = [s.recv(1) for s in clients]  # it is late: only now the rest comes
                for s in clients:
                    for _ in range(8):
                        s.sendall(BODY[:MIB])
                got = [answers_in(a + read_all(s)) for a, s in zip(answered, clients)]
            self.assertEqual(got, [["408 request_timeout"]] * len(clients))


class TestBounds(Linger):
    def descriptors(self, g):
        return len(os.listdir("/proc/%d/fd" % g.process.pid))

    def refused(self, g, stack, path=b"/v1/emails"):
        """A connection that was answered, and whose client neither goes on nor leaves."""
        s = stack.enter_context(contextlib.closing(harness.connect(g.api)))
        s.sendall(post(JSON, path) + length(MIB))
        self.assertEqual(answers_in(read_all(s)), ["401 missing_api_key"])  # to the end: our side is shut down
        return s

    def test_one_that_sends_for_ever_is_cut(self):
        with self.gateway(MAILHATCH_MAX_BODY="1MB") as g, contextlib.closing(harness.connect(g.api)) as s:
            s.sendall(post(JSON) + length(1 << 40))
            sent = 0
            with self.assertRaises(OSError):
                while sent < 1 << 30:
                    sent += s.send(BODY[:MIB])
            self.assertGreater(sent, 34 * MIB)
            self.assertLess(sent, 100 * MIB)
            self.assertEqual(g.get("/v1/errors", {"Authorization": "Bearer " + KEY}).status, 200)

    def test_one_that_leaves_is_let_go(self):
        """At once; how long one may stay is in tests/unit/test_http_linger.c."""
        with self.gateway() as g, contextlib.ExitStack() as stack:
            g.admin("/livez")
            before = self.descriptors(g)
            leaves, _ = self.refused(g, stack), self.refused(g, stack)
            self.assertGreaterEqual(self.descriptors(g), before + 2)
            begun = time.monotonic()
            leaves.close()
            wait_for(lambda: self.descriptors(g) <= before + 1, what="the one that left is closed")
            self.assertLess(time.monotonic() - begun, 4)

    def test_a_drain_does_not_wait(self):
        with self.gateway(MAILHATCH_DRAIN_TIMEOUT="60s") as g, contextlib.ExitStack() as stack:
            for _ in range(5):
                self.refused(g, stack)
            begun = time.monotonic()
            g.signal(15)
            self.assertEqual(g.wait(), 0)
            self.assertLess(time.monotonic() - begun, 4)

    def counted(self, **settings):
        with self.gateway(MAILHATCH_MAX_CONNECTIONS="4", **settings) as g, contextlib.ExitStack() as stack:
            g.admin("/livez")
            before = self.descriptors(g)
            for _ in range(12):
                self.refused(g, stack)
                self.assertLessEqual(self.descriptors(g), before + 4 + 1)

    def test_they_are_counted(self):
        """max_connections holds with those that linger; they give way to new clients."""
        self.counted()


if __name__ == "__main__":
    unittest.main()
