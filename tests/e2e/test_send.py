"""What works: the answer's shape, the mail that arrives, warm sessions and what happens when they have died, many
at once."""
import base64
import contextlib
import hashlib
import ssl
import subprocess
import threading
import time
import unittest
import uuid

import harness
from harness import Gateway, mail
from judge import body_of, parsed
from peer import ALL, BASIC, PIPELINED, Peer, chain, close, default, reply, reply_close


class Send(unittest.TestCase):
    maxDiff = None

    def sent(self, answer, status="sent"):
        self.assertEqual((answer.status, answer.json and answer.json.get("status")), (200, status), repr(answer))
        return answer.json


class TestAnswer(Send):
    def test_shape(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            answer = g.post(mail(to=["bob@example.net", "Carol <carol@example.net>"]))
            a = self.sent(answer)
            self.assertEqual(answer.headers["Content-Type"].split(";")[0], "application/json")
            self.assertEqual(
                set(a),
                {
                    "id",
                    "status",
                    "message_id",
                    "relay",
                    "smtp",
                    "recipients",
                    "tls",
                    "reused_session",
                    "attempts",
                    "timing_ms",
                },
            )
            self.assertEqual(uuid.UUID(a["id"]).version, 7)
            self.assertLess(abs(int(a["id"].replace("-", "")[:12], 16) / 1000 - time.time()), 60)
            self.assertRegex(a["message_id"], r"^<[^<>@\s]+@example\.org>$")
            self.assertEqual(a["relay"], "default")
            self.assertEqual(a["smtp"], {"code": 250, "enhanced": "2.0.0", "text": "queued as 1"})
            self.assertEqual(
                [(r["email"], r["status"], r["smtp"]["code"], r["smtp"]["enhanced"]) for r in a["recipients"]],
                [("bob@example.net", "accepted", 250, "2.1.5"), ("carol@example.net", "accepted", 250, "2.1.5")],
            )
            self.assertEqual(a["tls"]["mode"], "starttls")
            self.assertEqual(a["tls"]["version"], "TLSv1.3")
            self.assertRegex(a["tls"]["cipher"], "^TLS_")
            self.assertIs(a["tls"]["verified"], True)
            self.assertEqual((a["reused_session"], a["attempts"]), (False, 1))
            self.assertEqual(set(a["timing_ms"]), {"queue", "connect", "tls", "auth", "send", "total"})
            self.assertGreater(a["timing_ms"]["total"], 0)
            self.assertEqual(p.sessions[0].sni, "localhost")
            self.assertEqual((p.sessions[0].user, p.sessions[0].password), ("ann", harness.PASSWORD))

    def test_implicit_tls(self):
        with Peer(tls_mode="implicit") as p, Gateway(relay=p.url()) as g:
            self.assertEqual(self.sent(g.post(mail()))["tls"]["mode"], "implicit")
            self.assertFalse([c for c in p.commands() if c == "STARTTLS"])

    def test_tls_1_2(self):
        with Peer(max_tls=ssl.TLSVersion.TLSv1_2) as p, Gateway(relay=p.url()) as g:
            self.assertEqual(self.sent(g.post(mail()))["tls"]["version"], "TLSv1.2")

    def test_plain_to_loopback(self):
        with Peer(tls_mode="none", auth="") as p, Gateway(relay=p.url()) as g:
            a = self.sent(g.post(mail()))
            self.assertEqual((a["tls"] or {}).get("mode", "none"), "none")
            self.assertIsNone(p.sessions[0].tls)

    def test_ip_address_host_has_no_sni(self):
        with Peer() as p, Gateway(relay=p.url(host="127.0.0.1")) as g:
            self.sent(g.post(mail()))
            self.assertIsNone(p.sessions[0].sni)

    def test_intermediate_certificate_and_auth_login(self):
        with Peer(cert="chained", auth="LOGIN") as p, Gateway(relay=p.url()) as g:
            self.sent(g.post(mail()))
            self.assertEqual(p.sessions[0].password, harness.PASSWORD)

    def test_revocation_list_without_the_certificate_in_it(self):
        with Peer() as p, Gateway({"MAILHATCH_RELAY_CRL_FILE": harness.cert_path("ca.crl")}, relay=p.url()) as g:
            self.sent(g.post(mail()))

    def test_pinned_key(self):
        der = subprocess.run(
            "openssl x509 -in %s -pubkey -noout | openssl pkey -pubin -outform DER" % harness.cert_path("good.pem"),
            shell=True,
            capture_output=True,
            check=True,
        ).stdout
        pin = "sha256/" + base64.b64encode(hashlib.sha256(der).digest()).decode()
        with Peer() as p, Gateway({"MAILHATCH_RELAY_PINS": pin}, relay=p.url()) as g:
            self.sent(g.post(mail()))

    def test_password_in_the_url_is_percent_decoded(self):
        with Peer() as p:
            url = "smtp://a%%6en:%s@localhost:%d" % (harness.PASSWORD, p.port)
            with Gateway({"MAILHATCH_RELAY_URL": url, "MAILHATCH_RELAY_CA_FILE": harness.cert_path("ca.pem")}) as g:
                self.sent(g.post(mail()))
                self.assertEqual(p.sessions[0].user, "ann")

    def test_partial(self):
        for caps in (BASIC, PIPELINED, ALL):
            with Peer(caps=caps, on={"rcpt": [default, "550 5.1.1 no such user", default]}) as p, Gateway(
                relay=p.url()
            ) as g:
                a = self.sent(g.post(mail(to=["bob@example.net", "eve@example.net", "dan@example.net"])), "partial")
                self.assertEqual([r["status"] for r in a["recipients"]], ["accepted", "rejected", "accepted"])
                self.assertEqual(a["recipients"][1]["smtp"]["code"], 550)
                self.assertEqual(p.mails[0].rcpts, ["bob@example.net", "dan@example.net"])

    def test_more_recipients_than_the_relay_takes_at_once(self):
        """Further transactions with the same Message-ID, until all are through or nobody more is taken."""
        rcpt = [default, default, "452 4.5.3 too many recipients", "452 4.5.3 too many recipients", default]
        for caps in (BASIC, PIPELINED, ALL):
            with Peer(caps=caps, on={"rcpt": rcpt}) as p, Gateway(relay=p.url()) as g:
                to = ["bob@example.net", "eve@example.net", "dan@example.net", "kim@example.net"]
                a = self.sent(g.post(mail(to=to)))
                self.assertEqual([r["status"] for r in a["recipients"]], ["accepted"] * 4)
                self.assertEqual(a["attempts"], 1)
                self.assertEqual([m.rcpts for m in p.mails], [to[:2], to[2:]])
                ids = {parsed(m.data)["Message-ID"] for m in p.mails}
                self.assertEqual(ids, {a["message_id"]})

    def test_the_rest_of_the_recipients_is_refused(self):
        rcpt = [default, "452 4.5.3 too many recipients", "452 4.5.3 too many recipients", default, "550 5.1.1 no"]
        with Peer(caps=BASIC, on={"rcpt": rcpt}) as p, Gateway(relay=p.url()) as g:
            a = self.sent(g.post(mail(to=["bob@example.net", "eve@example.net", "dan@example.net"])), "partial")
            self.assertEqual([r["status"] for r in a["recipients"]], ["accepted", "accepted", "rejected"])
            self.assertEqual([m.rcpts for m in p.mails], [["bob@example.net"], ["eve@example.net"]])

    def test_nobody_is_taken_at_once(self):
        """Without anybody accepted it is a refusal like any other, and not tried for ever."""
        with Peer(caps=BASIC, on={"rcpt": "452 4.5.3 too many recipients"}) as p, Gateway(relay=p.url()) as g:
            a = g.post(mail(to=["bob@example.net", "eve@example.net"]))
            self.assertEqual((a.status, a.code), (503, "recipients_rejected"))
            self.assertEqual(len(p.mails), 0)

    def test_partial_reject_with_all_accepted(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            self.sent(g.post(mail(to=["bob@example.net", "dan@example.net"], partial="reject")))
            self.assertEqual(len(p.mails), 1)

    def test_duplicates_are_sent_once(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            a = self.sent(
                g.post(
                    mail(
                        to=["bob@example.net", "Bob <bob@EXAMPLE.net>"],
                        cc="bob@example.net",
                        bcc=["bob@example.net", "dan@example.net"],
                    )
                )
            )
            self.assertEqual(p.mails[0].rcpts, ["bob@example.net", "dan@example.net"])
            self.assertEqual([r["email"] for r in a["recipients"]], ["bob@example.net", "dan@example.net"])


class TestMessage(Send):
    def send(self, request, caps=ALL, utf8=False):
        with Peer(caps=caps) as p, Gateway(relay=p.url()) as g:
            a = self.sent(g.post(request))
            m = p.mails[0]
            self.assertNotRegex(m.data, b"(?<!\r)\n|\r(?!\n)")
            self.assertLessEqual(max(len(line) for line in m.data.split(b"\r\n")), 998)
            message = parsed(m.data, utf8)
            self.assertEqual(message["Message-ID"], a["message_id"])
            return m, message

    def test_plain(self):
        m, message = self.send(mail())
        self.assertEqual(
            (message["From"], message["To"], message["Subject"]), ("ann@example.org", "bob@example.net", "Hello")
        )
        self.assertEqual((m.sender, m.rcpts), ("ann@example.org", ["bob@example.net"]))
        self.assertEqual(body_of(message), "Hello Bob.\n")
        self.assertEqual(message["MIME-Version"], "1.0")
        self.assertLess(abs(message["Date"].datetime.timestamp() - time.time()), 60)
        for name in ("From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"):
            self.assertEqual(len(message.get_all(name)), 1, name)

    def test_everything(self):
        for caps in (BASIC, ("ENHANCEDSTATUSCODES",), ALL):
            m, message = self.send(
                mail(
                    **{
                        "from": "Änn Ünal <ann@example.org>",
                        "to": [{"email": "bob@example.net", "name": "Bob, \"the\" Builder"}],
                        "cc": "carol@example.net",
                        "bcc": "secret@example.net",
                        "reply_to": ["help@example.org"],
                        "subject": "Grüße 🎉 " + "lang " * 39 + "lang",
                        "text": "Größe\n.\n..dots\n" + "y" * 3000,
                        "html": "<p>Größe</p>",
                        "headers": {"X-Order": "4711", "References": "<a@example.org> <b@example.org>"},
                    }
                ),
                caps,
            )
            self.assertEqual(message["From"].addresses[0].display_name, "Änn Ünal")
            self.assertEqual(message["To"].addresses[0].display_name, "Bob, \"the\" Builder")
            self.assertEqual(message["Subject"], "Grüße 🎉 " + "lang " * 39 + "lang")
            self.assertEqual(body_of(message).replace("\r\n", "\n"), "Größe\n.\n..dots\n" + "y" * 3000 + "\n")
            self.assertIn("<p>Größe</p>", body_of(message, "html"))
            self.assertEqual(message.get_content_type(), "multipart/alternative")
            self.assertEqual((message["X-Order"], message["References"]), ("4711", "<a@example.org> <b@example.org>"))
            self.assertEqual(message["Reply-To"], "help@example.org")
            self.assertNotIn(b"secret@example.net", m.data)
            self.assertNotIn("Bcc", message)
            self.assertEqual(m.rcpts, ["bob@example.net", "carol@example.net", "secret@example.net"])
            if "8BITMIME" not in caps:
                self.assertTrue(m.data.isascii())

    def test_dots(self):
        for caps in (BASIC, ALL):
            text = ".\n..\n.a\n\n.\n" * 50
            m, message = self.send(mail(text=text), caps)
            self.assertEqual(body_of(message), text)

    def test_only_bcc(self):
        m, message = self.send({"from": "ann@example.org", "bcc": "secret@example.net", "subject": "s", "text": "t"})
        self.assertEqual(m.rcpts, ["secret@example.net"])
        self.assertNotIn(b"secret@example.net", m.data)

    def test_large_body(self):
        """Over the one-flight threshold, in chunks and after DATA."""
        for caps in (("PIPELINING", "CHUNKING", "8BITMIME"), BASIC, PIPELINED):
            text = "".join("line %06d of the text\n" % i for i in range(100000))
            m, message = self.send(mail(text=text), caps)
            self.assertEqual(body_of(message), text)

    def test_own_message_id(self):
        m, message = self.send(mail(headers={"Message-ID": "<mine@example.org>"}))
        self.assertEqual(message.get_all("Message-ID"), ["<mine@example.org>"])

    def test_utf8_addresses(self):
        m, message = self.send(mail(**{"to": "jürgen@example.net", "from": "ann@bücher.example"}), utf8=True)
        self.assertEqual(m.rcpts, ["jürgen@example.net"])
        self.assertIn("SMTPUTF8", m.params)
        self.assertEqual(m.sender, "ann@xn--bcher-kva.example")

    def test_subject_like_an_encoded_word_is_literal(self):
        m, message = self.send(mail(subject="=?utf-8?q?x?="))
        self.assertEqual(message["Subject"], "=?utf-8?q?x?=")

    def test_size_and_envid_are_said_where_offered(self):
        m, _ = self.send(mail())
        self.assertIn("SIZE=%d" % len(m.data), m.params)
        m, _ = self.send(mail(), BASIC)
        self.assertFalse([p for p in m.params if p.startswith(("SIZE", "ENVID"))])


class TestSessions(Send):
    def test_second_mail_uses_the_warm_session(self):
        for caps in (BASIC, PIPELINED, ALL):
            with Peer(caps=caps) as p, Gateway(relay=p.url()) as g:
                self.assertIs(self.sent(g.post(mail()))["reused_session"], False)
                for _ in range(5):
                    a = self.sent(g.post(mail()))
                    self.assertIs(a["reused_session"], True)
                    self.assertEqual(
                        (a["timing_ms"]["connect"], a["timing_ms"]["tls"], a["timing_ms"]["auth"]), (0, 0, 0)
                    )
                self.assertEqual(len(p.sessions), 1)
                proof = ["RSET"] if caps is ALL else []
                self.assertEqual([c for c in p.commands() if c.startswith(("RSET", "NOOP"))], proof)

    def replaced(self, on, caps=ALL, attempts=None, prepare=None):
        """A warm session fails on the second mail; the caller sees a sent mail and, at the most, two attempts."""
        with Peer(caps=caps, on=on) as p, Gateway(relay=p.url()) as g:
            self.sent(g.post(mail()))
            if prepare:
                prepare(p, g)
            a = self.sent(g.post(mail(subject="second")))
            self.assertEqual(len(p.mails), 2)
            self.assertEqual(len(p.sessions), 2)
            self.assertIs(a["reused_session"], False)
            if attempts:
                self.assertEqual(a["attempts"], attempts)
            self.assertEqual(parsed(p.mails[1].data)["Subject"], "second")

    def test_421_in_place_of_mails_reply(self):
        for caps in (BASIC, PIPELINED, ALL):
            self.replaced({"mail": [default, reply_close("421 4.4.2 idle too long"), default]}, caps, 2)

    def test_closed_in_place_of_mails_reply(self):
        """Lock-step: nothing of the body left, so the mail is tried again. (In one flight it is outcome_unknown:
        see test_faults.)"""
        self.replaced({"mail": [default, close, default]}, BASIC, 2)

    def test_421_at_rcpt_and_data(self):
        self.replaced({"rcpt": [default, reply_close("421 bye"), default]}, BASIC, 2)
        self.replaced({"data": [default, reply_close("421 bye"), default]}, BASIC, 2)

    def idle_death(self, farewell):
        """The peer ends the idle session; the next mail finds out before it writes anything."""

        def prepare(p, g):
            s = p.sessions[0]
            if farewell:
                s.sock.sendall(farewell)
            with contextlib.suppress(OSError):  # the gateway may have closed it first, and our peer followed
                s.sock.shutdown(2)
            harness.wait_for(lambda: not s.is_alive(), what="the peer's session is over")

        self.replaced({}, PIPELINED, prepare=prepare)

    def test_closed_while_idle(self):
        self.idle_death(b"")

    def test_421_and_closed_while_idle(self):
        self.idle_death(b"421 4.4.2 idle too long\r\n")

    def test_5xx_on_a_reused_session_is_final(self):
        with Peer(on={"mail": [default, "550 5.7.1 no", default]}) as p, Gateway(relay=p.url()) as g:
            self.sent(g.post(mail()))
            answer = g.post(mail())
            self.assertEqual((answer.code, len(answer.json["attempts"])), ("sender_rejected", 1), repr(answer))
            self.assertEqual(len(p.mails), 1)

    def test_both_attempts_are_told(self):
        with Peer(on={"mail": [default, reply_close("421 bye")], "banner": [default, "554 5.7.1 no"]}) as p, Gateway(
            relay=p.url()
        ) as g:
            self.sent(g.post(mail()))
            answer = g.post(mail())
            self.assertEqual(answer.code, "banner_rejected", repr(answer))
            self.assertEqual(
                [(x["n"], x["reused_session"], x["code"], x["stage"]) for x in answer.json["attempts"]],
                [(1, True, "service_closing", "mail"), (2, False, "banner_rejected", "banner")],
            )

    def test_odd_session_is_never_used_again(self):
        """An unsolicited reply behind the body's: this mail is sent, the next one goes over another session."""
        with Peer(on={"body": [chain(default, reply("250 and another thing")), default]}) as p, Gateway(
            relay=p.url()
        ) as g:
            self.sent(g.post(mail()))
            self.sent(g.post(mail()))
            self.assertEqual(len(p.sessions), 2)

    def test_rset_after_a_refused_mail(self):
        """A server like Exim 4.96 keeps the first transaction open: without RSET the second mail would go out with
        the first one's sender."""
        for caps in (BASIC, PIPELINED, ALL):
            for stage, refusal in (("rcpt", "550 5.1.1 no"), ("mail", "550 5.7.1 no"), ("body", "550 5.7.1 spam")):
                with Peer(caps=caps, keeps_transaction=True, on={stage: [refusal, default]}) as p, Gateway(
                    relay=p.url()
                ) as g:
                    self.assertEqual(g.post(mail(**{"from": "first@example.org"})).status, 422)
                    a = self.sent(g.post(mail(**{"from": "second@example.org"})))
                    self.assertEqual(p.mails[0].sender, "second@example.org")
                    if a["reused_session"]:
                        commands = p.sessions[0].commands
                        second = [i for i, c in enumerate(commands) if c.startswith("MAIL")][1]
                        self.assertEqual(commands[second - 1], "RSET", commands)

    def test_quit_is_said_when_the_gateway_leaves(self):
        with Peer() as p:
            with Gateway(relay=p.url()) as g:
                self.sent(g.post(mail()))
            harness.wait_for(lambda: "QUIT" in p.commands(), what="QUIT")

    def test_mails_per_session(self):
        with Peer() as p, Gateway({"MAILHATCH_RELAY_MAILS_PER_SESSION": "2"}, relay=p.url()) as g:
            for _ in range(5):
                self.sent(g.post(mail()))
            self.assertEqual([len(s.mails) for s in p.sessions], [2, 2, 1])

    def test_idle_session_is_closed(self):
        with Peer() as p, Gateway({"MAILHATCH_RELAY_IDLE_TIMEOUT": "100ms"}, relay=p.url()) as g:
            self.sent(g.post(mail()))
            harness.wait_for(lambda: "QUIT" in p.commands(), what="QUIT on the idle session")
            self.sent(g.post(mail()))

    def test_old_session_waits_for_the_envelope(self):
        """A session unused for longer than one_flight_idle may be dying: closed in MAIL's place, the body must not
        have left."""
        with Peer(on={"mail": [default, close, default]}) as p, Gateway(
            {"MAILHATCH_RELAY_ONE_FLIGHT_IDLE": "0"}, relay=p.url()
        ) as g:
            self.sent(g.post(mail()))
            self.assertEqual(self.sent(g.post(mail()))["attempts"], 2)
            self.assertEqual(len(p.mails), 2)

    def test_capabilities_before_tls_are_forgotten(self):
        """CHUNKING and SMTPUTF8 offered in plain text only must not be used."""

        def after_tls(s):
            s.send("250-peer.test\r\n250 AUTH PLAIN\r\n")

        with Peer(on={"ehlo_tls": after_tls}) as p, Gateway(relay=p.url()) as g:
            self.sent(g.post(mail()))
            self.assertFalse([c for c in p.commands() if c.startswith("BDAT") or "SIZE=" in c])

    def test_server_that_does_not_know_bdat(self):
        """502 to BDAT whose bytes are not swallowed: the mail is refused or sent again, the mail's text never
        becomes commands twice."""

        def no_bdat(s):
            s.send("502 5.5.1 what is BDAT?\r\n")

        with Peer(on={"bdat": no_bdat}) as p, Gateway(relay=p.url()) as g:
            g.post(mail())
            a = self.sent(g.post(mail()))
            self.assertEqual(a["status"], "sent")
            self.assertEqual(parsed(p.mails[-1].data)["Subject"], "Hello")

    def test_slow_bytes_are_one_reply(self):
        """A reply in many pieces, and many replies in one piece."""

        def pieces(s):
            for b in b"250-2.0.0 first\r\n250 2.0.0 queued\r\n":
                s.send(bytes([b]))

        with Peer(on={"body": pieces}) as p, Gateway(relay=p.url()) as g:
            a = self.sent(g.post(mail()))
            self.assertEqual(a["smtp"]["code"], 250)

    def test_replies_held_back_until_the_body(self):
        """A pipelining server may answer the whole flight at once."""
        held = []
        hold = lambda text: lambda s: (held.append(text), setattr(s, "code", int(text[:3])))
        on = {
            "mail": hold("250 2.1.0 ok\r\n"),
            "rcpt": hold("250 2.1.5 ok\r\n"),
            "body": lambda s: s.send("".join(held) + "250 2.0.0 queued\r\n") or setattr(s, "code", 250),
        }
        with Peer(on=on) as p, Gateway(relay=p.url()) as g:
            p.begin_flights(g)
            self.sent(g.post(mail()))
            self.assertEqual(len(p.mails), 2)


class TestMany(Send):
    def run_many(self, n, threads, peer, env=None, size=10):
        with Peer(**peer) as p, Gateway(env, relay=p.url()) as g:
            answers, lock, left = [], threading.Lock(), list(range(n))

            def work():
                c = g.connection()
                while True:
                    with lock:
                        if not left:
                            break
                        i = left.pop()
                    a = g.post(
                        mail(subject="mail %d" % i, to="r%d@example.net" % i, text="x%d\n" % i * size), connection=c
                    )
                    with lock:
                        answers.append((i, a))
                c.close()

            workers = [threading.Thread(target=work) for _ in range(threads)]
            for w in workers:
                w.start()
            for w in workers:
                w.join(120)
            self.assertEqual(len(answers), n)
            self.assertEqual({a.status for _, a in answers}, {200}, [a for _, a in answers if a.status != 200][:1])
            self.assertEqual(len({a.json["id"] for _, a in answers}), n)
            self.assertEqual(len(p.mails), n)
            by_subject = {parsed(m.data)["Subject"]: m for m in p.mails}
            for i, a in answers:
                m = by_subject["mail %d" % i]
                self.assertEqual(m.rcpts, ["r%d@example.net" % i])
                self.assertEqual(parsed(m.data)["Message-ID"], a.json["message_id"])
                self.assertIn(b"x%d\r\n" % i, m.data)
            return p

    def test_fifty_at_once(self):
        p = self.run_many(400, 50, {})
        self.assertLessEqual(len(p.sessions), 8)

    def test_fifty_at_once_in_lockstep(self):
        self.run_many(200, 50, {"caps": BASIC}, {"MAILHATCH_RELAY_MAX_SESSIONS": "3"})

    def test_large_ones(self):
        self.run_many(20, 10, {"caps": ("PIPELINING", "CHUNKING", "8BITMIME")}, size=100000)


if __name__ == "__main__":
    unittest.main()
