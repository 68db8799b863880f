"""mailhatch is killed under load and started again with the same settings; now and then it is asked to end (SIGTERM),
and then whatever it took must be answered."""
import asyncio
import collections
import random
import signal
import time

from client import Patient
from relay import LOCKSTEP, ONE_FLIGHT, PIPELINED, Manners, Relay
from rig import Rig, environment, harness, server_context

# Answers that take their time, so that there is always something under way; nothing else is wrong with these relays.
SLOW = Manners(0, 0, 0, 0, 0.15, 0, 0, 0, 1, 0, False, stall_seconds=(0.0, 0.3))
PORTS = range(15000, 20000)  # none that the kernel would give to a client, or the relays take
LIFE_SECONDS = (0.05, 1.5)
TERM_SHARE = 0.4
END_SECONDS = 20

Ending = collections.namedtuple("Ending", "how began over")  # how: "kill" or "term"; over: nobody listens any more


class Kills(Rig):
    clients, client_class = 16, Patient

    def __init__(self, options, out):
        super().__init__(options, out)
        self.rng, self.endings = random.Random("%s kills" % options.seed), []
        self.address = "127.0.0.1:%d" % self.free_port()

    def free_port(self):
        for port in self.rng.sample(PORTS, 200):
            with harness.socket.socket() as s:
                s.setsockopt(harness.socket.SOL_SOCKET, harness.socket.SO_REUSEADDR, 1)
                try:
                    s.bind(("127.0.0.1", port))
                    return port
                except OSError:
                    continue
        raise AssertionError("no free port")

    def make_relays(self):
        secret = {"tls": server_context(), "password": harness.PASSWORD}
        rows = (("flight", ONE_FLIGHT, {}), ("sealed", ONE_FLIGHT, secret), ("piped", PIPELINED, {}),
                ("plain", LOCKSTEP, {}), ("starttls", PIPELINED, {**secret, "starttls": True}))
        return [Relay(name, self.options.seed, caps, SLOW, **more) for name, caps, more in rows]

    def settings(self, relay):
        return {"max_sessions": "4", "idle_timeout": "1s", **super().settings(relay)}

    def start_gateway(self):
        env = {"MAILHATCH_LISTEN": self.address, **environment()}
        return harness.Gateway(env, args=["--config", str(self.directory / "soak.yaml")])

    def disturbances(self, over):
        return [self.interrupt(over)]

    async def interrupt(self, over):
        while not over.is_set():
            await asyncio.sleep(self.rng.uniform(*LIFE_SECONDS))
            await (self.ask_to_end() if self.rng.random() < TERM_SHARE else self.kill())
            await asyncio.to_thread(self.gateway.stop)
            self.gateway = await asyncio.to_thread(self.start_gateway)

    async def kill(self):
        began = time.monotonic()
        self.gateway.signal(signal.SIGKILL)
        await asyncio.to_thread(self.gateway.wait)
        self.endings.append(Ending("kill", began, time.monotonic()))

    async def ask_to_end(self):
        began = time.monotonic()
        self.gateway.signal(signal.SIGTERM)
        try:
            status = await asyncio.to_thread(self.gateway.wait, END_SECONDS)
        except harness.subprocess.TimeoutExpired:
            self.complain("it did not end in %d s after SIGTERM" % END_SECONDS)
            return
        self.endings.append(Ending("term", began, time.monotonic()))
        if status != 0:
            self.complain("exit status %d after SIGTERM" % status)

    async def phases(self):
        await self.load(self.options.seconds)
        await self.rest()

    def extra_report(self):
        taken = {line.message_id for relay in self.relays for line in relay.record}
        for sent in self.sent:
            if not sent.status:
                for what in judge_unanswered(sent, sent.message_id in taken, self.endings):
                    self.complain("%s: %r" % (what, sent))
        times = collections.Counter(e.how for e in self.endings)
        self.say("%d times killed, %d times asked to end" % (times["kill"], times["term"]))
        if self.options.seconds >= 5 and not (times["kill"] and self.outcomes["sent"]):
            self.complain("nothing was killed, or nothing sent")


def judge_unanswered(sent, is_taken, endings):
    """A request that got no answer is the fault of a kill; a mail is not taken over by a process that drains unless
    its request is answered."""
    met = {e.how: e for e in endings if e.began <= sent.ended and (not sent.posted or sent.posted <= e.over)}
    if "kill" in met:
        return
    if "term" not in met:
        yield "no answer, and nothing had ended it"
    elif is_taken:
        yield "sent while it drained, and not answered"
    elif sent.posted and sent.posted < met["term"].began:
        yield "there before SIGTERM, and not answered"
