"""API keys: their secrets and digests, rotation, what each may do, and how often."""
import hashlib
import json
import pathlib
import shutil
import tempfile
import unittest

from harness import Gateway, mail, run_program
from judge import Fault
from peer import Peer

SECRET = "0123456789abcdef-web"


def digest(secret):
    return "sha256:" + hashlib.sha256(secret.encode()).hexdigest()


def text(output):
    return output.decode() if isinstance(output, bytes) else output


def bearer(secret=SECRET, **more):
    return {"Authorization": "Bearer " + secret, **more}


class Keys(Fault):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-keys-"))
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.peer = Peer()
        self.peer.__enter__()
        self.addCleanup(self.peer.__exit__, None, None, None)

    def file(self, text, name="keys"):
        path = self.dir / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def gateway(self, *lines, **env):
        env = {"MAILHATCH_API_KEYS_FILE": self.file("\n".join(lines) + "\n"), **env}
        g = Gateway(relay=self.peer.url(), env=env)
        self.addCleanup(g.stop)
        return g

    def refused(self, answer, status, code, pointer=None):
        self.assertEqual((answer.status, answer.code), (status, code), repr(answer))
        if pointer is not None:
            self.assertIn(pointer, [e["pointer"] for e in answer.json["errors"]], repr(answer))
            self.assertIn(pointer, answer.json["detail"])


class TestSecrets(Keys):
    def test_new_key_opens(self):
        """What `key new` prints works: the secret for the caller, the line for the file; neither tells the other."""
        status, out, told = run_program("key", "new", "web")
        self.assertEqual(status, 0)
        secret, line = text(out).strip(), text(told).strip().splitlines()[-1]
        self.assertEqual(line, "web:" + digest(secret))
        self.assertNotIn(secret, text(told))
        self.assertNotEqual(run_program("key", "new", "web")[1], out)
        g = self.gateway(line)
        self.assertEqual(g.post(mail(), headers=bearer(secret)).status, 200)
        self.refused(g.post(mail(), headers=bearer(digest(secret))), 401, "invalid_api_key")
        self.refused(g.post(mail(), headers=bearer(line)), 401, "invalid_api_key")
        self.refused(g.post(mail()), 401, "missing_api_key")
        g.stop()
        self.assertNotIn(secret, g.log())
        self.assertEqual([e["key"] for e in g.events("send")], ["web"])

    def test_key_usage(self):
        for args in ((), ("old", "web"), ("new",), ("new", "a b"), ("new", "")):
            self.assertEqual(run_program("key", *args)[0], 2, args)

    def test_rotation(self):
        """Two keys of one name open, and share the name's rate."""
        old, new = SECRET, "fedcba9876543210-web"
        g = self.gateway("web:%s rate=3/h" % digest(old), "web:%s rate=3/h" % digest(new))
        self.assertEqual([g.post(mail(), headers=bearer(s)).status for s in (old, new, new, old)], [200, 200, 200, 429])

    def test_in_yaml(self):
        config = self.file(
            json.dumps(
                {
                    "keys": [
                        {"name": "web", "hash": digest(SECRET), "senders": ["@example.com"], "rate": "100/min"},
                        {"name": "job", "secret_file": self.file("0123456789abcdef-job\n", "job"), "scopes": ["read"]},
                    ]
                }
            ),
            "mailhatch.yaml",
        )
        g = Gateway(relay=self.peer.url(), env={"MAILHATCH_CONFIG": config})
        self.addCleanup(g.stop)
        self.assertEqual(g.post(mail(**{"from": "ann@example.com"}), headers=bearer()).status, 200)
        self.refused(g.post(mail(**{"from": "ann@example.org"}), headers=bearer()), 403, "sender_not_allowed", "/from")
        self.refused(g.post(mail(), headers=bearer("0123456789abcdef-job")), 403, "forbidden")
        shown = text(run_program("check-config", env={**g.env})[1])
        self.assertIn("{name: web, scopes: [send, read, diagnose], senders: [@example.com]", shown)
        self.assertNotIn(digest(SECRET)[7:], shown)


class TestRights(Keys):
    def test_senders(self):
        g = self.gateway("web:%s sender=@example.com sender=shop@example.org" % SECRET)
        for sender in ("ann@example.com", "Ann <ANN@EXAMPLE.COM>", "shop@example.org"):
            self.assertEqual(g.post(mail(**{"from": sender}), headers=bearer()).status, 200, sender)
        for sender in ("ann@example.org", "ann@sub.example.com", "ann@notexample.com", '"x@example.com"@evil.example'):
            answer = g.post(mail(**{"from": sender}), headers=bearer())
            self.refused(answer, 403, "sender_not_allowed", "/from")
        answer = g.post(mail(**{"from": "a@example.com", "envelope": {"from": "b@evil.example"}}), headers=bearer())
        self.refused(answer, 403, "sender_not_allowed", "/envelope/from")
        answer = g.post(mail(**{"from": "a@evil.example", "envelope": {"from": ""}}), headers=bearer())
        self.refused(answer, 403, "sender_not_allowed", "/from")
        answer = g.post(mail(**{"from": "a@example.com", "headers": {"Sender": "b@evil.example"}}), headers=bearer())
        self.refused(answer, 403, "sender_not_allowed", "/headers")
        answer = g.request("POST", "/v1/emails/validate", mail(**{"from": "ann@example.org"}), headers=bearer())
        self.refused(answer, 403, "sender_not_allowed", "/from")

    def test_senders_of_finished_messages(self):
        """An envelope that is allowed does not cover a From that is not."""
        g = self.gateway("web:%s sender=@example.com" % SECRET)
        target = "/v1/emails?from=ann@example.com&to=bob@example.net"
        kind = bearer(**{"Content-Type": "message/rfc822"})
        for head, status in (
            ("From: Ann <ann@example.com>", 200),
            ("From:\r\n ann@example.com", 200),
            ("from: ann@example.com", 200),
            ("From: ceo@evil.example", 403),
            ("fROM:\r\n ceo@evil.example", 403),
            ("From: ann@example.com, ceo@evil.example\r\nSender: ann@example.com", 403),
            ("From: ann@example.com\r\nSender: ceo@evil.example", 403),
            ("From: ann@example.com\r\nResent-From: ceo@evil.example", 403),
            ("From: ann@example.com (ceo@evil.example)", 403),
            ("Subject: x\r\n From: ceo@evil.example\r\nFrom: ann@example.com", 200),
        ):
            body = (head + "\r\nDate: Wed, 25 Nov 2026 05:00:00 +0000\r\n\r\nFrom: ceo@evil.example\r\n").encode()
            answer = g.request("POST", target, body, headers=kind)
            self.assertEqual(answer.status, status, head + "\n" + repr(answer))
            if status == 403:
                self.refused(answer, 403, "sender_not_allowed")

    def test_recipients(self):
        g = self.gateway("web:%s recipient=@example.net recipient=ops@example.org" % SECRET)
        self.assertEqual(g.post(mail(to=["a@example.net", "ops@example.org"]), headers=bearer()).status, 200)
        evil = "x@evil.example"
        for changes, pointer in (
            ({"to": ["a@example.net", evil]}, "/to/1"),
            ({"to": "a@example.net", "cc": [evil]}, "/cc"),
            ({"to": "a@example.net", "bcc": [evil]}, "/bcc"),
            ({"to": "a@example.net", "envelope": {"to": [evil]}}, "/envelope/to"),
            ({"to": evil, "envelope": {"to": ["a@example.net"]}}, "/to"),
        ):
            self.refused(g.post(mail(**changes), headers=bearer()), 403, "recipient_not_allowed", pointer)

    def test_batch(self):
        g = self.gateway("web:%s sender=@example.com" % SECRET)
        items = [mail(**{"from": "a@example.com"}), mail(**{"from": "b@evil.example"})]
        answer = g.request("POST", "/v1/emails/batch", items, headers=bearer())
        self.assertEqual((answer.status, answer.code), (403, "sender_not_allowed"), repr(answer))
        self.assertEqual([e["pointer"] for e in answer.json["errors"]], ["/1/from"])
        answer = g.request(
            "POST", "/v1/emails/batch", items, headers=bearer(**{"X-Batch-Validation": "permissive"})
        )
        self.assertEqual(answer.status, 207, repr(answer))
        self.assertEqual(answer.json["data"][0]["status"], "sent")
        self.assertEqual(answer.json["data"][1]["code"], "sender_not_allowed")

    def test_relays(self):
        config = self.file(
            json.dumps({"relays": {"a": {"url": self.peer.url(), "password": "x"}, "b": {"url": self.peer.url(),
                        "password": "x"}}, "default_relay": "b"}), "mailhatch.yaml")
        g = self.gateway("web:%s relay=a" % SECRET, MAILHATCH_CONFIG=config, MAILHATCH_RELAY_URL=None,
                         MAILHATCH_RELAY_CA_FILE=None, MAILHATCH_RELAY_PASSWORD=None)
        validate = "/v1/emails/validate"
        self.assertEqual(g.request("POST", validate, mail(relay="a"), headers=bearer()).status, 200)
        for changes in ({}, {"relay": "b"}):
            self.refused(g.request("POST", validate, mail(**changes), headers=bearer()), 403, "forbidden", "/relay")
        items = [mail(relay="a"), mail()]
        answer = g.request("POST", "/v1/emails/batch", items, headers=bearer())
        self.assertEqual((answer.status, answer.code), (403, "forbidden"), repr(answer))

    def test_scopes(self):
        g = self.gateway("r:%s scope=read" % SECRET, "s:%s-2 scope=send" % SECRET)
        self.refused(g.post(mail(), headers=bearer()), 403, "forbidden")
        self.assertEqual(g.get("/v1/errors", headers=bearer()).status, 200)
        self.refused(g.request("POST", "/v1/relays/default/diagnose", "{}", headers=bearer()), 403, "forbidden")
        self.assertEqual(g.post(mail(), headers=bearer(SECRET + "-2")).status, 200)
        self.refused(g.get("/v1/relays", headers=bearer(SECRET + "-2")), 403, "forbidden")


class TestRates(Keys):
    def test_rate(self):
        for loops in ("1", "2"):
            with self.subTest(loops=loops):
                g = self.gateway("web:%s rate=5/h" % SECRET, "job:%s-2" % SECRET, MAILHATCH_HTTP_LOOPS=loops)
                answers = [g.post(mail(), headers=bearer()) for _ in range(6)]
                self.assertEqual([a.status for a in answers], [200] * 5 + [429])
                self.assertEqual(answers[0].headers["RateLimit-Policy"], '"mails";q=5;w=3600')
                self.assertEqual(answers[0].headers["RateLimit"], '"mails";r=4;t=720')
                self.refused(answers[5], 429, "rate_limited")
                self.assertIn(int(answers[5].headers["Retry-After"]), range(700, 721))
                self.assertTrue(answers[5].headers["RateLimit"].startswith('"mails";r=0;t='))
                other = g.post(mail(), headers=bearer(SECRET + "-2"))
                self.assertEqual(other.status, 200)
                self.assertIsNone(other.headers["RateLimit"])

    def test_batch_counts_its_mails(self):
        """What is not sent costs nothing; more than the whole is refused with its reason."""
        g = self.gateway("web:%s rate=5/h" % SECRET)
        batch = "/v1/emails/batch"
        answer = g.request("POST", batch, [mail()] * 6, headers=bearer())
        self.refused(answer, 429, "rate_limited")
        self.assertIn("smaller", answer.json["detail"])
        self.assertEqual(g.post({"from": "x"}, headers=bearer()).status, 422)
        answer = g.request("POST", batch, [mail()] * 5, headers=bearer())
        self.assertEqual(answer.status, 200, repr(answer))
        self.assertEqual(g.post(mail(), headers=bearer()).status, 429)


class TestMistakes(Keys):
    def test_told(self):
        for line, words in (
            ("web:%s sender=" % SECRET, "sender= is empty"),
            ("web:%s sender=nobody" % SECRET, "neither an address nor @domain"),
            ("web:%s sender=@a..b" % SECRET, "no domain"),
            ("web:%s scope=all" % SECRET, "none of send, read and diagnose"),
            ("web:%s rate=0/min" % SECRET, "not like 100/min"),
            ("web:%s rate=5/week" % SECRET, "not like 100/min"),
            ("web:%s relay=nowhere" % SECRET, 'no relay "nowhere"'),
            ("web:%s senders=@a.example" % SECRET, "none of sender="),
            ("web:sha256:abc", "64 hexadecimal digits"),
            ("web:sha256:%s0" % ("0" * 64), "64 hexadecimal digits"),
            ("a/b:%s" % SECRET, "a name is"),
        ):
            env = {"MAILHATCH_RELAY_URL": self.peer.url(), "MAILHATCH_API_KEYS_FILE": self.file(line + "\n")}
            done = run_program("check-config", env=env)
            self.assertEqual(done[0], 2, line)
            self.assertIn(words, text(done[1]) + text(done[2]), line)

    def test_told_in_yaml(self):
        whole = {"name": "web", "hash": digest(SECRET)}
        for key, words in (
            ({"name": "web"}, "needs a name, and hash or secret_file"),
            ({**whole, "senders": []}, "at least one"),
            ({**whole, "colour": "red"}, "no such setting of a key"),
            ({**whole, "hash": SECRET}, "write sha256:"),
            ({**whole, "name": "a:b"}, "a key's name"),
            ({**whole, "senders": ["a@b.example scope=send"]}, "a blank has no place"),
            ({**whole, "rate": ["1/s"]}, "takes one value"),
            ("web", "a key must be a map"),
        ):
            config = self.file(json.dumps({"keys": [key]}), "mailhatch.yaml")
            done = run_program("check-config", env={"MAILHATCH_RELAY_URL": self.peer.url(),
                                                     "MAILHATCH_CONFIG": config})
            self.assertEqual(done[0], 2, key)
            self.assertIn(words, text(done[1]) + text(done[2]), key)


if __name__ == "__main__":
    unittest.main()
