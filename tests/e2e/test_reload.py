"""Settings that change while it runs: SIGHUP, and files with secrets that are looked at by themselves."""
import os
import pathlib
import shutil
import signal
import tempfile
import threading
import unittest

import harness
from harness import Gateway, mail
from judge import Fault
from peer import Peer, after, default


class Reload(Fault):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-reload-"))
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.config = self.dir / "mailhatch.yaml"

    def put(self, path, text):
        """As an editor or a deployment does: a new file in the place of the old one."""
        new = self.dir / "new"
        new.write_text(text)
        os.replace(new, path)

    def write(self, relays, **settings):
        """relays: {name: (url, {setting: value})}."""
        lines = ["%s: %s" % pair for pair in settings.items()] + ["relays:"]
        for name, (url, more) in relays.items():
            lines += ["  %s:" % name, "    url: %s" % url]
            lines += ["    %s: %s" % pair for pair in more.items()]
        self.put(self.config, "\n".join(lines) + "\n")

    def start(self, **env):
        return Gateway({"MAILHATCH_CONFIG": str(self.config), **env})

    def hup(self, g):
        """Returns the last event of this reload."""
        n = len([e for e in g.events("reload") if self.is_last(e)])
        g.signal(signal.SIGHUP)
        harness.wait_for(lambda: len([e for e in g.events("reload") if self.is_last(e)]) > n, what="reloaded")
        return [e for e in g.events("reload") if self.is_last(e)][-1]

    def is_last(self, e):
        return "reloaded" in e["msg"] or "is refused" in e["msg"]


class TestRelays(Reload):
    def test_added_changed_removed(self):
        with Peer(tls_mode="none") as one, Peer(tls_mode="none") as two:
            self.write({"default": (one.url(), {})})
            with self.start() as g:
                self.assertEqual(g.post(mail()).status, 200)
                self.assertEqual(g.post(mail(relay="bulk")).status, 422)
                self.write({"default": (one.url(), {}), "bulk": (two.url(), {})})
                e = self.hup(g)
                self.assertEqual((e["level"], e["relays_added"]), ("info", "bulk"))
                self.assertNotIn("relays_changed", {k for k, v in e.items() if v})
                a = g.post(mail(relay="bulk"))
                self.assertEqual((a.status, a.json["relay"]), (200, "bulk"), repr(a))
                self.assertEqual(g.post(mail()).status, 200)
                self.assertEqual(len(one.sessions), 1, "a session in use was dropped")
                self.write({"default": (two.url(), {}), "bulk": (two.url(), {})})
                self.assertEqual(self.hup(g)["relays_changed"], "default")
                self.assertEqual(g.post(mail()).status, 200)
                self.assertEqual((len(one.mails), len(two.mails)), (2, 2))
                self.write({"default": (two.url(), {})})
                self.assertEqual(self.hup(g)["relays_removed"], "bulk")
                self.assertEqual(g.post(mail(relay="bulk")).code, "validation_failed")
                harness.wait_for(lambda: "QUIT" in one.commands(), what="the old session says goodbye")
                text = g.admin("/metrics").body.decode()
                self.assertIn('mailhatch_session_reuse_total{relay="default"} 1\n', text)
                self.assertRegex(text, r'sends_total\{relay="bulk",code="sent"[^}]*\} 1\n')
                self.assertRegex(text, r'sends_total\{relay="default",code="sent"[^}]*\} 3\n')

    def test_nothing_changed(self):
        with Peer(tls_mode="none") as p:
            self.write({"default": (p.url(), {})})
            with self.start() as g:
                for _ in range(3):
                    self.assertEqual(g.post(mail()).status, 200)
                    self.assertIn("nothing changed", self.hup(g)["msg"])
                self.assertEqual(len(p.sessions), 1)

    def test_bad_file_is_kept_out(self):
        with Peer(tls_mode="none") as p:
            self.write({"default": (p.url(), {})})
            with self.start() as g:
                self.assertEqual(g.post(mail()).status, 200)
                self.put(self.config, "log_level: loud\nmax_witing: 3\nrelays:\n  default: {url: 'ftp://x'}\n")
                self.assertEqual(self.hup(g)["level"], "error")
                told = " ".join(e.get("why", "") for e in g.events("reload"))
                for words in ("log_level", "did you mean max_waiting", "smtp://"):
                    self.assertIn(words, told)
                self.put(self.config, "relays: [\n")
                self.assertEqual(self.hup(g)["level"], "error")
                self.config.unlink()
                self.assertEqual(self.hup(g)["level"], "error")
                bad = self.dir / "ca.pem"
                bad.write_text("no certificate")
                self.write({"default": ("smtp://localhost:1", {"ca_file": bad})})
                self.hup(g)
                self.assertIn("ca.pem", g.log())
                self.assertEqual(g.post(mail()).status, 200)
                self.assertEqual(len(p.sessions), 1)

    def test_running_mail_finishes(self):
        go_on = threading.Event()
        with Peer({"body": after(go_on, default)}, tls_mode="none") as p, Peer(tls_mode="none") as other:
            self.write({"default": (p.url(), {"max_sessions": 1})})
            with self.start() as g:
                answers = []
                threads = [threading.Thread(target=lambda: answers.append(g.post(mail()).status)) for _ in range(3)]
                for t in threads:
                    t.start()
                harness.wait_for(lambda: g.metric("mailhatch_waiting_requests") == 3)
                harness.wait_for(lambda: any("BDAT" in c or "DATA" in c for c in p.commands()), what="a mail runs")
                self.write({"default": (other.url(), {})})
                self.hup(g)
                harness.wait_for(lambda: len(other.mails) == 2, what="those that waited went over")
                go_on.set()
                for t in threads:
                    t.join(harness.PATIENCE)
                self.assertEqual((answers, len(p.mails)), ([200] * 3, 1))

    def test_no_request_fails_under_load(self):
        with Peer(tls_mode="none") as one, Peer(tls_mode="none") as two:
            urls, stop, answers = [one.url(), two.url()], threading.Event(), []
            self.write({"default": (one.url(), {"max_sessions": 3})})

            def load(g):
                c = g.connection()
                while not stop.is_set():
                    answers.append(g.post(mail(), connection=c))

            with self.start(MAILHATCH_HTTP_LOOPS=2, MAILHATCH_SMTP_LOOPS=2) as g:
                threads = [threading.Thread(target=load, args=(g,)) for _ in range(6)]
                for t in threads:
                    t.start()
                for i in range(12):
                    n = len(answers)
                    more = {"max_sessions": 2 + i % 3, "loops": 1 + i % 2}
                    relays = {"default": (urls[i % 2], more), **({"extra": (one.url(), {})} if i % 3 else {})}
                    self.write(relays, default_relay="default", max_waiting=1000 + i)
                    self.assertEqual(self.hup(g)["level"], "info")
                    harness.wait_for(lambda: len(answers) > n + 6, what="the load goes on")
                stop.set()
                for t in threads:
                    t.join(harness.PATIENCE)
                self.assertEqual([repr(a) for a in answers if a.status != 200], [])
                self.assertEqual(len(one.mails) + len(two.mails), len(answers))
                self.assertGreater(min(len(one.mails), len(two.mails)), 0)
                self.assertEqual(g.metric("mailhatch_sends_total"), len(answers))


class TestSettings(Reload):
    def test_what_changes_and_what_takes_a_restart(self):
        with Peer(tls_mode="none") as p:
            self.write({"default": (p.url(), {})})
            with self.start() as g:
                self.assertEqual(g.events("http"), [])
                settings = {"log_level": "debug", "max_recipients": 1, "http_loops": 3, "max_body": "1MiB"}
                self.write({"default": (p.url(), {})}, **settings)
                e = self.hup(g)
                self.assertEqual(set(e["settings"].split(",")), {"log_level", "max_recipients"})
                restart = [e for e in g.events("reload") if "restart" in e["msg"]]
                self.assertEqual((restart[0]["level"], restart[0]["settings"]), ("warn", "max_body,http_loops"))
                a = g.post(mail(to=["bob@example.net", "carl@example.net"]))
                self.assertEqual(a.code, "validation_failed", repr(a))
                harness.wait_for(lambda: g.events("http"), what="debug lines come")

    def test_sandbox(self):
        self.put(self.config, "log_level: info\n")
        with Gateway({"MAILHATCH_SANDBOX": "1", "MAILHATCH_CONFIG": str(self.config)}) as g:
            self.assertEqual(g.post(mail()).status, 200)
            self.put(self.config, "log_level: warn\n")
            g.signal(signal.SIGHUP)
            harness.wait_for(lambda: self.sends_quietly(g), what="the level is warn")
            self.put(self.config, "log_level: info\nsandbox: false\n")
            g.process.send_signal(signal.SIGHUP)  # the environment still says sandbox
            self.assertEqual(g.post(mail()).json["sandbox"], True)

    def sends_quietly(self, g):
        n = len(g.events("send"))
        self.assertEqual(g.post(mail()).status, 200)
        return len(g.events("send")) == n

    def test_not_while_stopping(self):
        with Peer(tls_mode="none") as p:
            self.write({"default": (p.url(), {})}, drain_delay="60s")
            with self.start() as g:
                g.signal(signal.SIGTERM)
                harness.wait_for(lambda: g.admin("/readyz").status == 503)
                g.signal(signal.SIGHUP)
                harness.wait_for(lambda: any("stopping" in e["msg"] for e in g.events("reload")))
                g.signal(signal.SIGTERM)
                g.wait(5)


class TestSecrets(Reload):
    def relay(self, p):
        return {"default": (p.url(), {"password_file": self.dir / "password", "ca_file": self.dir / "ca.pem"})}

    def test_password(self):
        with Peer() as p:
            self.put(self.dir / "password", "wrong")
            shutil.copy(harness.cert_path("ca.pem"), self.dir / "ca.pem")
            self.write(self.relay(p))
            with self.start() as g:
                self.assertEqual(g.post(mail()).code, "auth_failed")
                self.assertEqual(g.post(mail()).code, "relay_unavailable")
                self.put(self.dir / "password", harness.PASSWORD + "\n")
                self.assertEqual(self.hup(g)["relays_changed"], "default")
                self.assertEqual(g.post(mail()).status, 200)
                self.assertNotIn(harness.PASSWORD, g.log())

    def test_password_by_itself(self):
        """As Kubernetes mounts a secret: the file is a symlink into a directory that another symlink leads to."""
        for name, password in (("1", "wrong"), ("2", harness.PASSWORD)):
            (self.dir / name).mkdir()
            (self.dir / name / "password").write_text(password)
        (self.dir / "data").symlink_to("1")
        (self.dir / "password").symlink_to("data/password")
        shutil.copy(harness.cert_path("ca.pem"), self.dir / "ca.pem")
        with Peer() as p:
            self.write(self.relay(p))
            with self.start() as g:
                self.assertEqual(g.post(mail()).code, "auth_failed")
                (self.dir / "turned").symlink_to("2")
                os.replace(self.dir / "turned", self.dir / "data")
                harness.wait_for(lambda: g.events("secrets"), what="the new password is noticed")
                self.assertEqual(g.post(mail()).status, 200)
                self.assertNotIn(harness.PASSWORD, g.log())
                self.assertNotIn("wrong", g.log())
                self.assertEqual(g.events("secrets")[0]["file"], str(self.dir / "password"))

    def test_a_file_that_is_gone_or_bad_changes_nothing(self):
        with Peer() as p:
            self.put(self.dir / "password", harness.PASSWORD)
            shutil.copy(harness.cert_path("ca.pem"), self.dir / "ca.pem")
            self.write(self.relay(p))
            with self.start() as g:
                self.assertEqual(g.post(mail()).status, 200)
                os.remove(self.dir / "password")
                self.put(self.dir / "ca.pem", "nothing")
                harness.wait_for(lambda: len(g.events("secrets")) == 2, what="both are told")
                self.assertEqual({e["level"] for e in g.events("secrets")}, {"warn"})
                self.assertEqual(g.post(mail()).status, 200)
                self.assertEqual(len(p.sessions), 1)
                self.put(self.dir / "password", harness.PASSWORD)  # as before: nothing to tell
                self.put(self.dir / "ca.pem", (pathlib.Path(harness.cert_path("ca.pem"))).read_text())
                harness.wait_for(lambda: len(g.events("secrets")) == 3, what="it is good again")
                self.assertEqual(g.events("secrets")[2]["file"], str(self.dir / "ca.pem"))
                self.assertEqual(g.post(mail()).status, 200)
                self.assertEqual(len(p.sessions), 2, "new trust, new session")

    def test_ca_that_does_not_trust_the_relay_any_more(self):
        with Peer(tickets=True) as p:
            self.put(self.dir / "password", harness.PASSWORD)
            shutil.copy(harness.cert_path("ca.pem"), self.dir / "ca.pem")
            self.write(self.relay(p))
            with self.start() as g:
                self.assertEqual(g.post(mail()).status, 200)
                self.put(self.dir / "ca.pem", pathlib.Path(harness.cert_path("selfsigned.pem")).read_text())
                harness.wait_for(lambda: g.events("secrets"), what="the new CA is noticed")
                self.assertEqual(g.post(mail()).json["stage"], "tls", "an old session or ticket was used")


if __name__ == "__main__":
    unittest.main()
