"""A stderr that takes nothing: a pipe that nobody reads, a full disk, a closed pipe, or none at all. Mails, probes and
SIGTERM go on, and what the log loses is counted and said."""
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest

import harness
from harness import http_request, mail
from peer import Peer

MANY = [{"email": "bob%d@example.net" % i} for i in range(90)]  # each is two lines of the trace


def small_pipe():
    r, w = os.pipe()
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 4096)
    return r, w


def fill(w):
    os.set_blocking(w, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(w, b"x" * 4095 + b"\n")
    os.set_blocking(w, True)


def lines_of(data):
    """Each line is whole JSON."""
    return [json.loads(line) for line in data.decode().splitlines()]


class Blocked(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-log-"))
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.api, self.admin = "unix:%s/api" % self.dir, "unix:%s/admin" % self.dir
        peer = self.enterContext(Peer(tls_mode="none"))
        self.relay = {"MAILHATCH_RELAY_URL": peer.url(), "MAILHATCH_RELAY_TRACE": "true"}

    def environment(self, **more):
        return {
            **{k: v for k, v in os.environ.items() if k in ("PATH", "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS")},
            "MAILHATCH_LISTEN": self.api,
            "MAILHATCH_ADMIN_LISTEN": self.admin,
            "MAILHATCH_LOG_LEVEL": "debug",
            **self.relay,
            **more,
        }

    def start(self, stderr, **more):
        """The gateway with this descriptor as its stderr, which is closed here; once it serves."""
        process = subprocess.Popen(
            [harness.binary()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
            env=self.environment(**more)
        )
        os.close(stderr)
        self.addCleanup(harness.stop_process, process)
        harness.wait_for(lambda: process.poll() is not None or self.serves(), what="it serves")
        return process

    def serves(self):
        with contextlib.suppress(OSError):
            return http_request(self.admin, "GET", "/livez").status == 200

    def post(self, **changes):
        return http_request(self.api, "POST", "/v1/emails", mail(**changes))

    def lost(self):
        text = http_request(self.admin, "GET", "/metrics").body.decode()
        return int(text.split("\nmailhatch_log_lines_dropped_total ")[1].split("\n")[0])

    def goes_on(self, process):
        self.assertEqual(self.post().status, 200)
        self.assertTrue(self.serves())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(harness.PATIENCE), 0)

    def flood(self):
        """Until lines are lost."""
        while not self.lost():
            answer = self.post(to=MANY)
            self.assertEqual(answer.status, 200, repr(answer))


class TestUnread(Blocked):
    def test_all_goes_on(self):
        r, w = small_pipe()
        process = self.start(w)
        self.flood()
        process.send_signal(signal.SIGHUP)
        self.goes_on(process)
        os.close(r)

    def test_the_loss_is_said_when_it_is_read_again(self):
        r, w = small_pipe()
        process = self.start(w)
        self.assertEqual(self.lost(), 0)
        self.flood()
        got = bytearray()

        def read():
            while piece := os.read(r, 65536):
                got.extend(piece)

        reader = threading.Thread(target=read)
        reader.start()
        harness.wait_for(lambda: b'"dropped":' in got, what="the loss is said")
        self.goes_on(process)
        reader.join(harness.PATIENCE)
        os.close(r)
        lines = lines_of(got)
        said = [e for e in lines if e["event"] == "log"]
        self.assertEqual([e["level"] for e in said], ["warn"])
        at = lines.index(said[0])
        self.assertGreater(said[0]["dropped"], 0)
        self.assertTrue(lines[:at] and lines[at + 1 :], "it stands where the hole is")
        self.assertEqual(lines[-1]["msg"], "stopped")

    def test_a_pipe_that_is_full_before_the_start(self):
        r, w = small_pipe()
        fill(w)
        self.goes_on(self.start(w))
        os.close(r)

    def test_a_greeting_for_people(self):
        r, w = small_pipe()
        fill(w)
        self.relay = {"MAILHATCH_SANDBOX": "true"}
        self.goes_on(self.start(w, MAILHATCH_LOG_FORMAT="text"))
        os.close(r)

    def test_a_second_signal_leaves(self):
        r, w = small_pipe()
        process = self.start(w, MAILHATCH_DRAIN_DELAY="60s")
        fill_all = [self.post(to=MANY).status for _ in range(3)]
        self.assertEqual(fill_all, [200] * 3)
        process.send_signal(signal.SIGTERM)
        harness.wait_for(lambda: http_request(self.admin, "GET", "/readyz").status == 503)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(harness.PATIENCE), 1)
        os.close(r)

    def test_a_command(self):
        r, w = small_pipe()
        fill(w)
        done = subprocess.run(
            [harness.binary(), "send"], input=json.dumps(mail()).encode(), stdout=subprocess.PIPE, stderr=w,
            env=self.environment(), timeout=harness.PATIENCE * 2
        )
        os.close(w)
        os.close(r)
        self.assertEqual((done.returncode, json.loads(done.stdout)["status"]), (0, "sent"))


class TestRefused(Blocked):
    def test_a_full_disk(self):
        process = self.start(os.open("/dev/full", os.O_WRONLY))
        harness.wait_for(self.lost, what="lost lines are counted")
        self.goes_on(process)

    def test_a_closed_pipe(self):
        r, w = small_pipe()
        os.close(r)
        process = self.start(w)
        harness.wait_for(self.lost, what="lost lines are counted")
        self.goes_on(process)

    def test_a_disk_that_is_full_for_a_while(self):
        import resource

        path = self.dir / "log"
        process = self.start(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20001, resource.RLIM_INFINITY))
        self.flood()
        harness.wait_for(lambda: path.stat().st_size == 20001, what="a line is cut")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        harness.wait_for(lambda: b'"dropped":' in path.read_bytes(), what="the loss is said, with no line in between")
        self.goes_on(process)
        lines = lines_of(path.read_bytes())
        self.assertEqual(len([e for e in lines if e["event"] == "log"]), 1)
        self.assertEqual(lines[-1]["msg"], "stopped")


class TestExit(Blocked):
    def test_a_slow_reader_gets_the_last_line(self):
        r, w = small_pipe()
        process = self.start(w)
        for _ in range(10):
            self.assertEqual(self.post(to=MANY).status, 200)
        process.send_signal(signal.SIGTERM)
        got = b""
        while piece := os.read(r, 100):
            got += piece
        os.close(r)
        self.assertEqual(process.wait(harness.PATIENCE), 0)
        lines = lines_of(got)
        self.assertEqual(len([e for e in lines if e["event"] == "send"]), 10)
        self.assertEqual(lines[-1]["msg"], "stopped")
        self.assertNotIn("log", {e["event"] for e in lines})

    def test_start_up_errors_are_behind_the_lines_before_them(self):
        env = self.environment(MAILHATCH_RELAY_MIN_IDLE="100", MAILHATCH_TLS_CERT_FILE=harness.cert_path("ca.pem"),
                               MAILHATCH_TLS_KEY_FILE=harness.cert_path("ca.pem"), MAILHATCH_LOG_FORMAT="text")
        status, _, stderr = harness.run_program(env=env)
        self.assertEqual(status, 2)
        self.assertRegex(stderr, r"(?s)WARN.*min_idle.*mailhatch cannot start:\n.*ca\.pem")


class TestClosedDescriptors(Blocked):
    """Whoever starts it closed 0, 1 and 2: no socket and no epoll set may get their numbers."""

    def run_closed(self, *args, **popen):
        command = 'exec "$0" "$@" <&- >&- 2>&-'
        return subprocess.Popen(["sh", "-c", command, harness.binary(), *args], env=self.environment(), **popen)

    def test_they_lead_to_dev_null(self):
        process = self.run_closed()
        self.addCleanup(harness.stop_process, process)
        harness.wait_for(lambda: process.poll() is not None or self.serves(), what="it serves")
        self.assertEqual([os.readlink("/proc/%d/fd/%d" % (process.pid, n)) for n in range(3)], ["/dev/null"] * 3)
        self.assertEqual(self.post(to=MANY).status, 200)
        self.assertEqual(self.lost(), 0)
        self.goes_on(process)

    def test_in_every_command(self):
        for args, status in ((("check-config",), 0), (("version",), 0), (("key", "new", "web"), 0), (("nonsense",), 2),
                             (("healthcheck",), 1), (("send",), 1), (("diagnose", "--no-auth", "default"), 0)):
            with self.subTest(command=args[0]):
                process = self.run_closed(*args)
                self.addCleanup(harness.stop_process, process)
                self.assertEqual(process.wait(harness.PATIENCE * 2), status)


if __name__ == "__main__":
    unittest.main()
