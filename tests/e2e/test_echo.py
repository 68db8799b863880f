"""A relay that repeats the password, at whatever stage and in whatever form: none of it in an answer, the log, the
trace, /v1/relays, the metrics or a diagnosis."""
import base64
import concurrent.futures
import os
import subprocess
import unittest
from urllib.parse import quote

import harness
from harness import PASSWORD, Gateway, mail
from peer import ALL, BASIC, Peer, chain, close, default, reply, send_bytes

PLAIN = base64.b64encode(b"\0ann\0" + PASSWORD.encode()).decode()
FORMS = (
    PASSWORD,
    PASSWORD.upper(),
    base64.b64encode(PASSWORD.encode()).decode(),
    PLAIN,
    PLAIN[:20],
    base64.b64encode(b'{"p":"' + PASSWORD.encode() + b'"}').decode(),
    base64.b64encode(b'{"pa":"' + PASSWORD.encode() + b'"}').decode(),
    base64.b64encode(b'{"pas":"' + PASSWORD.encode() + b'"}').decode(),
    PASSWORD.encode().hex(),
    "".join("%%%02X" % c for c in PASSWORD.encode()),
    "".join("=%02X" % c for c in PASSWORD.encode()),
    quote(PASSWORD[:12]),
)
HALVES = (PASSWORD[:7], PASSWORD[7:13], PASSWORD[13:])


def echo(code, *forms):
    """A reply of several lines, each with one form; then the password in three pieces, a line each."""
    texts = ["5.7.1 you said %s" % form for form in forms or FORMS] + list(HALVES) + ["that was it"]
    return reply(*("%d%s%s" % (code, " " if i == len(texts) - 1 else "-", text) for i, text in enumerate(texts)))


def offers(*more):
    """An EHLO reply with forms in it, also as AUTH's mechanisms."""
    return lambda s: reply(
        "250-" + PASSWORD,
        *("250-" + cap for cap in s.peer.caps),
        *("250-" + form for form in FORMS),
        *([] if s.tls else ["250-STARTTLS"]),
        *more,
        "250 AUTH PLAIN " + PASSWORD,
    )(s)


# name: (what the peer does, its capabilities)
STAGES = {
    "banner": ({"banner": echo(554)}, ALL),
    "greeting": ({"banner": echo(220), "mail": echo(550)}, ALL),
    "ehlo": ({"ehlo": echo(550)}, ALL),
    "offers": ({"ehlo": offers(), "rcpt": echo(550)}, ALL),
    "mechanisms": ({"ehlo_tls": reply("250-x", "250 AUTH " + " ".join((PASSWORD, PLAIN)))}, ALL),
    "starttls": ({"starttls": echo(454)}, ALL),
    "auth": ({"auth": echo(535)}, ALL),
    "welcome": ({"auth": chain(default, close), "mail": close}, ALL),
    "mail": ({"mail": echo(550)}, ALL),
    "rcpt": ({"rcpt": echo(450), "rset": echo(250), "quit": echo(221)}, ALL),
    "accepted": ({"rcpt": echo(250), "body": echo(250), "quit": echo(221)}, ALL),
    "data": ({"data": echo(554)}, BASIC),
    "body": ({"body": echo(554), "rset": echo(550)}, ALL),
    "closing": ({"mail": echo(421)}, ALL),
    "unsolicited": ({"body": chain(default, send_bytes("421 4.3.2 %s\r\n250 %s\r\n" % (PASSWORD, PLAIN)))}, ALL),
    "cut": ({"body": chain(send_bytes("554-%s\r\n554-%s\r\n" % HALVES[:2]), close)}, ALL),
    "no SMTP": ({"mail": send_bytes("%s\r\n" % PASSWORD)}, ALL),
}


def diagnose(p):
    env = {k: v for k, v in os.environ.items() if k == "PATH" or k.endswith("SAN_OPTIONS")}
    env.update(MAILHATCH_RELAY_URL=p.url(), MAILHATCH_RELAY_CA_FILE=harness.cert_path("ca.pem"))
    env.update(MAILHATCH_RELAY_PASSWORD=PASSWORD)
    args = [harness.binary(), "diagnose", "--to", "bob@example.net", "--send"]
    done = subprocess.run([*args, "--trace"], env=env, capture_output=True, text=True, timeout=100)
    return done.stdout + done.stderr


class Echo(unittest.TestCase):
    def check(self, text, where):
        text = text.lower()
        for form in FORMS:
            form = form.lower()
            for i in range(len(form) - 8):
                self.assertNotIn(form[i : i + 9], text, where)
        for piece in HALVES:
            self.assertNotIn(piece.lower(), text, where)

    def through_the_gateway(self, p):
        settings = {"MAILHATCH_RELAY_TRACE": "true", "MAILHATCH_LOG_LEVEL": "debug"}
        with Gateway(settings, relay=p.url()) as g:
            said = [str(g.post(mail(to=["bob@example.net", "eve@example.net"]))) for _ in range(2)]
            said += [str(g.get("/v1/relays")), str(g.admin("/metrics")), str(g.admin("/readyz"))]
            said.append(str(g.request("POST", "/v1/relays/default/diagnose", {"to": "bob@example.net"})))
            said.append(str(g.get("/v1/relays/default")))
            g.stop()
            self.assertTrue(g.events("trace"), g.log())
            return "\n".join(said) + g.log()

    def one(self, name):
        on, caps = STAGES[name]
        with Peer(on=on, caps=caps) as p:
            self.check(self.through_the_gateway(p), name)
        with Peer(on=on, caps=caps) as p:
            self.check(diagnose(p), name + ", diagnosed")

    def test_at_every_stage(self):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for name, done in [(name, pool.submit(self.one, name)) for name in STAGES]:
                with self.subTest(name):
                    done.result()

    def test_plain_text_where_tls_is_awaited(self):
        with Peer(tls_mode="implicit", on={"tls": send_bytes("220 %s\r\n" % PASSWORD, close)}) as p:
            with Gateway(relay=p.url()) as g:
                answer = g.post(mail())
                self.assertEqual(answer.code, "tls_on_plaintext_port")
                g.stop()
                self.check(str(answer) + g.log(), "log and answer")
            text = diagnose(p)
            self.assertIn("220", text)
            self.check(text, "diagnosed")

    def test_a_short_password_hides_no_other_words(self):
        on = {"mail": reply("550 5.7.1 mail for mail.example.org is refused, your password mail is known")}
        with Peer(on={**on, "auth": reply("235 2.7.0 welcome")}) as p:
            with Gateway({"MAILHATCH_RELAY_PASSWORD": "mail"}, relay=p.url()) as g:
                answer = g.post(mail())
        self.assertEqual(answer.json["smtp"]["text"], "*** for mail.example.org is refused, your password *** is known")

    def test_what_a_reply_means_is_not_hidden(self):
        """The words around an echo still decide."""
        with Peer(on={"rcpt": reply("450 4.7.1 %s: too many messages" % PASSWORD)}) as p, Gateway(relay=p.url()) as g:
            answer = g.post(mail())
        self.assertEqual(answer.code, "relay_rate_limited")
        self.assertEqual(answer.json["smtp"]["text"], "*** too many messages")


class Keys(unittest.TestCase):
    """What a caller shows as its key is in no log line and no answer."""

    def test_wrong_keys(self):
        key = "key-0f-the-caller-Zz9"
        basic = base64.b64encode(("ann:" + key).encode()).decode()
        settings = {"MAILHATCH_API_KEYS": "web:" + key, "MAILHATCH_LOG_LEVEL": "debug"}
        with Peer() as p, Gateway(settings, relay=p.url()) as g:
            said = []
            for value in ("Bearer " + key + "x", key, "Basic " + basic, "Bearer " + key + " " + key, "Bearer\t" + key):
                said.append(str(g.post(mail(), {"Authorization": value})))
            head = "POST /v1/emails HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
            for more in (
                "Authorization: Bearer %s\r\nAuthorization: Bearer %s\r\n" % (key, key),
                "Authorization : Bearer %s\r\n" % key,
                "Authorization: Bearer\r\n %s\r\n" % key,
                "Authorization: Bearer %s\x01\r\n" % key,
                "X-Request-Id: a b\r\nAuthorization: Bearer %s\r\n" % key,
            ):
                said.append(harness.raw_exchange(g.api, (head + more + "\r\n{}").encode(), shut=True).decode())
            g.stop()
            text = "\n".join(said) + g.log()
        self.assertNotIn(key, text)
        self.assertNotIn(basic, text)


if __name__ == "__main__":
    unittest.main()
