"""Who reaches the API: Unix sockets with mode and owner, connections per address, web pages of allowed origins, and
clients that do not read their answers."""
import contextlib
import grp
import os
import pathlib
import pwd
import shutil
import signal
import socket
import stat
import tempfile
import unittest

from harness import Gateway, connect, http_request, mail, run_program, wait_for

SANDBOX = ("--sandbox",)
KEY = "0123456789abcdef-doors"
ORIGIN = "https://app.example.com"


class Doors(unittest.TestCase):
    def gateway(self, args=SANDBOX, **env):
        g = Gateway({"MAILHATCH_" + k: v for k, v in env.items()}, args)
        self.addCleanup(g.stop)
        return g

    def directory(self):
        d = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-doors-"))
        self.addCleanup(shutil.rmtree, d)
        return d

    def mistake(self, words, **env):
        status, _, err = run_program("check-config", "--sandbox", env={"MAILHATCH_" + k: v for k, v in env.items()})
        self.assertEqual(status, 2, err)
        self.assertIn(words, err)


class UnixSocket(Doors):
    def start(self, **env):
        path = self.directory() / "s"
        g = self.gateway(LISTEN="unix:%s" % path, **env)
        return g, path.stat()

    def test_mode(self):
        for given, wanted in ((None, 0o660), ("0600", 0o600), ("666", 0o666), ("0200", 0o200)):
            with self.subTest(given):
                g, st = self.start(**({"LISTEN_MODE": given} if given else {}))
                self.assertTrue(stat.S_ISSOCK(st.st_mode))
                self.assertEqual(stat.S_IMODE(st.st_mode), wanted)
                self.assertEqual(g.post(mail()).status, 200)

    @unittest.skipUnless(os.getuid() == 0, "only root gives files away")
    def test_owner(self):
        nobody, group = pwd.getpwnam("nobody"), grp.getgrnam("mail").gr_gid
        for given, uid, gid in (
            ("nobody", nobody.pw_uid, os.getgid()),
            (":mail", os.getuid(), group),
            ("nobody:mail", nobody.pw_uid, group),
            ("%d:%d" % (nobody.pw_uid, group), nobody.pw_uid, group),
        ):
            with self.subTest(given):
                _, st = self.start(LISTEN_OWNER=given)
                self.assertEqual((st.st_uid, st.st_gid), (uid, gid))

    def test_own_group_needs_no_privilege(self):
        _, st = self.start(LISTEN_OWNER="%d:%d" % (os.getuid(), os.getgid()))
        self.assertEqual((st.st_uid, st.st_gid), (os.getuid(), os.getgid()))

    def test_mistakes(self):
        path = "unix:/tmp/x"
        for mode in ("rw", "0888", "01777", "07777", "0000", "0444"):
            self.mistake("listen_mode", LISTEN=path, LISTEN_MODE=mode)
        self.mistake("no such user", LISTEN=path, LISTEN_OWNER="nobody-at-all")
        self.mistake("no such group", LISTEN=path, LISTEN_OWNER="root:nobody-at-all")
        self.mistake("no such group", LISTEN=path, LISTEN_OWNER=":")
        self.mistake("only a Unix socket has a mode", LISTEN_MODE="0600")
        self.mistake("only a Unix socket has an owner", LISTEN_OWNER="root")

    def test_what_is_in_the_way(self):
        """A socket that somebody serves and a plain file stay; one that a crash left is replaced."""
        d = self.directory()
        g = self.gateway(LISTEN="unix:%s" % (d / "live"))
        (d / "file").write_text("precious")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(d / "stale"))
        for name, ok in (("live", False), ("file", False), ("stale", True)):
            other = Gateway({"MAILHATCH_LISTEN": "unix:%s" % (d / name)}, SANDBOX, wait=ok)
            self.addCleanup(other.stop)
            if not ok:
                self.assertEqual(other.wait(), 1)
                self.assertIn("something else uses this path", other.log())
        self.assertEqual((d / "file").read_text(), "precious")
        self.assertEqual(g.post(mail()).status, 200)

    def test_health_check_over_a_unix_socket(self):
        path = self.directory() / "admin"
        env = {"MAILHATCH_ADMIN_LISTEN": "unix:%s" % path}
        self.assertEqual(run_program("healthcheck", env=env)[0], 1)
        g = Gateway(env, SANDBOX)
        self.addCleanup(g.stop)
        self.assertEqual(run_program("healthcheck", env=env)[0], 0)


class Crowd(Doors):
    def test_a_limit_for_one_address(self):
        for loops in (1, 3):
            with self.subTest(loops=loops), contextlib.ExitStack() as stack:
                g = self.gateway(MAX_CONNECTIONS_PER_ADDRESS=4, HTTP_LOOPS=loops, LISTEN="0.0.0.0:0", API_KEYS=KEY)
                port = int(g.api.rsplit(":", 1)[1])
                headers = {"Authorization": "Bearer " + KEY}
                open_ones = [stack.enter_context(contextlib.closing(g.connection())) for _ in range(4)]
                for c in open_ones:
                    self.assertEqual(g.post(mail(), headers, c).status, 200)
                with socket.create_connection(("127.0.0.1", port), 15) as s:
                    self.assertEqual(s.recv(1), b"")            # the fifth is closed
                with socket.create_connection(("127.0.0.1", port), 15, ("127.0.0.2", 0)) as s:
                    s.sendall(b"GET /v1/errors HTTP/1.0\r\nAuthorization: Bearer %s\r\n\r\n" % KEY.encode())
                    self.assertIn(b"200 OK", s.recv(100))       # another address is not concerned
                self.assertEqual(g.metric("mailhatch_http_connections_refused_total"), 1)
                event = wait_for(lambda: g.events("connections"), what="the log line")[0]
                self.assertEqual((event["level"], event["address"], event["limit"]), ("warn", "127.0.0.1", 4))
                for c in open_ones:
                    self.assertEqual(g.post(mail(), headers, c).status, 200)
                open_ones[0].close()
                wait_for(lambda: self.gets_in(port), what="its place is free again")

    def gets_in(self, port):
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 15) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return s.recv(100).startswith(b"HTTP/1.1 401")
        return False

    def test_counts_are_exact(self):
        """After a thousand connections that came and went in every way, exactly as many get in as before."""
        g = self.gateway(MAX_CONNECTIONS_PER_ADDRESS=3, HTTP_LOOPS=2)
        port = int(g.api.rsplit(":", 1)[1])
        for i in range(1000):
            with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 15) as s:
                if i % 4 == 1:
                    s.sendall(b"GET /v1/errors/timeout HTTP/1.0\r\n\r\n")
                    s.recv(10)
                elif i % 4 == 2:
                    s.sendall(b"nonsense\r\n\r\n")
                elif i % 4 == 3:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with contextlib.ExitStack() as stack:
            got = []

            wait_for(lambda: self.fill(g, stack, got), what="three get in")
            with socket.create_connection(("127.0.0.1", port), 15) as s:
                self.assertEqual(s.recv(1), b"")

    def fill(self, g, stack, got):
        c = stack.enter_context(contextlib.closing(g.connection()))
        with contextlib.suppress(Exception):
            if http_request(g.api, "GET", "/v1/errors/timeout", connection=c).status == 200:
                got.append(c)
        return len(got) == 3

    def test_no_limit_for_a_unix_socket(self):
        path = self.directory() / "s"
        g = self.gateway(MAX_CONNECTIONS_PER_ADDRESS=1, LISTEN="unix:%s" % path)
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                c = stack.enter_context(contextlib.closing(g.connection()))
                self.assertEqual(g.post(mail(), connection=c).status, 200)


class Cors(Doors):
    def preflight(self, g, origin=ORIGIN, path="/v1/emails", **more):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST", **more}
        return http_request(g.api, "OPTIONS", path, headers=headers)

    def from_page(self, g, origin=ORIGIN, **more):
        return g.post(mail(), {"Origin": origin, "Sec-Fetch-Site": "cross-site", **more})

    def test_off_by_default(self):
        g = self.gateway()
        a = self.preflight(g)
        self.assertEqual((a.status, a.code), (403, "forbidden"))
        self.assertIn("allowed_origins", a.json["hint"])
        self.assertEqual([h for h in a.headers if h.startswith("access-control")], [])
        a = self.from_page(g)
        self.assertEqual((a.status, a.code), (403, "forbidden"))

    def test_an_allowed_origin(self):
        g = self.gateway(ALLOWED_ORIGINS="%s,http://localhost:3000" % ORIGIN, API_KEYS=KEY)
        for origin in (ORIGIN, "http://localhost:3000"):
            a = self.preflight(g, origin, **{"Access-Control-Request-Private-Network": "true"})
            self.assertEqual((a.status, a.body), (204, b""))
            self.assertEqual(a.headers["access-control-allow-origin"], origin)
            self.assertIn("POST", a.headers["access-control-allow-methods"])
            self.assertIn("Authorization", a.headers["access-control-allow-headers"])
            self.assertEqual(a.headers["access-control-allow-private-network"], "true")
            self.assertEqual(a.headers["vary"], "Origin")
            self.assertNotIn("access-control-allow-credentials", a.headers)
            a = self.from_page(g, origin, Authorization="Bearer " + KEY)
            self.assertEqual((a.status, a.headers["access-control-allow-origin"]), (200, origin))
            self.assertIn("X-Request-Id", a.headers["access-control-expose-headers"])
        a = self.from_page(g)                                   # errors can be read by the page as well
        self.assertEqual((a.status, a.headers["access-control-allow-origin"]), (401, ORIGIN))
        self.assertNotIn("access-control-allow-private-network", self.preflight(g).headers)
        self.assertEqual(self.preflight(g, path="/v1/nothing").status, 404)
        self.assertEqual(self.preflight(g, path="/v1/errors").headers["access-control-allow-methods"], "GET, HEAD")

    def test_other_origins(self):
        g = self.gateway(ALLOWED_ORIGINS=ORIGIN, API_KEYS=KEY)
        for origin in (
            "http://app.example.com", ORIGIN + ":8443", ORIGIN + ".evil.example", "https://evil.example", "null",
            "https://app.example.co", ORIGIN + "/",
        ):
            with self.subTest(origin):
                self.assertEqual(self.preflight(g, origin).status, 403)
                a = self.from_page(g, origin, Authorization="Bearer " + KEY)
                self.assertEqual(a.status, 200)                 # the browser keeps it from the page
                self.assertNotIn("access-control-allow-origin", a.headers)
        self.assertNotIn("access-control-allow-origin", g.post(mail(), {"Authorization": "Bearer " + KEY}).headers)

    def test_without_keys(self):
        g = self.gateway(ALLOWED_ORIGINS=ORIGIN)
        self.assertEqual(self.from_page(g).status, 200)
        self.assertEqual(self.from_page(g, "https://evil.example").status, 403)
        self.assertEqual(self.from_page(g, Host="rebound.evil.example").status, 403)

    def test_mid_upload(self):
        g = self.gateway(ALLOWED_ORIGINS=ORIGIN, REQUEST_TIMEOUT="400ms")
        with connect(g.api) as s:
            s.sendall(
                b"POST /v1/emails HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Origin: %s\r\nContent-Length: 10\r\n\r\n{" % ORIGIN.encode()
            )
            answer = s.recv(65536)
        self.assertTrue(answer.startswith(b"HTTP/1.1 408 "), answer)
        self.assertIn(b"Access-Control-Allow-Origin: " + ORIGIN.encode(), answer)

    def test_changed_by_sighup(self):
        config = self.directory() / "mailhatch.yaml"
        config.write_text("log_level: info\n")
        g = self.gateway(CONFIG=config)
        self.assertEqual(self.preflight(g).status, 403)
        config.write_text("allowed_origins: [%s]\n" % ORIGIN)
        g.signal(signal.SIGHUP)
        wait_for(lambda: g.events("reload"), what="reloaded")
        self.assertEqual(self.preflight(g).status, 204)
        self.assertEqual(g.events("reload")[0]["settings"], "allowed_origins")

    def test_mistakes(self):
        for origin in ("*", "null", "app.example.com", "https://", "https://a.example/", "https://a.example/x",
                       "https://*.example.com", "ftp://a.example", "https://u@a.example"):
            self.mistake("allowed_origins", ALLOWED_ORIGINS=origin)


class SlowClients(Doors):
    def test_a_pipeline_that_is_not_read(self):
        """Its requests are served as far as the sockets hold their answers; then it waits, and nobody else does."""
        g = self.gateway(LOG_LEVEL="debug")
        request = b"GET /v1/errors HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with connect(g.api) as s:
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(20000):
                    s.send(request)
            self.assertEqual(g.post(mail()).status, 200)
            begun = g.metric('mailhatch_http_requests_total{route="/v1/errors",status="200"}')
            self.assertLess(begun, 2000)        # 70 KB each: what two sockets' buffers hold


if __name__ == "__main__":
    unittest.main()
