"""Files that settings name and that are no files, are too large, change in several steps, or may be read by others."""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

import harness
from harness import Gateway, mail, wait_for
from peer import Peer

KEY = "0123456789abcdef-web"
FIRST_HALF, SECOND_HALF = "fedcba9876543210", "-the-rest-of-the-key"
UNREAD_S = 3  # longer than the pause between two looks


def bearer(secret):
    return {"Authorization": "Bearer " + secret}


def make_fifo(path):
    os.mkfifo(path, 0o600)


def make_large(path):
    with open(path, "wb") as f:
        f.truncate(3 << 30)  # sparse


def make_socket(path):
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
        s.bind(str(path))


NO_FILES = (
    (make_fifo, "is a pipe (FIFO), not a file"),
    (make_large, "is larger than"),
    (make_socket, "is a socket, not a file"),
    (os.mkdir, "is a directory, not a file"),
    (lambda path: os.symlink(path, path), "Too many levels of symbolic links"),
    (lambda path: os.symlink("/dev/zero", path), "is a device, not a file"),
)


class Files(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-files-"))
        self.addCleanup(shutil.rmtree, self.dir, True)
        for name, text in (("password", harness.PASSWORD), ("keys", "web:%s\n" % KEY)):
            (self.dir / name).write_text(text)
            (self.dir / name).chmod(0o600)
        for name in ("ca.pem", "ca.crl", "good.pem", "good.key"):
            shutil.copy(harness.cert_path(name), self.dir / name)

    def settings(self, peer=None):
        """Every file there is, but those of the API's own TLS."""
        return {
            "MAILHATCH_RELAY_URL": peer.url() if peer else "smtp://ann@localhost:1",
            "MAILHATCH_RELAY_PASSWORD_FILE": self.dir / "password",
            "MAILHATCH_RELAY_CA_FILE": self.dir / "ca.pem",
            "MAILHATCH_RELAY_CRL_FILE": self.dir / "ca.crl",
            "MAILHATCH_API_KEYS_FILE": self.dir / "keys",
        }

    def tls(self):
        return {"MAILHATCH_TLS_CERT_FILE": self.dir / "good.pem", "MAILHATCH_TLS_KEY_FILE": self.dir / "good.key",
                "MAILHATCH_CLIENT_CA_FILE": self.dir / "ca.pem"}

    def replace(self, name, make):
        new = self.dir / "new"
        make(new)
        if (self.dir / name).is_dir() or new.is_dir():
            self.remove(name)
        os.rename(new, self.dir / name)

    def remove(self, name):
        path = self.dir / name
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    def copy_back(self, name):
        self.replace(name, lambda new: shutil.copy(harness.cert_path(name), new))

    def post(self, g, secret=KEY):
        return g.post(mail(), bearer(secret)).status

    def check(self, *args, **env):
        return harness.run_program("check-config", *args, env={k: str(v) for k, v in env.items()})


class TestStart(Files):
    def test_no_file_at_all(self):
        """Whatever stands there: a mistake that names it, at once."""
        given = {**self.settings(), **self.tls()}
        for setting in [k for k in given if k.endswith("_FILE")] + ["MAILHATCH_CONFIG"]:
            for make, why in NO_FILES:
                bad = self.dir / "bad"
                with self.subTest(setting, why=why):
                    os.symlink("bad", bad) if why.startswith("Too many") else make(bad)
                    status, _, err = self.check(**{**given, setting: bad})
                    self.remove("bad")
                    self.assertEqual(status, 2)
                    self.assertIn(why, err)
                    self.assertIn("bad", err)

    def test_the_limit_is_named(self):
        make_large(self.dir / "large")
        for setting, limit in (("RELAY_PASSWORD_FILE", "64 KiB"), ("RELAY_CA_FILE", "16 MiB"), ("CONFIG", "1 MiB")):
            err = self.check(**{**self.settings(), "MAILHATCH_" + setting: self.dir / "large"})[2]
            self.assertIn("large", err)
            self.assertIn("is larger than " + limit, err)

    def test_files_of_commands(self):
        for make, why in NO_FILES[:4]:
            for args in (["send", "--sandbox", "bad"],
                         ["diagnose", "--user", "a", "--password-file", "bad", "localhost:1"]):
                with self.subTest(args[0], why=why):
                    make(self.dir / "bad")
                    done = subprocess.run([os.path.abspath(harness.binary()), *args], cwd=self.dir,
                                          capture_output=True, text=True, timeout=harness.PATIENCE, env={})
                    self.remove("bad")
                    self.assertEqual(done.returncode, 2)
                    self.assertIn("bad " + why, done.stderr)

    def test_pipes_of_the_shell(self):
        """/dev/stdin and <(...) are read at the start, as long as their writers take."""
        yaml = "relays: {default: {url: 'smtp://ann@localhost:1', password_file: /dev/fd/%d}}"
        r, w = os.pipe()
        os.write(w, b"through-a-pipe\n")
        os.close(w)
        done = subprocess.run([harness.binary(), "check-config", "--config", "/dev/stdin"], pass_fds=[r], text=True,
                              input=yaml % r, capture_output=True, timeout=harness.PATIENCE, env={})
        os.close(r)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("password: (set, not shown)  # password_file", done.stdout)
        done = subprocess.run(
            ["bash", "-c", '"$0" send --sandbox <(echo \'%s\')' %
             '{"from":"a@example.org","to":"b@example.org","subject":"s","text":"t"}', harness.binary()],
            capture_output=True, timeout=harness.PATIENCE, env={"PATH": os.environ["PATH"]})
        self.assertEqual(done.returncode, 0, done.stderr)


class TestRunning(Files):
    def test_no_file_while_it_runs(self):
        """Nothing waits, what was there before stays in force, and each is told once."""
        config = self.dir / "mailhatch.yaml"
        config.write_text("log_level: info\n")
        with Peer() as peer, Gateway({**self.settings(peer), "MAILHATCH_CONFIG": config}) as g:
            self.assertEqual(self.post(g), 200)
            for n, (make, why) in enumerate(NO_FILES[:2], 1):
                for name in ("password", "ca.pem", "ca.crl", "keys"):
                    self.replace(name, make)
                wait_for(lambda n=n: len(g.events("secrets")) >= 3 * n, what="each is told: " + why)
                for e in g.events("secrets")[3 * (n - 1) :]:
                    self.assertEqual(e["level"], "warn")
                    self.assertIn(why, e["why"])
                self.assertEqual(self.post(g), 200)
            self.replace("mailhatch.yaml", make_fifo)
            g.signal(signal.SIGHUP)
            wait_for(lambda: any("is refused" in e["msg"] for e in g.events("reload")), what="the reload is refused")
            self.assertEqual((g.admin("/livez").status, self.post(g)), (200, 200))
            self.replace("password", lambda new: new.write_text(harness.PASSWORD))
            self.replace("keys", lambda new: new.write_text("web:another-" + KEY))
            self.copy_back("ca.pem")
            self.copy_back("ca.crl")
            wait_for(lambda: self.post(g, "another-" + KEY) == 200, what="the new key is taken")
            wait_for(lambda: len(g.events("secrets")) == 8, what="the new authorities are taken")
            self.assertEqual([e["level"] for e in g.events("secrets")], ["warn"] * 6 + ["info"] * 2)
            self.assertEqual(self.post(g, "another-" + KEY), 200)

    def test_certificates_of_the_api(self):
        context = ssl.create_default_context(cafile=harness.cert_path("ca.pem"))
        context.load_cert_chain(harness.cert_path("good.pem"), harness.cert_path("good.key"))
        with Gateway({**self.tls()}, ["--sandbox"]) as g:
            for name in ("good.pem", "good.key", "ca.pem"):
                self.replace(name, make_fifo)
            wait_for(lambda: [e for e in g.events("certificate") if "why" in e], what="it is told")
            self.assertIn("is a pipe", g.events("certificate")[-1]["why"])
            with contextlib.closing(harness.connect(g.api)) as s:
                context.wrap_socket(s, server_hostname="localhost").close()
            self.assertEqual(g.admin("/livez").status, 200)


class TestSteps(Files):
    """A file that is written to in several steps is taken when it is whole."""

    def begin(self, name, first):
        f = open(self.dir / name, "w", encoding="ascii")
        self.addCleanup(f.close)
        f.write(first)
        f.flush()
        return f

    def test_two_steps(self):
        pem = (self.dir / "ca.pem").read_text()
        steps = {"password": (harness.PASSWORD[:10], harness.PASSWORD[10:]), "ca.pem": (pem[:300], pem[300:]),
                 "keys": ("web:%s\nnew:%s" % (KEY, FIRST_HALF), SECOND_HALF + "\n")}
        with Peer() as peer, Gateway(self.settings(peer)) as g:
            self.assertEqual(self.post(g), 200)
            begun = {name: self.begin(name, first) for name, (first, _) in steps.items()}
            end = time.monotonic() + UNREAD_S
            while time.monotonic() < end:
                self.assertEqual((self.post(g, FIRST_HALF), self.post(g)), (401, 200))
                self.assertEqual(g.events("secrets"), [])
            for name, f in begun.items():
                f.write(steps[name][1])
                f.close()
            wait_for(lambda: self.post(g, FIRST_HALF + SECOND_HALF) == 200 or self.post(g, FIRST_HALF) != 401,
                     what="the new key is taken")
            self.assertEqual(self.post(g, FIRST_HALF), 401)
            wait_for(lambda: len(g.events("secrets")) == 2, what="the authorities are taken")
            self.assertEqual({e["level"] for e in g.events("secrets")}, {"info"})


class TestModes(Files):
    def warnings(self, **env):
        status, _, err = self.check(**env)
        self.assertEqual(status, 0, err)
        return [line for line in err.splitlines() if "holds a secret" in line]

    def test_secret_files(self):
        given = {**self.settings(), **self.tls()}
        given.pop("MAILHATCH_CLIENT_CA_FILE")
        for name in ("good.key", "password", "keys"):
            (self.dir / name).chmod(0o600)
        self.assertEqual(self.warnings(**given), [])
        for name, setting in (("password", "relay default: password_file"), ("keys", "api_keys_file"),
                              ("good.key", "tls_key_file")):
            for mode, who in ((0o644, "every user"), (0o604, "every user"), (0o640, "its whole group")):
                with self.subTest(name, mode=oct(mode)):
                    (self.dir / name).chmod(mode)
                    (told,) = self.warnings(**given)
                    self.assertIn(setting, told)
                    self.assertIn(who, told)
                    self.assertIn("%s holds a secret" % (self.dir / name), told)
                    self.assertIn("(mode %04o)" % mode, told)
            (self.dir / name).chmod(0o600)

    def test_a_configuration_with_secrets(self):
        config = self.dir / "mailhatch.yaml"
        for text, n in (
            ("relays: {default: {url: 'smtp://ann@localhost:1', password: geheim}}", 1),
            ("relays: {default: {url: 'smtp://ann:geheim@localhost:1'}}", 1),
            ("api_keys: [web:%s]\nrelays: {default: {url: 'smtp://localhost:1'}}" % KEY, 1),
            ("api_keys: [web:sha256:%s]\nrelays: {default: {url: 'smtp://localhost:1'}}" % ("0f" * 32), 0),
            ("keys: [{name: web, secret_file: %s}]\nrelays: {default: {url: 'smtp://localhost:1'}}"
             % (self.dir / "good.key"), 0),
            ("relays: {default: {url: 'smtp://ann@localhost:1', password_file: %s}}" % (self.dir / "password"), 0),
        ):
            config.write_text(text)
            (self.dir / "good.key").write_text(KEY)
            (self.dir / "good.key").chmod(0o600)
            for mode, more in ((0o644, n), (0o600, 0)):
                config.chmod(mode)
                with self.subTest(text, mode=oct(mode)):
                    self.assertEqual(len(self.warnings(MAILHATCH_CONFIG=config)), more)
        config.write_text("relays: {default: {url: 'smtp://ann@localhost:1'}}")
        config.chmod(0o644)
        self.assertEqual(self.warnings(MAILHATCH_CONFIG=config, MAILHATCH_RELAY_PASSWORD="geheim"), [])

    def test_not_at_each_start(self):
        (self.dir / "password").chmod(0o644)
        with Gateway(self.settings()) as g:
            self.assertEqual([e for e in g.events("config") if "holds a secret" in e["msg"]], [])


if __name__ == "__main__":
    unittest.main()
