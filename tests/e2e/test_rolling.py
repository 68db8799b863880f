"""Two instances behind haproxy, with the configuration that docs/operations.md shows, are restarted in turn under load:
no request fails, no mail is lost and none is sent twice."""
import collections
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import harness
from harness import Gateway, mail
from judge import Fault
from peer import Peer

CLIENTS = 6
ROUNDS = 2
HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/sbin")


def free_ports(n):
    """To be listened on by others, again and again: so none that the kernel would give to a client meanwhile."""
    found = []
    for port in range(15000 + os.getpid() % 5000, 25000):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == n:
            return found
    raise AssertionError("no free ports")


class Proxy:
    """haproxy. `ports`: what takes the place of the page's ports."""

    def __init__(self, directory, ports):
        text = (harness.ROOT / "docs" / "operations.md").read_text()
        config = re.search(r"```haproxy\n(.*?)```", text, re.S)[1]
        for old, new in ports.items():
            if config.count(str(old)) != 1:
                raise AssertionError("port %d is not in the page once" % old)
            config = config.replace(str(old), str(new))
        self.stats = os.path.join(directory, "stats")
        path = os.path.join(directory, "haproxy.cfg")
        with open(path, "w") as f:
            f.write("global\n    stats socket %s\n%s" % (self.stats, config))
        self.process = subprocess.Popen([HAPROXY, "-db", "-f", path])

    def status(self, server):
        """ "UP", "DOWN" …, by its own account."""
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(self.stats)
            except OSError:
                return ""
            s.sendall(b"show stat\n")
            rows = b"".join(iter(lambda: s.recv(65536), b"")).decode().splitlines()
        column = rows[0].split(",").index("status")
        for row in rows[1:]:
            cells = row.split(",")
            if cells[:2] == ["mailhatch", server]:
                return cells[column]
        return ""

    def wait(self, server, status):
        harness.wait_for(lambda: self.status(server).startswith(status), what="haproxy sees %s %s" % (server, status))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        harness.stop_process(self.process)


class Load:
    """Clients that post one mail after the other, each with a text of its own, on connections that stay open."""

    def __init__(self, where):
        self.where, self.stop_now = where, threading.Event()
        self.answers, self.errors = {}, []  # by the mail's text
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(CLIENTS)]

    def run(self, client):
        connection, n = harness.HttpConnection(self.where), 0
        while not self.stop_now.is_set():
            text = "mail-%d-%d" % (client, n)
            n += 1
            try:
                self.answers[text] = harness.http_request(
                    self.where, "POST", "/v1/emails", mail(text=text), connection=connection
                )
            except OSError as e:
                self.errors.append((text, repr(e)))
                return

    def goes_on(self):
        """Everybody got an answer from now on."""
        n = len(self.answers)
        harness.wait_for(lambda: self.errors or len(self.answers) > n + 2 * CLIENTS, what="the load goes on")

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.stop_now.set()
        for t in self.threads:
            t.join(harness.PATIENCE * 2)


@unittest.skipUnless(HAPROXY, "haproxy is not installed (tests/e2e/install.sh)")
class TestRolling(Fault):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="mailhatch-rolling-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.front, *ports = free_ports(5)
        self.ports = {"a": ports[:2], "b": ports[2:]}

    def start(self, name, p, delay):
        api, admin = self.ports[name]
        env = {
            "MAILHATCH_LISTEN": "127.0.0.1:%d" % api,
            "MAILHATCH_ADMIN_LISTEN": "127.0.0.1:%d" % admin,
            "MAILHATCH_DRAIN_DELAY": delay,
        }
        g = Gateway(env, relay=p.url())
        self.addCleanup(g.stop)
        return g

    def roll(self, p, delay):
        (a_api, a_admin), (b_api, b_admin) = self.ports["a"], self.ports["b"]
        running = {name: self.start(name, p, delay) for name in "ab"}
        ports = {8080: self.front, 8587: a_api, 8588: a_admin, 8597: b_api, 8598: b_admin}
        with Proxy(self.dir, ports) as proxy:
            for name in "ab":
                proxy.wait(name, "UP")
            with Load("127.0.0.1:%d" % self.front) as load:
                for name in "ab" * ROUNDS:
                    load.goes_on()
                    running[name].signal(signal.SIGTERM)
                    self.assertEqual(running[name].wait(), 0)
                    load.goes_on()
                    running[name] = g = self.start(name, p, delay)
                    proxy.wait(name, "UP")
                    harness.wait_for(lambda g=g: load.errors or g.events("send"), what="it is given something to do")
            served = {name: len(g.events("send")) for name, g in running.items()}
        return load, served

    def texts(self, p):
        """How often the relay has taken each mail."""
        return collections.Counter(f.decode() for m in p.mails for f in re.findall(rb"mail-\d+-\d+", m.data))

    def test_no_request_fails(self):
        with Peer() as p:
            load, served = self.roll(p, "2s")
            self.assertEqual(load.errors, [])
            self.assertEqual({t: repr(a) for t, a in load.answers.items() if a.status != 200}, {})
            self.assertGreater(min(served.values()), 0, "one of the two had nothing to do")
            texts = self.texts(p)
            self.assertEqual([t for t in load.answers if texts[t] == 0], [], "lost")
            self.assertEqual([t for t, n in texts.items() if n > 1], [], "sent twice")
            self.assertEqual(set(texts), set(load.answers))

    def test_without_a_delay_some_are_turned_away_and_none_is_lost(self):
        """What drain_delay is for; and the proof that the other test can fail."""
        with Peer() as p:
            load, _ = self.roll(p, "0s")
            failed = {t: a for t, a in load.answers.items() if a.status != 200}
            self.assertTrue(failed or load.errors, "nobody noticed")
            texts = self.texts(p)
            self.assertEqual([t for t, n in texts.items() if n > 1], [], "sent twice")
            self.assertEqual([t for t, a in load.answers.items() if a.status == 200 and texts[t] != 1], [])
            self.assertEqual([t for t in failed if texts[t]], [], "failed and sent")


if __name__ == "__main__":
    unittest.main()
