"""Several HTTP loops (http_loops) and several SMTP loops: every request is answered once and rightly, whichever loop
took its connection, the numbers add up, and a drain loses nobody."""
import contextlib
import http.client
import os
import pathlib
import signal
import tempfile
import threading
import time
import unittest

import harness
from harness import Gateway, mail
from judge import Fault
from peer import BASIC, Peer, after, default, hang

LOOPS = {
    "MAILHATCH_HTTP_LOOPS": 3,
    "MAILHATCH_SMTP_LOOPS": 2,
    "MAILHATCH_RELAY_LOOPS": 2,
    "MAILHATCH_RELAY_MAX_SESSIONS": 8,
}
CLIENTS = 24


def threads_of(pid):
    """Their names, and the processor time that each has used, in ticks."""
    found = []
    for task in pathlib.Path("/proc/%d/task" % pid).iterdir():
        with contextlib.suppress(OSError):
            stat = (task / "stat").read_text()
            name = stat[stat.index("(") + 1 : stat.rindex(")")]
            fields = stat[stat.rindex(")") + 2 :].split()
            found.append((name, int(fields[11]) + int(fields[12])))
    return found


def in_parallel(n, work):
    """work(i) for each i in its own thread; what they return, in order. An exception of one is ours."""
    results, failures = [None] * n, []

    def run(i):
        try:
            results[i] = work(i)
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(harness.PATIENCE * 4)
    if failures:
        raise failures[0]
    return results


class Loops(Fault):
    def gateway(self, p, env=None, **more):
        return Gateway({**LOOPS, **(env or {})}, relay=p.url(), **more)

    def http_threads(self, g):
        return sorted(name for name, _ in threads_of(g.process.pid) if name.startswith("http-"))


class TestServing(Loops):
    def test_threads(self):
        with Peer() as p, self.gateway(p) as g:
            harness.wait_for(lambda: self.http_threads(g) == ["http-1", "http-2"], what="two threads besides main")

    def test_every_answer_is_that_of_its_request(self):
        """Right ones, refused ones and wrong ones, on kept connections; each client knows its own by the address."""
        told = {"rcpt": lambda s: s.act("550 5.1.1 no" if "refused" in s.line else default)}
        each = 12
        with Peer(on=told) as p, self.gateway(p) as g:

            def client(i):
                kept = g.connection()
                for n in range(each):
                    to = "%s-%d-%d@example.net" % ("refused" if n % 3 == 2 else "fine", i, n)
                    answer = g.post(mail(to=to, subject="" if n % 2 else "x"), connection=kept)
                    text = answer.body.decode()
                    self.assertIn(to, text)
                    self.assertEqual(answer.status, 422 if n % 3 == 2 else 200, text)
                kept.close()
                self.check(g.post(mail(to="nobody")), "422 validation_failed request not_sent no")

            in_parallel(CLIENTS, client)
            self.assertEqual(len(p.mails), CLIENTS * each * 2 // 3)
            self.assertEqual(len({tuple(m.rcpts) for m in p.mails}), len(p.mails))
            self.assertEqual(g.metric("mailhatch_sends_total"), CLIENTS * each)
            wait = 'mailhatch_http_requests_total{route="/v1/emails",status="%d"}'
            harness.wait_for(lambda: g.metric("mailhatch_inflight_bytes") == 0, what="all requests have ended")
            self.assertEqual(self.sample(g, wait % 200), CLIENTS * each * 2 // 3)
            self.assertEqual(self.sample(g, wait % 422), CLIENTS * each // 3 + CLIENTS)
            self.assertEqual(g.metric("mailhatch_waiting_requests"), 0)
            self.assertEqual(len(g.events("send")), CLIENTS * each)

    def sample(self, g, start):
        for line in g.admin("/metrics").body.decode().splitlines():
            if line.startswith(start):
                return float(line.rsplit(" ", 1)[1])
        return 0

    def test_spread(self):
        """Kept connections that come all at once: no loop has much less to do than another."""
        with Peer() as p, self.gateway(p) as g, contextlib.ExitStack() as stack:
            kept = [stack.enter_context(contextlib.closing(harness.connect(g.api))) for _ in range(48)]
            streams = [stack.enter_context(c.makefile("rb")) for c in kept]

            def used():
                found = threads_of(g.process.pid)
                return [sum(t for n, t in found if n == name) for name in ("mailhatch", "http-1", "http-2")]

            before = used()
            for _ in range(200):
                for c in kept:
                    c.sendall(b"GET /v1/errors HTTP/1.1\r\nHost: localhost\r\n\r\n")
                for s in streams:
                    self.assertEqual(harness.read_response(s).status, 200)
                ticks = [after - b for after, b in zip(used(), before)]
                if max(ticks) >= 40:  # hundredths of a second: enough to compare
                    break
            self.assertGreater(min(ticks) * 2, max(ticks), ticks)

    def test_large_bodies_and_batches(self):
        """What goes to the workers comes back to its own loop."""
        text = "".join("line %06d of a large mail\n" % i for i in range(20000))
        with Peer() as p, self.gateway(p) as g:

            def client(i):
                big = g.post(mail(text=text, to="big-%d@example.net" % i))
                self.assertEqual(big.status, 200, repr(big))
                items = [mail(to="item-%d-%d@example.net" % (i, n)) for n in range(5)]
                batch = g.request("POST", "/v1/emails/batch", items)
                self.assertEqual(batch.status, 200, repr(batch))
                got = [item["recipients"][0]["email"] for item in batch.json["data"]]
                self.assertEqual(got, [item["to"] for item in items])

            in_parallel(8, client)
            self.assertEqual(len(p.mails), 8 * 6)
            self.assertTrue(all(len(m.data) > len(text) for m in p.mails if m.rcpts[0].startswith("big")))

    def test_retries(self):
        """Timers of several loops."""
        on = {"body": ["451 4.3.0 later"] * 10 + [default]}
        with Peer(on=on, caps=BASIC) as p:
            with self.gateway(p, {"MAILHATCH_ON_TEMPORARY_FAILURE": "retry"}) as g:
                answers = in_parallel(12, lambda i: g.post(mail(to="r%d@example.net" % i)))
                self.assertEqual({a.status for a in answers}, {200})
                self.assertEqual(sum(a.json["attempts"] for a in answers), 22)
                self.assertEqual(g.metric("mailhatch_retries_total"), 10)
                self.assertEqual(len(p.mails), 12)

    def test_sandbox(self):
        env = {"MAILHATCH_HTTP_LOOPS": 3}
        with Gateway(env, args=["--sandbox"]) as g:
            sent = in_parallel(12, lambda i: g.post(mail(subject="n%d" % i)))
            self.assertEqual({a.status for a in sent}, {200})
            pages = in_parallel(12, lambda i: g.get("/sandbox/messages/" + sent[i].json["id"]))
            self.assertEqual([a.json["subject"] for a in pages], ["n%d" % i for i in range(12)])

    def test_unix_socket(self):
        with tempfile.TemporaryDirectory() as d, Peer() as p:
            path = os.path.join(d, "s")
            with self.gateway(p, {"MAILHATCH_LISTEN": "unix:" + path}) as g:
                answers = in_parallel(12, lambda i: g.post(mail()))
                self.assertEqual({a.status for a in answers}, {200})
                g.signal(signal.SIGTERM)
                self.assertEqual(g.wait(), 0)
                self.assertFalse(os.path.exists(path))


class TestLimits(Loops):
    def test_connections(self):
        """The limit is that of all loops together: one more waits until one leaves, and is served then."""
        with Peer() as p, self.gateway(p, {"MAILHATCH_MAX_CONNECTIONS": 7}) as g, contextlib.ExitStack() as stack:
            kept = []
            for _ in range(7):
                c = stack.enter_context(contextlib.closing(g.connection()))
                self.assertEqual(g.request("GET", "/", connection=c).status, 200)
                kept.append(c)
            late = stack.enter_context(contextlib.closing(harness.connect(g.api)))
            late.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            late.settimeout(0.3)
            with self.assertRaises(TimeoutError):
                late.recv(1)
            kept.pop().close()
            late.settimeout(harness.PATIENCE)
            self.assertTrue(late.recv(100).startswith(b"HTTP/1.1 200"))

    def test_more_loops_than_connections(self):
        env = {"MAILHATCH_HTTP_LOOPS": 4, "MAILHATCH_MAX_CONNECTIONS": 2}
        with Peer() as p, self.gateway(p, env) as g:
            self.assertEqual({a.status for a in in_parallel(6, lambda i: g.post(mail()))}, {200})
            self.assertEqual(self.http_threads(g), ["http-1"])

    def test_waiting_and_bytes(self):
        """max_waiting and max_inflight_bytes are of all loops together."""
        go = threading.Event()
        body = {"body": after(go, default)}
        with Peer(on=body) as p, self.gateway(p, {"MAILHATCH_MAX_WAITING": 4}) as g:
            answers = []
            threads = [threading.Thread(target=lambda: answers.append(g.post(mail()))) for _ in range(4)]
            for t in threads:
                t.start()
            harness.wait_for(lambda: g.metric("mailhatch_waiting_requests") == 4, what="four wait")
            for answer in in_parallel(9, lambda i: g.post(mail())):
                self.check(answer, "503 overloaded queue not_sent yes")
            go.set()
            for t in threads:
                t.join(30)
            self.assertEqual([a.status for a in answers], [200] * 4)
        text = "x" * 300 + "\n"
        go.clear()
        with Peer(on=body) as p, self.gateway(p, {"MAILHATCH_MAX_INFLIGHT_BYTES": 1024}) as g:
            answers = []
            threads = [threading.Thread(target=lambda: answers.append(g.post(mail(text=text)))) for _ in range(2)]
            for t in threads:
                t.start()
            harness.wait_for(lambda: g.metric("mailhatch_waiting_requests") == 2, what="two wait")
            for answer in in_parallel(9, lambda i: g.post(mail(text=text))):
                self.check(answer, "503 overloaded queue not_sent yes")
            go.set()
            for t in threads:
                t.join(30)
            self.assertEqual([a.status for a in answers], [200] * 2)


class TestIdle(Loops):
    def test_idle_loops_sleep(self):
        """A connection that another loop took, a kept one and one that is at its limit cost an idle loop nothing."""
        env = {"MAILHATCH_MAX_CONNECTIONS": 3}
        with Peer() as p, self.gateway(p, env) as g, contextlib.ExitStack() as stack:
            for _ in range(3):
                c = stack.enter_context(contextlib.closing(g.connection()))
                self.assertEqual(g.request("GET", "/", connection=c).status, 200)
            stack.enter_context(contextlib.closing(harness.connect(g.api)))     # waits in the backlog
            before = sum(ticks for _, ticks in threads_of(g.process.pid))
            threading.Event().wait(1)
            used = sum(ticks for _, ticks in threads_of(g.process.pid)) - before
            self.assertLessEqual(used, 10, "ticks of a hundredth of a second, in one second of idleness")


class TestDrain(Loops):
    def test_nobody_is_lost(self):
        """A load that goes on through SIGTERM: each request is answered, 200 or 503, and what was answered 200 is what
        the relay took. Only who comes after the listener has closed finds nobody."""
        with Peer() as p, self.gateway(p) as g:
            stop, answers = threading.Event(), []

            def listens():
                with contextlib.suppress(OSError):
                    harness.connect(g.api).close()
                    return True
                return False

            def client(i):
                while not stop.is_set():
                    try:
                        answers.append(g.post(mail(to="d%d@example.net" % i)).status)
                    except (ConnectionError, http.client.HTTPException):
                        if listens():
                            raise
                        return

            failures = []

            def load():
                try:
                    in_parallel(12, client)
                except BaseException as e:
                    failures.append(e)

            t = threading.Thread(target=load)
            t.start()
            harness.wait_for(lambda: len(answers) > 30, what="the load runs")
            g.signal(signal.SIGTERM)
            self.assertEqual(g.wait(), 0)
            stop.set()
            t.join(60)
            self.assertEqual((failures, set(answers) - {200, 503}), ([], set()))
            self.assertEqual(answers.count(200), len(p.mails))

    def test_running_ones_of_all_loops_finish(self):
        go = threading.Event()
        with Peer(on={"body": after(go, default)}) as p, self.gateway(p) as g:
            answers = []
            threads = [threading.Thread(target=lambda: answers.append(g.post(mail()))) for _ in range(8)]
            for t in threads:
                t.start()
            harness.wait_for(lambda: g.metric("mailhatch_waiting_requests") == 8, what="all wait")
            g.signal(signal.SIGTERM)
            harness.wait_for(lambda: g.admin("/readyz").status == 503, what="readiness turns false")
            for answer in in_parallel(9, lambda i: g.post(mail())):
                self.check(answer, "503 shutting_down queue not_sent yes")
            self.assertIsNone(g.process.poll())
            go.set()
            for t in threads:
                t.join(30)
            self.assertEqual([a.status for a in answers], [200] * 8)
            self.assertEqual(g.wait(), 0)
            self.assertEqual(len(p.mails), 8)

    def test_the_end_of_drain_timeout_answers_all(self):
        env = {"MAILHATCH_DRAIN_TIMEOUT": "300ms"}
        with Peer(on={"body": hang}) as p, self.gateway(p, env) as g:
            answers = []
            threads = [threading.Thread(target=lambda: answers.append(g.post(mail()))) for _ in range(8)]
            for t in threads:
                t.start()
            harness.wait_for(lambda: g.metric("mailhatch_waiting_requests") == 8, what="all wait")
            begun = time.monotonic()
            g.signal(signal.SIGTERM)
            self.assertEqual(g.wait(), 0)
            self.assertLess(time.monotonic() - begun, 5)
            for t in threads:
                t.join(30)
            self.assertEqual({a.code for a in answers}, {"outcome_unknown"})
            self.assertEqual(len(answers), 8)

    def test_idle_leaves_at_once(self):
        with Peer() as p, self.gateway(p) as g:
            self.assertEqual({a.status for a in in_parallel(6, lambda i: g.post(mail()))}, {200})
            begun = time.monotonic()
            g.signal(signal.SIGTERM)
            self.assertEqual(g.wait(), 0)
            self.assertLess(time.monotonic() - begun, 5)


if __name__ == "__main__":
    unittest.main()
