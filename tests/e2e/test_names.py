"""Names of relays: the root's dot, look-ups that hang or fail, and what a certificate for a name is trusted by."""
import contextlib
import json
import os
import signal
import tempfile
import threading
import time
import unittest

import harness
from harness import Gateway, mail, run_program
from hint_case import shim
from peer import Peer


class Names(unittest.TestCase):
    def setUp(self):
        self.dir = self.enterContext(tempfile.TemporaryDirectory())

    def asked(self):
        """The names that were looked up, in order."""
        with contextlib.suppress(FileNotFoundError), open(os.path.join(self.dir, "asked"), encoding="ascii") as f:
            return [n for n in f.read().split() if n != "127.0.0.1"]  # of the gateway's own listeners
        return []

    def env(self, peer, **more):
        return {**shim(peer.port), "SHIM_DIR": self.dir, **more}


class TestRootDot(Names):
    """RFC 1034 section 3.1: "smtp.example.org." is the whole name, so no search list is tried (Kubernetes: ndots)."""

    def test_is_asked_for_and_not_shown(self):
        for mode, scheme in (("starttls", "smtp"), ("implicit", "smtps")):
            with Peer(tls_mode=mode, cert="named") as p:
                with Gateway(self.env(p), relay="%s://ann@relay.example.com.:587" % scheme) as g:
                    answer = g.post(mail())
                    self.assertEqual(answer.status, 200, repr(answer))
                    self.assertEqual([s.sni for s in p.sessions], ["relay.example.com"])
                    self.assertEqual(g.get("/v1/relays").json["data"][0]["host"], "relay.example.com")
        self.assertEqual(set(self.asked()), {"relay.example.com."})

    def test_the_name_is_checked(self):
        with Peer(cert="wrongname") as p, Gateway(self.env(p), relay="smtp://ann@relay.example.com.:587") as g:
            self.assertEqual(g.post(mail()).code, "tls_cert_name_mismatch")

    def test_localhost(self):
        """It stands in /etc/hosts without the dot."""
        with Peer() as p, Gateway(relay=p.url(host="localhost.")) as g:
            self.assertEqual(g.post(mail()).status, 200)

    def test_hints_know_the_provider(self):
        with Peer(cert="named", on={"auth": "534 5.7.9 Application-specific password required"}) as p:
            with Gateway(self.env(p), relay="smtp://ann@smtp.gmail.com.:587") as g:
                self.assertIn("Google", g.post(mail()).json["hint"])

    def test_diagnose(self):
        """As an argument, and in the configuration that is suggested."""
        with Peer(cert="named", tls_mode="implicit") as p:
            env = self.env(p)
            status, out, err = run_program("diagnose", "relay.example.com.:465", "--json", "--ca-file",
                                           harness.cert_path("ca.pem"), env=env)
            report = json.loads(out)
            self.assertEqual((status, report["host"]), (0, "relay.example.com"), err + report["conclusion"])
            self.assertEqual(set(self.asked()), {"relay.example.com."})
            env.update(MAILHATCH_RELAY_URL="smtp://relay.example.com.:465", MAILHATCH_RELAY_BANNER_TIMEOUT="400ms",
                       MAILHATCH_RELAY_CA_FILE=harness.cert_path("ca.pem"))
            status, out, err = run_program("diagnose", "--json", env=env)
            self.assertIn("smtps://relay.example.com.:465", json.loads(out)["suggested_config"]["yaml"], err)

    def test_ehlo(self):
        with Peer() as p, Gateway({"MAILHATCH_RELAY_EHLO_NAME": "app.example.org."}, relay=p.url()) as g:
            self.assertEqual(g.post(mail()).status, 200)
            self.assertEqual({c for c in p.commands() if c.startswith("EHLO")}, {"EHLO app.example.org"})

    def test_dots_that_are_refused(self):
        for host in ("a..", ".", "..", ".a", "127.0.0.1."):
            status, _, err = run_program("check-config", env={"MAILHATCH_RELAY_URL": "smtp://%s:587" % host})
            self.assertNotEqual(status, 0, host)
            self.assertIn("host", err)
            status, _, err = run_program("diagnose", host + ":587")
            self.assertEqual(status, 2, err)


class TestLookUps(Names):
    """Names that hang: they hold up neither other relays nor the end of the program."""

    HANGING = 5

    def file(self, name):
        return os.path.join(self.dir, name)

    def start(self, peer):
        config = ["relays:"]
        for name in ["good"] + ["hangs%d" % i for i in range(self.HANGING)]:
            config += ["  %s:" % name, "    url: smtp://%s.example.com:%d" % (name, 587), "    dns_timeout: 30s"]
            config += ["    ca_file: " + harness.cert_path("ca.pem")]
            if name != "good":
                open(self.file("%s.example.com.hangs" % name), "w", encoding="ascii").close()
        with open(self.file("config.yaml"), "w", encoding="ascii") as f:
            f.write("\n".join(config) + "\n")
        return Gateway(self.env(peer, MAILHATCH_CONFIG=self.file("config.yaml"), MAILHATCH_DEFAULT_RELAY="good",
                                MAILHATCH_DRAIN_TIMEOUT="1s"))

    def test_other_relays_and_the_end(self):
        with Peer(auth="", cert="wrongname") as p, self.start(p) as g:
            hanging = ["hangs%d.example.com" % i for i in range(self.HANGING)]
            threads = []
            for _ in range(2):  # two mails, one look-up
                threads += [threading.Thread(target=g.post, args=(mail(relay=n.split(".")[0]),)) for n in hanging]
            for t in threads:
                t.start()
            harness.wait_for(lambda: set(hanging) <= set(self.asked()), what="all names are looked up")
            answer = g.post(mail())
            self.assertEqual(answer.code, "tls_cert_name_mismatch", "the good name was looked up: %r" % answer)
            self.assertEqual(sorted(n for n in self.asked() if n in hanging), hanging)
            begun = time.monotonic()
            g.signal(signal.SIGTERM)
            self.assertEqual(g.wait(), 0)
            self.assertLess(time.monotonic() - begun, 10)
            for t in threads:
                t.join()


class TestAnchors(Names):
    """What stands in ca_file is trusted, whether it is a root or not; name and dates count all the same."""

    def one(self, cert, anchor, code=None):
        with Peer(cert=cert) as p, Gateway({"MAILHATCH_RELAY_CA_FILE": harness.cert_path(anchor + ".pem")},
                                           relay=p.url()) as g:
            answer = g.post(mail())
            self.assertEqual(answer.code, code, repr(answer))
            report = g.request("POST", "/v1/relays/default/diagnose", {}).json
            self.assertEqual((report["ok"], report["code"]), (code is None, code), report["conclusion"])

    def test_the_servers_own_certificate(self):
        self.one("good", "good")

    def test_an_intermediate(self):
        for cert in ("chainless", "chained"):
            self.one(cert, "inter")

    def test_wrong_name(self):
        self.one("wrongname", "wrongname", "tls_cert_name_mismatch")

    def test_expired(self):
        self.one("expired", "expired", "tls_cert_expired")

    def test_another_one_of_the_same_authority(self):
        self.one("good", "named", "tls_cert_untrusted")


if __name__ == "__main__":
    unittest.main()
