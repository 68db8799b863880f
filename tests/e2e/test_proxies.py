"""The short form of the smuggling run (tests/soak/proxied.py; `make soak-proxy` is the long one): each attack once over
nginx and twice over haproxy, between the mails of others; and the test of its judge."""
import io
import pathlib
import sys
import threading
import unittest

import harness
from harness import Gateway
from peer import Peer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "soak"))

import proxied  # noqa: E402
import proxies  # noqa: E402
from attacks import Attack, attacks  # noqa: E402

ID = "nginx-" + "0" * 32


class TestProxies(unittest.TestCase):
    maxDiff = None

    @unittest.skipUnless(proxies.NGINX and proxies.HAPROXY, "nginx or haproxy is missing (tests/e2e/install.sh)")
    def test_each_attack_once(self):
        out = io.StringIO()
        self.assertEqual(proxied.Run("1", out).run(None)[: proxied.SHOWN], [], out.getvalue())

    def test_straight_at_it(self):
        """Without a proxy that writes the ids, what an attacker hides shows wherever it is a request of its own."""
        with Peer() as p, Gateway(relay=p.url()) as g:
            made = attacks("straight")
            port = int(g.api.rsplit(":", 1)[1])
            attacker = proxied.Attacker([(port, a) for a in made if "Expect" in a.kind or a.is_body], threading.Event())
            attacker.run()
            harness.wait_for(lambda: p.mails, what="a mail")
            sends = [e["request_id"] for e in g.events("send")]
            complaints = list(proxied.judge({}, made, proxied.texts_of(p), sends))
        self.assertTrue(any("Expect without a body" in c for c in complaints), complaints)
        self.assertEqual([c for c in complaints if "body of a request" in c], [])


class TestJudge(unittest.TestCase):
    def wrong(self, what, *arguments):
        found = list(proxied.judge(*arguments))
        self.assertTrue(any(what in c for c in found), "wanted %r, got %r" % (what, found))

    def test_what_is_right(self):
        ambiguous = Attack("CL.TE", b"", "evil-1", False)
        for record in ([], ["good-1"], ["good-1", "evil-1"]):
            sent = {"good-1": True if "good-1" in record else None}
            self.assertEqual(list(proxied.judge(sent, [ambiguous], record, [ID])), [])

    def test_what_is_wrong(self):
        body = Attack("a body", b"", "evil-1", True)
        self.wrong("body of a request was sent", {}, [body], ["evil-1"], [ID])
        self.wrong("sent 2 times", {"good-1": True}, [], ["good-1", "good-1"], [ID])
        self.wrong("answered and not sent", {"good-1": True}, [], [], [])
        self.wrong("that nobody sent", {}, [], ["evil-7"], [ID])
        self.wrong("hidden mail was sent twice", {}, [Attack("x", b"", "e", False)], ["e", "e"], [ID])
        for request_id in ("evil-1", "01a2301e-c474-7e34-8272-dcb1599879b4", "nginx-x", ID + "x", "x" + ID):
            self.wrong("no proxy's", {}, [body], [], [request_id])


if __name__ == "__main__":
    unittest.main()
