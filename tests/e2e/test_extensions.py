"""What a mail needs of its relay and what it asks of it: DSN, REQUIRETLS, SMTPUTF8, 8BITMIME, SIZE, and an envelope
other than the header. Offered: the words on the wire. Not offered: a clear refusal, and nothing written."""
import re
import unittest

import harness
from harness import Gateway, mail
from judge import Fault, parsed
from peer import ALL, BASIC, PIPELINED, Peer

WITH_DSN = (BASIC + ("DSN",), PIPELINED + ("DSN",), ALL)
TLS_ONLY = ALL + ("REQUIRETLS",)  # the peer says REQUIRETLS behind TLS only
ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
EIGHT_BIT = "From: ann@example.org\r\nTo: bob@example.net\r\nSubject: x\r\n\r\nd\u00e9j\u00e0 vu\r\n".encode()


class Extension(Fault):
    def sent(self, answer, status="sent"):
        self.assertEqual((answer.status, answer.json and answer.json.get("status")), (200, status), repr(answer))
        return answer.json

    def params_of(self, caps, message):
        """The parameters of MAIL without SIZE, and those of each RCPT, as the relay got them."""
        with Peer(caps=caps) as p, Gateway(relay=p.url()) as g:
            self.sent(g.post(message))
            m = p.mails[0]
            return [w for w in m.params if not w.startswith("SIZE=")], m.rcpt_params

    def refused(self, expect, peer, message, headers=None):
        """Not begun; and the session that was opened for it is as good as new."""
        with Peer(**peer) as p, Gateway(relay=p.url()) as g:
            self.check(g.post(message, headers), expect)
            self.assertEqual([c for c in p.commands() if c.split(" ")[0] in ("MAIL", "RCPT", "RSET", "QUIT")], [])
            before = len(p.commands())
            self.assertIs(self.sent(g.post(mail()))["reused_session"], True)
            self.assertEqual((len(p.sessions), len(p.mails)), (1, 1))
            self.assertTrue(p.commands()[before].startswith("MAIL"), "nothing had to be taken back")

    def invalid(self, changes, *problems):
        """The request has exactly these problems: "pointer code"."""
        answer = self.gateway.post(mail(**changes))
        self.check(answer, "422 validation_failed request not_sent no")
        got = sorted("%s %s" % (e["pointer"], e["code"]) for e in answer.json["errors"])
        self.assertEqual(got, sorted(problems), repr(answer))


class Sandboxed(Extension):
    @classmethod
    def setUpClass(cls):
        cls.gateway = Gateway(args=["--sandbox"])

    @classmethod
    def tearDownClass(cls):
        cls.gateway.stop()

    def kept(self, answer):
        """The mail as the sandbox keeps it (the newest one)."""
        self.sent(answer)
        newest = self.gateway.get("/sandbox/messages").json["data"][0]["id"]
        return self.gateway.get("/sandbox/messages/" + newest).json


class TestDsn(Extension):
    def test_everything(self):
        dsn = {"ret": "hdrs", "envid": "order 7+1=8", "notify": ["success", "failure", "delay"]}
        for caps in WITH_DSN:
            with self.subTest(caps):
                params, rcpts = self.params_of(caps, mail(dsn=dsn, to=["bob+tag@example.net", "carol@example.net"]))
                self.assertEqual(params, ["RET=HDRS", "ENVID=order+207+2B1+3D8"])
                self.assertEqual(
                    rcpts,
                    [
                        ["NOTIFY=SUCCESS,FAILURE,DELAY", "ORCPT=rfc822;bob+2Btag@example.net"],
                        ["NOTIFY=SUCCESS,FAILURE,DELAY", "ORCPT=rfc822;carol@example.net"],
                    ],
                )

    def test_never(self):
        params, rcpts = self.params_of(ALL, mail(dsn={"notify": ["never"]}))
        self.assertRegex(" ".join(params), "^ENVID=%s$" % ID)
        self.assertEqual(rcpts, [["NOTIFY=NEVER", "ORCPT=rfc822;bob@example.net"]])

    def test_ret_alone(self):
        params, rcpts = self.params_of(ALL, mail(dsn={"ret": "full"}))
        self.assertRegex(" ".join(params), "^RET=FULL ENVID=%s$" % ID)
        self.assertEqual(rcpts, [[]])

    def test_envid_alone(self):
        self.assertEqual(self.params_of(ALL, mail(dsn={"envid": "x" * 100})), (["ENVID=" + "x" * 100], [[]]))

    def test_nothing_asked(self):
        params, rcpts = self.params_of(ALL, mail())
        self.assertRegex(" ".join(params), "^ENVID=%s$" % ID)
        self.assertEqual(rcpts, [[]])

    def test_no_orcpt_for_what_is_not_ascii(self):
        params, rcpts = self.params_of(ALL, mail(to="j\u00f6rg@example.net", dsn={"notify": ["failure"]}))
        self.assertEqual(params[:2], ["BODY=8BITMIME", "SMTPUTF8"])
        self.assertEqual(rcpts, [["NOTIFY=FAILURE"]])

    def test_not_offered(self):
        for caps in (BASIC, PIPELINED, tuple(c for c in ALL if c != "DSN")):
            for dsn in ({"ret": "full"}, {"notify": ["never"]}, {"envid": "x"}):
                with self.subTest(caps=caps, dsn=dsn):
                    self.refused("422 dsn_unsupported ehlo not_sent no", {"caps": caps}, mail(dsn=dsn))

    def test_null_asks_for_nothing(self):
        for dsn in (None, {"ret": None, "envid": None, "notify": None}):
            with self.subTest(dsn):
                self.assertEqual(self.params_of(BASIC, mail(dsn=dsn)), ([], [[]]))


class TestRequireTls(Extension):
    def test_offered(self):
        for tls_mode in ("starttls", "implicit"):
            with Peer(caps=TLS_ONLY, tls_mode=tls_mode) as p, Gateway(relay=p.url()) as g:
                self.sent(g.post(mail(require_tls=True)))
                self.assertIn("REQUIRETLS", p.mails[0].params)
                self.sent(g.post(mail(require_tls=False)))
                self.sent(g.post(mail()))
                self.assertNotIn("REQUIRETLS", p.mails[1].params + p.mails[2].params)

    def test_with_dsn(self):
        params, _ = self.params_of(TLS_ONLY, mail(require_tls=True, dsn={"ret": "full", "envid": "x"}))
        self.assertEqual(params, ["REQUIRETLS", "RET=FULL", "ENVID=x"])

    def test_not_offered(self):
        for caps in (BASIC, PIPELINED, ALL):
            with self.subTest(caps):
                self.refused("422 requiretls_unsupported ehlo not_sent no", {"caps": caps}, mail(require_tls=True))

    def test_not_believed_without_tls(self):
        """On loopback a relay may be spoken to without TLS; then nothing is promised to anybody."""
        peer = {"tls_mode": "none", "auth": "", "on": {"ehlo": "250-peer.test\r\n250 REQUIRETLS"}}
        self.refused("422 requiretls_unsupported ehlo not_sent no", peer, mail(require_tls=True))

    def test_offered_before_tls_only(self):
        def before(s):
            s.send("250-peer.test\r\n250-REQUIRETLS\r\n250 STARTTLS\r\n")

        def behind(s):
            s.send("250-peer.test\r\n250 AUTH PLAIN\r\n")

        peer = {"on": {"ehlo": before, "ehlo_tls": behind}}
        self.refused("422 requiretls_unsupported ehlo not_sent no", peer, mail(require_tls=True))


class TestEightBit(Extension):
    """A finished message is never re-encoded."""

    TYPE = {"Content-Type": "message/rfc822"}

    def test_offered(self):
        for caps in (BASIC, PIPELINED, ALL):
            with Peer(caps=caps) as p, Gateway(relay=p.url()) as g:
                self.sent(g.post(EIGHT_BIT, self.TYPE))
                self.assertIn("BODY=8BITMIME", p.mails[0].params)
                self.assertIn("d\u00e9j\u00e0 vu\r\n".encode(), p.mails[0].data)

    def test_not_offered(self):
        for caps in ((), ("PIPELINING",), ("PIPELINING", "CHUNKING", "DSN")):
            with self.subTest(caps):
                self.refused("422 8bitmime_unsupported ehlo not_sent no", {"caps": caps}, EIGHT_BIT, self.TYPE)

    def test_not_needed(self):
        with Peer(caps=()) as p, Gateway(relay=p.url()) as g:
            self.sent(g.post(EIGHT_BIT.decode().encode("ascii", "ignore"), self.TYPE))
            self.sent(g.post(mail(text="d\u00e9j\u00e0 vu")))
            self.assertEqual([m.params for m in p.mails], [[], []])


class TestSize(Extension):
    def test_said_to_the_octet(self):
        for caps in (BASIC + ("SIZE",), ALL):
            with Peer(caps=caps) as p, Gateway(relay=p.url()) as g:
                self.sent(g.post(mail(text="x" * 5000)))
                self.assertIn("SIZE=%d" % len(p.mails[0].data), p.mails[0].params)

    def test_too_large(self):
        self.refused(
            "422 message_too_large mail not_sent no", {"caps": BASIC + ("SIZE 4000",)}, mail(text="line\n" * 1000)
        )


class TestEnvelope(Extension):
    def test_other_than_the_header(self):
        envelope = {"from": "bounce+bob=example.net@example.org", "to": ["dave@example.com", "Erin <erin@example.com>"]}
        for caps in (BASIC, PIPELINED, ALL):
            with self.subTest(caps), Peer(caps=caps) as p, Gateway(relay=p.url()) as g:
                a = self.sent(g.post(mail(envelope=envelope, cc="carol@example.net")))
                m = p.mails[0]
                self.assertEqual(m.sender, "bounce+bob=example.net@example.org")
                self.assertEqual(m.rcpts, ["dave@example.com", "erin@example.com"])
                self.assertEqual([r["email"] for r in a["recipients"]], m.rcpts)
                header = parsed(m.data)
                self.assertEqual(
                    (header["From"], header["To"], header["Cc"]),
                    ("ann@example.org", "bob@example.net", "carol@example.net"),
                )
                self.assertNotIn(b"example.com", m.data)

    def test_null_sender(self):
        for sender in ("", "<>"):
            with self.subTest(sender), Peer() as p, Gateway(relay=p.url()) as g:
                self.sent(g.post(mail(envelope={"from": sender})))
                self.assertIn("MAIL FROM:<>", " ".join(p.commands()))
                self.assertEqual((p.mails[0].sender, p.mails[0].rcpts), ("", ["bob@example.net"]))

    def test_sender_alone_and_recipients_alone(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            self.sent(g.post(mail(envelope={"from": "verp@example.org"})))
            self.sent(g.post(mail(envelope={"to": "dave@example.com"}, bcc="carol@example.net")))
            self.assertEqual(
                [(m.sender, m.rcpts) for m in p.mails],
                [("verp@example.org", ["bob@example.net"]), ("ann@example.org", ["dave@example.com"])],
            )

    def test_twice_is_once(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            self.sent(g.post(mail(envelope={"to": ["d@example.com", "D <d@EXAMPLE.com>", "e@example.com"]})))
            self.assertEqual(p.mails[0].rcpts, ["d@example.com", "e@example.com"])

    def test_not_ascii(self):
        message = mail(envelope={"to": "j\u00f6rg@example.com"})
        with Peer() as p, Gateway(relay=p.url()) as g:
            self.sent(g.post(message))
            self.assertIn("SMTPUTF8", p.mails[0].params)
            self.assertEqual(p.mails[0].rcpts, ["j\u00f6rg@example.com"])
        self.refused("422 smtputf8_unsupported ehlo not_sent no", {"caps": BASIC}, message)

    def test_orcpt_names_the_envelopes_recipient(self):
        message = mail(envelope={"from": "<>", "to": "dave@example.com"}, dsn={"notify": ["never"], "envid": "x"})
        self.assertEqual(
            self.params_of(ALL, message), (["ENVID=x"], [["NOTIFY=NEVER", "ORCPT=rfc822;dave@example.com"]])
        )


class TestSandbox(Sandboxed):
    """The built-in relay offers all of it, and shows what it was told."""

    def test_commands(self):
        message = mail(
            dsn={"ret": "full", "envid": "a b", "notify": ["delay"]},
            require_tls=True,
            envelope={"from": "<>", "to": ["dave@example.com"]},
        )
        kept = self.kept(self.gateway.post(message))
        self.assertEqual(kept["envelope"], {"from": "", "to": ["dave@example.com"]})
        commands = [c for c in kept["commands"] if re.match("MAIL|RCPT", c)]
        self.assertRegex(commands[0], r"^MAIL FROM:<> SIZE=\d+ REQUIRETLS RET=FULL ENVID=a\+20b$")
        self.assertEqual(commands[1:], ["RCPT TO:<dave@example.com> NOTIFY=DELAY ORCPT=rfc822;dave@example.com"])

    def test_nothing_asked(self):
        kept = self.kept(self.gateway.post(mail()))
        self.assertFalse([c for c in kept["commands"] if re.search("RET=|NOTIFY=|ORCPT=|REQUIRETLS", c)])


class TestInvalid(Sandboxed):
    def test_dsn(self):
        for dsn, *problems in (
            ("full", "/dsn wrong_type"),
            ([], "/dsn wrong_type"),
            (True, "/dsn wrong_type"),
            ({"ret": "FULLER"}, "/dsn/ret invalid_value"),
            ({"ret": 1}, "/dsn/ret wrong_type"),
            ({"envid": ""}, "/dsn/envid invalid_value"),
            ({"envid": "\u00e9"}, "/dsn/envid invalid_value"),
            ({"envid": "a\r\nRCPT TO:<x@example.com>"}, "/dsn/envid control_character"),
            ({"envid": "x" * 101}, "/dsn/envid too_long"),
            ({"envid": {}}, "/dsn/envid wrong_type"),
            ({"notify": ["never", "success"]}, "/dsn/notify invalid_value"),
            ({"notify": ["sometimes"]}, "/dsn/notify/0 invalid_value"),
            ({"notify": ["success", 1]}, "/dsn/notify/1 wrong_type"),
            ({"return": "full"}, "/dsn/return unknown_field"),
            (
                {"ret": 1, "envid": 2, "notify": 3},
                "/dsn/ret wrong_type",
                "/dsn/envid wrong_type",
                "/dsn/notify wrong_type",
            ),
        ):
            with self.subTest(dsn):
                self.invalid({"dsn": dsn}, *problems)

    def test_require_tls(self):
        for value in ("true", 1, [], {}):
            with self.subTest(value):
                self.invalid({"require_tls": value}, "/require_tls wrong_type")

    def test_envelope(self):
        for envelope, *problems in (
            ("a@example.org", "/envelope wrong_type"),
            ([], "/envelope wrong_type"),
            ({"from": "nobody"}, "/envelope/from invalid_address"),
            ({"from": "a@example.org>\r\nRCPT TO:<x@example.com"}, "/envelope/from control_character"),
            ({"from": 1}, "/envelope/from wrong_type"),
            ({"to": "<>"}, "/envelope/to invalid_address"),
            ({"to": ["a@example.org", "nobody"]}, "/envelope/to/1 invalid_address"),
            ({"to": [1]}, "/envelope/to/0 wrong_type"),
            ({"sender": "a@example.org"}, "/envelope/sender unknown_field"),
            ({"from": "x", "to": "y"}, "/envelope/from invalid_address", "/envelope/to invalid_address"),
        ):
            with self.subTest(envelope):
                self.invalid({"envelope": envelope}, *problems)


if __name__ == "__main__":
    unittest.main()
