"""A relay that was away and is back: it has its mails soon, and is spoken to in turn."""
import contextlib
import json
import signal
import socket
import tempfile
import threading
import time
import unittest

import harness
from harness import Gateway, mail, run_program
from hint_case import shim
from judge import Fault
from peer import Gone, Peer, close, default, reply_close

DIAGNOSE = "/v1/relays/default/diagnose"


class TestOutage(Fault):
    """However long a relay was away, it has its first mail within 5 s of its return."""

    AWAY_S = 7.5  # with a circuit that doubles from a second, the next attempt would be 8 s later

    def test_refused(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        with Gateway(relay="smtp://ann@localhost:%d" % port) as g:
            harness.wait_for(lambda: g.post(mail()).code == "relay_unavailable", what="the circuit opens")
            end = time.monotonic() + self.AWAY_S

            def is_over():
                answer = g.post(mail())
                if answer.code == "relay_unavailable":
                    self.assertIn(int(answer.headers["Retry-After"]), range(1, 6), "a refused connect costs nothing")
                return time.monotonic() > end and answer.code == "relay_unavailable"

            harness.wait_for(is_over, what="it is away")
            begun = time.monotonic()
            with Peer(port=port):
                harness.wait_for(lambda: g.post(mail()).status == 200, what="a mail is sent")
            self.assertLess(time.monotonic() - begun, 5 * harness.PATIENCE / 15)


def note_early(first=""):
    """Says `first`, and no more. What is said to it nevertheless stands in s.early."""

    def act(s):
        s.send(first)
        s.early = b""
        with contextlib.suppress(OSError):
            while piece := s.sock.recv(65536):
                s.early += piece
        raise Gone

    return act


def early(peer):
    return [s.early for s in peer.sessions if getattr(s, "early", b"")]


class TestGreeting(Fault):
    """Servers that greet late on purpose (postscreen) log who speaks before, and ban who does it again."""

    ENV = {  # a silent port is noticed after half of the first
        "MAILHATCH_RELAY_BANNER_TIMEOUT": "400ms",
        "MAILHATCH_RELAY_TLS_TIMEOUT": "400ms",
    }

    def test_a_greeting_that_has_begun(self):
        for first in ("220-peer.test says more in a moment\r\n", "2"):
            with Peer(on={"banner": note_early(first)}) as p, Gateway(self.ENV, relay=p.url()) as g:
                self.check(g.post(mail()), "504 timeout banner not_sent yes")
                self.assertEqual((len(p.sessions), early(p)), (1, []))

    def test_a_relay_that_has_greeted_before(self):
        def once(s):
            s.act(note_early() if s.peer.mails else default)

        on = {"banner": once, "body": reply_close("250 2.0.0 ok")}
        with Peer(on=on) as p, Gateway(self.ENV, relay=p.url()) as g:
            harness.wait_for(lambda: g.post(mail()).status == 200, what="it greets in time")
            self.check(g.post(mail()), "504 timeout banner not_sent yes")
            g.request("POST", DIAGNOSE, {})
            self.assertEqual(early(p), [])

    def test_a_refusal_is_a_greeting(self):
        on = {"banner": [reply_close("421 4.3.2 starting"), close, note_early()]}
        with Peer(on=on) as p, Gateway(self.ENV, relay=p.url()) as g:
            for _ in range(2):
                self.assertNotEqual(g.post(mail()).status, 200)
            harness.wait_for(lambda: g.post(mail()).code == "timeout", what="it is silent")
            self.assertEqual(early(p), [])

    def test_a_silent_port_is_asked_once(self):
        """By several loops, mails and diagnoses."""
        env = {**self.ENV, "MAILHATCH_RELAY_LOOPS": "2", "MAILHATCH_RELAY_USER": None}
        with Peer(on={"banner": note_early()}, auth="") as p, Gateway(env, relay=p.url()) as g:
            threads = [threading.Thread(target=g.post, args=(mail(),)) for _ in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            self.assertEqual(self.helloes(p), 1)
            g.request("POST", DIAGNOSE, {})
            harness.wait_for(lambda: g.post(mail()).code == "timeout", what="it is asked again")
            self.assertEqual(self.helloes(p), 1)

    def helloes(self, p):
        self.assertEqual({e[:1] for e in early(p)} - {b"\x16"}, set(), "a ClientHello, and nothing else")
        return len(early(p))

    def test_diagnose_waits_for_the_other_ports(self):
        """The shim leads all of them to one peer, which has greeted no one: 465 may be asked, the port that is
        configured once, 25 and 2525 not."""
        with Peer(on={"banner": note_early()}) as p:
            env = {**shim(p.port), **self.ENV, "MAILHATCH_RELAY_URL": "smtp://relay.example.com:587"}
            _, out, err = run_program("diagnose", "--json", "--all-ports", env=env)
            states = {x["port"]: x["state"] for x in json.loads(out)["facts"]["ports"]}
            self.assertEqual(states, {587: "silent", 465: "silent", 25: "silent", 2525: "silent"}, err)
            self.assertEqual(self.helloes(p), 2)


class TestPassword(Fault):
    """A wrong one is shown once a minute, whoever asks: mails on several loops, diagnoses of all kinds."""

    def auths(self, peer):
        return len([c for c in peer.commands() if c.startswith("AUTH")])

    def report(self, g):
        answer = harness.wait_for(lambda: (a := g.request("POST", DIAGNOSE, {})).status == 200 and a, what="a report")
        return answer.json, next(s for s in answer.json["steps"] if s["step"] == "auth")

    def test_all_at_once(self):
        with Peer(on={"auth": "535 5.7.8 no"}) as p, Gateway({"MAILHATCH_RELAY_LOOPS": "4"}, relay=p.url()) as g:
            work = [lambda: g.request("POST", DIAGNOSE, {}), lambda: g.post(mail()),
                    lambda: g.post(mail(diagnose=True)), lambda: g.admin("/readyz?relay=deep")]
            threads = [threading.Thread(target=w) for w in work * 7]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            report, step = self.report(g)
            self.assertEqual((step["status"], step["code"], report["ok"], report["code"]),
                             ("skipped", "auth_failed", False, "auth_failed"))
            self.assertRegex(step["detail"], r"refused the password of ann \d+ s ago \(535 5.7.8 no\); it is not shown "
                                             r"again for \d+ s")
            self.assertEqual(self.auths(p), 1)

    def test_a_diagnosis_counts_for_mails(self):
        with Peer(on={"auth": "535 5.7.8 no"}) as p, Gateway({"MAILHATCH_RELAY_LOOPS": "2"}, relay=p.url()) as g:
            self.assertEqual(self.report(g)[1]["status"], "fail")
            for _ in range(4):
                answer = g.post(mail())
                self.check(answer, "503 relay_unavailable queue not_sent yes")
                self.assertEqual(answer.json["cause"]["code"], "auth_failed")
                self.assertIn(int(answer.headers["Retry-After"]), range(1, 61))
            self.assertEqual(g.metric("mailhatch_circuit_open"), 1)
            self.assertEqual(self.auths(p), 1)

    def test_another_password_is_tried(self):
        with tempfile.NamedTemporaryFile("w") as f, Peer() as p:
            f.write("wrong")
            f.flush()
            with Gateway({"MAILHATCH_RELAY_PASSWORD": None, "MAILHATCH_RELAY_PASSWORD_FILE": f.name},
                         relay=p.url()) as g:
                self.assertEqual(self.report(g)[1]["status"], "fail")
                self.assertEqual(self.report(g)[1]["status"], "skipped")
                f.seek(0)
                f.write(harness.PASSWORD)
                f.flush()
                g.signal(signal.SIGHUP)
                harness.wait_for(lambda: self.report(g)[1]["status"] == "ok", what="the new password is taken")
                self.assertEqual(g.post(mail()).status, 200)
            self.assertEqual(self.auths(p), 3)

    def test_a_good_password_is_not_held_up(self):
        """It is shown by one session first, and then by as many as there are mails."""
        with Peer() as p, Gateway({"MAILHATCH_RELAY_LOOPS": "2"}, relay=p.url()) as g:
            threads = [threading.Thread(target=g.post, args=(mail(),)) for _ in range(16)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            self.assertEqual(len(p.mails), 16)
            self.assertEqual(self.report(g)[1]["status"], "ok")


if __name__ == "__main__":
    unittest.main()
