"""SIGHUP again and again under load. Each time something has changed: a password file, a relay more or less, a relay's
settings, a key; now and then the configuration is broken, and nothing may change."""
import asyncio
import collections
import random
import signal
import time

from client import Client
from relay import CALM, LOCKSTEP, ONE_FLIGHT, PIPELINED, Manners, Relay
from rig import Rig, harness, put, server_context

SLOW = Manners(0, 0, 0, 0, 0.05, 0, 0, 0, 1, 0, False, stall_seconds=(0.0, 0.1))
PASSWORDS = ("the-first-Passw0rd", "the-second-Passw0rd")
KEPT, COMING = "app:a-key-that-is-always-there-0123456789", "guest:a-key-that-comes-and-goes-0123456789"
BROKEN = ("relays: [\n", "max_waiting: many\n", "no_such_setting: 1\n", "default_relay: nobody\n")
PAUSE_SECONDS = 0.02


class Keyed(Client):
    """With an API key. Nobody is to notice a reload but those it concerns."""

    def __init__(self, rig, key):
        super().__init__(rig.gateway.api, rig.mails, leaves=0)
        self.rig, self.key = rig, key
        self.head = "Authorization: Bearer %s\r\n" % key.partition(":")[2]

    async def send(self, sent, *request):
        await super().send(sent, *request)
        is_concerned = (self.key == COMING and sent.status == 401) or (sent.relay == "extra" and sent.status == 422)
        if sent.status != 200 and not is_concerned:
            self.rig.complain("it failed in a reload: %r" % sent)
        if sent.status == 401:
            await asyncio.sleep(PAUSE_SECONDS)


class Reloads(Rig):
    clients = 12

    def __init__(self, options, out):
        super().__init__(options, out)
        self.rng, self.reloads = random.Random("%s reloads" % options.seed), collections.Counter()
        self.is_extra, self.is_guest, self.password, self.max_sessions = True, True, 0, 4

    def make_relays(self):
        secret = {"tls": server_context(), "password": PASSWORDS[0]}
        rows = (("flight", ONE_FLIGHT, SLOW, {}), ("sealed", ONE_FLIGHT, SLOW, secret), ("plain", LOCKSTEP, SLOW, {}),
                ("starttls", PIPELINED, CALM, {**secret, "starttls": True}), ("extra", ONE_FLIGHT, SLOW, {}))
        relays = [Relay(name, self.options.seed, caps, how, **more) for name, caps, how, more in rows]
        for relay in relays:
            relay.passwords = set(PASSWORDS)
        return relays

    def top(self):
        return ["api_keys_file: %s" % (self.directory / "keys")]

    def settings(self, relay):
        secret = {"password_file": str(self.directory / "password")} if relay.tls else {}
        sessions = {"max_sessions": str(self.max_sessions)} if relay.name in ("plain", "sealed") else {}
        return {"idle_timeout": "2s", **sessions, **secret, **super().settings(relay)}

    def write(self):
        put(self.directory / "password", PASSWORDS[self.password] + "\n")
        put(self.directory / "keys", "".join(k + "\n" for k in (KEPT, COMING)[: 1 + self.is_guest]))
        relays = [r for r in self.relays if self.is_extra or r.name != "extra"]
        put(self.directory / "soak.yaml", self.config(relays))

    def start_gateway(self):
        self.write()
        return super().start_gateway()

    def make_client(self, number):
        return Keyed(self, COMING if number % 4 == 0 else KEPT)

    # the changes

    def disturbances(self, over):
        return [self.reload(over)]

    async def reload(self, over):
        while not over.is_set():
            what = self.rng.choice(("password", "relay", "settings", "key", "broken", "nothing"))
            self.reloads[what] += 1
            self.change(what)
            self.gateway.signal(signal.SIGHUP)
            await asyncio.sleep(self.rng.random() * PAUSE_SECONDS)
        self.is_extra, self.is_guest = True, True
        await self.take_effect()

    def change(self, what):
        if what == "broken":
            put(self.directory / "soak.yaml", self.config(self.relays) + self.rng.choice(BROKEN))
            return
        if what == "password":
            self.password = 1 - self.password
        elif what == "relay":
            self.is_extra = not self.is_extra
        elif what == "settings":
            self.max_sessions = 7 - self.max_sessions
        elif what == "key":
            self.is_guest = not self.is_guest
        self.write()

    async def take_effect(self):
        """After a last SIGHUP the last state is in force: the guest may send over the relay that came and went."""
        self.write()
        self.gateway.signal(signal.SIGHUP)
        guest, end = Client(self.gateway.api, self.mails, leaves=0), time.monotonic() + harness.PATIENCE
        guest.head = "Authorization: Bearer %s\r\n" % COMING.partition(":")[2]
        while True:
            sent, *request = self.mails.make("extra")
            await guest.send(sent, *request)
            self.done(sent)
            if sent.status == 200:
                break
            if time.monotonic() > end:
                self.complain("what was written last is not in force: %r" % sent)
                break
            await asyncio.sleep(0.05)
        guest.close()

    def extra_report(self):
        self.say("SIGHUPs: " + ", ".join("%s %d" % r for r in sorted(self.reloads.items())))
        heard = sum("is refused" in line for line in self.gateway.lines)
        self.say("%d reloads refused, %d done" % (heard, sum('"reloaded' in line for line in self.gateway.lines)))
        if not heard or not self.outcomes["sent"]:
            self.complain("no broken configuration was refused, or nothing was sent")
