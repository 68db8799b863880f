"""The end of a drain, and a second signal: mails that cannot be waited for any longer are answered with what is known
of them. Nothing left: not_sent, shutting_down. Gone without a reply: outcome_unknown. Each with id and Message-ID."""
import contextlib
import signal
import socket
import threading
import time
import unittest

import harness
from harness import Gateway, mail
from judge import Fault
from peer import BASIC, Peer, after, default, hang, reply, wait_gone

SHORT = {"MAILHATCH_DRAIN_TIMEOUT": "300ms"}
LONG = {"MAILHATCH_DRAIN_TIMEOUT": "60s"}
NOT_SENT, UNKNOWN = ("shutting_down", "not_sent"), ("outcome_unknown", "unknown")


class Posts:
    """Requests, each on a thread of its own."""

    def __init__(self, g):
        self.g, self.answers, self.threads = g, [], []

    def begin(self, n=1, post=None):
        for _ in range(n):
            t = threading.Thread(target=lambda: self.answers.append((post or (lambda: self.g.post(mail())))()))
            self.threads.append(t)
            t.start()
        return self

    def wait(self):
        for t in self.threads:
            t.join(30)
        assert len(self.answers) == len(self.threads), "%d of %d answered" % (len(self.answers), len(self.threads))
        return self.answers


def kinds(items):
    """How often each pair of code and delivery occurs."""
    found = {}
    for i in items:
        pair = (i["code"], i["delivery"])
        found[pair] = found.get(pair, 0) + 1
    return found


class DrainEnd(Fault):
    def waits(self, g, n):
        harness.wait_for(lambda: g.metric("mailhatch_waiting_requests") == n, what="%d mails run or wait" % n)

    def bodies_are_gone(self, p, n):
        harness.wait_for(lambda: p.counts.get("body", 0) == n, what="%d bodies are at the relay" % n)

    def end(self, g, posts, how="timeout"):
        """Drains to the end of drain_timeout, or to a second signal, and returns the problem objects."""
        begun = time.monotonic()
        g.signal(signal.SIGTERM)
        if how == "second":
            harness.wait_for(lambda: g.events("drain"), what="it drains")
            g.signal(signal.SIGTERM)
        answers = posts.wait()
        self.assertEqual(g.wait(), 1 if how == "second" else 0, g.log())
        self.assertLess(time.monotonic() - begun, 20)
        for a in answers:
            self.assertEqual(a.headers.get("Connection"), "close")
        return [a.json for a in answers]

    def check_named(self, items):
        for i in items:
            self.assertRegex(i["id"], r"^[0-9a-f-]{36}$", i)
            self.assertRegex(i["message_id"], r"^<[^<>]+@example\.org>$", i)
        self.assertEqual(len({i["id"] for i in items}), len(items))
        self.assertEqual(len({i["message_id"] for i in items}), len(items))

    def check_problems(self, items):
        self.check_named(items)
        for i in items:
            self.assertEqual(i["retryable"], i["delivery"] == "not_sent", i)
            self.assertIn("mailhatch stopped", i["detail"])


class TestTheEnd(DrainEnd):
    def run_held(self, how, settings, loops):
        """Of 24 mails 8 have a session, and 16 wait for one."""
        with Peer(on={"body": hang}) as p:
            with Gateway({**settings, "MAILHATCH_HTTP_LOOPS": str(loops)}, relay=p.url()) as g:
                posts = Posts(g).begin(24)
                self.waits(g, 24)
                self.bodies_are_gone(p, 8)
                items = self.end(g, posts, how)
                self.assertEqual(kinds(items), {NOT_SENT: 16, UNKNOWN: 8})
                self.check_problems(items)
                self.assertEqual({i["stage"] for i in items}, {"queue", "body"})
                told = [(e["code"], e["delivery"]) for e in g.events("send")]
                self.assertEqual((told.count(NOT_SENT), told.count(UNKNOWN)), (16, 8))

    def test_drain_timeout(self):
        self.run_held("timeout", SHORT, 1)

    def test_several_loops(self):
        self.run_held("timeout", SHORT, 3)

    def test_second_signal(self):
        self.run_held("second", LONG, 1)

    def test_each_stage_before_the_body(self):
        """What was said so far says nothing of the mail: it has not left."""
        for stage in ("banner", "ehlo", "starttls", "tls", "auth", "mail", "rcpt", "data"):
            with self.subTest(stage), Peer(on={stage: wait_gone}, caps=BASIC) as p:
                with Gateway(LONG, relay=p.url()) as g:
                    posts = Posts(g).begin()
                    harness.wait_for(lambda: p.counts.get(stage), what="the relay is at " + stage)
                    items = self.end(g, posts, "second")
                    self.assertEqual(kinds(items), {NOT_SENT: 1})
                    self.assertEqual(items[0]["stage"], stage)
                    self.check_problems(items)

    def test_half_a_body(self):
        """The relay stops reading in the middle of 5 MB."""
        with Peer(on={"bdat": hang, "data": hang}, rcvbuf=4096) as p, Gateway(SHORT, relay=p.url()) as g:
            posts = Posts(g).begin(1, lambda: g.post(mail(text="0123456789 0123456789\n" * 220000)))
            harness.wait_for(lambda: p.counts, 30, what="the body has begun")
            items = self.end(g, posts)
            self.assertEqual(kinds(items), {NOT_SENT: 1})
            self.check_problems(items)

    def test_a_connection_that_is_being_made(self):
        with socket.socket() as s, contextlib.ExitStack() as stack:
            s.bind(("127.0.0.1", 0))
            s.listen(0)
            for _ in range(4):  # its queue is full: the kernel drops every SYN
                f = stack.enter_context(socket.socket())
                f.setblocking(False)
                f.connect_ex(s.getsockname())
            with Gateway(SHORT, relay="smtp://ann@127.0.0.1:%d" % s.getsockname()[1]) as g:
                posts = Posts(g).begin(3)
                self.waits(g, 3)
                items = self.end(g, posts)
                self.assertEqual(kinds(items), {NOT_SENT: 3})
                self.check_problems(items)

    def test_a_verdict_that_has_come_counts(self):
        """Replies that lie in the sockets when the time is over, as the process stood still, are heard."""
        go = threading.Event()
        with Peer(on={"body": after(go, default)}) as p, Gateway(LONG, relay=p.url()) as g:
            posts = Posts(g).begin(4)
            self.bodies_are_gone(p, 4)
            g.signal(signal.SIGTERM)
            harness.wait_for(lambda: g.events("drain"), what="it drains")
            g.signal(signal.SIGSTOP)
            go.set()
            harness.wait_for(lambda: len(p.mails) == 4, what="the relay took them")
            g.signal(signal.SIGTERM)
            g.signal(signal.SIGCONT)
            answers = posts.wait()
            self.assertEqual([a.status for a in answers], [200] * 4, repr(answers))
            g.wait()

    def test_pipelined(self):
        """Behind one mail whose reply is owed lie others, gone and not."""
        env = {**SHORT, "MAILHATCH_RELAY_MAX_SESSIONS": "1", "MAILHATCH_RELAY_PIPELINE_DEPTH": "4"}
        with Peer(on={"body": [default, hang]}) as p, Gateway(env, relay=p.url()) as g:
            self.assertEqual(g.post(mail()).status, 200)
            posts = Posts(g).begin(12)
            self.waits(g, 12)
            self.bodies_are_gone(p, 2)
            items = self.end(g, posts)
            found = kinds(items)
            self.assertEqual(set(found), {NOT_SENT, UNKNOWN})
            self.assertGreaterEqual(found[NOT_SENT], 8)
            self.check_problems(items)


class TestKinds(DrainEnd):
    def test_batch(self):
        """Each item tells for itself."""
        with Peer(on={"body": [default, default, hang]}) as p:
            with Gateway({**SHORT, "MAILHATCH_RELAY_MAX_SESSIONS": "2"}, relay=p.url()) as g:
                batch = [mail(subject="Item %d" % i) for i in range(9)]
                posts = Posts(g).begin(1, lambda: g.request("POST", "/v1/emails/batch", batch))
                self.bodies_are_gone(p, 4)
                begun = g.metric("mailhatch_waiting_requests")
                self.assertEqual(begun, 7)
                g.signal(signal.SIGTERM)
                answer = posts.wait()[0]
                self.assertEqual(g.wait(), 0)
                self.assertEqual((answer.status, answer.json["failed"]), (207, 7), repr(answer))
                sent = [i for i in answer.json["data"] if i.get("status") == "sent"]
                failed = [i for i in answer.json["data"] if i.get("status") != "sent"]
                self.assertEqual(len(sent), 2)
                self.assertEqual(kinds(failed), {NOT_SENT: 5, UNKNOWN: 2})
                self.check_named(answer.json["data"])

    def test_between_two_tries(self):
        """A mail that waits for its next try, or has it, is answered with what was the matter with it."""
        later = reply("451 4.3.0 try later")
        for on in ({"body": later}, {"body": [later, wait_gone]}, {"body": [later], "rcpt": [default, wait_gone]}):
            setting = {**LONG, "MAILHATCH_ON_TEMPORARY_FAILURE": "retry"}
            with self.subTest(on), Peer(on=on, caps=BASIC) as p, Gateway(setting, relay=p.url()) as g:
                posts = Posts(g).begin()
                harness.wait_for(lambda: g.events("retry"), what="the first failure")
                held = len(on["body"]) if isinstance(on["body"], list) else 0
                if held == 2:
                    self.bodies_are_gone(p, 2)
                elif "rcpt" in on:
                    harness.wait_for(lambda: p.counts.get("rcpt") == 2, what="the second try")
                items = self.end(g, posts, "second")
                expect = UNKNOWN if held == 2 else ("message_deferred", "rejected")
                self.assertEqual(kinds(items), {expect: 1})
                self.check_named(items)

    def test_with_a_diagnosis(self):
        """None is begun any more."""
        with Peer(on={"rcpt": wait_gone}, caps=BASIC) as p, Gateway(LONG, relay=p.url()) as g:
            posts = Posts(g).begin(1, lambda: g.post(mail(diagnose=True)))
            harness.wait_for(lambda: p.counts.get("rcpt"), what="the relay is at RCPT")
            items = self.end(g, posts, "second")
            self.assertEqual(kinds(items), {NOT_SENT: 1})
            self.check_named(items)
            self.assertIsNone(items[0]["diagnosis"])

    def test_a_circuit(self):
        """What a circuit refuses has its names, too."""
        with Peer(on={"auth": reply("535 5.7.8 no")}) as p, Gateway(relay=p.url()) as g:
            self.assertEqual(g.post(mail()).code, "auth_failed")
            items = [g.post(mail()).json]
            self.assertEqual(kinds(items), {("relay_unavailable", "not_sent"): 1})
            self.check_named(items)

    def test_deadline_in_the_queue(self):
        """request_timeout while waiting for a session: nothing left, and the mail has its names."""
        env = {"MAILHATCH_RELAY_MAX_SESSIONS": "1", "MAILHATCH_REQUEST_TIMEOUT": "1s"}
        with Peer(on={"body": hang}) as p, Gateway(env, relay=p.url()) as g:
            items = [a.json for a in Posts(g).begin(4).wait()]
            self.assertEqual(kinds(items), {("deadline_exceeded", "not_sent"): 3, UNKNOWN: 1})
            self.check_named(items)

    def test_before_it_was_a_mail(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            answer = g.post({"from": "nobody"})
            self.assertEqual((answer.json["id"], answer.json["message_id"]), (None, None))


if __name__ == "__main__":
    unittest.main()
