"""The Debian package: built from what is committed, without a complaint of lintian's; installed, upgraded, removed and
purged in a chroot of Debian 12."""
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import engine
import harness
from test_image import DIRECTORY
from test_install import make

ROOT = harness.ROOT
DEB = ROOT / "build/deb"
CONFIG = "etc/mailhatch/mailhatch.yaml"


def setUpModule():
    status, text = make("deb")
    if status != 0:
        raise AssertionError(text[-6000:])


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        (cls.deb,) = DEB.glob("mailhatch_*.deb")
        (cls.changes,) = DEB.glob("mailhatch_*.changes")

    def contents(self):
        text = engine.run(["dpkg-deb", "-c", self.deb]).stdout.decode()
        rows = [line.split(None, 5) for line in text.splitlines()]
        return {r[5].split(" -> ")[0].removeprefix("."): (r[0], r[1]) for r in rows}

    def test_lintian(self):
        done = engine.run(["lintian", "--fail-on", "warning,error", self.changes], check=False)
        complaints = [line for line in done.stdout.decode().splitlines() if line[:2] in ("E:", "W:")]
        self.assertEqual((done.returncode, complaints), (0, []))

    def test_version(self):
        version = harness.run_program("version")[1].split()[1]
        self.assertEqual(engine.run(["dpkg-deb", "-f", self.deb, "Version"]).stdout.decode().strip(), version)

    def test_contents(self):
        files = self.contents()
        for path in (
            "/usr/bin/mailhatch",
            "/lib/systemd/system/mailhatch.service",
            "/lib/systemd/system/mailhatch.socket",
            "/usr/share/man/man8/mailhatch.8.gz",
            "/usr/share/man/man5/mailhatch.conf.5.gz",
            "/usr/share/bash-completion/completions/mailhatch",
            "/usr/share/zsh/vendor-completions/_mailhatch",
            "/usr/share/doc/mailhatch/README.Debian",
            "/usr/share/doc/mailhatch/copyright",
        ):
            self.assertIn(path, files)
        self.assertEqual(files["/" + CONFIG], ("-rw-r-----", "root/root"))
        self.assertEqual(files["/etc/mailhatch/secrets/"], ("drwx------", "root/root"))
        self.assertTrue(all(owner == "root/root" for _, owner in files.values()))
        conffiles = engine.run(["dpkg-deb", "-I", self.deb, "conffiles"]).stdout.decode().split()
        self.assertEqual(conffiles, ["/" + CONFIG])


class Life(unittest.TestCase):
    """One chroot, from the installation to the purge."""

    @classmethod
    def setUpClass(cls):
        (cls.deb,) = DEB.glob("mailhatch_*.deb")
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        engine.make_base(DIRECTORY / "base.tar")
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-deb-"))
        cls.addClassCleanup(shutil.rmtree, cls.root, True)
        engine.run(["tar", "-xf", DIRECTORY / "base.tar", "-C", cls.root])
        shutil.copy("/etc/resolv.conf", cls.root / "etc/resolv.conf")

    def inside(self, *command, check=True):
        done = engine.run(
            ["chroot", self.root, "env", "DEBIAN_FRONTEND=noninteractive", *map(str, command)],
            check,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, (done.stdout + done.stderr).decode()

    def later_version(self):
        """The same package with a higher version and another default in its conffile."""
        tree = self.root / "later"
        engine.run(["dpkg-deb", "-R", self.deb, tree])
        control = tree / "DEBIAN/control"
        control.write_text(re.sub(r"^Version: .*$", r"\g<0>+later", control.read_text(), flags=re.M))
        path = tree / CONFIG
        path.write_text(path.read_text() + "# a later version's\n")
        engine.run(["dpkg-deb", "--root-owner-group", "-b", tree, self.root / "later.deb"])
        shutil.rmtree(tree)

    def enabled(self):
        return sorted(str(p.relative_to(self.root)) for p in self.root.glob("etc/systemd/system/*.wants/mailhatch*"))

    def test_life(self):
        shutil.copy(self.deb, self.root / "first.deb")
        self.inside("apt-get", "update", "-qq")
        self.inside("apt-get", "install", "-y", "-qq", "--no-install-recommends", "/first.deb")
        self.check_fresh()
        self.check_upgrade()
        self.check_removal()

    def check_fresh(self):
        version = harness.run_program("version")[1].split()[1]
        self.assertIn("mailhatch " + version, self.inside("mailhatch", "version")[1])
        # Nothing is enabled, so nothing can fail before a relay is named; the reason is said by check-config.
        self.assertEqual(self.enabled(), [])
        status, text = self.inside("mailhatch", "check-config", "--config", "/" + CONFIG, check=False)
        self.assertEqual(status, 2)
        self.assertIn("No relay is configured", text)
        self.assertEqual((self.root / CONFIG).stat().st_mode & 0o777, 0o640)
        self.assertEqual(self.inside("dpkg", "-V", "mailhatch")[1], "")
        # As the unit starts it, but for systemd: a relay is named, a mail is taken.
        own = "sandbox: true\n"
        (self.root / CONFIG).write_text(own)
        mail = '{"from":"ann@example.org","to":"bob@example.net","subject":"Hello","text":"Hello"}'
        send = "echo '%s' | mailhatch send --config /%s" % (mail, CONFIG)
        self.assertIn('"status":"sent"', self.inside("sh", "-c", send)[1])

    def check_upgrade(self):
        self.inside("env", "DPKG_MAINTSCRIPT_PACKAGE=mailhatch", "deb-systemd-helper", "enable", "mailhatch.service")
        (self.root / "etc/mailhatch/secrets/smtp").write_text("secret\n")
        self.later_version()
        self.inside("dpkg", "--force-confdef", "--force-confold", "-i", "/later.deb")
        self.assertIn("+later", self.inside("dpkg-query", "-W", "mailhatch")[1])
        self.assertEqual((self.root / CONFIG).read_text(), "sandbox: true\n", "what was edited stays")
        self.assertEqual((self.root / "etc/mailhatch/secrets/smtp").read_text(), "secret\n")
        self.assertEqual(len(self.enabled()), 1, "what was enabled stays so")

    def check_removal(self):
        (self.root / "var/lib/private/mailhatch").mkdir(parents=True)
        self.inside("dpkg", "-r", "mailhatch")
        self.assertFalse((self.root / "usr/bin/mailhatch").exists())
        self.assertTrue((self.root / CONFIG).exists())
        self.inside("dpkg", "-P", "mailhatch")
        for path in ("etc/mailhatch", "var/lib/private/mailhatch", "lib/systemd/system/mailhatch.service"):
            self.assertFalse((self.root / path).exists(), path)
        self.assertEqual(self.enabled(), [])
