"""mailhatch is stopped (SIGSTOP) for longer than its time-outs, under load: what came meanwhile is found afterwards."""
import asyncio
import random
import signal

from client import Client
from relay import CALM, LOCKSTEP, ONE_FLIGHT, PIPELINED, Manners, Relay
from rig import LAG_SECONDS, Rig, harness, server_context

TIMEOUTS = {
    "command_timeout": "1s", "final_reply_timeout": "1s", "write_timeout": "2s", "banner_timeout": "1s",
    "tls_timeout": "2s", "connect_timeout": "2s", "idle_timeout": "1s", "max_sessions": "4",
}  # fmt: skip
RUN_SECONDS = (0.05, 1.5)  # between two stops
SHORTEST, LONGEST = 0.05, 5.0


class Stops(Rig):
    clients = 10

    def __init__(self, options, out):
        super().__init__(options, out)
        self.rng, self.stops = random.Random("%s stops" % options.seed), []

    def make_relays(self):
        """All but two answer at once and always: whatever fails there is a false verdict."""
        secret = {"tls": server_context(), "password": harness.PASSWORD}
        wild = Manners(outages=False)
        rows = (("flight", ONE_FLIGHT, CALM, {}), ("sealed", ONE_FLIGHT, CALM, secret), ("plain", LOCKSTEP, CALM, {}),
                ("starttls", PIPELINED, CALM, {**secret, "starttls": True}), ("wild", ONE_FLIGHT, wild, {}),
                ("wildplain", LOCKSTEP, wild, {}))
        return [Relay(name, self.options.seed, caps, how, **more) for name, caps, how, more in rows]

    def settings(self, relay):
        return {**TIMEOUTS, **super().settings(relay)}

    def make_client(self, number):
        return Client(self.gateway.api, self.mails, leaves=0)

    def disturbances(self, over):
        return [self.stop_and_go(over)]

    async def stop_and_go(self, over):
        while not over.is_set():
            await asyncio.sleep(self.rng.uniform(*RUN_SECONDS))
            seconds = SHORTEST * (LONGEST / SHORTEST) ** self.rng.random()
            if len(self.stops) == 1:  # one is always longer than the time-outs
                seconds = min(LONGEST, max(seconds, 2.2))
            self.stops.append(seconds)
            self.gateway.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                self.gateway.signal(signal.SIGCONT)

    def done(self, sent):
        super().done(sent)
        if sent.status != 200 and not sent.relay.startswith("wild"):
            if self.lag > LAG_SECONDS:
                self.say("its relay was slow (%.1f s), and it failed: %r" % (self.lag, sent))
            else:
                self.complain("its relay answered, and it failed: %r" % sent)

    async def phases(self):
        await self.load(self.options.seconds)
        await self.rest()

    def extra_report(self):
        self.say("%d stops, %.1f s in all; this process was held up by %.2f s at the most" % (
            len(self.stops), sum(self.stops), self.lag))
        if not self.stops:
            self.complain("it was never stopped")
