"""What all kinds of soak test share: relays in this process, a mailhatch, clients that keep it busy, and the end: what
was answered against the relays' own record, and what is held (memory, descriptors, sessions) against a time before.
"""
import asyncio
import collections
import contextlib
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
from relay import CALM  # noqa: E402
from verify import compare  # noqa: E402

QUIET_SECONDS = 20  # at the end of a phase: for the relays' stalls to end and idle sessions to be closed
SETTLE_SECONDS = 2.6
RSS_FACTOR, RSS_SLACK_MB = 1.25, 8.0
BRIEF_SECONDS = 6  # a shorter run says nothing of memory
SHOWN = 10
LAG_SECONDS = 0.3  # if this process itself came to nothing for so long, a time-out may be its fault
GAUGE = r'mailhatch_(?:sessions\{.*state="(\w+)"\}|(waiting_mails|waiting_requests|inflight_bytes)(?:\{.*\})?) '


def relay_settings_given():
    """MAILHATCH_RELAY_… of the environment, for every relay."""
    ours = "MAILHATCH_RELAY_"
    return {k[len(ours) :].lower(): v for k, v in os.environ.items() if k.startswith(ours) and v}


def environment():
    ours = ("MAILHATCH_RELAY_", "MAILHATCH_BIN", "MAILHATCH_E2E")
    return {k: v for k, v in os.environ.items() if k.startswith("MAILHATCH_") and not k.startswith(ours)}


def server_context(tickets=True):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(harness.cert_path("good.pem"), harness.cert_path("good.key"))
    if not tickets:
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def put(path, text):
    """As an editor or a deployment does: a new file in the place of the old one."""
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o600)
    os.replace(new, path)


class Rig:
    """One kind of soak test is a subclass. `clients`: how many keep it busy; `waits`: seconds that one waits for an
    answer at the end."""

    clients, waits, client_class = 24, 60, Client

    def __init__(self, options, out):
        self.options, self.out = options, out
        self.sent, self.outcomes, self.complaints = [], collections.Counter(), []
        self.relays, self.gateway, self.mails, self.directory, self.lag = [], None, None, None, 0.0
        self.begun = time.monotonic()

    # what a kind of test is made of

    def make_relays(self):
        raise NotImplementedError

    def settings(self, relay):
        """{setting: value} of one relay."""
        return relay_settings_given()

    def top(self):
        """Lines at the top of the configuration."""
        return []

    def disturbances(self, over):
        """Coroutines that run beside a load; they end when the event is set."""
        return []

    def extra_report(self):
        """What else there is to say, or to complain of, at the end."""

    # the program

    def url(self, relay):
        name = "ann@localhost" if relay.tls else "127.0.0.1"
        mode = {"implicit": "", "starttls": "", "none": "?tls=none"}[relay.tls_mode]
        return "%s://%s:%d%s" % ("smtps" if relay.tls_mode == "implicit" else "smtp", name, relay.port, mode)

    def config(self, relays):
        text = [*self.top(), "default_relay: " + relays[0].name, "relays:"]
        for relay in relays:
            text += ["  %s:" % relay.name, "    url: " + self.url(relay)]
            chosen = self.settings(relay)
            if relay.tls:
                chosen = {"password": relay.password, "ca_file": harness.cert_path("ca.pem"), **chosen}
            text += ["    %s: %s" % setting for setting in chosen.items()]
        return "\n".join(text) + "\n"

    def start_gateway(self):
        return harness.Gateway(environment(), args=["--config", str(self.directory / "soak.yaml")])

    def say(self, text):
        self.out.write("%5.0f s  %s\n" % (time.monotonic() - self.begun, text))
        self.out.flush()

    def complain(self, text):
        self.complaints.append(text)

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
        ahead = sum(int(self.settings(relay).get("min_idle", 0)) for relay in self.relays)
        end = time.monotonic() + QUIET_SECONDS
        while True:
            gauges = await self.gauges()
            idle = gauges.pop("idle")
            if idle <= ahead and not any(gauges.values()):
                break
            if time.monotonic() > end:
                self.complain("after %d s of rest: idle sessions %d, %s" % (QUIET_SECONDS, idle, dict(gauges)))
                break
            await asyncio.sleep(0.2)
        await self.settle()
        for relay in self.relays:
            relay.calm = relay.manners is CALM
        return self.rss_mb(), self.descriptors(), idle

    async def settle(self):
        """Waits until memory has not shrunk for a while: large blocks are given back some seconds after their use."""
        if self.options.seconds < BRIEF_SECONDS:
            return
        low, since = self.rss_mb(), time.monotonic()
        while time.monotonic() < since + SETTLE_SECONDS:
            await asyncio.sleep(0.2)
            if (now := self.rss_mb()) < low - 0.5:
                low, since = now, time.monotonic()

    def compare_rest(self, before, after):
        if after[1] - after[2] != before[1] - before[2]:
            self.complain("descriptors: %d after the warm-up, %d at the end" % (before[1], after[1]))
        if self.options.seconds < BRIEF_SECONDS or self.sanitized():
            return
        if after[0] > before[0] * RSS_FACTOR + RSS_SLACK_MB:
            self.complain("RSS: %.1f MB after the warm-up, %.1f MB at the end" % (before[0], after[0]))

    # the load

    def done(self, sent):
        self.sent.append(sent)
        self.outcomes[sent.outcome] += 1
        if sent.relay == "healthy" and sent.status not in (0, 200):
            self.complain("the healthy relay's mail failed: %r" % sent)

    async def progress(self):
        while True:
            await asyncio.sleep(5)
            counts = "  ".join("%s %d" % item for item in sorted(self.outcomes.items()))
            with contextlib.suppress(OSError, TypeError):  # it may be dead just now
                self.say("%s  | taken %d  rss %.1f MB  fds %d" % (
                    counts, sum(len(r.record) for r in self.relays), self.rss_mb(), self.descriptors()))

    async def watch_lag(self):
        while True:
            due = time.monotonic() + 0.02
            await asyncio.sleep(0.02)
            self.lag = max(self.lag, time.monotonic() - due)

    def make_client(self, number):
        return self.client_class(self.gateway.api, self.mails)

    async def load(self, seconds):
        stop, over = asyncio.Event(), asyncio.Event()
        clients = [self.make_client(i) for i in range(self.clients)]
        helpers = [asyncio.create_task(r.outages()) for r in self.relays if r.manners.outages]
        helpers += [asyncio.create_task(self.progress()), asyncio.create_task(self.watch_lag())]
        disturbances = [asyncio.create_task(d) for d in self.disturbances(over)]
        runs = [asyncio.create_task(c.run(stop, self.done)) for c in clients]
        await asyncio.wait([*runs, *disturbances], timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        over.set()
        await asyncio.gather(*disturbances)
        stop.set()
        late = (await asyncio.wait(runs, timeout=self.waits))[1]
        for client, run in zip(clients, runs):
            if run in late:
                self.complain("no answer in %d s: %r" % (self.waits, client.running))
                run.cancel()
            elif run.exception():
                if not isinstance(run.exception(), NoAnswer):
                    raise run.exception()
                self.complain("no answer: %s" % run.exception())
        for task in helpers:
            task.cancel()
        await asyncio.gather(*helpers, *late, return_exceptions=True)

    # the whole

    async def run(self):
        """True when all is as it should be."""
        self.relays = self.make_relays()
        for relay in self.relays:
            await relay.start()
        self.mails = self.make_mails()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-soak-"))
        try:
            put(self.directory / "soak.yaml", self.config(self.relays))
            self.gateway = await asyncio.to_thread(self.start_gateway)
            try:
                await self.phases()
            finally:
                await asyncio.to_thread(self.gateway.stop)
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)
            for relay in self.relays:
                await relay.stop()
                relay.drop_sessions()
        self.report()
        return not self.complaints

    def make_mails(self):
        return Mails(self.options.seed, [r.name for r in self.relays])

    async def phases(self):
        warm = max(min(4.0, self.options.seconds * 0.5), min(60.0, self.options.seconds * 0.25))
        self.say("seed %s, warm-up %.0f s, then %.0f s" % (self.options.seed, warm, self.options.seconds - warm))
        await self.load(warm)
        before = await self.rest()
        self.say("warm: rss %.1f MB, %d descriptors, %d idle sessions" % before)
        await self.load(self.options.seconds - warm)
        after = await self.rest()
        self.say("over: rss %.1f MB, %d descriptors, %d idle sessions" % after)
        self.compare_rest(before, after)

    def report(self):
        record = [taken for relay in self.relays for taken in relay.record]
        wrong = list(compare(self.sent, record))
        for what, mail, lines in wrong[:SHOWN]:
            self.out.write("WRONG (seed %s): %s\n  asked and answered: %r\n" % (self.options.seed, what, mail))
            for line in lines or [None]:
                self.out.write("  record: %r\n" % line)
        if wrong:
            self.complain("%d mails whose fate was told wrong" % len({id(w[1]) for w in wrong}))
        faults = sum((r.faults for r in self.relays), collections.Counter())
        self.say("faults: " + (", ".join("%s %d" % f for f in sorted(faults.items())) or "none"))
        self.extra_report()
        codes = collections.Counter(s.answer["code"] for s in self.sent if s.answer and "code" in s.answer)
        self.say("codes: " + (", ".join("%s %d" % c for c in codes.most_common()) or "none"))
        self.say("%d mails: %s; %d lines of record; %d sessions" % (
            len(self.sent), ", ".join("%s %d" % o for o in sorted(self.outcomes.items())), len(record),
            sum(r.opened for r in self.relays)))
        for complaint in self.complaints[:SHOWN]:
            self.say("FAILED (seed %s): %s" % (self.options.seed, complaint))
        if not self.complaints:
            self.say("what was answered is what the relays took")
