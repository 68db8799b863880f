#!/usr/bin/python3
"""The soak test: mails of all sizes through mailhatch to relays that misbehave by a seeded plan; then the relays' own
record is compared with what was answered, and memory, descriptors and sessions with what they were after a warm-up.

    soak.py [--bin PATH] [--seconds 600] [--seed N] [--clients 24] [--depth 8] [--cut]

--depth N  mails in flight on one session;  --cut  few sessions, and connections cut at random bytes, either way.
SOAK_SECONDS and SOAK_SEED are the defaults. MAILHATCH_RELAY_… settings of the environment are given to every relay,
other MAILHATCH_… ones to the program. The exit status is 0 when all is as it should be."""
import argparse
import asyncio
import collections
import contextlib
import json
import logging
import os
import pathlib
import re
import shutil
import ssl
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import harness  # noqa: E402
from client import Client, Mails, NoAnswer, get  # noqa: E402
from relay import CALM, LOCKSTEP, ONE_FLIGHT, PIPELINED, Manners, Relay  # noqa: E402
from verify import compare  # noqa: E402

QUIET_SECONDS = 20  # at the end of a phase: for the relays' stalls to end and idle sessions to be closed
TIMEOUTS = {
    "command_timeout": "2s", "final_reply_timeout": "2s", "write_timeout": "2s", "banner_timeout": "2s",
    "tls_timeout": "2s", "connect_timeout": "2s", "idle_timeout": "1s", "max_sessions": "4",
}  # fmt: skip
SETTLE_SECONDS = 2.6
RSS_FACTOR, RSS_SLACK_MB = 1.25, 8.0
SHOWN = 10
GAUGE = r'mailhatch_(?:sessions\{.*state="(\w+)"\}|(waiting_mails|waiting_requests|inflight_bytes)(?:\{.*\})?) '


def relays_for(options, tls):
    """Half of them take a mail in one flight, one only pipelines, one does neither; one behaves, and is not to notice
    what the others do."""
    manners = Manners(bad_password=0.05 if options.seconds > 300 else 0)
    if options.cut:
        manners = Manners(0.01, 0.03, 0, 0.002, 0.002, 0.02, 0.1, 0.9, 200000, 0.005, False)
    secret = {"tls": tls, "password": harness.PASSWORD}
    rows = (
        ("flight", ONE_FLIGHT, manners, {}),
        ("sealed", ONE_FLIGHT, manners, secret),
        ("narrow", ONE_FLIGHT, manners, {"max_recipients": 2}),
        ("piped", PIPELINED, manners, {"sticky": True}),
        ("sealedpiped", PIPELINED, manners, secret),
        ("plain", LOCKSTEP, manners, {}),
        ("healthy", ONE_FLIGHT, CALM, {}),
    )
    return [Relay(name, options.seed, caps, how, **more) for name, caps, how, more in rows]


def settings(options):
    given = {
        k[len("MAILHATCH_RELAY_") :].lower(): v for k, v in os.environ.items() if k.startswith("MAILHATCH_RELAY_") and v
    }
    cut = {"max_sessions": "2"} if options.cut else {}
    depth = {"pipeline_depth": str(options.depth)} if options.depth else {}
    return {**TIMEOUTS, **cut, **depth, **given}


def environment():
    ours = ("MAILHATCH_RELAY_", "MAILHATCH_BIN", "MAILHATCH_E2E")
    return {k: v for k, v in os.environ.items() if k.startswith("MAILHATCH_") and not k.startswith(ours)}


def write_config(path, relays, options):
    text = ["default_relay: " + relays[0].name, "relays:"]
    for relay in relays:
        url = "smtps://ann@localhost:%d" if relay.tls else "smtp://127.0.0.1:%d?tls=none"
        text += ["  %s:" % relay.name, "    url: " + url % relay.port]
        if relay.tls:
            text += ["    password: " + json.dumps(relay.password), "    ca_file: " + harness.cert_path("ca.pem")]
        chosen = settings(options)
        if relay.manners is CALM:  # what is healthy is not to fail because this machine is slow
            chosen = {k: v for k, v in chosen.items() if k == "idle_timeout" or k not in TIMEOUTS}
        text += ["    %s: %s" % setting for setting in chosen.items()]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    path.chmod(0o600)


class Soak:
    def __init__(self, options, out):
        self.options, self.out = options, out
        self.sent, self.outcomes, self.complaints = [], collections.Counter(), []
        self.relays, self.gateway, self.mails = [], None, None
        self.begun = time.monotonic()

    def say(self, text):
        self.out.write("%5.0f s  %s\n" % (time.monotonic() - self.begun, text))
        self.out.flush()

    # what the process holds

    def rss_mb(self):
        status = pathlib.Path("/proc/%d/status" % self.gateway.process.pid).read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.gateway.process.pid))

    def sanitized(self):
        maps = pathlib.Path("/proc/%d/maps" % self.gateway.process.pid).read_text(encoding="utf-8", errors="replace")
        return bool(re.search(r"lib[at]san", maps))

    async def gauges(self):
        """What should go back to nothing: sessions by state, and what waits."""
        found = collections.Counter()
        for line in (await get(self.gateway.admin_at, "/metrics")).splitlines():
            m = re.match(GAUGE, line)
            if m:
                found[m[1] or m[2]] += float(line.rsplit(" ", 1)[1])
        return found

    async def rest(self):
        """Waits until nothing runs and no session is open but those opened ahead; (RSS, descriptors, idle sessions)."""
        for relay in self.relays:
            relay.calm = True
        ahead = int(settings(self.options).get("min_idle", 0)) * len(self.relays)
        end = time.monotonic() + QUIET_SECONDS
        while True:
            gauges = await self.gauges()
            idle = gauges.pop("idle")
            if idle <= ahead and not any(gauges.values()):
                break
            if time.monotonic() > end:
                self.complaints.append("after %d s of rest: idle sessions %d, %s" % (QUIET_SECONDS, idle, dict(gauges)))
                break
            await asyncio.sleep(0.2)
        await self.settle()
        for relay in self.relays:
            relay.calm = relay.manners is CALM
        return self.rss_mb(), self.descriptors(), idle

    async def settle(self):
        """Waits until memory has not shrunk for a while: large blocks are given back some seconds after their use."""
        low, since = self.rss_mb(), time.monotonic()
        while time.monotonic() < since + SETTLE_SECONDS:
            await asyncio.sleep(0.2)
            if (now := self.rss_mb()) < low - 0.5:
                low, since = now, time.monotonic()

    # the load

    def done(self, sent):
        self.sent.append(sent)
        self.outcomes[sent.outcome] += 1
        if sent.relay == "healthy" and sent.status not in (0, 200):
            self.complaints.append("the healthy relay's mail failed: %r" % sent)

    async def progress(self):
        while True:
            await asyncio.sleep(5)
            counts = "  ".join("%s %d" % item for item in sorted(self.outcomes.items()))
            self.say("%s  | taken %d  rss %.1f MB  fds %d" % (
                counts, sum(len(r.record) for r in self.relays), self.rss_mb(), self.descriptors()))

    async def load(self, seconds):
        stop = asyncio.Event()
        count = self.options.clients or 24 + 8 * self.options.depth
        clients = [Client(self.gateway.api, self.mails) for _ in range(count)]
        helpers = [asyncio.create_task(r.outages()) for r in self.relays if r.manners.outages]
        helpers.append(asyncio.create_task(self.progress()))
        runs = [asyncio.create_task(c.run(stop, self.done)) for c in clients]
        done, _ = await asyncio.wait(runs, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        stop.set()
        late = (await asyncio.wait(runs, timeout=60))[1]
        for client, run in zip(clients, runs):
            if run in late:
                self.complaints.append("no answer in 60 s: %r" % client.running)
                run.cancel()
            elif run.exception():
                if not isinstance(run.exception(), NoAnswer):
                    raise run.exception()
                self.complaints.append("no answer: %s" % run.exception())
        for task in helpers:
            task.cancel()
        await asyncio.gather(*helpers, *late, return_exceptions=True)

    # the whole

    async def run(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(harness.cert_path("good.pem"), harness.cert_path("good.key"))
        self.relays = relays_for(self.options, context)
        for relay in self.relays:
            await relay.start()
        self.mails = Mails(self.options.seed, [r.name for r in self.relays])
        directory = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-soak-"))
        try:
            write_config(directory / "soak.yaml", self.relays, self.options)
            with harness.Gateway(environment(), args=["--config", str(directory / "soak.yaml")]) as self.gateway:
                await self.phases()
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            for relay in self.relays:
                await relay.stop()
                relay.drop_sessions()
        self.report()
        return not self.complaints

    async def phases(self):
        warm = max(4.0, min(60.0, self.options.seconds * 0.25))
        self.say("seed %s, warm-up %.0f s, then %.0f s" % (self.options.seed, warm, self.options.seconds - warm))
        await self.load(warm)
        before = await self.rest()
        self.say("warm: rss %.1f MB, %d descriptors, %d idle sessions" % before)
        await self.load(self.options.seconds - warm)
        after = await self.rest()
        self.say("over: rss %.1f MB, %d descriptors, %d idle sessions" % after)
        if after[1] - after[2] != before[1] - before[2]:
            self.complaints.append("descriptors: %d after the warm-up, %d at the end" % (before[1], after[1]))
        if after[0] > before[0] * RSS_FACTOR + RSS_SLACK_MB and not self.sanitized():
            self.complaints.append("RSS: %.1f MB after the warm-up, %.1f MB at the end" % (before[0], after[0]))

    def report(self):
        record = [taken for relay in self.relays for taken in relay.record]
        wrong = list(compare(self.sent, record))
        for what, mail, lines in wrong[:SHOWN]:
            self.out.write("WRONG (seed %s): %s\n  asked and answered: %r\n" % (self.options.seed, what, mail))
            for line in lines or [None]:
                self.out.write("  record: %r\n" % line)
        if wrong:
            self.complaints.append("%d mails whose fate was told wrong" % len({id(w[1]) for w in wrong}))
        faults = sum((r.faults for r in self.relays), collections.Counter())
        self.say("faults: " + ", ".join("%s %d" % f for f in sorted(faults.items())))
        behind = sum(r.behind for r in self.relays)
        self.say("%d mails had another one behind them on the wire" % behind)
        if self.options.depth > 1 and not behind:
            self.complaints.append("depth %d, and no mail came behind another" % self.options.depth)
        codes = collections.Counter(s.answer["code"] for s in self.sent if s.answer and "code" in s.answer)
        self.say("codes: " + ", ".join("%s %d" % c for c in codes.most_common()))
        self.say("%d mails: %s; %d lines of record; %d sessions" % (
            len(self.sent), ", ".join("%s %d" % o for o in sorted(self.outcomes.items())), len(record),
            sum(r.opened for r in self.relays)))
        for complaint in self.complaints[:SHOWN]:
            self.say("FAILED (seed %s): %s" % (self.options.seed, complaint))
        if not self.complaints:
            self.say("what was answered is what the relays took")


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=harness.binary())
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SOAK_SECONDS") or 600))
    parser.add_argument("--seed", default=os.environ.get("SOAK_SEED") or str(int.from_bytes(os.urandom(4), "big")))
    parser.add_argument("--clients", type=int, default=0, help="default: 24, or as many as keep the depth full")
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--cut", action="store_true")
    return parser.parse_args(argv)


def soak(argv=None, out=sys.stdout):
    """True when all is as it should be."""
    options = arguments(argv)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # connections that break are what this is about
    os.environ["MAILHATCH_BIN"] = str(pathlib.Path(options.bin).resolve())
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(Soak(options, out).run())
    return False


if __name__ == "__main__":
    sys.exit(0 if soak() else 1)
