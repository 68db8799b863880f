"""on_temporary_failure "retry": what a caller never sees, what is told at once, and what is never tried twice."""
import contextlib
import signal
import socket
import threading
import time
import unittest

import harness
from harness import Gateway, mail
from judge import Fault, parsed
from peer import BASIC, Peer, close, default

LATER = "451 4.3.0 try again later"
SETTING = {"MAILHATCH_ON_TEMPORARY_FAILURE": "retry"}
SHORT = {**SETTING, "MAILHATCH_REQUEST_TIMEOUT": "2s"}


class Retry(Fault):
    def codes(self, answer):
        """Of all attempts, numbered from 1 on."""
        attempts = answer.json["attempts"]
        self.assertEqual([a["n"] for a in attempts], list(range(1, len(attempts) + 1)))
        return [a["code"] for a in attempts]


class TestHidden(Retry):
    def test_refused_once(self):
        """The second try is the same message, and soon."""
        with Peer(on={"body": [LATER, default]}, caps=BASIC) as p, Gateway(relay=p.url()) as g:
            begun = time.monotonic()
            answer = g.post(mail(on_temporary_failure="retry"))
            took = time.monotonic() - begun
            self.assertEqual((answer.status, answer.json["attempts"]), (200, 2), repr(answer))
            self.assertEqual(answer.json["smtp"]["code"], 250)
            self.assertLess(took, 3)
            self.assertGreater(answer.json["timing_ms"]["total"], 75)
            self.assertGreaterEqual(took * 1000, answer.json["timing_ms"]["total"])
            self.assertEqual(len(p.mails), 1)
            self.assertEqual(parsed(p.mails[0].data)["Message-ID"], answer.json["message_id"])
            self.assertEqual(g.metric("mailhatch_retries_total"), 1)
            self.assertEqual(g.metric("mailhatch_sends_total"), 1)
            line = harness.wait_for(lambda: g.events("retry"), what="the log line")[0]
            self.assertEqual(
                (line["level"], line["code"], line["stage"], line["smtp_code"], line["tries"], line["id"]),
                ("info", "message_deferred", "body", 451, 1, answer.json["id"]),
            )
            self.assertTrue(75 <= line["in_ms"] <= 125, line)
            self.assertEqual([e["code"] for e in g.events("send")], ["sent"])

    def test_each_stage(self):
        for stage in ("banner", "ehlo", "auth", "mail", "rcpt", "data", "body"):
            with self.subTest(stage), Peer(on={stage: [LATER, default]}, caps=BASIC) as p:
                with Gateway(SETTING, relay=p.url()) as g:
                    answer = g.post(mail())
                    self.assertEqual((answer.status, answer.json.get("attempts")), (200, 2), repr(answer))
                    self.assertEqual(len(p.mails), 1)

    def test_the_same_bytes(self):
        """Large, refused twice, and nothing of it is lost or doubled."""
        text = "".join("%06d line\n" % i for i in range(60000))
        with Peer(on={"body": [LATER, LATER, default]}) as p, Gateway(SETTING, relay=p.url()) as g:
            answer = g.post(mail(text=text))
            self.assertEqual((answer.status, answer.json["attempts"]), (200, 3), repr(answer))
            self.assertEqual(parsed(p.mails[0].data).get_content().replace("\r\n", "\n"), text)
            self.assertEqual(g.metric("mailhatch_inflight_bytes"), 0)

    def test_nobody_listens_yet(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        with Gateway(SETTING, relay="smtp://ann@localhost:%d" % port) as g, contextlib.ExitStack() as stack:
            answers = []
            t = threading.Thread(target=lambda: answers.append(g.post(mail())))
            t.start()
            harness.wait_for(lambda: g.events("retry"), what="the first failure")
            p = stack.enter_context(Peer(port=port))
            t.join(40)
            self.assertEqual(answers[0].status, 200, repr(answers[0]))
            self.assertGreaterEqual(answers[0].json["attempts"], 2)
            self.assertEqual(len(p.mails), 1)

    def test_in_a_batch(self):
        """Each item by itself, and each with its own word."""
        told = set()

        def rcpt(s):
            s.act(LATER if "flaky" in s.line and s.line not in told else default)
            told.add(s.line)

        with Peer(on={"rcpt": rcpt}, caps=BASIC) as p, Gateway(relay=p.url()) as g:
            items = [
                mail(),
                mail(to="flaky1@example.net", on_temporary_failure="retry"),
                mail(to="flaky2@example.net", on_temporary_failure="fail"),
            ]
            answer = g.request("POST", "/v1/emails/batch", items)
            self.assertEqual((answer.status, answer.json["failed"]), (207, 1), repr(answer))
            first, second, third = answer.json["data"]
            self.assertEqual((first["attempts"], second["attempts"]), (1, 2))
            self.assertEqual(third["code"], "recipients_rejected")
            self.assertEqual(len(p.mails), 2)

    def test_forms_and_finished_messages(self):
        message = b"From: ann@example.org\nTo: bob@example.net\nSubject: x\n\nHi\n"
        form = b"from=ann@example.org&to=bob@example.net&text=x&on_temporary_failure=retry"
        kinds = (
            ("?on_temporary_failure=retry", message, "message/rfc822"),
            ("", form, "application/x-www-form-urlencoded"),
        )
        for query, body, kind in kinds:
            with Peer(on={"body": [LATER, default]}, caps=BASIC) as p, Gateway(relay=p.url()) as g:
                answer = g.request("POST", "/v1/emails" + query, body, {"Content-Type": kind})
                self.assertEqual((answer.status, answer.json.get("attempts")), (200, 2), repr(answer))

    def test_command_line(self):
        with Peer(on={"body": [LATER, default]}, caps=BASIC) as p:
            env = {
                **SETTING,
                "MAILHATCH_RELAY_URL": p.url(),
                "MAILHATCH_RELAY_CA_FILE": harness.cert_path("ca.pem"),
                "MAILHATCH_RELAY_PASSWORD": harness.PASSWORD,
            }
            body = b'{"from":"ann@example.org","to":"bob@example.net","text":"x"}'
            status, out, err = harness.run_program("send", env=env, stdin=body)
            self.assertEqual(status, 0, out + err)
            self.assertIn('"attempts":2', out)


class TestTold(Retry):
    def test_always_refused(self):
        """The last failure, while there is time to say so."""
        with Peer(on={"body": LATER}, caps=BASIC) as p, Gateway(SHORT, relay=p.url()) as g:
            begun = time.monotonic()
            answer = g.post(mail())
            took = time.monotonic() - begun
            self.check(answer, "503 message_deferred body rejected yes")
            codes = self.codes(answer)
            self.assertGreaterEqual(len(codes), 3)
            self.assertEqual(set(codes), {"message_deferred"})
            self.assertIn("tried %d times" % len(codes), answer.json["detail"])
            self.assertLess(took, 2)
            self.assertEqual(answer.headers["Retry-After"], "60")
            self.assertEqual(len(p.mails), 0)
            self.assertEqual(g.metric("mailhatch_retries_total"), len(codes) - 1)

    def test_field_against_setting(self):
        for env, word, tries in (({}, None, 1), (SHORT, "fail", 1), ({}, "fail", 1)):
            with Peer(on={"body": [LATER, default]}, caps=BASIC) as p, Gateway(env, relay=p.url()) as g:
                answer = g.post(mail(on_temporary_failure=word))
                self.check(answer, "503 message_deferred body rejected yes")
                self.assertEqual(len(self.codes(answer)), tries)
                self.assertEqual(g.events("retry"), [])

    def once(self, on, expect, env=SETTING, message=None, **peer):
        """One try, told at once, although every further one would succeed."""
        with Peer(on={stage: [action, default] for stage, action in on.items()}, **{"caps": BASIC, **peer}) as p:
            with Gateway(env, relay=p.url()) as g:
                begun = time.monotonic()
                answer = g.post(message or mail())
                self.check(answer, expect)
                self.assertEqual(len(self.codes(answer)), 1)
                self.assertLess(time.monotonic() - begun, 3)
                self.assertEqual((g.events("retry"), g.metric("mailhatch_retries_total")), ([], 0))
                return answer

    def test_never_after_a_5xx(self):
        self.once({"body": "554 5.7.1 no"}, "422 message_rejected body rejected no")
        self.once({"rcpt": "550 5.1.1 no"}, "422 recipients_rejected rcpt rejected no")
        self.once({"auth": "535 5.7.8 no"}, "502 auth_failed auth not_sent no")

    def test_never_when_nobody_knows(self):
        self.once({"body": close}, "504 outcome_unknown body unknown no")

    def test_greylisting_is_not_hammered(self):
        answer = self.once({"rcpt": "450 4.7.1 Greylisted"}, "503 recipients_rejected rcpt rejected yes")
        self.assertEqual(answer.headers["Retry-After"], "300")
        answer = self.once({"body": "451 4.3.0 you are graylisted"}, "503 message_deferred body rejected yes")
        self.assertEqual(answer.headers["Retry-After"], "300")

    def test_rate_limits_are_not_hammered(self):
        self.once({"mail": "450 4.7.28 rate limit exceeded"}, "503 relay_rate_limited mail not_sent|rejected yes")

    def test_partial_is_an_answer(self):
        with Peer(on={"rcpt": [default, LATER]}, caps=BASIC) as p, Gateway(SETTING, relay=p.url()) as g:
            answer = g.post(mail(to=["bob@example.net", "eve@example.net"]))
            self.assertEqual((answer.status, answer.json["status"], answer.json["attempts"]), (200, "partial", 1))
            self.assertEqual(len(p.mails), 1)

    def test_circuit(self):
        """A pause that ends before the deadline is kept; one that does not is told at once."""
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        with Gateway({**SETTING, "MAILHATCH_REQUEST_TIMEOUT": "6s"}, relay="smtp://ann@localhost:%d" % port) as g:
            begun = time.monotonic()
            answer = g.post(mail())
            self.check(answer, "502|503 connect_refused|relay_unavailable connect|queue not_sent yes")
            self.assertLess(time.monotonic() - begun, 6)
            self.assertGreaterEqual(len(g.events("retry")), 4)
        with Peer(on={"auth": "535 5.7.8 no"}) as p, Gateway(SETTING, relay=p.url()) as g:
            self.check(g.post(mail()), "502 auth_failed auth not_sent no")
            begun = time.monotonic()
            self.check(g.post(mail()), "503 relay_unavailable queue not_sent yes")
            self.assertLess(time.monotonic() - begun, 3)
            self.assertEqual(sum(c.startswith("AUTH") for c in p.commands()), 1)

    def test_words(self):
        with Gateway(relay="smtp://ann@localhost:1") as g:
            answer = g.post(mail(on_temporary_failure="queue"))
            self.assertEqual((answer.status, answer.code), (501, "not_implemented"))
            self.check(g.post(mail(on_temporary_failure="later")), "422 validation_failed request not_sent no")
        status, out, err = harness.run_program("--on-temporary-failure=queue", "--relay-url=smtp://h")
        self.assertEqual(status, 2)
        self.assertIn("fail", err)


class TestDrain(Retry):
    def test_a_drain_waits_for_the_next_try(self):
        go = threading.Event()
        on = {"body": lambda s: s.act(default if go.is_set() else LATER)}
        with Peer(on=on, caps=BASIC) as p, Gateway(SETTING, relay=p.url()) as g:
            answers = []
            t = threading.Thread(target=lambda: answers.append(g.post(mail())))
            t.start()
            harness.wait_for(lambda: g.events("retry"), what="the first failure")
            g.signal(signal.SIGTERM)
            harness.wait_for(lambda: g.admin("/readyz").status == 503, what="readiness turns false")
            go.set()
            t.join(30)
            self.assertEqual(answers[0].status, 200, repr(answers[0]))
            self.assertEqual(g.wait(), 0)
            self.assertEqual(len(p.mails), 1)

    def test_its_end_answers(self):
        with Peer(on={"body": LATER}, caps=BASIC) as p:
            with Gateway({**SETTING, "MAILHATCH_DRAIN_TIMEOUT": "300ms"}, relay=p.url()) as g:
                answers = []
                t = threading.Thread(target=lambda: answers.append(g.post(mail())))
                t.start()
                # from the fourth try on more than half a second is waited
                harness.wait_for(lambda: len(g.events("retry")) >= 5, what="some failures")
                g.signal(signal.SIGTERM)
                t.join(30)
                self.check(answers[0], "503 message_deferred body rejected yes")
                self.assertEqual(g.wait(), 0)


if __name__ == "__main__":
    unittest.main()
