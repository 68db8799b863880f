"""mailhatch diagnose: what it finds, what it suggests (and that the suggestion works), how it ends, what it never
shows."""
import contextlib
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import unittest

import harness
import peer
from harness import Gateway, mail
from hint_case import shim
from peer import ALL, Peer, close, hang, reply, send_bytes
from test_connect import black_hole

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
            (["--json", "--quiet"], "--json does not go with --quiet"),
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

    def test_a_relay_with_the_name_of_a_host(self):
        with Peer() as p, tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
            login = {"password": harness.PASSWORD, "ca_file": harness.cert_path("ca.pem")}
            json.dump({"relays": {"eu.example.com": {"url": p.url(), **login}}}, f)
            f.flush()
            for where in (["--config", f.name], ["--config=" + f.name]):
                r = self.report("eu.example.com", *where, status=0)
                self.assertEqual((r["relay"], r["host"], r["facts"]["auth"]["accepted"]),
                                 ("eu.example.com", "localhost", True))
                self.assertIn("\n  eu.example.com:\n", r["suggested_config"]["yaml"])
                self.assertIsNone(r["suggested_config"]["env"])

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

    def mends(self, peer, *args, env=None, code=None, secret=harness.PASSWORD, shown=None, extra=None):
        with tempfile.TemporaryDirectory() as directory, peer as p:
            r = self.report("--timeout", "40", *args, env=env, cwd=directory)
            if code:
                self.assertEqual(r["code"], code, r["conclusion"])
            suggested = r["suggested_config"]
            self.assertTrue(suggested and suggested["changed"], r["conclusion"])
            for form in ("yaml", "env"):
                with self.subTest(form=form):
                    self.paste(p, suggested, form, directory, secret, shown, extra)

    def paste(self, p, suggested, form, directory, secret, shown, extra):
        """Nothing but the suggestion, and the password where it is not the suggestion's."""
        before = len(p.mails)
        settings = dict(extra or {})
        if secret:
            settings["MAILHATCH_RELAY_PASSWORD"] = secret
        if suggested.get("ca_file"):
            pathlib.Path(directory, suggested["ca_file"]).write_text(suggested["ca_pem"])
        text = suggested[form]
        for word, value in (shown or {}).items():
            self.assertIn(word, text)
            text = text.replace(word, value)
        if form == "yaml":
            path = os.path.join(directory, "mailhatch.yaml")
            pathlib.Path(path).write_text(text)
            settings["MAILHATCH_CONFIG"] = path
        else:
            settings.update(self.as_a_shell_reads(text))
        with Gateway(settings, cwd=directory) as g:
            answer = g.post(mail())
            self.assertEqual(answer.status, 200, repr(answer))
        self.assertEqual(len(p.mails), before + 1)

    @staticmethod
    def as_a_shell_reads(text):
        done = subprocess.run(["env", "-i", "sh", "-c", text + "\nenv -0"], capture_output=True, text=True, check=True)
        return {n: v for n, v in (pair.split("=", 1) for pair in done.stdout.split("\0") if pair)
                if n.startswith("MAILHATCH_")}

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


    def test_a_private_authority_that_is_sent(self):
        with open(harness.cert_path("private.pem"), "w", encoding="ascii") as f:
            f.write(pathlib.Path(harness.cert_path("unknownca.pem")).read_text())
            f.write(pathlib.Path(harness.cert_path("otherca.pem")).read_text())
        shutil.copy(harness.cert_path("unknownca.key"), harness.cert_path("private.key"))
        p = Peer(cert="private")
        self.mends(p, env=self.url(p), code="tls_cert_untrusted")

    def test_all_that_was_configured_is_kept(self):
        """A name with quotes, a file with the password, a revocation list, times: and none of it is lost."""
        with tempfile.TemporaryDirectory() as directory:
            secret = os.path.join(directory, "it's a \"secret\"")
            pathlib.Path(secret).write_text(harness.PASSWORD)
            p = Peer(tls_mode="implicit")
            env = {**self.url(p), "MAILHATCH_RELAY_PASSWORD_FILE": secret,
                   "MAILHATCH_RELAY_EHLO_NAME": "app.example.org",
                   "MAILHATCH_RELAY_CRL_FILE": harness.cert_path("ca.crl"), "MAILHATCH_RELAY_COMMAND_TIMEOUT": "7s",
                   "MAILHATCH_RELAY_MAX_SESSIONS": "3"}
            del env["MAILHATCH_RELAY_PASSWORD"]
            self.mends(p, env=env, code="plaintext_on_tls_port", secret=None)
        said = [c for s in p.sessions for c in s.commands if c.startswith("EHLO")]
        self.assertEqual(set(said), {"EHLO app.example.org"})

    def test_the_suggestion_names_the_setting_of_the_password(self):
        p = Peer(tls_mode="implicit")
        with p:
            r = self.report(env=self.url(p))
        for form in ("yaml", "env"):
            self.assertIn("# its password stays in MAILHATCH_RELAY_PASSWORD", r["suggested_config"][form])
        self.assertNotIn("command_timeout", r["suggested_config"]["yaml"])

    def test_a_login_is_missing(self):
        def only_after_login(s):
            s.act(peer.default if s.user else "530 5.7.0 Authentication required")

        p = Peer(on={"mail": only_after_login})
        env = self.url(p)
        env["MAILHATCH_RELAY_URL"] = env["MAILHATCH_RELAY_URL"].replace("ann@", "")
        del env["MAILHATCH_RELAY_PASSWORD"]
        with tempfile.NamedTemporaryFile("w") as secret:
            secret.write(harness.PASSWORD)
            secret.flush()
            self.mends(p, "--to", "bob@example.net", env=env, code="auth_required", secret=None,
                       shown={"ACCOUNT": "ann", "/path/to/the/password": secret.name})

    def test_a_closed_port(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            p = Peer(cert="named")
            env = {**self.url(p), **shim(p.port),
                   "MAILHATCH_RELAY_URL": "smtp://ann@relay.example.com:%d" % s.getsockname()[1]}
            self.mends(p, env=env, code="connect_refused", extra=shim(p.port))

    def test_another_port(self):
        """587 and 465 of one host, as in real life: the shim leads both to the peer, which speaks STARTTLS."""
        p = Peer(cert="named")
        env = {**self.url(p), **shim(p.port), "MAILHATCH_RELAY_URL": "smtps://ann@relay.example.com:587"}
        with p:
            r = self.report(status=13, env=env)
        self.assertIn("port_for_other_mode", self.found(r))
        self.assertIn("dns_local", self.found(r))
        self.assertIn('url: "smtp://relay.example.com:587"', r["suggested_config"]["yaml"])

    def test_the_command_that_writes_the_authority(self):
        """What is printed for a person is pasted into a shell."""
        p = Peer(cert="selfsigned")
        env = self.url(p)
        del env["MAILHATCH_RELAY_CA_FILE"]
        with tempfile.TemporaryDirectory() as directory, p:
            text = run(env=env, cwd=directory).stdout
            shell = text[text.index("cat >"):]
            done = subprocess.run(["sh", "-ec", shell], cwd=directory, capture_output=True, text=True, check=True)
            written = pathlib.Path(directory, "localhost-ca.pem").read_text()
        self.assertEqual(written.strip(), pathlib.Path(harness.cert_path("selfsigned.pem")).read_text().strip())
        fingerprint = done.stdout.split("Fingerprint=")[1].strip().replace(":", "").lower()
        self.assertIn(fingerprint, text)


class TestFindings(Diagnose):
    def shimmed(self, name, *args, port=587, peer_port=None, env=None):
        settings = shim(peer_port) if peer_port else {k: v for k, v in shim(0).items() if k != "SHIM_PORT"}
        return self.report("%s.shim.invalid:%d" % (name, port), *args, "--ca-file", harness.cert_path("ca.pem"),
                           env={**settings, **(env or {})})

    def test_one_of_two_addresses(self):
        with Peer() as p:
            self.assertIn("address_broken", self.found(self.shimmed("two", port=p.port)))

    def test_only_one_family_answers(self):
        for family, address, finding in ((socket.AF_INET, "127.0.0.1", "ipv6_broken"),
                                         (socket.AF_INET6, "::1", "ipv4_broken")):
            with self.subTest(finding=finding), socket.socket(family) as s:
                s.bind((address, 0))
                s.listen()
                r = self.shimmed("both", "--timeout", "2", port=s.getsockname()[1])
                self.assertIn(finding, self.found(r))
                self.assertEqual(r["facts"]["address"], address)

    def test_every_finding_has_a_test(self):
        """Here, or in the unit tests of the library."""
        header = (harness.ROOT / "smtp" / "diagnose.h").read_text()
        table = header.split("DIAGNOSE_FINDINGS(X)", 1)[1].split("enum", 1)[0]
        listed = re.findall(r"X\((\w+), \"(\w+)\"\)", table)
        self.assertGreater(len(listed), 30)
        files = [pathlib.Path(__file__), *(harness.ROOT / "tests/unit").glob("test_*.c")]
        tests = "".join(p.read_text() for p in files)
        self.assertEqual([n for s, n in listed if '"%s"' % n not in tests and "FINDING_" + s not in tests], [])

    def test_public_and_private_addresses(self):
        with Peer() as p:
            self.assertIn("dns_split", self.found(self.shimmed("split", peer_port=p.port)))

    def test_a_slow_look_up(self):
        with Peer() as p:
            r = self.shimmed("late", port=p.port)
        self.assertIn("dns_slow", self.found(r))
        self.assertGreater(self.step(r, "dns")["ms"], 1000)

    def test_no_address(self):
        r = self.shimmed("nxdomain")
        self.assertEqual((r["code"], r["failed_at"], r["suggested_config"]), ("dns_not_found", "dns", None))
        self.assertIn("dns_empty", self.found(r))

    def test_everything_is_filtered(self):
        with black_hole("127.0.0.1") as port:
            settings = {"MAILHATCH_RELAY_URL": "smtp://relay.example.com:587", "MAILHATCH_RELAY_TIMEOUT": "1s"}
            r = self.report(status=12, env={**shim(port), **settings})
        self.assertEqual(r["code"], "connect_timeout")
        self.assertTrue({"port_filtered", "egress_blocked"} <= self.found(r), r["findings"])

    def test_a_greeting_that_takes_its_time(self):
        def slow(s):
            s.peer.stopped.wait(3.3)
            s.act(peer.default)

        with Peer(on={"banner": slow}) as p:
            self.assertIn("greeting_delay", self.found(self.report(status=0, peer=p)))

    def test_auth_in_clear_text_too(self):
        clear = reply("250-peer.test", "250-AUTH PLAIN", "250 STARTTLS")
        with Peer(on={"ehlo": clear, "ehlo_tls": peer.default}) as p:
            self.assertIn("auth_before_tls", self.found(self.report(status=0, peer=p)))

    def test_certificates(self):
        for cert, finding in (("selfsigned", "cert_self_signed"), ("chainless", "intermediate_missing")):
            with self.subTest(cert=cert), Peer(cert=cert) as p:
                self.assertIn(finding, self.found(self.report(status=17, peer=p)))

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
                [harness.binary(), "diagnose", "--watch", "1"],
                env=settings,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as process:
                first, second, third = (process.stdout.readline() for _ in range(3))
                self.assertEqual(process.wait(harness.PATIENCE), 18)
                self.assertIn("watching ends", process.stderr.read())
                self.assertEqual(p.counts["auth"], 2)
        self.assertIn("  ok  ", first)
        self.assertIn("  FAIL  ", second)
        self.assertIn("result: before: works / now: auth_failed", third)


    def test_differences_as_json(self):
        with tempfile.TemporaryDirectory() as directory:
            saved = os.path.join(directory, "production.json")
            with Peer() as p:
                pathlib.Path(saved).write_text(run("--json", peer=p).stdout)
            with Peer(auth="LOGIN") as p:
                r = self.report("--compare", saved, status=0, peer=p)
                text = run("--compare", saved, peer=p).stdout
        (auth,) = [d for d in r["differences"] if d.startswith("AUTH:")]
        self.assertTrue(auth.startswith("AUTH: production: PLAIN LOGIN / here: LOGIN. "), auth)
        self.assertIn("production: PLAIN LOGIN / here: LOGIN", " ".join(text.split()))

    def test_another_number_in_the_greeting_is_no_difference(self):
        greetings = ("220 mx.test ESMTP 4711", "220 mx.test ESMTP 815", "220 proxy.test ESMTP")
        with Peer(on={"banner": list(greetings)}) as p, tempfile.NamedTemporaryFile("w") as f:
            f.write(run("--json", peer=p).stdout)
            f.flush()
            self.assertEqual(self.report("--compare", f.name, peer=p)["differences"], [])
            (other,) = self.report("--compare", f.name, peer=p)["differences"]
            self.assertIn("banner: ", other)

    def test_no_report(self):
        for text in ("{}", "[]", '"x"', "{\"facts\":{}}", '{"facts":[],"conclusion":"x"}', "\0", "[" * 100000):
            with tempfile.NamedTemporaryFile("w") as f:
                f.write(text)
                f.flush()
                done = run("--compare", f.name, "127.0.0.1:1")
                self.assertEqual(done.returncode, 2, text[:50])
                self.assertIn("it is no ", done.stderr)

    def test_watch_as_json_until_interrupted(self):
        with Peer() as p:
            settings = {"PATH": os.environ["PATH"], "MAILHATCH_RELAY_URL": p.url(),
                        "MAILHATCH_RELAY_CA_FILE": harness.cert_path("ca.pem"),
                        "MAILHATCH_RELAY_PASSWORD": harness.PASSWORD}
            command = [harness.binary(), "diagnose", "--watch", "1", "--json"]
            with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, text=True) as process:
                reports = [json.loads(process.stdout.readline()) for _ in range(2)]
                process.send_signal(signal.SIGINT)
                self.assertEqual(process.wait(harness.PATIENCE), 0)
        self.assertEqual([r["differences"] for r in reports], [[], []])


class TestTerminal(Diagnose):
    def on_a_terminal(self, *args, env=None, interrupt=None):
        """What a terminal gets, and the exit status."""
        with Peer(on={"banner": hang} if interrupt else {}) as p:
            settings = {"PATH": os.environ["PATH"], "TERM": "xterm", "MAILHATCH_RELAY_URL": p.url(),
                        "MAILHATCH_RELAY_CA_FILE": harness.cert_path("ca.pem"),
                        "MAILHATCH_RELAY_PASSWORD": harness.PASSWORD, **(env or {})}
            ours, theirs = pty.openpty()
            command = [harness.binary(), "diagnose", *args]
            with subprocess.Popen(command, env=settings, stdout=theirs, stderr=theirs) as process:
                os.close(theirs)
                if interrupt:
                    harness.wait_for(lambda: p.sessions, what="it has connected")
                    process.send_signal(signal.SIGINT)
                got = b""
                with contextlib.suppress(OSError):      # EIO: the other end is closed
                    while piece := os.read(ours, 65536):
                        got += piece
                status = process.wait(harness.PATIENCE)
            os.close(ours)
        return status, got.decode()

    def test_live_and_in_colour(self):
        status, text = self.on_a_terminal()
        self.assertEqual(status, 0, text)
        self.assertIn("....\033[0m  banner", text)      # begun
        self.assertIn("\r\033[K", text)                 # and written over
        self.assertIn("\033[32mok  \033[0m", text)

    def test_no_color(self):
        status, text = self.on_a_terminal(env={"NO_COLOR": "1"})
        self.assertEqual(status, 0)
        self.assertNotIn("\033[3", text)
        self.assertIn("\r\033[K", text)

    def test_interrupted(self):
        status, text = self.on_a_terminal(interrupt=True)
        self.assertEqual(status, 22, text)
        self.assertIn("The run was canceled", text)


class TestSecrets(Diagnose):
    def test_nothing_shows_the_password(self):
        def echo(s):
            s.send("535 5.7.8 bad: %s\r\n" % s.line)

        for on in ({}, {"auth": echo}):
            with Peer(on=on) as p:
                for args in (["--trace"], ["--json", "--trace"]):
                    done = run(*args, "--to", "bob@example.net", peer=p)
                    for secret in harness.secret_forms():
                        self.assertNotIn(secret, done.stdout + done.stderr)

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
