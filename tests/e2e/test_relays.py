"""GET /v1/relays, POST /v1/relays/{name}/diagnose, "diagnose": true in a mail and /readyz?relay=deep: how a relay is,
asked over HTTP."""
import hashlib
import json
import signal
import threading
import unittest

import harness
import peer
from harness import Gateway, mail, wait_for
from peer import Peer, hang

DIAGNOSE = "/v1/relays/default/diagnose"


class Relays(unittest.TestCase):
    def relay(self, g, name="default"):
        answer = g.get("/v1/relays/" + name)
        self.assertEqual(answer.status, 200, answer)
        self.no_secret(answer)
        return answer.json

    def no_secret(self, answer):
        for secret in harness.secret_forms():
            self.assertNotIn(secret, answer.body.decode())

    def report(self, g, body=None, status=200):
        answer = g.request("POST", DIAGNOSE, body)
        self.assertEqual(answer.status, status, answer)
        self.no_secret(answer)
        return answer.json

    def deep(self, g, status=None):
        answer = g.admin("/readyz?relay=deep")
        if status:
            self.assertEqual((answer.status, answer.json["status"]), status, answer)
        return answer


class TestRelays(Relays):
    def test_list(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            (one,) = g.get("/v1/relays").json["data"]
            self.assertEqual(one, self.relay(g))
        self.assertEqual((one["name"], one["default"], one["port"], one["tls"]), ("default", True, p.port, "starttls"))
        self.assertEqual((one["user"], one["ca_file"]), ("ann", harness.cert_path("ca.pem")))
        self.assertEqual((one["last_error"], one["last_sent_at"], one["circuit_open"]), (None, None, False))
        self.assertEqual((one["limits"]["max_sessions"], one["timeouts_ms"]["connect"]), (8, 5000))

    def test_after_a_mail(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            self.assertEqual(g.post(mail()).status, 200)
            r = self.relay(g)
        self.assertTrue(r["last_sent_at"].endswith("Z"))
        self.assertEqual((r["pool"]["idle"], r["totals"]["mails"], r["totals"]["sessions"]), (1, 1, 1))

    def test_last_error(self):
        with Peer(on={"auth": "535 5.7.8 no"}) as p, Gateway(relay=p.url()) as g:
            problem = g.post(mail()).json
            r = self.relay(g)
        e = r["last_error"]
        self.assertEqual((e["code"], e["stage"]), ("auth_failed", "auth"))
        self.assertEqual(e["hint"], problem["hint"])
        self.assertIn("localhost:%d" % p.port, e["detail"])
        self.assertEqual(e["smtp"]["code"], 535)
        self.assertTrue(r["circuit_open"])

    def test_what_is_said_of_a_recipient_is_not_kept(self):
        with Peer(on={"rcpt": "550 5.1.1 <bob@example.net> unknown"}) as p, Gateway(relay=p.url()) as g:
            self.assertEqual(g.post(mail()).status, 422)
            self.assertIsNone(self.relay(g)["last_error"])

    def test_unknown(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            for path in ("/v1/relays/nowhere", "/v1/relays/" + "x" * 500, "/v1/relays/%64efault"):
                answer = g.get(path)
                self.assertEqual((answer.status, answer.code), (404, "not_found"))
                self.assertIn("configured: default.", answer.json["detail"])
            self.assertEqual(g.request("POST", "/v1/relays/nowhere/diagnose").status, 404)
            self.assertEqual(g.get(DIAGNOSE).status, 405)


class TestDiagnose(Relays):
    def test_it_works(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            r = self.report(g)
            self.assertEqual((r["ok"], r["relay"], r["host"], r["port"]), (True, "default", "localhost", p.port))
            self.assertEqual({s["status"] for s in r["steps"]}, {"ok"})
            self.assertEqual(len(p.mails), 0)
            last = self.relay(g)["last_diagnosis"]
        self.assertEqual((last["ok"], last["conclusion"]), (True, r["conclusion"]))

    def test_it_does_not(self):
        with Peer(tls_mode="implicit") as p, Gateway(relay=p.url("smtp")) as g:
            r = self.report(g)
            self.assertEqual((r["ok"], r["code"]), (False, "plaintext_on_tls_port"))
            self.assertIn("smtps://localhost:%d" % p.port, r["suggested_config"]["yaml"])
            self.assertEqual(self.relay(g)["last_diagnosis"]["code"], "plaintext_on_tls_port")

    def test_with_a_mail(self):
        wish = {"to": "bob@example.net", "from": "ann@example.org", "send": True}
        with Peer() as p, Gateway(relay=p.url()) as g:
            self.assertTrue(self.report(g, wish)["ok"])
            self.assertEqual([(m.sender, m.rcpts) for m in p.mails], [("ann@example.org", ["bob@example.net"])])

    def test_it_is_logged(self):
        with Peer(on={"rcpt": "550 5.1.1 <bob@example.net> unknown"}) as p, Gateway(relay=p.url()) as g:
            answer = g.request("POST", DIAGNOSE, {"to": "bob@example.net"}, {"X-Request-Id": "look-1"})
            self.assertEqual(answer.status, 200)
            (line,) = wait_for(lambda: g.events("diagnosis"))
        self.assertEqual((line["request_id"], line["relay"], line["step"], line["code"]),
                         ("look-1", "default", "rcpt", "recipients_rejected"))
        self.assertNotIn("bob@", line["text"])

    def test_what_one_recipient_met_is_not_the_relays_state(self):
        with Peer(on={"rcpt": "550 5.1.1 unknown"}) as p, Gateway(relay=p.url()) as g:
            self.assertEqual(self.report(g, {"to": "bob@example.net"})["failed_at"], "rcpt")
            self.assertIsNone(self.relay(g)["last_diagnosis"])

    def test_wishes(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            for body, code, status in (
                ({"host": "evil.example"}, "validation_failed", 422),
                ({"to": "bob"}, "validation_failed", 422),
                ({"to": "bob@example.net\r\nRCPT TO:<eve@example.net>"}, "validation_failed", 422),
                ({"send": True}, "validation_failed", 422),
                ([], "validation_failed", 422),
                (b"{", "invalid_json", 400),
                (b'{"to":"a@b.c","to":"d@e.f"}', "validation_failed", 422),
                (b'{"to":null}' + b" " * 20000, "payload_too_large", 413),
            ):
                with self.subTest(body=body):
                    self.assertEqual(self.report(g, body, status)["code"], code)
            answer = g.request("POST", DIAGNOSE, b"to=x", {"Content-Type": "text/plain"})
            self.assertEqual((answer.status, answer.code), (415, "unsupported_media_type"))
            self.assertEqual(self.report(g, {})["ok"], True)
            self.assertEqual(len(p.mails), 0)

    def test_two_at_once_and_mails_go_on(self):
        go = threading.Event()
        on = {"banner": [peer.after(go, peer.default), peer.after(go, peer.default), peer.default]}
        with Peer(on=on) as p, Gateway({"MAILHATCH_RELAY_BANNER_TIMEOUT": "60s"}, relay=p.url()) as g:
            reports = []
            runs = [threading.Thread(target=lambda: reports.append(self.report(g)["ok"])) for _ in range(2)]
            for t in runs:
                t.start()
            wait_for(lambda: len(p.sessions) == 2, what="both have connected")
            answer = g.request("POST", DIAGNOSE)
            self.assertEqual((answer.status, answer.code, answer.headers["Retry-After"]), (503, "overloaded", "1"))
            self.assertEqual(g.post(mail()).status, 200)
            go.set()
            for t in runs:
                t.join()
            self.assertEqual(reports, [True, True])
            self.assertTrue(self.report(g)["ok"])

    def test_a_drain_ends_it(self):
        with Peer(on={"banner": hang}) as p, Gateway({"MAILHATCH_RELAY_BANNER_TIMEOUT": "60s"}, relay=p.url()) as g:
            answers = []
            t = threading.Thread(target=lambda: answers.append(g.request("POST", DIAGNOSE)))
            t.start()
            wait_for(lambda: p.sessions, what="it has connected")
            g.signal(signal.SIGTERM)
            t.join()
            self.assertEqual((answers[0].status, answers[0].code), (503, "shutting_down"))
            self.assertEqual(g.wait(), 0)

    def test_more_time_than_request_timeout(self):
        def slow(s):
            s.peer.stopped.wait(1.5)
            s.act(peer.default)

        with Peer(on={"banner": slow}) as p, Gateway({"MAILHATCH_REQUEST_TIMEOUT": "1s"}, relay=p.url()) as g:
            self.assertTrue(self.report(g)["ok"])

    def test_several_loops(self):
        with Peer() as p, Gateway({"MAILHATCH_HTTP_LOOPS": "3"}, relay=p.url()) as g:
            for _ in range(6):
                self.assertTrue(self.report(g)["ok"])


class TestSecrets(Relays):
    def test_a_relay_that_repeats_the_password(self):
        def echo(s):
            s.send("535 5.7.8 bad: %s %s\r\n" % (s.line, harness.PASSWORD))

        with Peer(on={"auth": echo}) as p:
            for diagnosis_first in (True, False):
                with Gateway(relay=p.url()) as g:
                    if diagnosis_first:
                        self.assertEqual(self.report(g)["code"], "auth_failed")
                    answer = g.post(mail(diagnose=True))
                    self.assertEqual(answer.code, "relay_unavailable" if diagnosis_first else "auth_failed")
                    self.no_secret(answer)
                    self.assertEqual(self.report(g)["code"], "auth_failed")
                    if not diagnosis_first:
                        self.assertEqual(self.relay(g)["last_error"]["code"], answer.code)
                    self.no_secret(g.get("/v1/relays"))
                    self.no_secret(g.admin("/readyz?relay=deep"))
                    for secret in harness.secret_forms():
                        self.assertNotIn(secret, g.log())


class TestKeys(Relays):
    """What a key may not send, it may not try in a diagnosis either."""

    def test_rights(self):
        peers = [Peer(), Peer()]
        login = {"password": harness.PASSWORD, "ca_file": harness.cert_path("ca.pem")}
        digest = "sha256:" + hashlib.sha256(b"1" * 20).hexdigest()
        relays = {"relays": {name: {"url": p.url(), **login} for name, p in zip("ab", peers)}, "default_relay": "a",
                  "keys": [{"name": "one", "hash": digest, "relays": ["a"], "recipients": ["@example.net"],
                            "senders": ["@example.org"], "scopes": ["diagnose", "read"]}]}
        path = harness.run_dir() + "/keys-%d.yaml" % id(self)
        with open(path, "w", encoding="ascii") as f:
            json.dump(relays, f)
        key = {"Authorization": "Bearer " + "1" * 20}
        with peers[0], peers[1], Gateway({"MAILHATCH_CONFIG": path}) as g:
            def look(relay, **wish):
                return g.request("POST", "/v1/relays/%s/diagnose" % relay, wish, key)

            self.assertTrue(look("a").json["ok"])
            self.assertTrue(look("a", to="bob@example.net", **{"from": "ann@example.org"}).json["ok"])
            for answer, code in (
                (look("b"), "forbidden"),
                (look("a", to="bob@example.com"), "recipient_not_allowed"),
                (look("a", to="bob@example.net", **{"from": "ann@example.com"}), "sender_not_allowed"),
                (look("a", to="bob@example.net", send=True), "forbidden"),
                (g.get("/v1/relays/b", key), "forbidden"),
            ):
                self.assertEqual((answer.status, answer.code), (403, code), answer)
            self.assertEqual([r["name"] for r in g.get("/v1/relays", key).json["data"]], ["a"])
            self.assertNotIn(" b", g.get("/v1/relays/c", key).json["detail"].split("configured:")[1])
            self.assertEqual(peers[1].sessions, [])


class TestFailedSend(Relays):
    """A mail with "diagnose": true."""

    def test_a_failure_with_its_diagnosis(self):
        with Peer(tls_mode="implicit") as p, Gateway(relay="smtp://ann@localhost:%d" % p.port) as g:
            answer = g.post(mail(diagnose=True))
            self.assertEqual((answer.status, answer.code), (502, "plaintext_on_tls_port"))
            d = answer.json["diagnosis"]
            self.assertEqual((d["code"], d["suggested_config"]["changed"]), ("plaintext_on_tls_port", True))
            self.assertEqual(answer.json["request_id"], answer.headers["X-Request-Id"])
            self.assertNotIn("diagnosis", g.post(mail()).json)

    def test_a_success_has_none(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            self.assertNotIn("diagnosis", g.post(mail(diagnose=True)).json)
            self.assertEqual(g.post(mail(diagnose="yes")).status, 422)

    def test_a_refused_password_is_not_shown_again(self):
        with Peer(on={"auth": "535 5.7.8 no"}) as p, Gateway(relay=p.url()) as g:
            for _ in range(3):
                answer = g.post(mail(diagnose=True))
                self.assertIn(answer.code, ("auth_failed", "relay_unavailable"))
                self.assertFalse(answer.json["diagnosis"]["facts"]["auth"]["tried"])
            self.assertEqual(p.counts["auth"], 1)

    def test_a_refused_recipient(self):
        with Peer(on={"rcpt": "550 5.7.1 relaying denied"}) as p, Gateway(relay=p.url()) as g:
            d = g.post(mail(diagnose=True)).json["diagnosis"]
            self.assertEqual((d["failed_at"], d["code"]), ("rcpt", "relay_denied"))
            self.assertEqual(p.mails, [])

    def test_no_time_left(self):
        settings = {"MAILHATCH_REQUEST_TIMEOUT": "2s", "MAILHATCH_RELAY_BANNER_TIMEOUT": "1s"}
        with Peer(on={"banner": hang}) as p, Gateway(settings, relay=p.url()) as g:
            answer = g.post(mail(diagnose=True))
            self.assertEqual(answer.status, 504)
            self.assertIsNone(answer.json["diagnosis"])
            self.assertIn("no time left in the request for a diagnosis", answer.json["detail"])
            self.assertEqual(answer.json["message"], answer.json["detail"])

    def test_within_the_deadline(self):
        """The look is slow, too: it ends before the request's time does."""
        settings = {"MAILHATCH_REQUEST_TIMEOUT": "4s"}
        with Peer(on={"banner": ["554 no", hang]}) as p, Gateway(settings, relay=p.url()) as g:
            answer = g.post(mail(diagnose=True))
            self.assertEqual((answer.status, answer.code), (502, "banner_rejected"))
            self.assertFalse(answer.json["diagnosis"]["ok"])
            self.assertLess(answer.json["diagnosis"]["total_ms"], 4000)

    def test_a_mistake_of_the_request_has_none(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            self.assertNotIn("diagnosis", g.post(mail(diagnose=True, to="bob@")).json)
            self.assertEqual(p.sessions, [])


class TestReadiness(Relays):
    def until_known(self, g):
        wait_for(lambda: self.deep(g).json["status"] != "checking", what="the relay was checked")
        return self.deep(g)

    def test_ready(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            self.deep(g, (503, "checking"))
            answer = self.until_known(g)
            self.assertEqual((answer.status, answer.json["status"], answer.json["relay"]), (200, "ready", "default"))
            self.assertIn("works", answer.json["conclusion"])
            self.assertLess(answer.json["age_s"], 60)
            sessions = len(p.sessions)
            self.deep(g, (200, "ready"))
            self.assertEqual(len(p.sessions), sessions)
            self.assertEqual([e["code"] for e in g.events("diagnosis")], ["sent"])
            self.assertEqual(g.admin("/readyz").json, {"status": "ready"})

    def test_relay_failed(self):
        with Peer(cert="expired") as p, Gateway(relay=p.url()) as g:
            answer = self.until_known(g)
            self.assertEqual((answer.status, answer.json["status"]), (503, "relay_failed"))
            self.assertEqual(answer.json["code"], "tls_cert_expired")
            self.assertEqual(g.admin("/readyz").status, 200)

    def test_a_probe_does_not_wait(self):
        with Peer(on={"banner": hang}) as p, Gateway({"MAILHATCH_RELAY_BANNER_TIMEOUT": "60s"}, relay=p.url()) as g:
            for _ in range(3):
                self.deep(g, (503, "checking"))
            wait_for(lambda: p.sessions, what="it has connected")
            self.assertEqual(len(p.sessions), 1)

    def test_one_asked_for_counts(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            self.report(g)
            self.deep(g, (200, "ready"))

    def test_another_value(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            self.assertEqual(g.admin("/readyz?relay=shallow").status, 400)

    def test_new_settings_are_another_relay(self):
        path = harness.run_dir() + "/reload-%d.yaml" % id(self)
        with Peer() as p, Peer(cert="expired") as q:
            def write(port):
                with open(path, "w", encoding="ascii") as f:
                    json.dump({"relays": {"default": {"url": "smtp://ann@localhost:%d" % port,
                                                      "password": harness.PASSWORD,
                                                      "ca_file": harness.cert_path("ca.pem")}}}, f)

            write(p.port)
            with Gateway({"MAILHATCH_CONFIG": path}) as g:
                self.assertEqual(self.until_known(g).status, 200)
                write(q.port)
                g.signal(signal.SIGHUP)
                wait_for(lambda: self.relay(g)["port"] == q.port, what="the reload")
                self.assertIsNone(self.relay(g)["last_diagnosis"])
                self.assertEqual(self.until_known(g).json["code"], "tls_cert_expired")


if __name__ == "__main__":
    unittest.main()
