"""The gateway is stopped (SIGSTOP, as a freezer or a paused virtual machine would) for longer than its deadlines. What
the other side said meanwhile lies in the socket and counts."""
import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import threading
import time
import unittest

import harness
from harness import Gateway, mail, wait_for
from peer import ALL, BASIC, Peer, chain, close, default, reply

DEADLINE = 1.0  # seconds: what the gateway allows
MAILS = 8


class Gate:
    """Peers that reach it wait there until the test opens it; the test waits until n of them are there."""

    def __init__(self):
        self.there, self.opened, self.through = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)

    def before(self, action):
        def act(s):
            self.there.release()
            self.opened.wait(60)
            try:
                s.act(action)
            finally:
                self.through.release()

        return act

    def wait(self, n, semaphore=None):
        for _ in range(n):
            if not (semaphore or self.there).acquire(timeout=harness.PATIENCE):
                raise AssertionError("fewer than %d came" % n)


def state(g):
    with open("/proc/%d/stat" % g.process.pid, encoding="ascii") as f:
        return f.read().rsplit(")", 1)[1].split()[0]


@contextlib.contextmanager
def stopped(g):
    """Stops the gateway, and lets it go on when all its deadlines have passed."""
    g.signal(signal.SIGSTOP)
    try:
        wait_for(lambda: state(g) == "T", what="the gateway is stopped")
        yield
        end = time.monotonic() + DEADLINE + 0.5
        wait_for(lambda: time.monotonic() > end, what="time passes")
    finally:
        g.signal(signal.SIGCONT)


class Pause(unittest.TestCase):
    def post_all(self, g, n=MAILS):
        pool = concurrent.futures.ThreadPoolExecutor(n)
        self.addCleanup(pool.shutdown)
        return [pool.submit(g.post, mail(subject="mail %d" % i)) for i in range(n)]

    def in_flight(self, actions, expect, settings=None, caps=ALL):
        """MAILS mails whose replies come while the gateway is stopped: each must have its relay's word."""
        gate = Gate()
        on = {"body": [gate.before(action) for action in actions]}
        settings = {"MAILHATCH_RELAY_FINAL_REPLY_TIMEOUT": "1", **(settings or {})}
        with Peer(on=on, caps=caps) as p, Gateway(settings, relay=p.url()) as g:
            posts = self.post_all(g)
            gate.wait(MAILS)
            with stopped(g):
                gate.opened.set()
                gate.wait(MAILS, gate.through)
            answers = [post.result() for post in posts]
        self.assertEqual(sorted(a.status for a in answers), sorted(expect), answers)

    def side_by_side(self, cases):
        """Each case waits, mostly."""
        with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
            for name, done in [(name, pool.submit(*case)) for name, case in cases.items()]:
                with self.subTest(name):
                    done.result()

    def test_mails_in_flight(self):
        sent = [200] * MAILS
        request = {"MAILHATCH_REQUEST_TIMEOUT": "1", "MAILHATCH_HTTP_LOOPS": "2"}
        refused = reply("554 5.7.1 spam")
        mixed = [default, chain(default, close), refused, chain(refused, close)] * 2
        self.side_by_side(
            {
                "the wait for the last reply": (self.in_flight, [default], sent),
                "the request's own time": (self.in_flight, [default], sent, request),
                "two loops": (self.in_flight, [default], sent, {"MAILHATCH_RELAY_LOOPS": "2"}),
                "refusals and ends": (self.in_flight, mixed, [200, 200, 422, 422] * 2, {}, BASIC),
            }
        )

    def at(self, stage, settings, tls_mode="starttls", caps=ALL):
        """A mail whose relay answers at this stage while the gateway is stopped."""
        gate = Gate()
        with Peer(on={stage: gate.before(default)}, tls_mode=tls_mode, caps=caps) as p:
            with Gateway({**settings, "MAILHATCH_ON_TEMPORARY_FAILURE": "fail"}, relay=p.url()) as g:
                posts = self.post_all(g, 1)
                gate.wait(1)
                with stopped(g):
                    gate.opened.set()
                self.assertEqual(posts[0].result().status, 200)
            self.assertEqual(len(p.sessions), 1)

    def test_stages(self):
        handshake, command = {"MAILHATCH_RELAY_TLS_TIMEOUT": "1"}, {"MAILHATCH_RELAY_COMMAND_TIMEOUT": "1"}
        self.side_by_side(
            {
                "banner": (self.at, "banner", {"MAILHATCH_RELAY_BANNER_TIMEOUT": "1"}),
                "handshake": (self.at, "tls", handshake),
                "handshake at once": (self.at, "tls", handshake, "implicit"),
                "login": (self.at, "auth", command),
                "envelope": (self.at, "rcpt", command, "starttls", BASIC),
            }
        )

    def test_connecting(self):
        """The kernel takes the connection while the gateway is stopped: until then its queue is full."""

        class Late(Peer):
            def accept(self):
                self.may_accept.wait(60)
                super().accept()

        Late.may_accept = threading.Event()
        self.addCleanup(Late.may_accept.set)
        with Late(backlog=0) as p, contextlib.ExitStack() as fillers:
            for _ in range(4):
                f = fillers.enter_context(socket.socket())
                f.setblocking(False)
                f.connect_ex(("127.0.0.1", p.port))
            with Gateway({"MAILHATCH_RELAY_CONNECT_TIMEOUT": "1"}, relay=p.url(host="127.0.0.1")) as g:
                posts = self.post_all(g, 1)
                wait_for(lambda: ours(g, p.port), what="a SYN is sent")
                with stopped(g):
                    fillers.close()
                    Late.may_accept.set()
                    wait_for(lambda: ours(g, p.port) == ["01"], what="the kernel has connected")
                self.assertEqual(posts[0].result().status, 200)

    def upload(self, path, settings=None, pieces=None):
        body = json.dumps(mail(text="x" * 100000)).encode()
        head = "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        whole = (head % (path, len(body))).encode() + body
        with Peer() as p, Gateway({"MAILHATCH_REQUEST_TIMEOUT": "1", **(settings or {})}, relay=p.url()) as g:
            with socket.create_connection(tuple(g.api.split(":"))) as s, s.makefile("rb") as stream:
                s.settimeout(harness.PATIENCE)
                first = pieces or whole.index(b"\r\n\r\n") + 1000
                s.sendall(whole[:first])
                if not pieces:
                    wait_for(lambda: unread(g, s.getsockname()[1]) == 0, what="the first piece is read")
                with stopped(g):
                    s.sendall(whole[first:])
                return harness.read_response(stream)

    def test_upload(self):
        answer = self.upload("/v1/emails/validate")
        self.assertEqual(answer.status, 200, answer)

    def test_head(self):
        self.assertEqual(self.upload("/v1/emails/validate", pieces=30).status, 200)

    def test_nobody_answers(self):
        """A pause is no excuse: without a word from the relay the deadline has passed."""
        gate = Gate()
        with Peer(on={"body": gate.before(default)}) as p:
            with Gateway({"MAILHATCH_RELAY_FINAL_REPLY_TIMEOUT": "1"}, relay=p.url()) as g:
                posts = self.post_all(g, 1)
                gate.wait(1)
                with stopped(g):
                    pass
                self.assertEqual(posts[0].result().code, "outcome_unknown")
                gate.opened.set()


def tcp(condition):
    with open("/proc/net/tcp", encoding="ascii") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return [row for row in rows if condition(row)]


def ours(g, port):
    """The states of the sockets of the gateway's user that go to this port and are not the test's fillers."""
    inodes = set()
    with contextlib.suppress(OSError):
        for fd in os.listdir("/proc/%d/fd" % g.process.pid):
            with contextlib.suppress(OSError):
                inodes.add(os.readlink("/proc/%d/fd/%s" % (g.process.pid, fd)).strip("socket:[]"))
    return [row[3] for row in tcp(lambda row: row[2].endswith(":%04X" % port) and row[9] in inodes)]


def unread(g, port):
    """Octets that wait at the gateway's end of the connection from this local port."""
    rows = tcp(lambda row: row[2].endswith(":%04X" % port) and row[1].endswith(":%04X" % int(g.api.split(":")[1])))
    return int(rows[0][4].split(":")[1], 16) if rows else -1


if __name__ == "__main__":
    unittest.main()
