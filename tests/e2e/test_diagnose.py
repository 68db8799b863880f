"""mailhatch diagnose: what it finds, what it suggests (and that the suggestion works), how it ends, what it never
shows."""
import contextlib
import json
import os
import pathlib
import socket
import ssl
import subprocess
import tempfile
import unittest

import harness
from harness import Gateway, mail
from peer import ALL, Peer, close, hang, reply, send_bytes



def run(*args, env=None, peer=None, cwd=None, text=None):
    """The finished process; with a peer its relay is configured as `default`."""
    settings = {k: v for k, v in os.environ.items() if k == "PATH" or k.endswith("SAN_OPTIONS")}
    if peer:
        settings.update(MAILHATCH_RELAY_URL=peer.url(), MAILHATCH_RELAY_CA_FILE=harness.cert_path("ca.pem"))
        if "@" in peer.url():
            settings["MAILHATCH_RELAY_PASSWORD"] = harness.PASSWORD
    for key, value in (env or {}).items():
        if value is None:
            settings.pop(key, None)
        else:
            settings[key] = value
    return subprocess.run(
        [harness.binary(), "diagnose", *args],
        env=settings,
        cwd=cwd,
        capture_output=True,
        text=True,
        input=text,
        timeout=100,
    )


class Diagnose(unittest.TestCase):
    def report(self, *args, status=None, **options):
        done = run("--json", *args, **options)
        self.assertEqual(done.stderr, "")
        report = json.loads(done.stdout)
        if status is not None:
            self.assertEqual(done.returncode, status, report["conclusion"])
        self.assertEqual(report["ok"], done.returncode == 0)
        return report

    def found(self, report):
        return {f["finding"] for f in report["findings"]}

    def step(self, report, name):
        (step,) = [s for s in report["steps"] if s["step"] == name]
        return step


class TestWorks(Diagnose):
    def test_a_relay_that_works(self):
        with Peer() as p:
            r = self.report(status=0, peer=p)
            self.assertEqual(len(p.mails), 0)
        self.assertEqual({s["status"] for s in r["steps"]}, {"ok"})
        self.assertTrue(r["facts"]["tls"]["verified"])
        self.assertTrue(r["facts"]["auth"]["accepted"])
        self.assertEqual(r["facts"]["certificate"]["chain"][0]["names"][0], "localhost")
        self.assertFalse(r["suggested_config"]["changed"])

    def test_text(self):
        with Peer() as p:
            done = run(peer=p)
        self.assertEqual(done.returncode, 0, done.stdout)
        words = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  ok ")]
        self.assertEqual(
            words,
            ["config", "dns", "tcp", "banner", "ehlo", "starttls", "tls", "certificate", "ehlo_tls", "auth", "quit"],
        )
        self.assertIn("It works: ", done.stdout)
        self.assertNotIn("\033", done.stdout)
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 100)

    def test_quiet(self):
        with Peer() as p:
            done = run("--quiet", peer=p)
        self.assertEqual(len(done.stdout.splitlines()), 1, done.stdout)

    def test_envelope(self):
        with Peer() as p:
            r = self.report("--to", "bob@example.net", status=0, peer=p)
            self.assertEqual(len(p.mails), 0)
            self.assertIn("RSET", " ".join(p.sessions[-1].commands))
        self.assertEqual(self.step(r, "rcpt")["status"], "ok")

    def test_send(self):
        with Peer() as p:
            self.report("--to", "bob@example.net", "--from", "ann@example.org", "--send", status=0, peer=p)
            (got,) = p.mails
            self.assertEqual((got.sender, got.rcpts), ("ann@example.org", ["bob@example.net"]))

    def test_tls_versions_and_ports(self):
        with Peer() as p:
            r = self.report("--tls-versions", "--all-ports", status=0, peer=p)
        states = {v["version"]: v["state"] for v in r["facts"]["tls_versions"]}
        self.assertEqual((states["TLSv1.2"], states["TLSv1.3"]), ("taken", "taken"))
        self.assertEqual({q["port"] for q in r["facts"]["ports"]}, {25, 465, 587, 2525, p.port})

    def test_trace(self):
        with Peer() as p:
            done = run("--trace", peer=p)
        self.assertIn("> AUTH PLAIN ***", done.stderr)
        self.assertIn("< 220 ", done.stderr)


class TestUsage(Diagnose):
    def test_help(self):
        for args in (["--help"],):
            done = run(*args)
            self.assertEqual(done.returncode, 0)
            self.assertIn("17 certificate", done.stdout)

    def test_wrong_arguments(self):
        for args, words in (
            (["--to"], "--to needs a value"),
            (["--send"], "--send needs --to"),
            (["--json", "--quiet"], "neither --watch nor --quiet"),
            (["127.0.0.1:25", "127.0.0.1:26"], "one relay or host at a time"),
            (["127.0.0.1:25", "--timeout", "soon"], "--timeout wants a number of seconds"),
            (["127.0.0.1:25", "--tls", "maybe"], "starttls, implicit or none"),
            (["127.0.0.1:25", "--user", "ann"], "user ann has no password"),
            (["127.0.0.1:25", "--relay-pins=x"], "a host needs none"),
            (["127.0.0.1:99999"], "127.0.0.1:99999"),
            (["127.0.0.1:25", "--user", "a", "--password-file", "/nonexistent"], "no password can be read"),
            (["127.0.0.1:25", "--compare", "/nonexistent"], "/nonexistent"),
            (["127.0.0.1:25", "--compare", "/etc/passwd"], "it is no JSON"),
            ([], "No relay is configured"),
        ):
            with self.subTest(args=args):
                done = run(*args)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(words, done.stderr)

    def test_unknown_relay(self):
        with Peer() as p:
            done = run("defualt", peer=p)
        self.assertEqual(done.returncode, 2)
        self.assertIn('no relay "defualt" is configured; did you mean default?', done.stderr)


class TestStatuses(Diagnose):
    """The exit status tells the stage, for ever."""

    def check(self, status, code, peer, *args, **env):
        with peer as p:
            r = self.report("--timeout", "30", *args, status=status, peer=p, env=env)
        self.assertEqual(r["code"], code)
        failed = [s for s in r["steps"] if s["status"] == "fail"]
        self.assertTrue(failed and failed[0]["hint"] and failed[0]["detail"], r)
        self.assertEqual(r["failed_at"], failed[0]["step"])
        return r

    def test_dns(self):
        r = self.report("smtp.nohost.invalid", status=11)
        self.assertIn(r["code"], ("dns_not_found", "dns_failed"))

    def test_connect(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            r = self.report("127.0.0.1:%d" % s.getsockname()[1], status=12)
        self.assertEqual(r["code"], "connect_refused")
        self.assertIn("port_closed", self.found(r))

    def test_banner(self):
        r = self.check(14, "relay_busy", Peer(on={"banner": "421 4.7.0 too many connections"}))
        self.assertIn("connection_limit", self.found(r))

    def test_ehlo(self):
        without = {"ehlo": reply("250-peer.test", "250 SIZE 1000"), "starttls": "502 5.5.1 what is that"}
        self.check(15, "starttls_not_offered", Peer(on=without))

    def test_starttls(self):
        self.check(16, "starttls_refused", Peer(on={"starttls": "454 4.7.0 no TLS now"}))

    def test_injection(self):
        self.check(16, "starttls_injection", Peer(on={"starttls": reply("220 go", "250 injected")}))

    def test_tls(self):
        r = self.check(
            13,
            "tls_version_unsupported",
            Peer(min_tls=ssl.TLSVersion.TLSv1, max_tls=ssl.TLSVersion.TLSv1_1),
        )
        self.assertIn("tls_too_old", self.found(r))
        states = {v["version"]: v["state"] for v in r["facts"]["tls_versions"]}
        self.assertEqual((states["TLSv1.1"], states["TLSv1.2"]), ("taken", "refused"))

    def test_certificates(self):
        for cert, code in (
            ("expired", "tls_cert_expired"),
            ("future", "tls_cert_not_yet_valid"),
            ("wrongname", "tls_cert_name_mismatch"),
            ("selfsigned", "tls_cert_untrusted"),
        ):
            with self.subTest(cert=cert):
                self.check(17, code, Peer(cert=cert))

    def test_auth(self):
        for on, code in (
            ("535 5.7.8 wrong", "auth_failed"),
            ("535 5.7.139 Authentication unsuccessful, basic authentication is disabled", "auth_basic_disabled"),
            ("534 5.7.9 Application-specific password required", "auth_app_password_required"),
        ):
            with self.subTest(code=code):
                self.check(18, code, Peer(on={"auth": on}))

    def test_no_auth_offered(self):
        login = {"MAILHATCH_RELAY_USER": "ann", "MAILHATCH_RELAY_PASSWORD": "x"}
        self.check(18, "auth_not_offered", Peer(auth="", caps=ALL), **login)

    def test_mail(self):
        self.check(19, "sender_rejected", Peer(on={"mail": "550 5.7.60 not allowed"}), "--to", "bob@example.net")

    def test_rcpt(self):
        r = self.check(20, "relay_denied", Peer(on={"rcpt": "550 5.7.1 relaying denied"}), "--to", "bob@example.net")
        self.assertIn("relaying denied", r["conclusion"])

    def test_the_mail(self):
        self.check(21, "message_rejected", Peer(on={"body": "554 5.7.1 spam"}), "--to", "bob@example.net", "--send")

    def test_no_time(self):
        with Peer(on={"banner": hang}) as p:
            done = run("--json", "--timeout", "1", peer=p)
        self.assertEqual(done.returncode, 22, done.stdout[:500])


class TestSuggestions(Diagnose):
    """Each fault that a configuration can mend: the suggestion is pasted, and a mail goes out."""

    def mends(self, peer, *args, env=None, code=None, secret=harness.PASSWORD):
        with tempfile.TemporaryDirectory() as directory, peer as p:
            r = self.report("--timeout", "40", *args, env=env, cwd=directory)
            if code:
                self.assertEqual(r["code"], code, r["conclusion"])
            suggested = r["suggested_config"]
            self.assertTrue(suggested and suggested["changed"], r["conclusion"])
            for form in ("yaml", "env"):
                with self.subTest(form=form):
                    self.paste(p, suggested, form, env or {}, directory, secret)

    def paste(self, p, suggested, form, env, directory, secret):
        before = len(p.mails)
        settings = {k: v for k, v in env.items() if not k.endswith(("_URL", "_TLS", "_BANNER_TIMEOUT"))}
        settings["MAILHATCH_RELAY_PASSWORD"] = secret
        settings.setdefault("MAILHATCH_RELAY_CA_FILE", harness.cert_path("ca.pem"))
        if suggested.get("ca_file"):
            path = os.path.join(directory, suggested["ca_file"])
            pathlib.Path(path).write_text(suggested["ca_pem"])
            settings["MAILHATCH_RELAY_CA_FILE"] = path
        if form == "yaml":
            path = os.path.join(directory, "mailhatch.yaml")
            pathlib.Path(path).write_text(suggested["yaml"])
            settings["MAILHATCH_CONFIG"] = path
        else:
            for line in suggested["env"].splitlines():
                name, value = line.removeprefix("export ").split("  ")[0].split("=", 1)
                if name != "MAILHATCH_RELAY_CA_FILE":
                    settings[name] = value.strip("'")
        if "user" not in suggested["yaml"]:
            settings.pop("MAILHATCH_RELAY_PASSWORD")
        with Gateway(settings, cwd=directory) as g:
            answer = g.post(mail())
            self.assertEqual(answer.status, 200, repr(answer))
        self.assertEqual(len(p.mails), before + 1)

    def url(self, p, scheme="smtp"):
        return {
            "MAILHATCH_RELAY_URL": "%s://ann@localhost:%d" % (scheme, p.port),
            "MAILHATCH_RELAY_PASSWORD": harness.PASSWORD,
            "MAILHATCH_RELAY_CA_FILE": harness.cert_path("ca.pem"),
        }

    def test_starttls_where_tls_is_implicit(self):
        p = Peer(tls_mode="implicit")
        self.mends(p, env=self.url(p), code="plaintext_on_tls_port")

    def test_implicit_where_it_is_starttls(self):
        p = Peer()
        self.mends(p, env=self.url(p, "smtps"), code="tls_on_plaintext_port")

    def test_a_private_authority(self):
        p = Peer(cert="selfsigned")
        env = self.url(p)
        del env["MAILHATCH_RELAY_CA_FILE"]
        self.mends(p, env=env, code="tls_cert_untrusted")

    def test_a_slow_greeting(self):
        def slow(s):
            s.peer.stopped.wait(1.5)
            s.default_action()

        p = Peer(on={"banner": slow})
        self.mends(p, env={**self.url(p), "MAILHATCH_RELAY_BANNER_TIMEOUT": "1s"}, code="timeout")

    def test_another_name(self):
        """The certificate is for localhost and 127.0.0.1; the relay was configured by another name of this machine."""
        p = Peer()
        env = {**self.url(p), "MAILHATCH_RELAY_URL": "smtp://ann@127.0.0.2:%d" % p.port}
        self.mends(p, "--address", "127.0.0.1", env=env, code="tls_cert_name_mismatch")


class TestFindings(Diagnose):
    def test_starttls_taken_out(self):
        """Only the word is taken out of the reply; the server behind still knows the command."""
        with Peer(on={"ehlo": reply("250-peer.test", "250-SIZE 1000", "250 XXXXXXXA")}) as p:
            r = self.report(status=15, peer=p)
        self.assertEqual(r["code"], "starttls_not_offered")
        self.assertTrue({"smtp_rewritten", "starttls_stripped"} <= self.found(r), r["findings"])
        self.assertIn("inspection", r["conclusion"])

    def test_banner_of_asterisks(self):
        with Peer(on={"banner": reply("220 ****************************")}) as p:
            r = self.report(peer=p)
        self.assertIn("smtp_rewritten", self.found(r))

    def test_not_smtp(self):
        with Peer(on={"banner": send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n", close)}) as p:
            r = self.report(status=14, peer=p)
        self.assertEqual(r["code"], "protocol_error")
        self.assertIn("HTTP/1.1 400", r["conclusion"])

    def test_legacy_tls_is_told(self):
        with Peer(min_tls=ssl.TLSVersion.TLSv1) as p:
            r = self.report("--tls-versions", status=0, peer=p)
        self.assertIn("tls_legacy_taken", self.found(r))

    def test_what_the_relay_lacks(self):
        with Peer(caps=("8BITMIME", "SIZE 1000")) as p:
            r = self.report(status=0, peer=p)
        self.assertTrue({"no_smtputf8", "no_pipelining"} <= self.found(r), r["findings"])

    def test_greylisting(self):
        with Peer(on={"rcpt": "450 4.7.1 greylisted, come back"}) as p:
            r = self.report("--to", "bob@example.net", status=20, peer=p)
        self.assertIn("greylisted", self.found(r))


class TestCompare(Diagnose):
    def compare(self, there, here):
        with tempfile.TemporaryDirectory() as directory:
            saved = os.path.join(directory, "there.json")
            with there as p:
                pathlib.Path(saved).write_text(run("--json", peer=p).stdout)
            with here as p:
                return run("--compare", saved, peer=p).stdout.split("Compared with", 1)[1]

    def test_the_same(self):
        with Peer() as p, tempfile.NamedTemporaryFile("w") as f:
            f.write(run("--json", peer=p).stdout)
            f.flush()
            done = run("--compare", f.name, peer=p)
        self.assertIn("nothing is different", done.stdout)

    def test_starttls_is_missing_here(self):
        text = self.compare(Peer(), Peer(on={"ehlo": reply("250-peer.test", "250 SIZE 1000")}))
        self.assertIn("EHLO: only there: STARTTLS. Something on the way removes it here.", " ".join(text.split()))
        self.assertIn("result: there: works / here: starttls_not_offered", text)

    def test_another_issuer(self):
        text = " ".join(self.compare(Peer(), Peer(cert="selfsigned")).split())
        self.assertIn("certificate's issuer: ", text)
        self.assertIn("an inspecting proxy, most likely", text)

    def test_watch(self):
        """The second look finds the password refused."""
        with Peer(on={"auth": [lambda s: s.default_action(), "535 5.7.8 no"]}) as p:
            settings = {
                "PATH": os.environ["PATH"],
                "MAILHATCH_RELAY_URL": p.url(),
                "MAILHATCH_RELAY_CA_FILE": harness.cert_path("ca.pem"),
                "MAILHATCH_RELAY_PASSWORD": harness.PASSWORD,
            }
            with subprocess.Popen(
                [harness.binary(), "diagnose", "--watch", "1"], env=settings, stdout=subprocess.PIPE, text=True
            ) as process:
                first, second, third = (process.stdout.readline() for _ in range(3))
                process.terminate()
                process.stdout.read()
        self.assertIn("  ok  ", first)
        self.assertIn("  FAIL  ", second)
        self.assertIn("result: before: works / now: auth_failed", third)


class TestSecrets(Diagnose):
    def test_nothing_shows_the_password(self):
        def echo(s):
            s.send("535 5.7.8 bad: %s\r\n" % s.line)

        for on in ({}, {"auth": echo}):
            with Peer(on=on) as p:
                for args in (["--trace"], ["--json", "--trace"]):
                    done = run(*args, "--to", "bob@example.net", peer=p)
                    self.assertNotIn(harness.PASSWORD, done.stdout + done.stderr)

    def test_password_from_standard_input(self):
        with Peer() as p:
            done = run(
                "localhost:%d" % p.port,
                *("--user", "ann", "--password-file", "-", "--ca-file", harness.cert_path("ca.pem")),
                text=harness.PASSWORD + "\n",
            )
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    unittest.main()
