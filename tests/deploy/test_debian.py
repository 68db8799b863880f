"""The Debian package: built from what is committed, without a complaint of lintian's; installed, run by a real systemd,
upgraded, removed and purged in a tree of Debian 12."""
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import engine
import harness
from commands import block
from test_image import DIRECTORY
from test_install import make

ROOT = harness.ROOT
DEB = ROOT / "build/deb"
CONFIG = "etc/mailhatch/mailhatch.yaml"
KEY = "0123456789abcdef0123456789abcdef"

# Runs in the tree under its systemd. Each step writes one line: its name, then what came of it.
STEPS = r"""#!/bin/bash
exec >/steps.txt 2>/steps.err
step() { echo "$1 $(shift; "$@" 2>&1 | tr '\n' ' ')"; }
api() { curl -sS -m 10 -H 'Authorization: Bearer KEY' -H 'Content-Type: application/json' "$@"; }
mail() { api http://127.0.0.1:8587/v1/emails -d '{"from":"a@example.org","to":"b@example.net","text":"Hello"}'; }
code() { api -o /dev/null -w '%{http_code}' http://127.0.0.1:8587/v1/errors; }
restart() { systemctl restart mailhatch & while kill -0 $! 2>/dev/null; do code; echo; done | sort -u; wait $!; }

step start systemctl start mailhatch
step state systemctl show mailhatch -p ActiveState -p StatusText
step mail mail
step without curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:8587/v1/errors
step process cat /proc/$(systemctl show mailhatch -p MainPID --value)/status
step stop systemctl stop mailhatch
step result systemctl show mailhatch -p Result -p ExecMainStatus
step socket systemctl start mailhatch.socket
step idle systemctl show mailhatch -p ActiveState
step first code
step active systemctl show mailhatch -p ActiveState
step restart restart
step refused sh -c 'systemctl stop mailhatch.socket mailhatch; echo nonsense: x >/etc/mailhatch/mailhatch.yaml
    systemctl start mailhatch; systemctl show mailhatch -p ActiveState -p ExecMainStatus -p NRestarts'
step journal journalctl -u mailhatch --no-pager -o cat
systemctl exit 0
""".replace("KEY", KEY)


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
        # README's own command; setUpModule did its first half.
        made, install = block("README.md", "make deb").text.strip().split(" && ")
        self.assertEqual(made, "make deb")
        *install, path = install.removeprefix("sudo ").split()
        self.assertEqual((ROOT / path).resolve(), self.deb.resolve())
        self.inside(*install, "-y", "-qq", "--no-install-recommends", "/first.deb")
        self.check_fresh()
        self.check_service()
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

    def steps(self):
        """Boots the tree; what each step wrote."""
        self.inside("apt-get", "install", "-y", "-qq", "--no-install-recommends", "systemd-sysv", "dbus", "curl")
        script, units = self.root / "usr/local/bin/steps", self.root / "etc/systemd/system"
        script.write_text(STEPS)
        script.chmod(0o755)
        (units / "steps.service").write_text("[Service]\nType=oneshot\nExecStart=/usr/local/bin/steps\n")
        (units / "multi-user.target.wants/steps.service").symlink_to("../steps.service")
        spaces = ["unshare", "--pid", "--fork", "--mount", "--net", "--uts", "--ipc", "--cgroup", "--kill-child"]
        booted = engine.run([*spaces, "sh", ROOT / "tests/deploy/boot.sh", self.root], False, stdin=subprocess.DEVNULL)
        (units / "multi-user.target.wants/steps.service").unlink()
        try:
            lines = (self.root / "steps.txt").read_text().splitlines()
        except OSError:
            raise AssertionError((booted.stdout + booted.stderr).decode()) from None
        return {name: text.strip() for name, _, text in (line.partition(" ") for line in lines)}

    def check_service(self):
        """Under systemd: a user that exists for the service only, credentials, readiness, the socket."""
        (self.root / CONFIG).write_text(
            "sandbox: true\napi_keys_file: /run/credentials/mailhatch.service/secret_keys\n"
        )
        keys = self.root / "etc/mailhatch/secrets/keys"
        keys.write_text("web:%s\n" % KEY)
        keys.chmod(0o600)
        s = self.steps()
        self.assertEqual(s["start"], "", s)
        self.assertEqual(s["state"], "StatusText=Serving on 127.0.0.1:8587 ActiveState=active")
        self.assertEqual(json.loads(s["mail"])["status"], "sent", s["mail"])
        self.assertEqual(s["without"], "401")
        self.assertGreater(int(re.search(r"Uid:\s+(\d+)", s["process"]).group(1)), 60000)
        self.assertRegex(s["process"], r"CapBnd:\s+0+ ")
        self.assertRegex(s["process"], r"NoNewPrivs:\s+1 Seccomp:\s+2 ")
        self.assertEqual((s["stop"], s["result"]), ("", "Result=success ExecMainStatus=0"))
        self.assertEqual((s["socket"], s["idle"]), ("", "ActiveState=inactive"))
        self.assertEqual((s["first"], s["active"]), ("200", "ActiveState=active"))
        self.assertEqual(s["restart"], "200", "a restart refuses nobody")
        # A configuration that is wrong is told once, not tried again and again.
        self.assertRegex(s["refused"], r"NRestarts=0 ExecMainStatus=2 ActiveState=failed$")
        self.assertIn("nonsense: no such setting", s["journal"])
        keys.unlink()
        (self.root / CONFIG).write_text("sandbox: true\n")

    def check_upgrade(self):
        self.inside("systemctl", "enable", "mailhatch.service")
        (self.root / "etc/mailhatch/secrets/smtp").write_text("secret\n")
        self.later_version()
        self.inside("dpkg", "--force-confdef", "--force-confold", "-i", "/later.deb")
        self.assertIn("+later", self.inside("dpkg-query", "-W", "mailhatch")[1])
        self.assertEqual((self.root / CONFIG).read_text(), "sandbox: true\n", "what was edited stays")
        self.assertEqual((self.root / "etc/mailhatch/secrets/smtp").read_text(), "secret\n")
        self.assertEqual(len(self.enabled()), 1, "what was enabled stays so")

    def check_removal(self):
        self.assertTrue((self.root / "var/lib/private/mailhatch").is_dir(), "the state directory stays until the purge")
        self.inside("dpkg", "-r", "mailhatch")
        self.assertFalse((self.root / "usr/bin/mailhatch").exists())
        self.assertTrue((self.root / CONFIG).exists())
        self.inside("dpkg", "-P", "mailhatch")
        for path in ("etc/mailhatch", "var/lib/private/mailhatch", "lib/systemd/system/mailhatch.service"):
            self.assertFalse((self.root / path).exists(), path)
        self.assertFalse((self.root / "var/lib/mailhatch").is_symlink())
        self.assertEqual(self.enabled(), [])
