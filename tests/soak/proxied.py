#!/usr/bin/python3
"""Smuggling through proxies: clients send mails over nginx and haproxy, which share their connections to one mailhatch
among all; others send requests with requests hidden in them. Then the relay's record and mailhatch's log are compared
with what was asked: no mail that was no request to a proxy, and no answer to another's request.

    proxied.py [--bin PATH] [--seconds 600] [--seed N]

SOAK_SECONDS and SOAK_SEED are the defaults. The exit status is 0 when all is as it should be."""
import argparse
import collections
import contextlib
import os
import pathlib
import random
import re
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import harness  # noqa: E402
from attacks import attacks  # noqa: E402
from peer import Peer  # noqa: E402
from proxies import OURS, Proxies  # noqa: E402
from test_rolling import free_ports  # noqa: E402

CLIENTS = 2  # a front
ATTACKERS = 8
SHOWN = 10
PATIENCE = 0.15  # seconds: an attacker's for a further answer


class Honest(threading.Thread):
    """Mail after mail on a connection that stays open; each answer must be its own."""

    def __init__(self, front, port, number, stop):
        super().__init__(daemon=True)
        self.front, self.where, self.number, self.stop_now = front, "127.0.0.1:%d" % port, number, stop
        self.sent, self.complaints, self.retries = {}, [], 0

    def run(self):
        connection, n = harness.HttpConnection(self.where), 0
        while not self.stop_now.is_set():
            n += 1
            text = "good-%s-%d-%d" % (self.front, self.number, n)
            identity = "<%s@example.org>" % text
            body = harness.mail(text=text, headers={"Message-ID": identity})
            try:
                answer = harness.http_request(self.where, "POST", "/v1/emails", body, connection=connection)
            except OSError as e:  # a proxy may give up a connection, with a mail on it
                self.sent[text] = None
                self.retries += 1
                self.last_error = repr(e)
                connection.close()
                continue
            self.check(text, identity, answer)

    def check(self, text, identity, answer):
        told = answer.json.get("message_id") if answer.json else None
        if answer.status == 200 and told == identity:
            self.sent[text] = True
        elif answer.status in (502, 503, 504) and not answer.json:
            self.sent[text] = None  # the proxy's own: mailhatch closed a connection that an attack went over
            self.retries += 1
        else:
            self.complaints.append("%s got the answer %r" % (text, answer))


class Attacker(threading.Thread):
    """Each attack on a connection of its own."""

    def __init__(self, work, stop):
        super().__init__(daemon=True)
        self.work, self.stop_now, self.made = work, stop, []

    def run(self):
        for port, attack in self.work:
            if self.stop_now.is_set():
                return
            self.made.append(attack)
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as s:
                s.sendall(attack.data)
                s.settimeout(PATIENCE)
                while s.recv(65536):
                    continue


def judge(sent, made, record, sends):
    """Complaints. sent: text of an honest mail: True (answered), None (not known). made: Attacks. record: the texts
    that the relay took, each as often as it did. sends: request ids of the mails that mailhatch sent."""
    times = collections.Counter(record)
    for text, is_sure in sent.items():
        if times[text] > 1:
            yield "%s was sent %d times" % (text, times[text])
        if is_sure and times[text] == 0:
            yield "%s was answered and not sent" % text
    for attack in made:
        if attack.is_body and times[attack.hidden]:
            yield "the body of a request was sent as a mail: %s" % attack.kind
        if times[attack.hidden] > 1:
            yield "a hidden mail was sent twice: %s" % attack.kind
    for text in set(times) - set(sent) - {a.hidden for a in made}:
        yield "a mail that nobody sent: %r" % text
    for request_id in sends:
        if not re.match(OURS, request_id):
            kinds = [a.kind for a in made if a.hidden == request_id]
            yield "sent under a request id that is no proxy's: %s %s" % (request_id, kinds)


def endless(seed, name, fronts, rounds):
    """(port, Attack), all kinds over all fronts in a random order; again and again, or `rounds` times."""
    rng, n = random.Random("%s %s" % (seed, name)), 0
    while rounds is None or n < rounds:
        work = [(port, a) for front, port in fronts.items() for a in attacks("%s-%s-%d" % (front, name, n))]
        rng.shuffle(work)
        yield from work
        n += 1


def share(work, n):
    """For a short run: the work dealt out."""
    work = list(work)
    return [work[i::n] for i in range(n)]


def texts_of(peer):
    return [m[1].decode() for mail in peer.mails for m in re.finditer(rb"(?m)^((?:good|evil)-[\w-]+)\r?$", mail.data)]


class Run:
    def __init__(self, seed, out):
        self.seed, self.out, self.begun = seed, out, time.monotonic()
        self.stop, self.honest, self.attackers = threading.Event(), [], []

    def say(self, text):
        self.out.write("%5.0f s  %s\n" % (time.monotonic() - self.begun, text))
        self.out.flush()

    def start(self, fronts, seconds):
        for front, port in fronts.items():
            self.honest += [Honest(front, port, i, self.stop) for i in range(CLIENTS)]
        if seconds is None:  # each attack once
            works = share(endless(self.seed, "once", fronts, 1), ATTACKERS)
        else:
            works = [endless(self.seed, str(i), fronts, None) for i in range(ATTACKERS)]
        self.attackers = [Attacker(work, self.stop) for work in works]
        for t in self.honest + self.attackers:
            t.start()

    def wait(self, seconds):
        if seconds is None:
            for t in self.attackers:
                t.join()
        end = time.monotonic() + (seconds or 0)
        while time.monotonic() < end:
            self.stop.wait(min(10, max(0, end - time.monotonic())))
            self.say("%d mails answered, %d attacks" % (
                sum(len(h.sent) for h in self.honest), sum(len(a.made) for a in self.attackers)))
        self.stop.set()
        for t in self.honest + self.attackers:
            t.join(harness.PATIENCE * 2)

    def run(self, seconds):
        """Complaints."""
        with contextlib.ExitStack() as stack:
            peer = stack.enter_context(Peer())
            settings = {"MAILHATCH_REQUEST_TIMEOUT": "10s", "MAILHATCH_ALLOWED_HOSTS": "elsewhere.example"}
            gateway = stack.enter_context(harness.Gateway(settings, relay=peer.url()))
            proxies = stack.enter_context(Proxies(gateway.api, free_ports(3)))
            self.start(proxies.fronts, seconds)
            self.wait(seconds)
            alive = gateway.get("/").status == 200
            sends = [e["request_id"] for e in gateway.events("send")]
        sent = {text: sure for h in self.honest for text, sure in h.sent.items()}
        made = [a for attacker in self.attackers for a in attacker.made]
        record = texts_of(peer)
        found = [c for h in self.honest for c in h.complaints] + list(judge(sent, made, record, sends))
        if not alive:
            found.append("mailhatch does not answer any more")
        if not any(sent.values()) or not made:
            found.append("nothing was sent")
        self.say("%d mails, %d without a sure answer; %d attacks, %d of their mails were requests to the proxy" % (
            len(sent), sum(1 for s in sent.values() if not s), len(made), sum(t.startswith("evil") for t in record)))
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=harness.binary())
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SOAK_SECONDS") or 600))
    parser.add_argument("--seed", default=os.environ.get("SOAK_SEED") or str(int.from_bytes(os.urandom(4), "big")))
    options = parser.parse_args()
    os.environ["MAILHATCH_BIN"] = str(pathlib.Path(options.bin).resolve())
    run = Run(options.seed, sys.stdout)
    found = run.run(options.seconds)
    for complaint in found[:SHOWN]:
        run.say("FAILED (seed %s): %s" % (options.seed, complaint))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
