"""make install and uninstall, into a directory."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import harness

ROOT = harness.ROOT


def make(*arguments):
    # A make that runs this test hands its own variables down.
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "B", "SAN", "OPT")}
    # -o all: what is installed is the program under test, and nothing is built here.
    b = os.path.dirname(harness.binary())
    done = subprocess.run(
        ["make", "-C", str(ROOT), "-o", "all", "B=" + b, *arguments],
        capture_output=True,
        text=True,
        env=env,
        timeout=600,
    )
    return done.returncode, done.stdout + done.stderr


class Install(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-install-"))
        self.addCleanup(shutil.rmtree, self.root, True)

    def files(self):
        return sorted("/" + str(p.relative_to(self.root)) for p in self.root.rglob("*") if not p.is_dir())

    def install(self, *arguments):
        status, text = make("install", "DESTDIR=%s" % self.root, *arguments)
        self.assertEqual(status, 0, text)

    def test_install_and_uninstall(self):
        self.install("PREFIX=/opt/mh")
        files = self.files()
        for path in (
            "/opt/mh/bin/mailhatch",
            "/opt/mh/share/man/man8/mailhatch.8",
            "/opt/mh/share/man/man5/mailhatch.conf.5",
            "/opt/mh/share/bash-completion/completions/mailhatch",
            "/opt/mh/share/zsh/site-functions/_mailhatch",
            "/opt/mh/lib/systemd/system/mailhatch.service",
            "/opt/mh/lib/systemd/system/mailhatch.socket",
            "/opt/mh/share/doc/mailhatch/LICENSE",
            "/opt/mh/share/doc/mailhatch/README.md",
            "/opt/mh/share/doc/mailhatch/mailhatch.example.yaml",
            "/etc/mailhatch/mailhatch.yaml",
        ):
            self.assertIn(path, files)
        done = subprocess.run([self.root / "opt/mh/bin/mailhatch", "version"], capture_output=True, timeout=30)
        self.assertEqual(done.returncode, 0)
        unit = (self.root / "opt/mh/lib/systemd/system/mailhatch.service").read_text()
        self.assertIn("ExecStart=/opt/mh/bin/mailhatch\n", unit)
        self.assertEqual((self.root / "etc/mailhatch/mailhatch.yaml").stat().st_mode & 0o777, 0o640)
        self.assertEqual((self.root / "etc/mailhatch/secrets").stat().st_mode & 0o777, 0o700)
        status, text = make("uninstall", "DESTDIR=%s" % self.root, "PREFIX=/opt/mh")
        self.assertEqual(status, 0, text)
        self.assertEqual(self.files(), ["/etc/mailhatch/mailhatch.yaml"])

    def test_a_configuration_stays_as_it_is(self):
        self.install()
        own = self.root / "etc/mailhatch/mailhatch.yaml"
        own.write_text("sandbox: true\n")
        self.install()
        self.assertEqual(own.read_text(), "sandbox: true\n")
        self.assertIn("/usr/local/bin/mailhatch", self.files())

    def test_the_configuration_that_is_installed(self):
        """As it is it names no relay, and says so; with its comments taken off it is right but for the files."""
        self.install()
        path = self.root / "etc/mailhatch/mailhatch.yaml"
        status, _, err = harness.run_program("check-config", "--config", path)
        self.assertEqual(status, 2)
        self.assertIn("No relay is configured", err)
        (self.root / "secret").write_text("x:0123456789abcdef\n")
        (self.root / "secret").chmod(0o600)
        lines = re.findall(r"^# ( *[a-z_]+:.*)$", path.read_text(), re.M)
        self.assertEqual(len(lines), 6)
        path.write_text(re.sub(r"/run/credentials/mailhatch.service/\w+", str(self.root / "secret"), "\n".join(lines)))
        status, out, err = harness.run_program("check-config", "--config", path)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("user: ann@example.org", out)
        self.assertIn("keys:\n  - {name: x, scopes: [", out)
