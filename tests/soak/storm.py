"""Mails of all sizes to relays that misbehave by a seeded plan; with --cut, few sessions, cut at random bytes."""
from relay import CALM, LOCKSTEP, ONE_FLIGHT, PIPELINED, Manners, Relay
from rig import Rig, harness, server_context

TIMEOUTS = {
    "command_timeout": "2s", "final_reply_timeout": "2s", "write_timeout": "2s", "banner_timeout": "2s",
    "tls_timeout": "2s", "connect_timeout": "2s", "idle_timeout": "1s", "max_sessions": "4",
}  # fmt: skip


class Storm(Rig):
    def __init__(self, options, out):
        super().__init__(options, out)
        self.clients = options.clients or 24 + 8 * options.depth

    def make_relays(self):
        """Half of them take a mail in one flight, one only pipelines, one does neither; one behaves, and is not to
        notice what the others do."""
        manners = Manners(bad_password=0.05 if self.options.seconds > 300 else 0)
        if self.options.cut:
            manners = Manners(0.01, 0.03, 0, 0.002, 0.002, 0.02, 0.1, 0.9, 200000, 0.005, False)
        secret = {"tls": server_context(), "password": harness.PASSWORD}
        rows = (
            ("flight", ONE_FLIGHT, manners, {}),
            ("sealed", ONE_FLIGHT, manners, secret),
            ("narrow", ONE_FLIGHT, manners, {"max_recipients": 2}),
            ("piped", PIPELINED, manners, {"sticky": True}),
            ("sealedpiped", PIPELINED, manners, secret),
            ("plain", LOCKSTEP, manners, {}),
            ("healthy", ONE_FLIGHT, CALM, {}),
        )
        return [Relay(name, self.options.seed, caps, how, **more) for name, caps, how, more in rows]

    def settings(self, relay):
        cut = {"max_sessions": "2"} if self.options.cut else {}
        depth = {"pipeline_depth": str(self.options.depth)} if self.options.depth else {}
        chosen = {**TIMEOUTS, **cut, **depth, **super().settings(relay)}
        if relay.manners is CALM:  # what is healthy is not to fail because this machine is slow
            chosen = {k: v for k, v in chosen.items() if k == "idle_timeout" or k not in TIMEOUTS}
        return chosen

    def extra_report(self):
        behind = sum(r.behind for r in self.relays)
        self.say("%d mails had another one behind them on the wire" % behind)
        if self.options.depth > 1 and not behind:
            self.complain("depth %d, and no mail came behind another" % self.options.depth)
