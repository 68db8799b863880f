"""Running it: probes, metrics, the sandbox, what it refuses to start with, the command line, a Unix socket,
draining, and what may never be in a log."""
import base64
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from harness import Gateway, mail, run_program
from judge import Fault, parsed
from peer import BASIC, Peer, after, close, default, hang


class Ops(Fault):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-ops-"))
        self.addCleanup(shutil.rmtree, self.dir, True)

    def file(self, name, text):
        path = self.dir / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)


class TestProbes(Ops):
    def test_probes(self):
        with Gateway(relay="smtp://ann@127.0.0.1:1") as g:
            for path in ("/livez", "/readyz", "/version"):
                answer = g.admin(path)
                self.assertEqual(answer.status, 200, repr(answer))
            self.assertEqual(g.admin("/version").json["name"], "mailhatch")
            self.assertEqual(g.admin("/v1/emails", "POST").status, 404)
            self.assertEqual(g.admin("/nothing").status, 404)
            self.assertIn(g.admin("/livez", "POST").status, (404, 405))

    def test_metrics(self):
        """promtool finds nothing to say, and the numbers are those of what happened."""
        with Peer(on={"rcpt": [default, default, "550 5.1.1 no"]}) as p, Gateway(relay=p.url()) as g:
            self.assertEqual([g.post(mail()).status for _ in range(3)], [200, 200, 422])
            g.get("/nothing/secret@example.org")
            text = g.admin("/metrics")
            self.assertEqual(text.status, 200)
            self.assertTrue(text.headers["Content-Type"].startswith("text/plain"))
            done = subprocess.run(["promtool", "check", "metrics"], input=text.body, capture_output=True)
            self.assertEqual(done.returncode, 0, done.stderr.decode() + done.stdout.decode())
            body = text.body.decode()
            for name in (
                "http_requests_total",
                "http_request_duration_seconds",
                "sends_total",
                "send_phase_seconds",
                "sessions",
                "session_reuse_total",
                "stale_sessions_total",
                "flights_total",
                "waiting_requests",
                "inflight_bytes",
                "circuit_open",
                "build_info",
            ):
                self.assertIn("# TYPE mailhatch_" + name, body)
            self.assertEqual(g.metric("mailhatch_sends_total"), 3)
            self.assertEqual(g.metric("mailhatch_session_reuse_total"), 2)
            self.assertRegex(body, r'mailhatch_sends_total\{[^}]*code="recipients_rejected"[^}]*\} 1\n')
            self.assertNotIn("example.net", body)
            self.assertNotIn("secret", body)

    def test_one_round_trip_a_mail(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            for _ in range(3):
                self.assertEqual(g.post(mail()).status, 200)
            before = g.metric("mailhatch_flights_total")
            for _ in range(10):
                self.assertEqual(g.post(mail()).status, 200)
            self.assertEqual(g.metric("mailhatch_flights_total") - before, 10)


class TestSandbox(Ops):
    def test_list_get_raw_delete(self):
        with Gateway(args=["--sandbox"]) as g:
            self.assertEqual(g.get("/sandbox/messages").json, {"data": [], "total": 0})
            first = g.post(mail(subject="first"))
            self.assertEqual(
                (first.status, first.json["sandbox"], first.json["relay"]), (200, True, "sandbox"), repr(first)
            )
            self.assertEqual((first.json["tls"]["mode"], first.json["tls"]["verified"]), ("starttls", True))
            second = g.post(mail(subject="Zweite ü", to=["bob@example.net"], bcc="carol@example.net"))
            listing = g.get("/sandbox/messages").json
            self.assertEqual(
                (listing["total"], [m["id"] for m in listing["data"]]), (2, [second.json["id"], first.json["id"]])
            )
            newest = listing["data"][0]
            self.assertEqual(set(newest), {"id", "received_at", "envelope", "subject", "size"})
            self.assertEqual(
                newest["envelope"], {"from": "ann@example.org", "to": ["bob@example.net", "carol@example.net"]}
            )
            one = g.get("/sandbox/messages/" + second.json["id"]).json
            self.assertEqual(one["auth"]["mechanism"], "PLAIN")
            self.assertRegex(one["tls"]["version"], r"^TLSv1\.[23]$")
            self.assertTrue(any(c.startswith("MAIL FROM:<ann@example.org>") for c in one["commands"]), one["commands"])
            opening = g.get("/sandbox/messages/" + first.json["id"]).json["commands"]
            self.assertTrue(any(c == "AUTH ***" for c in opening), opening)
            self.assertIn("Message-ID", {h["name"] for h in one["headers"]})
            raw = g.get("/sandbox/messages/" + second.json["id"], {"Accept": "message/rfc822"})
            self.assertEqual(raw.headers["Content-Type"].split(";")[0], "message/rfc822")
            self.assertEqual(raw.body, one["raw"].encode())
            self.assertEqual(len(raw.body), newest["size"])
            message = parsed(raw.body)
            self.assertEqual(
                (message["Subject"], message["Message-ID"], message["Bcc"]),
                ("Zweite ü", second.json["message_id"], None),
            )
            self.assertEqual(g.get("/sandbox/messages/0192f7c0-8f3a-7c31-9d55-0b5d0d6f2a11").code, "not_found")
            self.assertEqual(g.get("/sandbox/messages/nonsense").status, 404)
            self.assertEqual(g.request("DELETE", "/sandbox/messages").status, 204)
            self.assertEqual(g.get("/sandbox/messages").json["total"], 0)

    def test_it_warns(self):
        with Gateway(env={"MAILHATCH_SANDBOX": "1"}) as g:
            harness.wait_for(lambda: "sandbox" in g.log(), what="a warning about the sandbox")
            self.assertEqual(g.post(mail()).json["sandbox"], True)

    def test_fills_up_and_forgets_the_oldest(self):
        with Gateway(args=["--sandbox"]) as g:
            c = g.connection()
            ids = [g.post(mail(subject="m%d" % i), connection=c).json["id"] for i in range(510)]
            c.close()
            listing = g.get("/sandbox/messages").json
            self.assertEqual(listing["total"], 500)
            self.assertEqual(g.get("/sandbox/messages/" + ids[0]).status, 404)
            self.assertEqual(g.get("/sandbox/messages/" + ids[-1]).status, 200)

    def test_keys_hold_there_too(self):
        with Gateway(env={"MAILHATCH_API_KEYS": "a-good-long-key"}, args=["--sandbox"]) as g:
            self.assertEqual(g.get("/sandbox/messages").status, 401)
            self.assertEqual(g.get("/sandbox/messages", {"Authorization": "Bearer a-good-long-key"}).status, 200)

    def test_large_mail(self):
        with Gateway(args=["--sandbox"]) as g:
            text = "".join("line %d\n" % i for i in range(200000))
            a = g.post(mail(text=text))
            self.assertEqual(a.status, 200, repr(a))
            raw = g.get("/sandbox/messages/" + a.json["id"], {"Accept": "message/rfc822"}).body
            self.assertEqual(parsed(raw).get_content().replace("\r\n", "\n"), text)


class TestStart(Ops):
    """What it refuses to start with: exit status 2 (usage, configuration) or 1 (cannot listen), and words that help."""

    LISTEN = {
        "MAILHATCH_LISTEN": "127.0.0.1:0",
        "MAILHATCH_ADMIN_LISTEN": "127.0.0.1:0",
        "MAILHATCH_LOG_FORMAT": "text",
    }

    def refused(self, words, *args, env=None, status=2):
        code, out, err = run_program(*args, env={**self.LISTEN, **(env or {})}, timeout=10)
        self.assertEqual(code, status, out + err)
        for word in words:
            self.assertIn(word, out + err)
        return out + err

    def test_no_relay(self):
        self.refused(["MAILHATCH_RELAY_URL", "--sandbox"])

    def test_sandbox_and_relay(self):
        self.refused(
            ["sandbox", "relay"],
            "--sandbox",
            env={"MAILHATCH_RELAY_URL": "smtp://ann@localhost:587", "MAILHATCH_RELAY_PASSWORD": "x"},
        )

    def test_not_loopback_without_keys(self):
        for address in ("0.0.0.0:0", "[::]:0"):
            code, out, err = run_program(
                env={**self.LISTEN, "MAILHATCH_RELAY_URL": "smtp://ann:x@localhost:587", "MAILHATCH_LISTEN": address},
                timeout=10,
            )
            self.assertIn(code, (1, 2), out + err)
            self.assertIn("key", (out + err).lower())

    def test_not_loopback_with_keys(self):
        with Gateway(
            {"MAILHATCH_LISTEN": "0.0.0.0:0", "MAILHATCH_API_KEYS": "a-good-long-key"}, relay="smtp://ann@127.0.0.1:1"
        ) as g:
            where = "127.0.0.1:" + g.api.rsplit(":", 1)[1]
            self.assertEqual(
                harness.http_request(
                    where, "GET", "/v1/errors", None, {"Authorization": "Bearer a-good-long-key"}
                ).status,
                200,
            )

    def test_admin_may_bind_anywhere(self):
        with Gateway({"MAILHATCH_ADMIN_LISTEN": "0.0.0.0:0"}, relay="smtp://ann@127.0.0.1:1") as g:
            self.assertEqual(
                harness.http_request("127.0.0.1:" + g.admin_at.rsplit(":", 1)[1], "GET", "/livez").status, 200
            )

    def test_port_in_use(self):
        with Gateway(relay="smtp://ann@127.0.0.1:1") as g:
            self.refused(
                [g.api.rsplit(":", 1)[1]],
                env={"MAILHATCH_RELAY_URL": "smtp://ann:x@localhost:587", "MAILHATCH_LISTEN": g.api},
                status=1,
            )

    def test_all_mistakes_at_once(self):
        out = self.refused(
            [],
            "check-config",
            env={"MAILHATCH_RELAY_URL": "http://x", "MAILHATCH_MAX_WAITING": "many", "MAILHATCH_LOG_LEVEL": "loud"},
        )
        for word in ("MAILHATCH_RELAY_URL", "MAILHATCH_MAX_WAITING", "MAILHATCH_LOG_LEVEL"):
            self.assertIn(word, out)

    def test_plain_text_to_another_machine_is_refused(self):
        """tls none is judged on the address, before anything is connected to: not a SYN leaves."""
        with Gateway(env={"MAILHATCH_RELAY_TIMEOUT": "1"}, relay="smtp://192.0.2.1:25?tls=none") as g:
            answer = g.post(mail())
            self.assertEqual((answer.status, answer.code), (502, "connect_failed"), repr(answer))
            self.assertIn("loopback", answer.json["detail"])

    def test_bad_ca_file(self):
        code, out, err = run_program(
            env={
                **self.LISTEN,
                "MAILHATCH_RELAY_URL": "smtp://ann:x@localhost:587",
                "MAILHATCH_RELAY_CA_FILE": "/nonexistent.pem",
            }
        )
        self.assertIn(code, (1, 2))
        self.assertIn("/nonexistent.pem", out + err)

    def test_files_that_hold_something_else(self):
        """check-config tells what the start would, beside all other mistakes."""
        text = self.file("text", "no certificate\n")
        for name in ("MAILHATCH_RELAY_CA_FILE", "MAILHATCH_RELAY_CRL_FILE"):
            env = {"MAILHATCH_RELAY_URL": "smtp://h", "MAILHATCH_LOG_LEVEL": "loud", name: text}
            code, out, err = run_program("check-config", env=env)
            self.assertEqual(code, 2, out + err)
            self.assertIn(text, err)
            self.assertIn("loud", err)

    def test_unknown_variables_warn_and_kubernetes_ones_do_not(self):
        env = {
            "MAILHATCH_RELAY_URI": "x",
            "MAILHATCH_PORT": "tcp://10.0.0.1:8587",
            "MAILHATCH_SERVICE_HOST": "10.0.0.1",
            "MAILHATCH_PORT_8587_TCP_ADDR": "10.0.0.1",
        }
        with Gateway(env, relay="smtp://ann@127.0.0.1:1") as g:
            harness.wait_for(lambda: "MAILHATCH_RELAY_URI" in g.log(), what="a warning")
            self.assertIn("MAILHATCH_RELAY_URL", g.log())
            self.assertNotIn("MAILHATCH_SERVICE_HOST", g.log())
            self.assertNotIn("MAILHATCH_PORT", g.log())

    def test_configuration_file(self):
        with Peer() as p:
            config = self.file(
                "mailhatch.yaml",
                "default_relay: main\nrelays:\n  main:\n    url: smtp://ann@localhost:%d\n"
                "    password_file: %s\n    ca_file: %s\n"
                % (p.port, self.file("password", harness.PASSWORD + "\n"), harness.cert_path("ca.pem")),
            )
            with Gateway({"MAILHATCH_CONFIG": config}) as g:
                a = g.post(mail())
                self.assertEqual((a.status, a.json["relay"]), (200, "main"), repr(a))
            code, out, err = run_program("check-config", env={**self.LISTEN, "MAILHATCH_CONFIG": config})
            self.assertEqual(code, 0, out + err)
            self.assertNotIn(harness.PASSWORD, out + err)

    def test_help_and_version(self):
        for args in (["--help"], ["help"]):
            code, out, err = run_program(*args)
            self.assertEqual(code, 0)
            for word in ("send", "check-config", "healthcheck", "--sandbox", "relay"):
                self.assertIn(word, out + err)
        code, out, err = run_program("--version")
        self.assertEqual(code, 0)
        self.assertIn("mailhatch", out)
        self.assertEqual(run_program("frobnicate")[0], 2)
        self.assertEqual(run_program("--frobnicate")[0], 2)


class TestCommandLine(Ops):
    def send(self, p, body=None, env=None):
        env = {
            "MAILHATCH_RELAY_URL": p.url(),
            "MAILHATCH_RELAY_PASSWORD": harness.PASSWORD,
            "MAILHATCH_RELAY_CA_FILE": harness.cert_path("ca.pem"),
            **(env or {}),
        }
        code, out, err = run_program(
            "send",
            env=env,
            stdin=body if body is not None else json.dumps(mail(to=["a@example.net", "b@example.net"])).encode(),
        )
        return code, json.loads(out) if out.strip() else None, err

    def test_exit_statuses(self):
        for on, status, word in (
            ({}, 0, "sent"),
            ({"rcpt": [default, "550 5.1.1 no"]}, 3, "partial"),
            ({"rcpt": "550 5.1.1 no"}, 1, "recipients_rejected"),
            ({"auth": "535 5.7.8 no"}, 1, "auth_failed"),
            ({"body": close}, 4, "outcome_unknown"),
        ):
            with Peer(on=on) as p:
                code, answer, err = self.send(p)
                self.assertEqual((code, answer.get("code") or answer["status"]), (status, word), err)

    def test_invalid_mail(self):
        with Peer() as p:
            for body in (b"{", b"", b'{"from":"x"}'):
                code, answer, err = self.send(p, body)
                self.assertEqual(code, 1, err)
                self.assertIn(answer["code"], ("invalid_json", "validation_failed"))
            self.assertEqual(p.sessions, [])

    def test_usage(self):
        self.assertEqual(run_program("send", env={})[0], 2)
        with Peer() as p:
            env = {"MAILHATCH_RELAY_URL": p.url(), "MAILHATCH_RELAY_PASSWORD": "x"}
            self.assertEqual(run_program("send", "/no/such/file", env=env)[0], 2)

    def test_from_a_file(self):
        with Peer() as p:
            env = {
                "MAILHATCH_RELAY_URL": p.url(),
                "MAILHATCH_RELAY_PASSWORD": harness.PASSWORD,
                "MAILHATCH_RELAY_CA_FILE": harness.cert_path("ca.pem"),
            }
            code, out, err = run_program("send", self.file("mail.json", json.dumps(mail())), env=env)
            self.assertEqual(code, 0, out + err)
            self.assertEqual(len(p.mails), 1)

    def test_healthcheck(self):
        with Gateway(relay="smtp://ann@127.0.0.1:1") as g:
            env = {"MAILHATCH_ADMIN_LISTEN": g.admin_at}
            self.assertEqual(run_program("healthcheck", env=env)[0], 0)
        self.assertEqual(run_program("healthcheck", env=env)[0], 1)


class TestUnixSocket(Ops):
    def test_listen(self):
        path = str(self.dir / "api.sock")
        with Peer() as p, Gateway({"MAILHATCH_LISTEN": "unix:" + path}, relay=p.url()) as g:
            self.assertEqual(g.api, "unix:" + path)
            self.assertEqual(g.post(mail()).status, 200)
            self.assertEqual(os.stat(path).st_mode & 0o007, 0, "everybody may connect")
        with Peer() as p, Gateway({"MAILHATCH_LISTEN": "unix:" + path}, relay=p.url()) as g:
            self.assertEqual(g.post(mail()).status, 200)

    def test_left_over_socket_is_replaced(self):
        path = str(self.dir / "api.sock")
        with Peer() as p:
            g = Gateway({"MAILHATCH_LISTEN": "unix:" + path}, relay=p.url())
            g.process.kill()
            g.stop()
            self.assertTrue(os.path.exists(path))
            with Gateway({"MAILHATCH_LISTEN": "unix:" + path}, relay=p.url()) as g:
                self.assertEqual(g.post(mail()).status, 200)

    def test_a_file_is_not_replaced(self):
        path = self.file("precious", "data")
        code, out, err = run_program(
            env={
                **TestStart.LISTEN,
                "MAILHATCH_RELAY_URL": "smtp://ann:x@localhost:587",
                "MAILHATCH_LISTEN": "unix:" + path,
            },
            timeout=10,
        )
        self.assertNotEqual(code, 0)
        self.assertEqual(pathlib.Path(path).read_text(), "data")


class TestDrain(Ops):
    def under_way(self, stack, on, env=None):
        """A gateway with one mail under way: (peer, gateway, answers, the thread that waits for it)."""
        p = stack.enter_context(Peer(on=on))
        g = stack.enter_context(Gateway(env, relay=p.url()))
        answers = []
        t = threading.Thread(target=lambda: answers.append(g.post(mail())))
        t.start()
        harness.wait_for(lambda: any(c.startswith("MAIL") for c in p.commands()), what="the mail is under way")
        return p, g, answers, t

    def test_running_finish_and_new_ones_are_refused(self):
        go = threading.Event()
        with contextlib.ExitStack() as stack:
            p, g, answers, t = self.under_way(stack, {"body": after(go, default)})
            g.signal(signal.SIGTERM)
            harness.wait_for(lambda: g.admin("/readyz").status == 503, what="readiness turns false")
            self.assertEqual(g.admin("/livez").status, 200)
            answer = g.post(mail())
            self.check(answer, "503 shutting_down queue not_sent yes")
            self.assertEqual((answer.headers["Retry-After"], answer.headers["Connection"].lower()), ("5", "close"))
            self.assertIsNone(g.process.poll())
            go.set()
            t.join(30)
            self.assertEqual(answers[0].status, 200)
            self.assertEqual(g.wait(), 0)
            self.assertEqual(len(p.mails), 1)

    def test_idle_leaves_at_once(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            self.assertEqual(g.post(mail()).status, 200)
            keep = g.connection()
            keep.request("GET", "/")
            keep.getresponse().read()
            begun = time.monotonic()
            g.signal(signal.SIGTERM)
            self.assertEqual(g.wait(), 0)
            self.assertLess(time.monotonic() - begun, 5)
            keep.close()

    def test_sigint_is_the_same(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            g.signal(signal.SIGINT)
            self.assertEqual(g.wait(), 0)

    def test_second_signal_leaves_now(self):
        with contextlib.ExitStack() as stack:
            p, g, answers, t = self.under_way(stack, {"body": hang})
            g.signal(signal.SIGTERM)
            harness.wait_for(lambda: g.admin("/readyz").status == 503, what="readiness turns false")
            g.signal(signal.SIGTERM)
            g.wait(5)
            with contextlib.suppress(Exception):
                t.join(10)

    def test_drain_timeout(self):
        with contextlib.ExitStack() as stack:
            p, g, answers, t = self.under_way(stack, {"body": hang}, {"MAILHATCH_DRAIN_TIMEOUT": "300ms"})
            begun = time.monotonic()
            g.signal(signal.SIGTERM)
            g.wait(10)
            self.assertLess(time.monotonic() - begun, 5)
            t.join(10)

    def test_drain_delay_still_serves(self):
        with Peer() as p, Gateway({"MAILHATCH_DRAIN_DELAY": "60s"}, relay=p.url()) as g:
            g.signal(signal.SIGTERM)
            harness.wait_for(lambda: g.admin("/readyz").status == 503, what="readiness turns false")
            self.assertEqual(g.post(mail()).status, 200)
            g.signal(signal.SIGTERM)
            g.wait(5)


class TestLogs(Ops):
    SECRETS = (
        harness.PASSWORD,
        "TEXT-OF-THE-MAIL",
        "HTML-OF-THE-MAIL",
        "SUBJECT-OF-THE-MAIL",
        "key-of-the-caller",
        "bob.the.recipient@",
    )

    def test_no_secret_in_any_log(self):
        auth = base64.b64encode(("\0ann\0" + harness.PASSWORD).encode()).decode()
        request = mail(
            text="TEXT-OF-THE-MAIL",
            html="HTML-OF-THE-MAIL",
            subject="SUBJECT-OF-THE-MAIL",
            to="bob.the.recipient@example.net",
        )
        headers = {"Authorization": "Bearer key-of-the-caller"}
        for on in (
            {},
            {"auth": lambda s: s.send("535 5.7.8 bad: %s\r\n" % s.line)},
            {"rcpt": "550 5.1.1 <bob> no"},
            {"body": close},
            {"body": "550 5.7.1 no"},
            {"mail": "whatever"},
            {"auth": "whatever"},
        ):
            with Peer(on=on, caps=BASIC) as p:
                with Gateway(
                    {
                        "MAILHATCH_LOG_LEVEL": "debug",
                        "MAILHATCH_API_KEYS": "web:key-of-the-caller",
                        "MAILHATCH_RELAY_TRACE": "true",
                    },
                    relay=p.url(),
                ) as g:
                    g.post(request, headers)
                    g.post(b'{"text":"TEXT-OF-THE-MAIL","from":"bob.the.recipient@', headers)
                    g.post(request, {"Authorization": "Bearer key-of-the-caller-x"})
                log = g.log()
                self.assertTrue(g.events("send"), log)
                self.assertTrue(g.events("trace"), log)
                for secret in (*self.SECRETS, auth, auth[8:40]):
                    self.assertNotIn(secret, log)
                for line in g.lines:
                    json.loads(line)

    def test_trace(self):
        with Peer() as p, Gateway({"MAILHATCH_RELAY_TRACE": "true"}, relay=p.url()) as g:
            for _ in range(2):
                self.assertEqual(g.post(mail(to="bob.the.recipient@example.net")).status, 200)
            g.stop()
            lines = [(e["msg"], e["line"]) for e in g.events("trace")]
            self.assertEqual({(e["relay"], e["session"]) for e in g.events("trace")}, {("default", 1)})
        said = [line for msg, line in lines if msg == "said to the relay"]
        self.assertEqual([line.split()[0] for line in said[:4]], ["EHLO", "STARTTLS", "EHLO", "AUTH"])
        self.assertEqual(said[3], "AUTH PLAIN ***")
        self.assertEqual([line.split(":")[0] for line in said[4:6]], ["MAIL FROM", "RCPT TO"])
        self.assertIn("b***@example.net", said[5])
        self.assertEqual([line for line in said if line.startswith(("DATA", "BDAT 6 "))], ["DATA", "BDAT 6 LAST"])
        self.assertEqual(sum(line.startswith("BDAT") for line in said), 2)
        self.assertEqual(sum(line.startswith("250 2.0.0 queued") for msg, line in lines), 2)
        self.assertTrue(any(msg == "of the session" and "TLSv1.3" in line for msg, line in lines))

    def test_no_trace_unless_asked(self):
        with Peer() as p, Gateway({"MAILHATCH_LOG_LEVEL": "debug"}, relay=p.url()) as g:
            self.assertEqual(g.post(mail()).status, 200)
            g.stop()
            self.assertFalse(g.events("trace"))

    def test_one_send_line_a_mail(self):
        with Peer(on={"rcpt": [default, "550 5.1.1 no"]}) as p, Gateway(relay=p.url()) as g:
            ids = [g.post(mail(), {"X-Request-Id": "r%d" % i}).json["id"] for i in range(2)]
            harness.wait_for(lambda: len(g.events("send")) >= 2, what="two send lines")
            first, second = g.events("send")
            self.assertEqual([first["id"], second["id"]], ids)
            self.assertEqual([first["request_id"], second["request_id"]], ["r0", "r1"])
            self.assertEqual(
                (second["code"], second["stage"], second["delivery"], second["relay"]),
                ("recipients_rejected", "rcpt", "rejected", "default"),
            )
            for e in (first, second):
                self.assertTrue({"ts", "level", "event", "msg"} <= set(e), e)

    def test_traceparent(self):
        """On the lines of the request and of the mail; a malformed one counts for nothing; never on the wire."""
        trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
        with Peer() as p, Gateway({"MAILHATCH_LOG_LEVEL": "debug"}, relay=p.url()) as g:
            for value in ("00-%s-%s-01" % (trace, span), "00-%s-%s-01" % (trace.upper(), span), "00-\"-\"-01"):
                self.assertEqual(g.post(mail(), headers={"traceparent": value}).status, 200)
            headers = {"TraceParent": "00-%s-%s-00" % (trace, span)}
            self.assertEqual(g.post([mail(), mail()], headers).status, 422)
            batch = g.request("POST", "/v1/emails/batch", [mail(), mail()], headers)
            self.assertEqual(batch.status, 200, repr(batch))
            harness.wait_for(lambda: len(g.events("http")) == 5, what="all lines are there")
            ids = [(e.get("trace_id"), e.get("span_id")) for e in g.events("http") if e["route"].startswith("/v1")]
            self.assertEqual(ids, [(trace, span), (None, None), (None, None), (trace, span), (trace, span)])
            ids = [(e.get("trace_id"), e.get("span_id")) for e in g.events("send")]
            self.assertEqual(ids, [(trace, span), (None, None), (None, None), (trace, span), (trace, span)])
            for m in p.mails:
                self.assertNotIn(trace.encode(), m.data)

    def test_relays_text_cannot_forge_a_line(self):
        with Peer(on={"body": "550 5.7.1 evil \x1b[31m\x08\x7f text"}) as p, Gateway(relay=p.url()) as g:
            answer = g.post(mail())
            self.assertNotRegex(answer.json["smtp"]["text"], "[\x00-\x1f\x7f]")
            harness.wait_for(lambda: g.events("send"), what="the send line")
            self.assertNotRegex(g.log().replace("\n", ""), "[\x00-\x1f\x7f]")


if __name__ == "__main__":
    unittest.main()
