"""The units: hardened, understood by systemd, and with room for what mailhatch does; sockets handed over; readiness and
the end told; a restart that refuses nobody."""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

import harness
from peer import Peer
from service import Service
from test_install import make

ROOT = harness.ROOT
UNIT = ROOT / "deploy/systemd/mailhatch.service"
SOCKET = ROOT / "deploy/systemd/mailhatch.socket"
EXPOSURE = 1.5


def setting(unit, key):
    return re.findall(r"^%s=(.*)$" % key, unit.read_text("utf-8"), re.M)


def listening(family=socket.AF_INET, address=("127.0.0.1", 0), kind=socket.SOCK_STREAM, backlog=512):
    s = socket.socket(family, kind)
    s.bind(address)
    if backlog is not None:
        s.listen(backlog)
    return s


def at(s):
    return "127.0.0.1:%d" % s.getsockname()[1]


class Directory(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-systemd-"))
        self.addCleanup(shutil.rmtree, self.dir, True)

    def socket(self, *arguments, **more):
        s = listening(*arguments, **more)
        self.addCleanup(s.close)
        return s


class Units(Directory):
    def test_exposure(self):
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)], capture_output=True, text=True
        )
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
        self.assertTrue(found, done.stdout + done.stderr)
        self.assertLessEqual(float(found.group(1)), EXPOSURE, done.stdout)

    def test_systemd_understands_them(self):
        status, text = make("install", "DESTDIR=", "PREFIX=%s/p" % self.dir, "SYSCONFDIR=%s/etc" % self.dir)
        self.assertEqual(status, 0, text)
        units = self.dir / "p/lib/systemd/system"
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
            + [str(units / name) for name in ("mailhatch.service", "mailhatch.socket")],
            capture_output=True,
            text=True,
        )
        # Of other units on the machine it may complain as well.
        own = [line for line in done.stderr.splitlines() if "mailhatch" in line]
        self.assertEqual((done.returncode, own), (0, []), done.stderr)

    def test_names_and_numbers_fit_the_program(self):
        config = setting(UNIT, "Environment")
        self.assertEqual(config, ["MAILHATCH_CONFIG=%d/mailhatch.yaml"])
        self.assertEqual(setting(SOCKET, "FileDescriptorName"), ["api"])
        _, sample, _ = harness.run_program("help", "sample")
        self.assertEqual(setting(SOCKET, "ListenStream"), re.findall(r"^# listen: (\S+)$", sample, re.M))
        drain = re.search(r"^# drain_timeout: (\d+)s$", sample, re.M).group(1)
        self.assertGreater(int(setting(UNIT, "TimeoutStopSec")[0].rstrip("s")), int(drain))

    def allowed_calls(self):
        allowed = set()
        for value in setting(UNIT, "SystemCallFilter"):
            remove, names = value.startswith("~"), value.lstrip("~").split()
            calls = set().union(*(self.group(n) for n in names))
            allowed = allowed - calls if remove else allowed | calls
        return allowed

    def group(self, name):
        if not name.startswith("@"):
            return {name}
        done = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
        words = [line.strip() for line in done.stdout.splitlines()[1:]]
        return set().union(*(self.group(w) for w in words if w and not w.startswith("#")))

    def test_every_system_call_is_allowed(self):
        """All that a start, a mail and a drain call, with each kind of thread at work."""
        trace = self.dir / "trace"
        with Peer() as peer:
            env = relay_env(peer, MAILHATCH_LISTEN="127.0.0.1:0", MAILHATCH_HTTP_LOOPS="2", MAILHATCH_SMTP_LOOPS="2")
            with Service(["strace", "-f", "-o", str(trace), harness.binary()], env) as s:
                large = {**harness.MAIL, "text": "A line of a large mail.\n" * 40000}
                for body in (harness.MAIL, large):
                    answer = harness.http_request(s.api, "POST", "/v1/emails", body)
                    self.assertEqual(answer.status, 200, repr(answer))
                # strace passes no signal on; its child is the program.
                pid = int(trace.read_text().split(None, 1)[0])
                os.kill(pid, 15)
                self.assertEqual(s.wait()[0], 0)
        called = set(re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)[( ]", trace.read_text(errors="replace"), re.M))
        self.assertIn("epoll_wait", called)
        self.assertEqual(called - self.allowed_calls() - {"resumed"}, set())


def relay_env(peer, **more):
    return {
        "MAILHATCH_RELAY_URL": peer.url(),
        "MAILHATCH_RELAY_PASSWORD": harness.PASSWORD,
        "MAILHATCH_RELAY_CA_FILE": harness.cert_path("ca.pem"),
        "MAILHATCH_ADMIN_LISTEN": "127.0.0.1:0",
        **more,
    }


SANDBOX = {"MAILHATCH_SANDBOX": "1", "MAILHATCH_ADMIN_LISTEN": "127.0.0.1:0", "MAILHATCH_LISTEN": "127.0.0.1:0"}


class Notify(Directory):
    def hear(self, address):
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(told.close)
        told.bind(address)
        told.settimeout(harness.PATIENCE)
        name = "@" + address[1:] if address[0] == "\0" else address
        env = {**SANDBOX, "NOTIFY_SOCKET": name, "MAILHATCH_DRAIN_DELAY": "1ms", "MAILHATCH_DRAIN_TIMEOUT": "90s"}
        with Service([harness.binary()], env) as s:
            ready = told.recv(1000).decode().split("\n")
            self.assertEqual(ready[0], "READY=1")
            self.assertEqual(ready[1], "STATUS=Serving on " + s.api)
            s.process.terminate()
            stopping = told.recv(1000).decode().split("\n")
            self.assertEqual(stopping[0], "STOPPING=1")
            self.assertIn("EXTEND_TIMEOUT_USEC=95001000", stopping)
            self.assertEqual(s.wait()[0], 0)

    def test_path(self):
        self.hear(str(self.dir / "notify"))

    def test_abstract(self):
        self.hear("\0mailhatch-test-%d" % os.getpid())

    def test_nobody_hears(self):
        for name in ("", "relative", "/no/such/socket", "/" + "x" * 200, "vsock:2:1"):
            with Service([harness.binary()], {**SANDBOX, "NOTIFY_SOCKET": name}) as s:
                self.assertEqual(s.stop(), 0)


class Sockets(Directory):
    def start(self, *sockets, env=None, wait=True):
        s = Service([harness.binary()], {**SANDBOX, **(env or {})}, sockets, wait)
        self.addCleanup(s.stop)
        return s

    def test_api_and_admin(self):
        api, admin = self.socket(), self.socket()
        for order in ([("api", api), ("admin", admin)], [("admin", admin), ("mailhatch.socket", api)]):
            with self.start(*order, env={"MAILHATCH_LISTEN": "unix:" + str(self.dir / "unused")}) as s:
                self.assertEqual((s.api, s.admin), (at(api), at(admin)))
                self.assertEqual(harness.http_request(at(api), "POST", "/v1/emails", harness.MAIL).status, 200)
                self.assertEqual(harness.http_request(at(admin), "GET", "/livez").status, 200)
        self.assertFalse((self.dir / "unused").exists())

    def test_api_alone(self):
        api = self.socket()
        with self.start(("api", api)) as s:
            self.assertEqual(s.api, at(api))
            self.assertEqual(harness.http_request(s.admin, "GET", "/livez").status, 200)

    def test_admin_alone(self):
        admin = self.socket()
        with self.start(("admin", admin)) as s:
            self.assertEqual(s.admin, at(admin))
            self.assertNotEqual(s.api, at(admin))

    def test_several_loops_share_it(self):
        api = self.socket()
        with self.start(("api", api), env={"MAILHATCH_HTTP_LOOPS": "4"}) as s:
            for _ in range(20):
                self.assertEqual(harness.http_request(s.api, "GET", "/v1/errors").status, 200)

    def test_unix(self):
        path = str(self.dir / "s")
        with self.start(("api", self.socket(socket.AF_UNIX, path))) as s:
            self.assertEqual(s.api, "unix:" + path)
            self.assertEqual(harness.http_request(s.api, "GET", "/v1/errors").status, 200)
        self.assertTrue(os.path.exists(path), "the socket's name is its owner's to remove")

    def test_ipv6(self):
        with self.start(("api", self.socket(socket.AF_INET6, ("::1", 0)))) as s:
            self.assertRegex(s.api, r"^\[::1\]:\d+$")
            self.assertEqual(harness.http_request(s.api, "GET", "/v1/errors").status, 200)

    def test_not_for_this_process(self):
        with self.start(("api", self.socket()), env={"LISTEN_PID": "1"}) as s:
            self.assertNotEqual(s.api, "127.0.0.1:1")
            self.assertEqual(harness.http_request(s.api, "GET", "/v1/errors").status, 200)

    def test_no_number_of_sockets(self):
        api = self.socket()
        for number in ("0", "-1", "65", "x", ""):
            with self.start(("api", api), env={"LISTEN_FDS": number}) as s:
                self.assertNotEqual(s.api, at(api), number)

    def refused(self, sentence, *sockets, env=None):
        status, log = self.start(*sockets, env=env, wait=False).wait()
        self.assertEqual(status, 1, log)
        self.assertIn(sentence, log)

    def test_refused(self):
        udp = self.socket(kind=socket.SOCK_DGRAM, backlog=None)
        bound = self.socket(backlog=None)
        for wrong in (udp, bound):
            self.refused("no listening stream socket", ("api", wrong))
            self.refused("no listening stream socket", ("api", self.socket()), ("admin", wrong))
        self.refused("Two sockets were handed over for the API", ("api", self.socket()), ("", self.socket()))
        self.refused(
            "Two sockets were handed over for the admin listener", *(("admin", self.socket()) for _ in range(2))
        )

    def test_not_loopback_without_keys(self):
        everywhere = self.socket(address=("0.0.0.0", 0))
        self.refused("without API keys", ("api", everywhere))
        with self.start(("api", everywhere), env={"MAILHATCH_API_KEYS": "x:0123456789abcdef0123"}) as s:
            answer = harness.http_request(at(everywhere), "GET", "/v1/errors")
            self.assertEqual(answer.code, "missing_api_key")
            self.assertTrue(s.api.startswith("0.0.0.0:"))


class Restart(Directory):
    """The socket stays with the one who started the service; clients connect all the time, a connection a mail."""

    RESTARTS, CLIENTS = 3, 4

    def setUp(self):
        super().setUp()
        self.stop, self.lock, self.sent, self.wrong = threading.Event(), threading.Lock(), 0, []

    def client(self, where):
        while not self.stop.is_set():
            try:
                answer = harness.http_request(where, "POST", "/v1/emails", harness.MAIL)
                problem = None if answer.status == 200 else repr(answer)
            except OSError as e:
                problem = repr(e)
            with self.lock:
                self.sent += 1
                if problem:
                    self.wrong.append(problem)

    def sent_more(self, n):
        begin = self.sent
        harness.wait_for(lambda: self.sent >= begin + n or self.wrong, what="mails go through")

    def test_no_connection_refused_no_mail_lost(self):
        api = self.socket()
        with Peer() as peer:
            env = relay_env(peer)
            clients = [threading.Thread(target=self.client, args=(at(api),)) for _ in range(self.CLIENTS)]
            s = Service([harness.binary()], env, [("api", api)])
            try:
                for c in clients:
                    c.start()
                for _ in range(self.RESTARTS):
                    self.sent_more(20)
                    self.assertEqual(s.stop(), 0)
                    s = Service([harness.binary()], env, [("api", api)])
                self.sent_more(20)
            finally:
                self.stop.set()
                for c in clients:
                    c.join(harness.PATIENCE * 2)
                s.stop()
            self.assertEqual(self.wrong, [])
            self.assertEqual(len(peer.mails), self.sent)

    def test_systemd_starts_it_at_the_first_connection(self):
        port = listening()
        number = port.getsockname()[1]
        port.close()
        command = ["systemd-socket-activate", "-l", "127.0.0.1:%d" % number, "--fdname=api"]
        for name in ("MAILHATCH_SANDBOX", "MAILHATCH_ADMIN_LISTEN", "MAILHATCH_LOG_FORMAT"):
            command += ["-E", name]
        with Service(command + [harness.binary()], SANDBOX, wait=False) as s:
            harness.wait_for(lambda: any("Listening on" in line for line in s.lines), what="systemd listens")
            self.assertIsNone(s.listening)
            answer = harness.http_request("127.0.0.1:%d" % number, "POST", "/v1/emails", harness.MAIL)
            self.assertEqual(answer.status, 200, repr(answer))
            self.assertEqual(s.api, "127.0.0.1:%d" % number)
            self.assertEqual(s.stop(), 0)
