"""Whose refusal it is, and what may leave before what is known: no line of a mail is ever a command, a session's limit
costs nobody a mail, one caller's wrong addresses slow nobody, and replies that slip are no silent "sent"."""
import os
import threading
import unittest

import harness
from harness import Gateway, mail
from judge import Fault
from peer import ALL, BASIC, PIPELINED, Peer, close, default, hang, reply, reply_close

EVIL = [
    "MAIL FROM:<evil@example.org>",
    "RCPT TO:<evil@example.net>",
    "DATA evil",
    "BDAT 4 LAST evil",
    "RSET evil",
    "NOOP evil",
    "VRFY evil",
    "EHLO evil",
    "HELO evil",
    "AUTH PLAIN evil",
    "STARTTLS evil",
    "HELP evil",
    "XCLIENT evil",
]
TEXT = "\r\n".join(EVIL) + "\r\n"
RAW = "From: ann@example.org\r\nTo: bob@example.net\r\nSubject: raw\r\n\r\n" + TEXT


def not_read(text):
    """BDAT is answered, and its chunk is left where commands are read."""
    return lambda s: s.send(text + "\r\n")


class Manners(Fault):
    def sent(self, answer, **members):
        self.assertEqual((answer.status, answer.json and answer.json.get("status")), (200, "sent"), repr(answer))
        for name, value in members.items():
            self.assertEqual(answer.json[name], value, repr(answer))
        return answer.json


class TestNoTextIsACommand(Manners):
    def post_both(self, g):
        g.post(mail(text=TEXT))
        raw = "/v1/emails?from=ann@example.org&to=bob@example.net"
        g.request("POST", raw, RAW.encode(), {"Content-Type": "message/rfc822"})

    def evil(self, p):
        return [c for c in p.commands() if "evil" in c]

    def test_a_refused_chunk_that_is_not_read(self):
        """The peer refuses somebody of the second mail, or all, and runs what stands behind BDAT."""
        for bdat in ("503 5.5.1 no valid recipients", "554 5.5.1 no", "502 5.5.1 what", "500 what", "452 4.3.1 full"):
            for on in ({"rcpt": "550 5.1.1 no"}, {"mail": "550 5.7.1 no"}, {"rcpt": [default, "550 5.1.1 no"]}, {}):
                with self.subTest(bdat=bdat, on=on):
                    with Peer(on={**on, "bdat": not_read(bdat)}) as p, Gateway(relay=p.url()) as g:
                        for _ in range(3):
                            self.post_both(g)
                        self.assertEqual(self.evil(p), [])

    def test_text_waits_for_354(self):
        for data in ("451 4.3.0 no", "250 ok", "503 5.5.1 no", reply_close("421 bye")):
            for caps in (ALL, PIPELINED, BASIC):
                with self.subTest(data=data, caps=caps):
                    with Peer(caps=caps, on={"data": data}) as p, Gateway(relay=p.url()) as g:
                        self.post_both(g)
                        self.assertEqual(self.evil(p), [])

    def test_354_for_nobody(self):
        """RFC 2920 §3.1: only the dot goes."""
        with Peer(on={"rcpt": "550 5.1.1 no", "data": "354 go"}) as p, Gateway(relay=p.url()) as g:
            self.post_both(g)
            self.assertEqual(self.evil(p), [])
            self.assertEqual({m.data for m in p.mails}, {b""})

    def test_in_flight_behind_another(self):
        """Several mails in flight, the first of which is refused."""
        on = {"rcpt": ["550 5.1.1 no", default], "bdat": not_read("503 5.5.1 no")}
        with Peer(on=on) as p, Gateway({"MAILHATCH_RELAY_PIPELINE_DEPTH": "8"}, relay=p.url()) as g:
            for _ in range(4):
                self.post_both(g)
            self.assertEqual(self.evil(p), [])

    def test_chunking_that_does_not_work(self):
        """This mail goes by DATA, and so do all that follow."""
        for bdat in ("502 5.5.1 what is BDAT?", "500 what", "503 5.5.1 not now"):
            with self.subTest(bdat=bdat):
                with Peer(on={"bdat": not_read(bdat)}) as p, Gateway(relay=p.url()) as g:
                    for _ in range(4):
                        self.sent(g.post(mail()))
                    self.assertEqual(len(p.mails), 4)

    def test_chunking_that_stops_working(self):
        """Proven, and then a server that looks the same does not know it: the mail goes on a new session, by DATA."""
        with Peer() as p, Gateway(relay=p.url()) as g:
            p.begin_flights(g)
            p.on = {"bdat": [lambda s: (s.read_exactly(s.chunk_size), s.send("502 5.5.1 what\r\n"))]}
            a = self.sent(g.post(mail(subject="second")), attempts=2, reused_session=False)
            self.assertEqual(len(p.mails), 2)
            self.sent(g.post(mail()))
            self.assertEqual([c for c in p.sessions[1].commands if c.startswith("BDAT")], [], a)

    def test_extensions_off(self):
        off = "chunking, SIZE"
        with Peer(caps=("PIPELINING", "CHUNKING", "SIZE 10")) as p, Gateway(
            {"MAILHATCH_RELAY_EXTENSIONS_OFF": off}, relay=p.url()
        ) as g:
            for _ in range(3):
                self.sent(g.post(mail()))
            self.assertEqual([c for c in p.commands() if c.startswith("BDAT") or "SIZE" in c], [])
        with Peer() as p:
            env = {"MAILHATCH_RELAY_EXTENSIONS_OFF": "chunking,starttls", "MAILHATCH_RELAY_URL": p.url(user=None)}
            status, _, err = harness.run_program("check-config", env=env)
            self.assertNotEqual(status, 0)
            self.assertIn('extensions_off: "starttls" is not one of pipelining, chunking,', err)


class TestSessionLimits(Manners):
    def limited(self, p, at, answer, most):
        """After `most` mails of a session that stage is answered so."""

        def act(s):
            if len(s.mails) >= most:
                s.refused = getattr(s, "refused", 0) + 1
                if at == "bdat" and s.mail:
                    s.read_exactly(s.chunk_size)
                s.send(answer + "\r\n")
            else:
                default(s)

        p.on = {at: [act]}

    def test_limit_of_mails_costs_nobody_a_mail(self):
        for caps, at in ((ALL, "mail"), (PIPELINED, "mail"), (BASIC, "mail"), (PIPELINED, "data"), (BASIC, "data"),
                         (PIPELINED, "body"), (ALL, "body")):
            for answer in ("452 4.4.5 too many messages", "451 4.3.2 enough", "452 too many messages per connection"):
                with self.subTest(caps=caps, at=at, answer=answer):
                    with Peer(caps=caps) as p, Gateway(relay=p.url()) as g:
                        self.limited(p, at, answer, 3)
                        c = g.connection()
                        for _ in range(12):
                            self.sent(g.post(mail(), connection=c))
                        c.close()
                        self.assertEqual(len(p.mails), 12)
                        # Met once, it is known: the sessions that follow end by QUIT before it.
                        self.assertEqual(sum(getattr(s, "refused", 0) for s in p.sessions), 1)

    def test_a_limit_on_a_new_session_is_reported(self):
        with Peer(on={"mail": "452 4.4.5 not even one"}) as p, Gateway(relay=p.url()) as g:
            self.check(g.post(mail()), "503 session_limit mail rejected yes")

    def test_two_refused_alike_end_the_session(self):
        on = {"mail": [default, "451 4.3.0 try later", "451 4.3.0 try later", default]}
        with Peer(caps=BASIC, on=on) as p, Gateway(relay=p.url()) as g:
            self.sent(g.post(mail()))
            for _ in range(2):
                self.check(g.post(mail()), "503 sender_rejected mail rejected yes")
            self.sent(g.post(mail()), reused_session=False)

    def test_wrong_addresses_slow_nobody(self):
        """No session sees ten refusals, and no good mail is on one that has seen them."""
        for caps in (ALL, PIPELINED, BASIC):
            with self.subTest(caps=caps), Peer(caps=caps) as p:
                p.on = {"rcpt": [lambda s: s.send("550 5.1.1 no\r\n") if "eve@" in s.line else default(s)]}
                with Gateway({"MAILHATCH_RELAY_MAX_SESSIONS": "1"}, relay=p.url()) as g:
                    for i in range(20):
                        answer = g.post(mail(to="eve@example.net" if i % 5 else "bob@example.net"))
                        self.assertEqual(answer.status, 422 if i % 5 else 200, repr(answer))
                for s in p.sessions:
                    self.assertLessEqual(sum("eve@" in c for c in s.commands), 8, s.commands)


class TestReset(Manners):
    def test_reset_that_fails_harms_no_other_mail(self):
        for caps in (ALL, PIPELINED, BASIC):
            for rset in ("502 5.5.1 what", "450 no", close, reply_close("421 bye"), hang):
                with self.subTest(caps=caps, rset=rset):
                    with Peer(caps=caps, on={"rcpt": ["550 5.1.1 no", default], "rset": rset}) as p, Gateway(
                        {"MAILHATCH_RELAY_MAX_SESSIONS": "1", "MAILHATCH_RELAY_COMMAND_TIMEOUT": "300ms"}, relay=p.url()
                    ) as g:
                        self.check(g.post(mail()), "422 recipients_rejected rcpt rejected no")
                        self.sent(g.post(mail(subject="the next one")))
                        self.assertEqual(len(p.mails), 1)

    def test_a_silent_session_is_replaced(self):
        """A firewall has forgotten it: nothing comes back. The caller sees a sent mail."""
        for caps in (ALL, PIPELINED, BASIC):
            with self.subTest(caps=caps), Peer(caps=caps, on={"mail": [default, hang, default]}) as p, Gateway(
                {"MAILHATCH_RELAY_ONE_FLIGHT_MAX": "0", "MAILHATCH_RELAY_COMMAND_TIMEOUT": "500ms"}, relay=p.url()
            ) as g:
                self.sent(g.post(mail()))
                self.sent(g.post(mail()), attempts=2, reused_session=False)
                self.assertEqual(len(p.mails), 2)


class TestSlippedReplies(Manners):
    def slipped(self, on):
        """What lies behind the verdict when it is read makes it unknown; what comes later is told in the log."""
        with Peer() as p, Gateway(relay=p.url()) as g:
            p.begin_flights(g)
            p.on = {stage: [action] for stage, action in on.items()}
            answer = g.post(mail(subject="in doubt"))
            if answer.status == 200:
                (event,) = harness.wait_for(lambda: g.events("verdict_in_doubt"), what="the log line")
                self.assertEqual((event["id"], event["delivery"]), (answer.json["id"], "unknown"))
            else:
                self.check(answer, "504 outcome_unknown body unknown no")
            self.no_more_flights(p, g)

    def no_more_flights(self, p, g):
        p.on = {}
        n = len(p.commands())
        for _ in range(3):
            self.sent(g.post(mail()))
        self.assertFalse([c for c in p.commands()[n:] if c.startswith("BDAT")], "flights go on")

    def test_a_doubled_reply(self):
        refuse = "554 5.7.1 spam"
        double = reply("250 2.1.0 ok", "250 2.1.0 ok")
        self.slipped({"mail": double, "body": refuse})
        self.slipped({"mail": double})
        self.slipped({"rcpt": reply("250 2.1.5 ok", "250 2.1.5 ok"), "body": refuse})

    def test_a_doubled_reply_all_at_once(self):
        """As a server answers that waits for the end of the flight; the last one with a goodbye."""
        for last in ("554 5.7.1 spam", "250 2.0.0 queued", "421 4.3.0 bye"):
            with self.subTest(last=last), Peer() as p, Gateway(relay=p.url()) as g:
                p.begin_flights(g)
                quiet = lambda s: setattr(s, "code", 250)
                p.on = {"mail": [quiet], "rcpt": [quiet], "body": [
                    reply("250 2.1.0 ok", "250 2.1.0 ok", "250 2.1.5 ok", last)]}
                self.check(g.post(mail()), "504 outcome_unknown body unknown no")
                self.no_more_flights(p, g)

    def test_a_spare_reply_behind_the_verdict(self):
        """It was answered as sent; now nobody can say which of the two was the mail's."""
        with Peer() as p, Gateway(relay=p.url()) as g:
            p.begin_flights(g)
            answered = threading.Event()

            def twice(s):
                default(s)
                answered.wait(60)
                s.send("554 5.7.1 spam\r\n")

            p.on = {"body": [twice]}
            a = self.sent(g.post(mail()))
            answered.set()
            (event,) = harness.wait_for(lambda: g.events("verdict_in_doubt"), what="the log line")
            self.assertEqual((event["id"], event["level"], event["delivery"]), (a["id"], "warn", "unknown"))
            self.assertEqual(g.metric("mailhatch_stray_replies_total"), 1)
            self.assertEqual(g.get("/v1/relays/default").json["last_error"]["code"], "protocol_error")
            self.no_more_flights(p, g)


class TestNames(Manners):
    def test_354_to_starttls(self):
        with Peer(on={"starttls": "354 go"}) as p, Gateway(relay=p.url()) as g:
            self.check(g.post(mail()), "502 starttls_refused starttls not_sent no")

    def test_421_to_the_body_is_a_deferral(self):
        with Peer(caps=PIPELINED, on={"body": reply_close("421 4.3.2 bye")}) as p, Gateway(relay=p.url()) as g:
            self.check(g.post(mail()), "503 message_deferred body rejected yes")

    def test_a_tls_alert_after_the_body(self):
        def alert(s):
            os.write(s.sock.fileno(), b"\x15\x03\x03\x00\x02\x02\x28")

        with Peer(caps=PIPELINED, on={"body": alert}) as p, Gateway(relay=p.url()) as g:
            self.check(g.post(mail()), "504 outcome_unknown body unknown no")

    def test_whose_in_metrics(self):
        with Peer(caps=PIPELINED, on={"rcpt": "550 5.1.1 no"}) as p, Gateway(relay=p.url()) as g:
            g.post(mail())
            page = g.admin("/metrics").body.decode()
            self.assertIn('mailhatch_failures_total{relay="default",whose="address"} 1\n', page)
            self.assertIn('mailhatch_failures_total{relay="default",whose="session"} 0\n', page)


if __name__ == "__main__":
    unittest.main()
