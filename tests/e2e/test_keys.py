"""API keys: their secrets and digests, rotation, what each may do, and how often."""
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import tempfile
import threading
import unittest

from harness import Gateway, PASSWORD, cert_path, mail, run_program, wait_for
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

    def test_half_a_secret_is_not_shown(self):
        """A secret with a blank in it, whose second half ends as base64 does, or looks like a right."""
        for half in ("bZ7uQk3vXw=", "bZ7uQk3vXw==", "bZ7uQk3vXw=x"):
            line = "web:aB3dE5fG7hJ9kL2m " + half
            for env in ({"MAILHATCH_API_KEYS": line}, {"MAILHATCH_API_KEYS_FILE": self.file(line + "\n")}):
                done = run_program("check-config", env={"MAILHATCH_RELAY_URL": self.peer.url(), **env})
                self.assertEqual(done[0], 2, half)
                self.assertIn("none of sender=", text(done[1]) + text(done[2]))
                self.assertNotIn("bZ7uQk3vXw", done[1] + done[2])

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


class TestRotation(Keys):
    """Keys that change while the gateway runs."""

    def replace(self, text, name="keys"):
        """As a deployment does: a new file in the place of the old one."""
        self.file(text, "new")
        os.replace(self.dir / "new", self.dir / name)

    def change(self, g, text, name="keys"):
        n = len(g.events("secrets"))
        self.replace(text, name)
        wait_for(lambda: len(g.events("secrets")) > n, what="the change is told")
        return g.events("secrets")[-1]

    def status(self, g, secret, **more):
        return g.post(mail(), headers=bearer(secret), **more).status

    def test_add_move_remove(self):
        old, new = SECRET, SECRET + "-new"
        g = self.gateway("web:" + digest(old))
        with contextlib.closing(g.connection()) as c:
            self.assertEqual(self.status(g, old, connection=c), 200)
            self.assertEqual(self.status(g, new), 401)
            e = self.change(g, "web:%s\nweb:%s\n" % (digest(old), digest(new)))
            self.assertEqual((e["level"], e["keys_added"]), ("info", "web (%s)" % digest(new)[7:15]))
            self.assertEqual([self.status(g, old, connection=c), self.status(g, new)], [200, 200])
            e = self.change(g, "web:%s\n" % digest(new))
            self.assertEqual(e["keys_removed"], "web (%s)" % digest(old)[7:15])
            answer = g.post(mail(), headers=bearer(old), connection=c)
            self.refused(answer, 401, "invalid_api_key")        # on a connection that it opened long ago, too
        self.assertEqual(self.status(g, new), 200)
        g.stop()
        ids = [e["key_id"] for e in g.events("send")]
        self.assertEqual(ids, [digest(s)[7:15] for s in (old, old, new, new)])
        self.assertNotIn(old, g.log())

    def test_rights_change(self):
        g = self.gateway("web:" + SECRET)
        self.assertEqual(self.status(g, SECRET), 200)
        e = self.change(g, "web:%s sender=@example.net\n" % SECRET)
        self.assertEqual(e["keys_changed"], "web (%s)" % digest(SECRET)[7:15])
        self.refused(g.post(mail(), headers=bearer()), 403, "sender_not_allowed", "/from")

    def test_a_bad_file_keeps_the_keys(self):
        g = self.gateway("web:" + SECRET)
        for text, words in (
            ("", "is empty"),
            ("# nothing\n\n", "holds no key"),
            ("web:%s sender=\n" % SECRET, "sender= is empty"),
            ("web:%s relay=elsewhere\n" % SECRET, 'no relay "elsewhere"'),
            ("web:sha256:12\n", "64 hexadecimal digits"),
        ):
            with self.subTest(text):
                e = self.change(g, text)
                self.assertEqual(e["level"], "warn")
                self.assertIn(words, e["why"])
                self.assertEqual(self.status(g, SECRET), 200)
        n = len(g.events("secrets"))
        os.unlink(self.dir / "keys")
        wait_for(lambda: len(g.events("secrets")) > n, what="the absence is told")
        self.assertEqual(self.status(g, SECRET), 200)
        self.change(g, "other:%s-other\n" % SECRET)
        self.assertEqual([self.status(g, SECRET), self.status(g, SECRET + "-other")], [401, 200])
        self.assertEqual(len(g.events("secrets")), n + 2)       # each change is told once

    def test_turned_symlink(self):
        """A Kubernetes secret: keys -> ..data/keys, ..data -> a directory, and only that link is turned."""
        for n, text in enumerate(("web:" + SECRET, "web:" + SECRET + "-2")):
            (self.dir / ("..%d" % n)).mkdir()
            (self.dir / ("..%d" % n) / "keys").write_text(text + "\n")
        (self.dir / "..data").symlink_to("..0")
        (self.dir / "keys").symlink_to("..data/keys")
        g = Gateway(relay=self.peer.url(), env={"MAILHATCH_API_KEYS_FILE": str(self.dir / "keys")})
        self.addCleanup(g.stop)
        self.assertEqual([self.status(g, SECRET), self.status(g, SECRET + "-2")], [200, 401])
        (self.dir / "..new").symlink_to("..1")
        os.replace(self.dir / "..new", self.dir / "..data")
        wait_for(lambda: g.events("secrets"), what="the turn is noticed")
        self.assertEqual([self.status(g, SECRET), self.status(g, SECRET + "-2")], [401, 200])

    def test_rate_outlives_a_change(self):
        g = self.gateway("web:%s rate=3/d" % SECRET)
        self.assertEqual([self.status(g, SECRET) for _ in range(2)], [200, 200])
        self.change(g, "web:%s rate=3/d\nweb:%s-2 rate=3/d\n" % (SECRET, SECRET))
        self.assertEqual(self.status(g, SECRET + "-2"), 200)
        self.refused(g.post(mail(), headers=bearer()), 429, "rate_limited")

    def yaml(self, *keys, listen=None, name="mailhatch.yaml"):
        text = "relays:\n  default:\n    url: %s\n    ca_file: %s\n    password: %s\n" % (
            self.peer.url(), cert_path("ca.pem"), PASSWORD)
        text += "listen: %s\n" % listen if listen else ""
        text += "keys:\n" + "".join("  - {%s}\n" % k for k in keys) if keys else ""
        return self.file(text, name)

    def from_yaml(self, *keys, **env):
        g = Gateway(env={"MAILHATCH_CONFIG": self.yaml(*keys), **env})
        self.addCleanup(g.stop)
        return g

    def hup(self, g):
        n = len(g.events("reload"))
        g.signal(signal.SIGHUP)
        wait_for(lambda: len(g.events("reload")) > n, what="reloaded")
        return g.events("reload")[n]

    def test_keys_of_the_yaml_file_by_sighup(self):
        one, two = ('name: %s, hash: "%s"' % (n, digest(SECRET + n)) for n in ("one", "two"))
        g = self.from_yaml(one)
        self.assertEqual([self.status(g, SECRET + "one"), self.status(g, SECRET + "two")], [200, 401])
        self.yaml(two)
        e = self.hup(g)
        self.assertEqual(e["keys_added"], "two (%s)" % digest(SECRET + "two")[7:15])
        self.assertEqual(e["keys_removed"], "one (%s)" % digest(SECRET + "one")[7:15])
        self.assertEqual([self.status(g, SECRET + "one"), self.status(g, SECRET + "two")], [401, 200])
        self.yaml(two + ", scopes: [read]")
        self.assertIn("two", self.hup(g)["keys_changed"])
        self.assertEqual(self.status(g, SECRET + "two"), 403)

    def test_secret_file_of_the_yaml_file(self):
        path = self.file(SECRET + "\n", "secret")
        other = 'name: job, hash: "%s"' % digest(SECRET + "job")
        g = self.from_yaml("name: web, secret_file: %s, rate: 100/d" % path, other)
        self.assertEqual(self.status(g, SECRET), 200)
        self.change(g, SECRET + "-2\n", "secret")
        self.assertEqual([self.status(g, SECRET), self.status(g, SECRET + "-2")], [401, 200])
        self.assertEqual(self.status(g, SECRET + "job"), 200)
        answer = g.post(mail(), headers=bearer(SECRET + "-2"))
        self.assertEqual(answer.headers["ratelimit-policy"], '"mails";q=100;w=86400')

    def test_a_reload_never_opens_the_door(self):
        """Without keys the API would be open to whoever reaches it: even where the new file says loopback, the socket
        is the old one."""
        one = 'name: one, hash: "%s"' % digest(SECRET)
        g = self.from_yaml(one, MAILHATCH_LISTEN="0.0.0.0:0")
        self.assertEqual(self.status(g, SECRET), 200)
        self.yaml()
        e = self.hup(g)
        self.assertEqual(e["level"], "error", e)
        g.stop()
        self.yaml(one, listen="0.0.0.0:0")
        g = Gateway(env={"MAILHATCH_CONFIG": str(self.dir / "mailhatch.yaml"), "MAILHATCH_LISTEN": None})
        self.addCleanup(g.stop)
        self.yaml(listen="127.0.0.1:0")
        e = self.hup(g)
        self.assertEqual(e["level"], "error", e)
        self.assertIn("no API keys", e["why"])
        self.assertEqual(g.post(mail()).status, 401)
        self.assertEqual(self.status(g, SECRET), 200)

    def test_the_first_key_and_the_last(self):
        """On loopback keys may come and go."""
        g = self.from_yaml()
        self.assertEqual(g.post(mail()).status, 200)
        self.yaml('name: one, hash: "%s"' % digest(SECRET))
        self.hup(g)
        self.assertEqual([g.post(mail()).status, self.status(g, SECRET)], [401, 200])
        self.yaml()
        self.hup(g)
        self.assertEqual(g.post(mail()).status, 200)

    def test_under_load(self):
        """The file flips while three threads send on three loops: whose key is always there never fails."""
        always, at_times = "always:" + SECRET, "at-times:" + SECRET + "-2"
        g = self.gateway(always, MAILHATCH_HTTP_LOOPS=3)
        stop, statuses, other = threading.Event(), [], set()

        def client():
            with contextlib.closing(g.connection()) as c:
                while not stop.is_set():
                    statuses.append(self.status(g, SECRET, connection=c))
                    other.add(self.status(g, SECRET + "-2"))

        threads = [threading.Thread(target=client) for _ in range(3)]
        for t in threads:
            t.start()
        try:
            for n in range(12):
                self.replace(always + "\n" + (at_times + "\n" if n % 2 == 0 else ""))
                before = len(g.events("reload"))
                g.signal(signal.SIGHUP)
                wait_for(lambda: len(g.events("reload")) > before, what="reloaded")
        finally:
            stop.set()
            for t in threads:
                t.join()
        self.assertEqual(set(statuses), {200})
        self.assertEqual(other, {200, 401})


if __name__ == "__main__":
    unittest.main()
