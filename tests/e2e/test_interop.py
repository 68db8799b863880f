"""Mail through real servers: Postfix, Exim, OpenSMTPD, Dovecot (servers.py), each with STARTTLS and AUTH, read back
from the mailbox."""
import email
import threading
import unittest

import harness
import servers
from harness import Gateway, mail
from judge import body_of, parsed

TEXT = "Größe und Maß\n.\n..zwei Punkte\n.ein Punkt\n\n" + "lang " * 400 + "\nEnde\n"


class Interop:
    """The same tests for each server; a server that cannot be started is a failure of all of them."""

    server_class = None

    @classmethod
    def setUpClass(cls):
        cls.server = cls.server_class()
        try:
            cls.g = Gateway(
                {"MAILHATCH_RELAY_PASSWORD": servers.PASSWORD},
                relay="smtp://%s@localhost:%d" % (servers.USER, cls.server.port),
            )
        except BaseException:
            cls.server.stop()
            raise

    @classmethod
    def tearDownClass(cls):
        try:
            cls.g.stop()
        finally:
            cls.server.stop()

    def post(self, status=200, **changes):
        answer = self.g.post(mail(**{"to": "bob@example.test", **changes}))
        self.assertEqual(answer.status, status, "%r\n%s" % (answer, self.server.output()[-3000:]))
        return answer.json

    def arrived(self, answer, utf8=False):
        """The delivered copies of one mail, found by its Message-ID; at least one."""

        def find():
            return [m for m in self.server.mails() if email.message_from_bytes(m)["Message-ID"] == answer["message_id"]]

        try:
            found = harness.wait_for(find, 20, "the mail arrives")
        except AssertionError as e:
            raise AssertionError("%s\n%s" % (e, self.server.output()[-3000:])) from None
        return [parsed(m, utf8) for m in found]

    def test_plain(self):
        answer = self.post()
        self.assertEqual(
            (answer["status"], answer["tls"]["mode"], answer["tls"]["verified"]), ("sent", "starttls", True)
        )
        (message,) = self.arrived(answer)
        self.assertEqual(message["Return-Path"].strip("<>"), "ann@example.org")
        self.assertEqual(body_of(message), "Hello Bob.\n")

    def test_everything(self):
        answer = self.post(
            **{
                "from": "Änn <ann@example.org>",
                "subject": "Grüße 🎉 " + "lang " * 30 + "Ende",
                "text": TEXT,
                "html": "<p>Größe</p>",
                "bcc": "carol@example.test",
                "headers": {"X-Order": "4711"},
            }
        )
        # Both recipients share a mailbox, where some servers put one copy.
        for message in self.arrived(answer):
            self.assertEqual(body_of(message), TEXT)
            self.assertEqual(message["Subject"], "Grüße 🎉 " + "lang " * 30 + "Ende")
            self.assertEqual(message["From"].addresses[0].display_name, "Änn")
            self.assertEqual(message["X-Order"], "4711")
            self.assertNotIn("Bcc", message)

    def test_large(self):
        text = "".join("line %06d of a large mail\n" % i for i in range(60000))
        (message,) = self.arrived(self.post(text=text))
        self.assertEqual(body_of(message), text)

    def test_partial(self):
        answer = self.post(to=["bob@example.test", "refused@example.test"])
        self.assertEqual(
            (answer["status"], [r["status"] for r in answer["recipients"]]), ("partial", ["accepted", "rejected"])
        )
        self.arrived(answer)

    def test_partial_reject(self):
        answer = self.post(
            422, to=["bob@example.test", "refused@example.test"], partial="reject", subject="must not arrive"
        )
        self.assertEqual((answer["code"], answer["delivery"]), ("recipients_rejected", "not_sent"))
        self.arrived(self.post())
        self.assertFalse([m for m in self.server.mails() if b"must not arrive" in m])

    def test_refused_then_another(self):
        """The RSET rule: the second mail must go out with its own sender, and only it."""
        for i in range(3):
            refused = self.post(422, **{"from": "first@example.org", "to": "refused@example.test"})
            self.assertEqual((refused["code"], refused["delivery"]), ("recipients_rejected", "rejected"))
            answer = self.post(**{"from": "second@example.org", "to": "bob@example.test"})
            (message,) = self.arrived(answer)
            self.assertEqual(message["Return-Path"].strip("<>"), "second@example.org")
        self.assertFalse([m for m in self.server.mails() if b"first@example.org" in m])

    def test_many_on_warm_sessions(self):
        answers = []

        def work(k):
            c = self.g.connection()
            for i in range(10):
                a = self.g.post(mail(to="bob@example.test", subject="many %d %d" % (k, i)), connection=c)
                answers.append(a)
            c.close()

        threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(120)
        self.assertEqual({a.status for a in answers}, {200}, [a for a in answers if a.status != 200][:1])
        self.assertEqual(len(answers), 80)
        self.assertGreater(sum(a.json["reused_session"] for a in answers), 60)
        wanted = {a.json["message_id"] for a in answers}
        harness.wait_for(
            lambda: wanted <= {email.message_from_bytes(m)["Message-ID"] for m in self.server.mails()},
            60,
            "eighty mails arrive",
        )

    def test_many_behind_each_other(self):
        """One session, eight mails in flight, every third to somebody who is refused, each with a sender of its own:
        each arrives once and as his, or not at all. Exim needs the RSET in front of each for that."""
        answers = {}

        def work(k):
            c = self.g_deep.connection()
            for i in range(8):
                sender = "p%d.%d@example.org" % (k, i)
                to = "refused@example.test" if (k + i) % 3 == 0 else "bob@example.test"
                answers[sender] = self.g_deep.post(mail(**{"from": sender, "to": to}), connection=c)
            c.close()

        with Gateway(
            {
                "MAILHATCH_RELAY_PASSWORD": servers.PASSWORD,
                "MAILHATCH_RELAY_MAX_SESSIONS": "1",
                "MAILHATCH_RELAY_PIPELINE_DEPTH": "8",
            },
            relay="smtp://%s@localhost:%d" % (servers.USER, self.server.port),
        ) as self.g_deep:
            threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
            for t in threads:
                t.start()
            for t in threads:
                t.join(120)
            sessions = self.g_deep.metric("mailhatch_sessions_opened_total")
        self.assertEqual(len(answers), 128)
        odd = [repr(a) for a in answers.values() if a.status not in (200, 422)]
        self.assertFalse(odd, self.server.output()[-3000:])
        self.assertLess(sessions, 12)           # ten refusals wear one out
        wanted = {sender: a.json["message_id"] for sender, a in answers.items() if a.status == 200}
        self.assertEqual(len(wanted), sum((k + i) % 3 != 0 for k in range(16) for i in range(8)))

        def arrived():
            found = [email.message_from_bytes(m) for m in self.server.mails()]
            return [(m["Return-Path"].strip("<>"), m["Message-ID"]) for m in found if "<p" in str(m["Return-Path"])]

        harness.wait_for(lambda: len(arrived()) >= len(wanted), 60, "all that were sent arrive")
        self.assertEqual(sorted(arrived()), sorted(wanted.items()))

    def test_diagnosis(self):
        wish = {"from": "ann@example.org", "to": "bob@example.test", "tls_versions": True}
        report = self.g.request("POST", "/v1/relays/default/diagnose", wish).json
        self.assertTrue(report["ok"], report["conclusion"])
        self.assertTrue(report["facts"]["auth"]["accepted"])
        states = {v["version"]: v["state"] for v in report["facts"]["tls_versions"]}
        self.assertEqual((states["TLSv1.2"], states["TLSv1.3"]), ("taken", "taken"))
        wish["to"] = "refused@example.test"
        report = self.g.request("POST", "/v1/relays/default/diagnose", wish).json
        self.assertEqual((report["failed_at"], report["code"]), ("rcpt", "recipients_rejected"), report["conclusion"])

    def test_wrong_password(self):
        with Gateway(
            {"MAILHATCH_RELAY_PASSWORD": "wrong"}, relay="smtp://%s@localhost:%d" % (servers.USER, self.server.port)
        ) as g:
            answer = g.post(mail(to="bob@example.test"))
            self.assertEqual(
                (answer.status, answer.code, answer.json["stage"]), (502, "auth_failed", "auth"), repr(answer)
            )

    def test_unknown_authority(self):
        with Gateway(
            {"MAILHATCH_RELAY_CA_FILE": harness.cert_path("otherca.pem")},
            relay="smtp://%s@localhost:%d" % (servers.USER, self.server.port),
        ) as g:
            self.assertEqual(g.post(mail(to="bob@example.test")).code, "tls_cert_untrusted")


class Flights:
    """Servers that discard the octets of a refused chunk, as they show behind the first mail of a session."""

    def test_one_round_trip_from_the_second_mail(self):
        env = {"MAILHATCH_RELAY_PASSWORD": servers.PASSWORD, "MAILHATCH_RELAY_MAX_SESSIONS": "1"}
        with Gateway(env, relay="smtp://%s@localhost:%d" % (servers.USER, self.server.port)) as g:
            flights = []
            for _ in range(5):
                before = g.metric("mailhatch_flights_total")
                answer = g.post(mail(to="bob@example.test"))
                self.assertEqual(answer.status, 200, repr(answer))
                flights.append(g.metric("mailhatch_flights_total") - before)
            # The first mail's include the login's, and the proof behind it.
            self.assertEqual(flights[1:], [1, 1, 1, 1])
            self.assertEqual(g.metric("mailhatch_sessions_opened_total"), 1)


class PatientPostfix(servers.Postfix):
    """Debian's soft limit of errors, ten, with a pause that is seen."""

    more = {"smtpd_error_sleep_time": "20s"}


class TestPostfixPatience(unittest.TestCase):
    def test_wrong_addresses_slow_nobody(self):
        server = PatientPostfix()
        try:
            env = {"MAILHATCH_RELAY_PASSWORD": servers.PASSWORD, "MAILHATCH_RELAY_MAX_SESSIONS": "1"}
            with Gateway(env, relay="smtp://%s@localhost:%d" % (servers.USER, server.port)) as g:
                for i in range(18):
                    good = i % 6 == 5
                    answer = g.post(mail(to="bob@example.test" if good else "refused@example.test"))
                    self.assertEqual(answer.status, 200 if good else 422, repr(answer))
                    if good:
                        self.assertLess(answer.json["timing_ms"]["total"], 15000)
        finally:
            server.stop()


class TestPostfix(Flights, Interop, unittest.TestCase):
    server_class = servers.Postfix

    def test_utf8_address(self):
        self.arrived(self.post(to="jürgen@example.test"), utf8=True)

    def test_deferred(self):
        answer = self.post(503, to="later@example.test")
        self.assertEqual((answer["code"], answer["retryable"]), ("recipients_rejected", True))


class TestExim(Flights, Interop, unittest.TestCase):
    server_class = servers.Exim

    def test_deferred(self):
        answer = self.post(503, to="later@example.test")
        self.assertEqual((answer["code"], answer["retryable"]), ("recipients_rejected", True))


class TestOpenSmtpd(Interop, unittest.TestCase):
    server_class = servers.OpenSmtpd


class TestDovecot(Interop, unittest.TestCase):
    server_class = servers.Dovecot


if __name__ == "__main__":
    unittest.main()
