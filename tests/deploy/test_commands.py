"""The first five minutes: each command of README.md and the pages below docs/ is copied from the text and run. Who adds
one there says in HELD which test runs it; a block that nobody runs fails here."""
import contextlib
import importlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import yaml

import harness
import manifests
from commands import FILES, adapt, block, blocks, copy_tree, one_by_one, shape, shell
from harness import Gateway, PASSWORD, cert_path, run_program
from peer import Peer, reply

MAIL = '{"from":"ann@example.com","to":"bob@example.org","subject":"Hello","text":"It works."}'
API = "127.0.0.1:8587"
WITHOUT_STARTTLS = {"ehlo": reply("250-peer.test", "250 SIZE 1000"), "starttls": "502 5.5.1 what is that"}

# (file, how the block begins): the test that runs it.
HELD = {
    ("README.md", "make run"): "test_commands.Source.test_make_run",
    ("README.md", "curl -sS http://127.0.0.1:8587/v1/emails -H 'Content-Type"): "test_commands.Source.test_first_mail",
    ("README.md", "curl -sS http://127.0.0.1:8587/v1/emails -F from"): "test_commands.Source.test_files",
    ("README.md", "export MAILHATCH_RELAY_URL"): "test_commands.Source.test_your_relay",
    ("README.md", "make image"): "test_image.Image.test_command_of_the_readme",
    ("README.md", "kubectl create secret"): "test_commands.Kubernetes.test_secret_and_overlay",
    ("README.md", "sudo make install"): "test_commands.Source.test_install",
    ("README.md", "make deb"): "test_debian.Life.test_life",
    ("docs/operations.md", "MAILHATCH_TLS_CERT_FILE"): "test_commands.Operations.test_tls",
    ("docs/operations.md", "curl --cacert ca.pem --cert"): "test_commands.Operations.test_mutual_tls",
    ("docs/diagnose.md", "mailhatch diagnose    "): "test_commands.Diagnose.test_command_line",
    ("docs/diagnose.md", "mailhatch diagnose --json"): "test_commands.Diagnose.test_comparison",
    ("docs/diagnose.md", "curl -sS -X POST"): "test_commands.Diagnose.test_over_http",
    ("docs/migrating.md", "# before: curl"): "test_commands.Source.test_migrating_from_curl",
}
HELD_PAGES = {"docs/input.md": "test_commands.Source.test_input"}     # all of the page, in its order


def scratch(case):
    d = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-commands-"))
    (case.addClassCleanup if isinstance(case, type) else case.addCleanup)(shutil.rmtree, d, True)
    return d


def environment(**more):
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8", **more}


class Claims(unittest.TestCase):
    def test_each_command_is_run_by_a_test(self):
        shown = [b for f in FILES for b in blocks(f) if b.language == "sh"]
        claims = {**HELD}
        for b in shown:
            if b.file in HELD_PAGES:
                continue
            found = [k for k in HELD if k[0] == b.file and b.text.startswith(k[1])]
            self.assertEqual(len(found), 1, "no test in HELD runs this: %r" % b)
            claims.pop(found[0])
        self.assertEqual(claims, {}, "these are not in the text any more")

    def test_the_tests_exist(self):
        for name in [*HELD.values(), *HELD_PAGES.values()]:
            module, group, method = name.split(".")
            self.assertTrue(callable(getattr(getattr(importlib.import_module(module), group), method)), name)

    def test_no_command_is_shown_in_another_way(self):
        """A transcript ("$ …") is held too."""
        transcripts = [b.first for f in FILES for b in blocks(f) if b.text.startswith("$ ")]
        self.assertEqual(transcripts, ["$ mailhatch diagnose", "$ mailhatch key new web >web.secret"])


class Source(unittest.TestCase):
    """A copy of the sources, as after `git clone`; `make run` builds it and goes on running."""

    @classmethod
    def setUpClass(cls):
        cls.clone = scratch(cls) / "mailhatch"
        copy_tree(cls.clone)
        first = one_by_one(block("README.md", "make run").text)[0]
        cls.lines = []
        # Ports of the kernel's choice, as 8587 may be in use; two compilers side by side.
        listen = {"MAILHATCH_LISTEN": "127.0.0.1:0", "MAILHATCH_ADMIN_LISTEN": "127.0.0.1:0"}
        env = environment(**listen, MAKEFLAGS="-j2", OPT="-O1")
        cls.process = subprocess.Popen(
            ["bash", "-c", first],
            cwd=cls.clone,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        cls.addClassCleanup(cls.stop)
        cls.reader = threading.Thread(target=cls.read, daemon=True)
        cls.reader.start()
        harness.wait_for(lambda: cls.address() or cls.process.poll() is not None, 600, "`make run` serves")
        cls.api = cls.address()
        if not cls.api:
            raise AssertionError("".join(cls.lines[-50:]))

    @classmethod
    def read(cls):
        for line in cls.process.stdout:
            cls.lines.append(line)

    @classmethod
    def address(cls):
        found = re.search(r"^  API +(\S+)$", "".join(cls.lines), re.M)
        return found and found[1]

    @classmethod
    def stop(cls):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(cls.process.pid, signal.SIGTERM)
        cls.process.wait(60)
        cls.process.stdout.close()

    def run_here(self, text, cwd=None):
        """Each command's output; the gateway's address in the place of the text's."""
        out = []
        for command in one_by_one(text):
            changed = command.replace(API, self.api)
            out.append(shell(changed, cwd or self.clone, environment()))
        return out

    def test_make_run(self):
        first, second = one_by_one(block("README.md", "make run").text)
        self.assertRegex(first, r"^make run\b")
        self.assertRegex(second, r"^make test\b")       # which is what runs this
        self.assertIn("mailhatch 0.", "".join(self.lines))
        self.assertIn("--sandbox", "".join(self.lines))

    def test_the_greeting_can_be_pasted(self):
        """What it prints for a first try works as it stands."""
        greeting = "".join(self.lines)
        commands = re.findall(r"^  (curl .*(?:\n    -d .*)?)$", greeting, re.M)
        self.assertEqual(len(commands), 2)
        self.assertEqual(json.loads(shell(commands[0], self.clone, environment()))["status"], "sent")
        self.assertGreater(json.loads(shell(commands[1], self.clone, environment()))["total"], 0)

    def test_first_mail(self):
        (out,) = self.run_here(block("README.md", "curl -sS http://127.0.0.1:8587/v1/emails -H 'Content-Type").text)
        shown = json.loads(block("README.md", '{"id":"019ab7f0-…","status":"sent"').text)
        self.assertEqual(shape(json.loads(out)), shape(shown))
        page = (harness.ROOT / "README.md").read_text()
        look = re.search(r"`(curl -sS http://127.0.0.1:8587/sandbox/messages)`", page)
        (out,) = self.run_here(look[1])
        self.assertIn("Hello", out)
        out = shell(adapt(block("README.md", "curl -sS http://127.0.0.1:8587/v1/emails -H 'Content-Type").text,
                          {API: self.api, "bob@example.org": "bob@fail.test"}), self.clone, environment())
        self.assertEqual(json.loads(out)["code"], "recipients_rejected")    # "@fail.test is refused"

    def test_files(self):
        for out in self.run_here(block("README.md", "curl -sS http://127.0.0.1:8587/v1/emails -F from").text):
            self.assertEqual(json.loads(out)["status"], "sent")

    def test_input(self):
        """docs/input.md from its first block to its last, in one directory."""
        d, n = scratch(self), 0
        for b in blocks("docs/input.md"):
            if b.language == "json":
                self.assertEqual(shape(json.loads(out)), shape(json.loads(b.text)), b)
            if b.language != "sh":
                continue
            for command in one_by_one(b.text):
                (out,) = self.run_here(command, d)
                if command.startswith("curl") and "Accept: message" in command:
                    self.assertIn("MIME-Version: 1.0", out)
                elif "curl" in command:
                    answer = json.loads(out)
                    self.assertTrue(answer.get("status") == "sent" or "valid" in answer or "data" in answer, out)
                    n += 1
        self.assertGreater(n, 9)

    def test_migrating_from_curl(self):
        d = scratch(self)
        shell(block("docs/input.md", "printf 'Dear Bob").text, d, environment())
        (out,) = self.run_here(block("docs/migrating.md", "# before: curl").text, d)
        self.assertEqual(json.loads(out)["status"], "sent")

    def test_migrating_by_program(self):
        """The examples whose interpreters are here. They raise what the answer says, so a good one is silent."""
        for language, command in (("js", ["node", "--input-type=module"]), ("python", ["/usr/bin/python3"])):
            (b,) = [b for b in blocks("docs/migrating.md") if b.language == language]
            text = adapt(b.text, {API: self.api})
            for recipient, status in (("bob@example.org", 0), ("bob@fail.test", 1)):
                done = subprocess.run(command, input=text.replace("bob@example.org", recipient), capture_output=True,
                                      text=True, timeout=60, env=environment(), check=False)
                self.assertEqual(done.returncode, status, done.stderr)
                if status:
                    self.assertIn("recipients_rejected: ", done.stderr)

    def test_your_relay(self):
        d = scratch(self)
        (d / "smtp").write_text(PASSWORD + "\n")
        with Peer() as peer:
            text = adapt(
                block("README.md", "export MAILHATCH_RELAY_URL").text,
                {"smtp://ann%40example.org@smtp.example.org:587": peer.url(),
                 "/run/secrets/smtp": str(d / "smtp")},
            )
            env = environment(MAILHATCH_RELAY_CA_FILE=cert_path("ca.pem"))
            (smoke,) = re.findall(r"`(echo '\{…\}' \| build/mailhatch send)`", (harness.ROOT / "README.md").read_text())
            settings, program = text.rsplit("build/mailhatch", 1)
            self.assertEqual(program.strip(), "")
            out = shell(settings + smoke.replace("{…}", MAIL), self.clone, env)
            self.assertEqual(json.loads(out)["status"], "sent")
            self.assertEqual(len(peer.mails), 1)
            shown = {"build/mailhatch --help": "--relay-url", "build/mailhatch check-config": "relays:"}
            for command, words in shown.items():
                self.assertIn("`%s`" % command, (harness.ROOT / "README.md").read_text())
                self.assertIn(words, shell(settings + command, self.clone, env))

    def test_install(self):
        """`sudo` is dropped, as DESTDIR is ours. What systemctl does is tried with the package, by a real systemd."""
        install, editor, systemctl = one_by_one(block("README.md", "sudo make install").text)
        root = scratch(self)
        shell(adapt(install, {"sudo ": ""}), self.clone, environment(DESTDIR=str(root)))
        path = re.match(r"sudo editor (\S+)", editor)[1]
        self.assertTrue((root / path.lstrip("/")).is_file())
        unit = re.match(r"sudo systemctl enable --now (\S+)", systemctl)[1]
        self.assertTrue((root / "usr/lib/systemd/system" / (unit + ".service")).is_file())

    def test_without_anything_it_says_what_to_do(self):
        status, _, err = run_program()
        self.assertEqual(status, 2)
        for words in ("MAILHATCH_RELAY_URL=", "--config", "--sandbox"):
            self.assertIn(words, err)

    def test_a_port_in_use(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            status, out, err = run_program("--sandbox", env={"MAILHATCH_LISTEN": "127.0.0.1:%d" % s.getsockname()[1]})
        self.assertEqual(status, 1)
        self.assertIn("the port is in use; stop what uses it or choose another port", out + err)

    def test_a_browser_at_the_front_door(self):
        out = json.loads(shell("curl -sS http://%s/" % self.api, self.clone, environment()))
        self.assertIn("/openapi.yaml", json.dumps(out))


class Operations(unittest.TestCase):
    def setUp(self):
        self.dir = scratch(self)
        shutil.copy(cert_path("ca.pem"), self.dir / "ca.pem")
        for suffix in ("pem", "key"):
            shutil.copy(cert_path("clientonly." + suffix), self.dir / ("shop." + suffix.replace("pem", "crt")))

    def serve(self, **env):
        """The block's own settings, and its program."""
        line = block("docs/operations.md", "MAILHATCH_TLS_CERT_FILE").text.splitlines()[0]
        settings = dict(pair.split("=") for pair in line.split()[:-1])
        self.assertEqual(line.split()[-1], "mailhatch")
        paths = {"/etc/mailhatch/tls.crt": cert_path("good.pem"), "/etc/mailhatch/tls.key": cert_path("good.key")}
        g = Gateway({**{k: paths[v] for k, v in settings.items()}, **env}, ("--sandbox",))
        self.addCleanup(g.stop)
        return g

    def curl(self, text, g):
        mail = "-H 'Content-Type: application/json' -d '%s'" % MAIL
        port = g.api.rsplit(":", 1)[1]
        return shell(adapt(text, {"mail.internal:8587": "localhost:" + port, "…": mail}), self.dir, environment())

    def test_tls(self):
        g = self.serve()
        text = block("docs/operations.md", "MAILHATCH_TLS_CERT_FILE").text.splitlines()[1]
        self.assertEqual(json.loads(self.curl(text, g))["status"], "sent")

    def test_mutual_tls(self):
        g = self.serve(MAILHATCH_CLIENT_CA_FILE=cert_path("ca.pem"))
        text = block("docs/operations.md", "curl --cacert ca.pem --cert").text
        self.assertEqual(json.loads(self.curl(text, g))["status"], "sent")
        without = block("docs/operations.md", "MAILHATCH_TLS_CERT_FILE").text.splitlines()[1]
        self.assertEqual(json.loads(self.curl(without, g))["code"], "forbidden")


class Keys(unittest.TestCase):
    def test_new_key(self):
        """The transcript, but for the digits."""
        lines = block("docs/keys.md", "$ mailhatch key new").text.splitlines()
        command = lines[0].removeprefix("$ ").replace("mailhatch", harness.binary())
        d = scratch(self)
        shell(command + " 2>told", d, environment())
        digits = re.compile(r"[0-9a-f]{64}")
        self.assertEqual([digits.sub("", line) for line in (d / "told").read_text().splitlines()],
                         [digits.sub("", line) for line in lines[1:]])
        self.assertRegex((d / "web.secret").read_text(), r"^mh_[0-9a-f]{64}\n$")

    def test_rights(self):
        """Both forms of the same rights are read, and are the same."""
        d = scratch(self)
        line = block("docs/keys.md", "web:sha256:c455").text.strip()
        hash_line = block("docs/keys.md", "$ mailhatch key new").text.splitlines()[-1]
        (d / "keys").write_text(hash_line + line[line.index(" "):] + "\n")
        relay = "relays:\n  main: {url: 'smtp://smtp.example.com'}\n"
        (d / "a.yaml").write_text(relay + "api_keys_file: %s\n" % (d / "keys"))
        (d / "b.yaml").write_text(relay + block("docs/keys.md", "keys:\n").text)
        shown = []
        for name in ("a.yaml", "b.yaml"):
            status, out, err = run_program("check-config", "--config", str(d / name))
            self.assertEqual(status, 0, err)
            shown.append(re.search(r"^keys:\n(.*)$", out, re.M)[1])
        senders = [re.sub(r"senders: \[.*?\]", "", s) for s in shown]
        self.assertEqual(senders[0], senders[1])
        self.assertIn("rate: 100/60s", shown[0])


class Diagnose(unittest.TestCase):
    def setUp(self):
        self.dir = scratch(self)
        (self.dir / "bin").mkdir()
        (self.dir / "bin/mailhatch").symlink_to(os.path.abspath(harness.binary()))

    def config(self, *peers):
        names = ("default", "bulk")
        common = {"password": PASSWORD, "ca_file": cert_path("ca.pem")}
        relays = {n: {"url": p.url(), **common} for n, p in zip(names, peers)}
        (self.dir / "mailhatch.yaml").write_text(yaml.safe_dump({"relays": relays}))
        return environment(
            PATH="%s:%s" % (self.dir / "bin", os.environ["PATH"]), MAILHATCH_CONFIG=str(self.dir / "mailhatch.yaml")
        )

    def test_command_line(self):
        commands = one_by_one(block("docs/diagnose.md", "mailhatch diagnose    ").text)
        self.assertEqual(len(commands), 5)
        with Peer() as one, Peer() as two, Peer(tls_mode="implicit") as other:
            env = self.config(one, two)
            for command in commands:
                command = command.split("  #")[0].strip()
                if "smtp.example.com:465" in command:   # a server of nobody's configuration, with a CA of its own
                    command = adapt(command, {"smtp.example.com:465": "localhost:%d --tls implicit --ca-file %s" % (
                        other.port, cert_path("ca.pem"))})
                out = shell(command, self.dir, env)
                self.assertIn("mailhatch diagnose [" if "--help" in command else "\nIt works: ", out, command)
            self.assertEqual((len(one.mails), len(two.mails), len(other.mails)), (1, 0, 0))

    def test_comparison(self):
        there, here = one_by_one(block("docs/diagnose.md", "mailhatch diagnose --json").text)
        with Peer() as good, Peer(on=WITHOUT_STARTTLS) as bad:
            shell(there, self.dir, self.config(good))
            env = self.config(bad)
            command = ["bash", "-c", here]
            done = subprocess.run(command, cwd=self.dir, env=env, capture_output=True, text=True, timeout=120)
        shown = block("docs/diagnose.md", "Compared with production.json").text.splitlines()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("Compared with production.json (", done.stdout)
        for line in shown[1:]:
            beginning = line.strip().split(":")[0]
            self.assertRegex(done.stdout, r"(?m)^ +%s: " % re.escape(beginning), done.stdout)

    def test_over_http(self):
        with Peer() as peer:
            g = Gateway(relay=peer.url())
            self.addCleanup(g.stop)
            for command in one_by_one(block("docs/diagnose.md", "curl -sS -X POST").text):
                self.assertTrue(json.loads(shell(adapt(command, {API: g.api}), self.dir, environment()))["ok"])
            self.assertEqual(len(peer.mails), 1)

    def test_the_failure_of_the_readme(self):
        """Its problem object and its transcript, by a port that speaks TLS at once where STARTTLS is configured."""
        shown = json.loads(block("README.md", '{"type":"/v1/errors/plaintext_on_tls_port"').text)
        lines = block("README.md", "$ mailhatch diagnose").text.splitlines()
        with Peer(tls_mode="implicit") as peer:
            url = peer.url(scheme="smtp")
            with Gateway(relay=url) as g:
                answer = g.post(json.loads(MAIL)).json
            self.assertEqual(shape(answer), shape(shown))
            for member in ("title", "status", "code", "stage", "delivery", "retryable", "type"):
                self.assertEqual(answer[member], shown[member])
            neutral = lambda s: re.sub(r"\d+", "N", s.replace("smtp.example.com", "localhost"))
            self.assertEqual(neutral(answer["hint"]), neutral(shown["hint"]))
            (self.dir / "smtp").write_text(PASSWORD)
            done = subprocess.run(
                ["bash", "-c", lines[0].removeprefix("$ ")],
                cwd=self.dir,
                env={
                    **self.config(),
                    "MAILHATCH_CONFIG": "",
                    "MAILHATCH_RELAY_URL": url,
                    "MAILHATCH_RELAY_CA_FILE": cert_path("ca.pem"),
                    "MAILHATCH_RELAY_PASSWORD_FILE": str(self.dir / "smtp"),
                },
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        words = lambda text: set(re.findall(r"[a-z_]{2,}", text.replace("smtp.example.com", "localhost")))
        # The path of the text's password file is not that of the test's.
        self.assertEqual(words("\n".join(lines[1:])) - words(done.stdout) - {"run", "secrets"}, set(), done.stdout)


class Kubernetes(unittest.TestCase):
    def test_secret_and_overlay(self):
        """There is no cluster: the secret is only printed, and the overlay rendered. What the pods of both overlays
        mount must be in it; test_kubernetes starts their containers."""
        create, apply = one_by_one(block("README.md", "kubectl create secret").text)
        d = scratch(self)
        (d / "password.txt").write_text(PASSWORD)
        (d / "keys.txt").write_text("web:0123456789abcdef\n")
        command = create.split("  #")[0].replace("kubectl", manifests.kubectl(), 1) + " --dry-run=client -o yaml"
        secret = yaml.safe_load(shell(command, d, environment(KUBECONFIG="/nonexistent")))
        overlay = re.match(r"kubectl apply -k (\S+)$", apply)[1]
        documents = list(yaml.safe_load_all(shell("%s kustomize %s" % (manifests.kubectl(), overlay), harness.ROOT,
                                                  environment())))
        pod = manifests.pod_of(documents, "webapp")
        (mounted,) = [v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v]
        self.assertEqual(secret["metadata"]["name"], mounted)
        for name in manifests.OVERLAYS:
            config = manifests.of_kind(manifests.render(name), "ConfigMap")
            text = json.dumps([c["data"] for c in config]) + json.dumps(manifests.render(name))
            for path in re.findall(r"/secrets/(\w+)", text):
                self.assertIn(path, secret["data"])


if __name__ == "__main__":
    unittest.main()
