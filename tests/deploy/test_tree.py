"""The root of the container image, laid out by deploy/image.sh for the program under test on this machine, and run in a
chroot as the image's user: so that what is copied is seen to be enough wherever the tests run as root. The image itself
is test_image's."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import harness
from peer import Peer
from service import Service

SIZE = 16_000_000
USER = "65532:65532"


class Tree(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-tree-"))
        cls.addClassCleanup(shutil.rmtree, cls.root, True)
        script = harness.ROOT / "deploy/image.sh"
        subprocess.run(["sh", script, harness.binary(), cls.root], check=True, timeout=60)
        (cls.root / "secrets").mkdir()
        (cls.root / "secrets/password").write_text(harness.PASSWORD + "\n")
        shutil.copy(harness.cert_path("ca.pem"), cls.root / "secrets/ca.pem")
        shutil.copy("/etc/hosts", cls.root / "etc/hosts")       # an engine brings it
        cls.root.chmod(0o755)
        for p in (cls.root / "secrets").iterdir():
            p.chmod(0o444)

    def command(self, *arguments):
        chroot = ["chroot", "--userspec=" + USER, str(self.root), "/usr/bin/mailhatch", *arguments]
        return ["setpriv", "--no-new-privs", "--", *chroot]

    def env(self, peer, **more):
        return {
            "PATH": os.environ["PATH"],
            "MAILHATCH_RELAY_URL": peer.url(),
            "MAILHATCH_RELAY_PASSWORD_FILE": "/secrets/password",
            "MAILHATCH_RELAY_CA_FILE": "/secrets/ca.pem",
            "MAILHATCH_LISTEN": "127.0.0.1:0",
            "MAILHATCH_ADMIN_LISTEN": "127.0.0.1:0",
            **more,
        }

    def test_size(self):
        files = [p for p in self.root.rglob("*") if p.is_file() and not p.is_symlink()]
        self.assertLessEqual(sum(p.stat().st_size for p in files), SIZE)

    @unittest.skipUnless(os.getuid() == 0, "only root may chroot")
    def test_send_from_inside(self):
        """Name resolution, TLS with a CA of the user's, login; and without that CA the image's own are asked."""
        for ca, code in (("/secrets/ca.pem", None), (None, "tls_cert_untrusted")):
            with Peer() as peer:
                env = self.env(peer, MAILHATCH_RELAY_CA_FILE=ca) if ca else self.env(peer)
                if not ca:
                    del env["MAILHATCH_RELAY_CA_FILE"]
                mail = json.dumps(harness.MAIL)
                done = subprocess.run(self.command("send"), input=mail, capture_output=True, env=env, text=True)
                answer = json.loads(done.stdout)
                self.assertEqual(answer.get("code"), code, done)
                self.assertEqual(len(peer.mails), 0 if code else 1)

    @unittest.skipUnless(os.getuid() == 0, "only root may chroot")
    def test_closed_descriptors_without_dev(self):
        closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "closed", *self.command("version")]
        self.assertEqual(subprocess.run(closed, timeout=60).returncode, 0)

    @unittest.skipUnless(os.getuid() == 0, "only root may chroot")
    def test_serve(self):
        with Peer() as peer:
            with Service(self.command(), self.env(peer)) as s:
                self.assertEqual(harness.http_request(s.api, "POST", "/v1/emails", harness.MAIL).status, 200)
                with open("/proc/%d/status" % s.process.pid) as f:
                    status = f.read()
                self.assertRegex(status, r"Uid:\s+65532\s+65532\s+65532\s+65532\n")
                self.assertRegex(status, r"CapEff:\s+0+\n")
                env = self.env(peer, MAILHATCH_ADMIN_LISTEN=s.admin)
                done = subprocess.run(self.command("healthcheck"), env=env, capture_output=True, timeout=60)
                self.assertEqual(done.returncode, 0, done)


if __name__ == "__main__":
    unittest.main()
