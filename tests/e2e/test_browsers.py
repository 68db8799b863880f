"""Which listeners a web page may call: a Unix socket has no browser behind it; the admin listener answers no page,
and on a loopback address no name that was turned to it (DNS rebinding); probes and scrapers are served as ever."""
import pathlib
import shutil
import socket
import tempfile
import unittest

from harness import Gateway, http_request, mail

KEY = "0123456789abcdef-browsers"
PAGES = (
    {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:8588"}, {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "nonsense"},
    {"Origin": "https://app.example", "Sec-Fetch-Site": "same-origin"},
)  # fmt: skip
FOREIGN = ("x", "evil.example", "evil.example:8588", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1")
OWN = ("localhost", "localhost:1", "127.0.0.1", "127.0.0.1:8588", "[::1]:8588", "LOCALHOST", "mailhatch.internal")
PATHS = ("/livez", "/readyz", "/readyz?relay=deep", "/metrics", "/version", "/nothing")


class Browsers(unittest.TestCase):
    def start(self, **env):
        env = {"MAILHATCH_" + k: v for k, v in env.items()}
        g = Gateway({"MAILHATCH_ALLOWED_HOSTS": "mailhatch.internal", **env}, ("--sandbox",))
        self.addCleanup(g.stop)
        return g

    def path(self):
        d = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-browsers-"))
        self.addCleanup(shutil.rmtree, d)
        return d / "s"

    def refused(self, where, headers, path="/livez", method="GET"):
        answer = http_request(where, method, path, headers=headers)
        self.assertEqual((answer.status, answer.code), (403, "forbidden"), "%s %s: %r" % (path, headers, answer))
        self.assertIn("admin listener", answer.json["hint"])

    def served(self, where, headers, path="/livez"):
        answer = http_request(where, "GET", path, headers=headers)
        self.assertEqual(answer.status, 200, "%s %s: %r" % (path, headers, answer))


class TestUnixSocket(Browsers):
    def test_any_host(self):
        where = self.start(LISTEN="unix:%s" % self.path()).api
        for host in FOREIGN + OWN:
            self.assertEqual(http_request(where, "POST", "/v1/emails", mail(), {"Host": host}).status, 200, host)
        answer = http_request(where, "GET", "http://x/v1/errors", headers={"Host": "x"})
        self.assertEqual(answer.status, 200, repr(answer))

    def test_what_a_proxy_passes_on(self):
        where = self.start(LISTEN="unix:%s" % self.path()).api
        for headers in PAGES:
            self.assertEqual(http_request(where, "POST", "/v1/emails", mail(), headers).status, 200, headers)

    def test_tcp_is_as_ever(self):
        where = self.start().api
        for headers in (*PAGES[:2], *({"Host": host} for host in FOREIGN)):
            self.assertEqual(http_request(where, "POST", "/v1/emails", mail(), headers).status, 403, headers)


class TestAdmin(Browsers):
    def test_no_page(self):
        """On any address, with keys or without, whatever the API allows; and before anything else is told."""
        for env in ({}, {"API_KEYS": "web:" + KEY, "ALLOWED_ORIGINS": "https://app.example"}):
            where = self.start(**env).admin_at
            for headers in PAGES:
                for path in PATHS:
                    self.refused(where, headers, path)
                self.refused(where, headers, method="OPTIONS")
                self.refused(where, headers, method="POST")

    def test_foreign_hosts(self):
        for listen in ("127.0.0.1:0", "localhost:0", "[::1]:0"):
            where = self.start(ADMIN_LISTEN=listen).admin_at
            for host in FOREIGN:
                for path in PATHS:
                    self.refused(where, {"Host": host}, path)
            self.refused(where, {"Host": "localhost"}, "http://evil.example/livez")
            for host in OWN:
                self.served(where, {"Host": host})
            self.served(where, {"Host": "localhost"}, "http://localhost/livez")

    def test_its_own_address(self):
        """A second loopback address, as it is written in admin_listen."""
        where = self.start(ADMIN_LISTEN="127.0.0.2:0").admin_at
        self.served(where, {"Host": where})
        self.refused(where, {"Host": "127.0.0.3"})

    def test_other_addresses(self):
        """A pod's address and a service's name: probes and scrapers call them; a page is refused all the same."""
        g = self.start(ADMIN_LISTEN="0.0.0.0:0")
        where = "127.0.0.1:" + g.admin_at.rsplit(":", 1)[1]
        for host in FOREIGN + OWN:
            self.served(where, {"Host": host})
            self.served(where, {"Host": host}, "/metrics")
        for headers in PAGES:
            self.refused(where, headers)

    def test_unix_socket(self):
        path = self.path()
        self.start(ADMIN_LISTEN="unix:%s" % path)
        for host in FOREIGN + OWN:
            self.served("unix:%s" % path, {"Host": host})
        self.refused("unix:%s" % path, {"Origin": "https://evil.example"})

    def test_http_1_0_without_a_host(self):
        """As simple probes ask."""
        host, port = self.start().admin_at.rsplit(":", 1)
        with socket.create_connection((host, int(port)), 15) as s, s.makefile("rb") as answer:
            s.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            self.assertIn(b" 200 ", answer.readline())

    def test_programs(self):
        """What kubelet, Prometheus and a person's browser send."""
        where = self.start().admin_at
        for headers in (
            {"User-Agent": "kube-probe/1.33", "Accept": "*/*"}, {"Accept-Encoding": "gzip", "Host": where},
            {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, {"Sec-Fetch-Site": "same-origin"},
        ):  # fmt: skip
            for path in ("/livez", "/readyz", "/metrics", "/version"):
                self.served(where, headers, path)


if __name__ == "__main__":
    unittest.main()
