"""Two relays, one loop: while one hangs at some stage, or dies there again and again, the other is served as if it were
alone. No times are measured: each mail to the healthy relay is answered while those to the stuck one still wait."""
import concurrent.futures
import contextlib
import http.client
import pathlib
import shutil
import socket
import tempfile
import threading
import unittest

import harness
from harness import Gateway, mail, wait_for
from peer import ALL, BASIC, PIPELINED, Peer, close, hang, reply_close, reset

STUCK = 12  # mails for the stuck relay: as many as it has sessions, and some that wait
HEALTHY = 40
BIG_TEXT = ("x" * 70 + "\n") * 100000  # more than the socket buffers hold
LONG = ("dns", "connect", "connect_total", "banner", "tls", "command", "write", "final_reply")


class BlackHole:
    """A port whose backlog is full: connecting to it is neither taken nor refused."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self.fillers = []
        while self.fill():
            pass

    def fill(self):
        s = socket.socket()
        self.fillers.append(s)
        s.settimeout(0.3)
        try:
            s.connect(("127.0.0.1", self.port))
        except TimeoutError:
            return False
        return True

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for s in [*self.fillers, self.listener]:
            s.close()


class Isolation(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-isolation-"))
        self.addCleanup(shutil.rmtree, self.dir, True)

    def config(self, healthy, stuck_url):
        """The stuck relay's steps have a minute each: they do not end while the test runs."""
        lines = ["request_timeout: 120s", "default_relay: healthy", "relays:"]
        for name, url in (("healthy", healthy.url()), ("stuck", stuck_url)):
            lines += ["  %s:" % name, "    url: " + url, "    max_sessions: 4"]
            lines += ["    password: " + harness.PASSWORD] if "@" in url else []
            lines += ["    ca_file: " + harness.cert_path("ca.pem")]
            if name == "stuck":
                lines += ["    %s_timeout: 60s" % step for step in LONG]
        path = self.dir / "two.yaml"
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        return ["--config", str(path)]

    def healthy_sends(self, gateway):
        """Answers of mails on two kept connections at once."""

        def some(n):
            with contextlib.closing(gateway.connection()) as c:
                return [gateway.post(mail(relay="healthy"), connection=c) for _ in range(n)]

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(some, HEALTHY // 2) for _ in range(2)]
            return [answer for run in runs for answer in run.result()]

    def all_sent(self, answers):
        self.assertEqual(len(answers), HEALTHY)
        for answer in answers:
            self.assertEqual((answer.status, answer.json.get("status")), (200, "sent"), repr(answer))

    @contextlib.contextmanager
    def stuck_sends(self, gateway, text):
        """Mails that wait for the stuck relay, each in a thread of its own, until the gateway has been stopped."""
        with concurrent.futures.ThreadPoolExecutor(STUCK) as pool:
            message = mail(relay="stuck", text=text)
            runs = [pool.submit(self.quietly, gateway, message) for _ in range(STUCK)]
            try:
                yield runs
            finally:
                gateway.process.kill()
                gateway.process.wait()

    @staticmethod
    def quietly(gateway, message):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return gateway.post(message)

    def beside(self, stuck_url, is_stuck, text="Hello.\n", before=None):
        with Peer(auth="") as healthy, Gateway(args=self.config(healthy, stuck_url)) as gateway:
            if before:
                before(gateway)
            self.all_sent(self.healthy_sends(gateway))  # warm
            with self.stuck_sends(gateway, text) as runs:
                wait_for(lambda: gateway.metric("mailhatch_waiting_requests") >= STUCK, 60, "the mails wait")
                wait_for(is_stuck, what="the relay is stuck at its stage")
                self.all_sent(self.healthy_sends(gateway))
                self.assertEqual([r for r in runs if r.done()], [], "a mail to the stuck relay was answered")
            self.assertEqual(len(healthy.mails), 2 * HEALTHY)


def flights_of(peer):
    """Mails go to it by BDAT, on each session."""
    return lambda gateway: peer.begin_flights(gateway, on_each_session=True, relay="stuck")


class TestHanging(Isolation):
    """Whatever the relay waits with."""

    def hanging(self, stage, text="Hello.\n", action=hang, **peer):
        with Peer(on={stage: action}, **peer) as stuck:
            url = stuck.url(user=None) if not stuck.auth else stuck.url()
            self.beside(url, lambda: stuck.counts.get(stage), text, flights_of(stuck) if stage == "bdat" else None)

    def test_connect(self):
        with BlackHole() as hole:
            self.beside("smtp://127.0.0.1:%d" % hole.port, lambda: True)

    def test_banner(self):
        self.hanging("banner", auth="")

    def test_ehlo(self):
        self.hanging("ehlo", auth="")

    def test_starttls(self):
        self.hanging("starttls", auth="")

    def test_tls(self):
        self.hanging("tls", auth="")

    def test_implicit_tls(self):
        self.hanging("tls", auth="", tls_mode="implicit")

    def test_auth(self):
        self.hanging("auth")

    def test_mail(self):
        self.hanging("mail", auth="", caps=BASIC)

    def test_rcpt(self):
        self.hanging("rcpt", auth="", caps=BASIC)

    def test_data(self):
        self.hanging("data", auth="", caps=PIPELINED)

    def test_data_that_is_not_read(self):
        self.hanging("data", BIG_TEXT, stop_reading, auth="", caps=PIPELINED, rcvbuf=4096)

    def test_bdat(self):
        self.hanging("bdat", auth="", caps=ALL)

    def test_bdat_that_is_not_read(self):
        self.hanging("bdat", BIG_TEXT, auth="", caps=ALL, rcvbuf=4096)

    def test_final_reply(self):
        self.hanging("body", auth="", caps=PIPELINED)
        self.hanging("body", auth="", caps=ALL)


def stop_reading(s):
    s.send("354 go\r\n")
    hang(s)


class TestDying(Isolation):
    """Mails for the dying relay go on all the time; the healthy one's are all sent."""

    def dying(self, stage, action, **peer):
        with Peer(on={stage: action}, **peer) as dying, Peer(auth="") as healthy:
            with Gateway(args=self.config(healthy, dying.url())) as gateway:
                if stage == "bdat":
                    flights_of(dying)(gateway)
                self.beside_dying(gateway, healthy)
                self.assertTrue(dying.counts.get(stage), "the relay was tried")

    def beside_dying(self, gateway, healthy):
        over, failures = threading.Event(), []

        def fail():
            while not over.is_set():
                answer = gateway.post(mail(relay="stuck"))
                failures.append(answer)

        threads = [threading.Thread(target=fail, daemon=True) for _ in range(4)]
        for t in threads:
            t.start()
        try:
            wait_for(lambda: failures, what="the dying relay failed")
            self.all_sent(self.healthy_sends(gateway))
        finally:
            over.set()
            for t in threads:
                t.join(harness.PATIENCE)
        self.assertEqual(len(healthy.mails), HEALTHY)
        self.assertEqual({a.status for a in failures} & {200}, set(), "it did die")

    def test_refuses_connections(self):
        with socket.socket() as taken, Peer(auth="") as healthy:
            taken.bind(("127.0.0.1", 0))  # bound and not listening
            with Gateway(args=self.config(healthy, "smtp://127.0.0.1:%d" % taken.getsockname()[1])) as gateway:
                self.beside_dying(gateway, healthy)

    def test_closes_or_resets(self):
        for stage in ("banner", "ehlo", "tls", "auth", "mail", "bdat", "body"):
            with self.subTest(stage=stage):
                self.dying(stage, reset if stage in ("ehlo", "mail") else close)

    def test_goes_away(self):
        self.dying("mail", reply_close("421 4.3.2 shutting down"))

    def test_sends_garbage(self):
        self.dying("rcpt", lambda s: s.send(b"\xff\x00 what\r\n"))


if __name__ == "__main__":
    unittest.main()
