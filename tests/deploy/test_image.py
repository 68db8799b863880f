"""The container image: really built from the Dockerfile, small, without anything but what the program needs, the same
when built again; and run read-only, as nobody, without capabilities, to send mail from inside."""
import json
import os
import pathlib
import shlex
import signal
import subprocess
import tarfile
import tempfile
import unittest

import engine
import harness
from commands import adapt, block, one_by_one
from peer import Peer
from service import Service

ROOT = harness.ROOT
DIRECTORY = pathlib.Path(os.environ.get("MAILHATCH_IMAGE_DIR") or ROOT / "build" / "image")
SIZE = 16_000_000
DIGEST = "cd {0}; find . -type f -exec sha256sum {{}} + | sort -k 2; tar --sort=name -cf - . | sha256sum"


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        engine.make_base(DIRECTORY / "base.tar")
        cls.engine = engine.start(DIRECTORY)
        cls.addClassCleanup(cls.engine.stop)
        cls.engine.build(ROOT, DIRECTORY / "base.tar")

    def relay(self, peer, **more):
        return {
            "MAILHATCH_RELAY_URL": peer.url(),
            "MAILHATCH_RELAY_PASSWORD_FILE": "/run/mailhatch/password",
            "MAILHATCH_RELAY_CA_FILE": harness.cert_path("ca.pem"),
            "MAILHATCH_LISTEN": "127.0.0.1:0",
            "MAILHATCH_ADMIN_LISTEN": "127.0.0.1:0",
            **more,
        }

    def secrets(self, env):
        """A directory that the image's user can read, with what the settings name."""
        d = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-image-"))
        self.addCleanup(engine.run, ["rm", "-rf", d])
        (d / "password").write_text(harness.PASSWORD + "\n")
        (d / "ca.pem").write_bytes(pathlib.Path(harness.cert_path("ca.pem")).read_bytes())
        d.chmod(0o755)
        for p in d.iterdir():
            p.chmod(0o444)
        env["MAILHATCH_RELAY_PASSWORD_FILE"] = str(d / "password")
        env["MAILHATCH_RELAY_CA_FILE"] = str(d / "ca.pem")
        return d

    def test_size(self):
        self.assertLessEqual(self.engine.size(), SIZE)

    def test_contents(self):
        """The program, libraries, certificates, five small files; nothing that is set-uid, no shell."""
        with tempfile.NamedTemporaryFile() as f:
            self.engine.files(f.name)
            with tarfile.open(f.name) as tar:
                members = {("/" + m.name.removeprefix("./")).rstrip("/"): m for m in tar}
        engines_own = ("/.dockerenv", "/dev", "/proc", "/sys", "/etc/host", "/etc/resolv.conf", "/etc/mtab")
        files = [n for n, m in members.items() if not m.isdir() and not n.startswith(engines_own)]
        known = ("/lib", "/usr/lib", "/etc/ssl/certs/", "/usr/share/ca-certificates/")
        rest = {n for n in files if not n.startswith(known)}
        self.assertEqual(rest, {"/usr/bin/mailhatch", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf"})
        self.assertEqual([n for n in files if members[n].mode & 0o6000], [])
        self.assertGreater(len([n for n in files if n.endswith(".0") and n.startswith("/etc/ssl/certs/")]), 80)
        dangling = [n for n in files if members[n].issym() and n.startswith("/etc/ssl") and not resolves(n, members)]
        self.assertEqual(dangling, [])

    def test_configuration(self):
        c = self.engine.configuration()
        self.assertEqual(c["User"], "65532:65532")
        self.assertEqual(c["Entrypoint"], ["/usr/bin/mailhatch"])
        self.assertEqual(c["Healthcheck"]["Test"], ["CMD", "/usr/bin/mailhatch", "healthcheck"])

    def test_reproducible(self):
        """Built anew in the same stage: the same files, to the last octet and second."""
        first = self.engine.in_build_stage(DIGEST.format("/image"))
        again = "rm -rf build; make -j2 >/dev/null; SOURCE_DATE_EPOCH=0 deploy/image.sh build/mailhatch /again; "
        second = self.engine.in_build_stage(again + DIGEST.format("/again"))
        self.assertIn("./usr/bin/mailhatch\n", first)
        self.assertEqual(first.splitlines(), second.splitlines())

    def test_send_from_inside(self):
        """`mailhatch send` in a container: name resolution, TLS with a CA of the user's, login."""
        with Peer() as peer:
            env = self.relay(peer)
            mounts = [self.secrets(env)]
            done = engine.run(
                self.engine.command(["send"], env, mounts),
                env=self.engine.env,
                input=json.dumps(harness.MAIL).encode(),
                timeout=60,
            )
            answer = json.loads(done.stdout)
            self.assertEqual(answer["status"], "sent", answer)
            self.assertTrue(answer["tls"]["verified"])
            self.assertEqual(len(peer.mails), 1)

    def test_authorities_of_the_image(self):
        """Without a CA of the user's the image's own are asked, and do not know the test's."""
        with Peer() as peer:
            env = self.relay(peer)
            mounts = [self.secrets(env)]
            del env["MAILHATCH_RELAY_CA_FILE"]
            done = engine.run(
                self.engine.command(["send"], env, mounts),
                check=False,
                env=self.engine.env,
                input=json.dumps(harness.MAIL).encode(),
                timeout=60,
            )
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertEqual(json.loads(done.stdout)["code"], "tls_cert_untrusted", done.stdout)
            self.assertEqual(peer.mails, [])

    def test_serve(self):
        """The service in a container: a mail by HTTP, the health check inside it, SIGTERM ends it with 0."""
        with Peer() as peer:
            admin = free_port()
            env = self.relay(peer, MAILHATCH_ADMIN_LISTEN="0.0.0.0:%d" % admin, MAILHATCH_LOG_FORMAT="json")
            mounts = [self.secrets(env)]
            options = ["--name", "mailhatch-test-serve", "--health-interval", "1s"] if self.is_docker() else []
            with Service(self.engine.command([], env, mounts, options), self.engine.env) as s:
                answer = harness.http_request(s.api, "POST", "/v1/emails", harness.MAIL)
                self.assertEqual(answer.status, 200, repr(answer))
                self.assertEqual(len(peer.mails), 1)
                self.check_health(env, mounts)
                s.process.send_signal(signal.SIGTERM)
                status, log = s.wait()
                self.assertEqual(status, 0, log)
                self.assertIn('"msg":"stopped"', log)

    def test_command_of_the_readme(self):
        """`docker run` as README shows it: its options are the test engine's too, its settings and secrets are used,
        with another relay. Ports are published by neither: the test's networks are the host's."""
        make, run = one_by_one(block("README.md", "make image").text)
        self.assertRegex(make, r"^make image\s")
        with open(ROOT / "Makefile") as f:
            self.assertRegex(f.read(), r"(?m)^image:.*\n\tdocker build .* \.$")
        with Peer() as peer:
            secrets = self.secrets({})
            (secrets / "keys").write_text("web:0123456789abcdef\n")
            (secrets / "smtp").write_text(harness.PASSWORD)
            text = adapt(run, {"smtp://ann%40example.org@smtp.example.org:587": peer.url(), "0.0.0.0:8587": "0.0.0.0:0",
                               "/srv/mailhatch:/secrets": "%s:%s" % (secrets, secrets),
                               "/secrets/keys": "%s/keys" % secrets, "/secrets/smtp": "%s/smtp" % secrets})
            words = shlex.split(text)
            image = words.pop()
            env = dict(words[i + 1].split("=", 1) for i, w in enumerate(words) if w == "-e")
            self.assertEqual(image.split(":")[0], "mailhatch")
            for option in ("--read-only", "--cap-drop ALL", "--security-opt no-new-privileges"):
                self.assertIn(option, run)
            env["MAILHATCH_RELAY_CA_FILE"] = str(secrets / "ca.pem")
            env["MAILHATCH_ADMIN_LISTEN"] = "127.0.0.1:0"
            with Service(self.engine.command([], env, [secrets]), self.engine.env) as s:
                api = s.api.replace("0.0.0.0", "127.0.0.1")
                self.assertEqual(harness.http_request(api, "POST", "/v1/emails", harness.MAIL).status, 401)
                key = {"Authorization": "Bearer 0123456789abcdef"}
                answer = harness.http_request(api, "POST", "/v1/emails", harness.MAIL, key)
                self.assertEqual(answer.status, 200, repr(answer))
                self.assertEqual(len(peer.mails), 1)

    def is_docker(self):
        return self.engine.name == "docker"

    def check_health(self, env, mounts):
        if not self.is_docker():
            done = engine.run(self.engine.command(["healthcheck"], env, mounts), env=self.engine.env, timeout=30)
            self.assertEqual(done.returncode, 0)
            return

        def health():
            text = self.engine.docker("inspect", "mailhatch-test-serve").stdout
            return json.loads(text)[0]["State"]["Health"]["Status"] == "healthy"

        harness.wait_for(health, 30, "the container is healthy")

    def test_it_refuses_to_start_without_a_relay(self):
        done = subprocess.run(self.engine.command([], {}), env=self.engine.env, capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"No relay is configured", done.stderr)


def resolves(name, members):
    for _ in range(5):
        m = members.get(name)
        if not m or not m.issym():
            return m is not None
        name = os.path.normpath(os.path.join(os.path.dirname(name), m.linkname))
    return False


def free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
