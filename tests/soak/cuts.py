"""A cut after each octet. Relay's side: two mails over one connection, which ends by FIN or by RST after exactly N
octets that the relay received, or that it sent. Clients' side: a request that ends after N octets of head and body."""
import asyncio
import collections
import contextlib
import random
import time

from client import Client, NoAnswer
from cutter import Cut, Cutter, reset
from relay import CALM, LOCKSTEP, ONE_FLIGHT, PIPELINED, Relay
from small import KINDS, Requests
from rig import Rig, harness, server_context
from verify import compare

# name: (extensions, how TLS begins, are session tickets given, is each session another server's, does its length tell)
PLACES = {
    "large": (LOCKSTEP, "none", False, False, True),  # the first mail is more than the kernel takes at once
    "largechunks": (ONE_FLIGHT, "none", False, False, True),
    "plain": (LOCKSTEP, "none", False, False, True),
    "piped": (PIPELINED, "none", False, False, True),
    "flight": (ONE_FLIGHT, "none", False, False, True),  # both mails go in one flight
    "proving": (ONE_FLIGHT, "none", False, True, False),  # the first mail by DATA, a proof, the second in one flight
    "sealed": (ONE_FLIGHT, "implicit", False, False, True),
    "sealedplain": (LOCKSTEP, "implicit", False, False, True),
    "starttls": (PIPELINED, "starttls", False, False, True),
    "tickets": (ONE_FLIGHT, "implicit", True, False, False),
}
LARGE, LARGE_CUTS = 8000000, 40  # octets; so few of them are cut after
LANES = 6  # side by side, for each place: after a failed session a relay has a quarter of a second's peace
FEW_LANES, LONG_STRIDE = 2, 20  # a stride as long as that leaves so little to do
HTTP_LANES = 8
SLACK = 8  # octets: a signature's length varies
ANSWER_SECONDS = 20

Lengths = collections.namedtuple("Lengths", "n_in n_out gone let_go")  # gone, let_go: of both mails


class Lane:
    """One relay behind its cutter, and one client."""

    def __init__(self, rig, place, number):
        caps, mode, tickets, strange, self.is_exact = PLACES[place]
        tls = None if mode == "none" else server_context(tickets)
        self.rig, self.place, self.size = rig, place, LARGE if place.startswith("large") else 0
        self.relay = Relay("%s%d" % (place, number), rig.options.seed, caps, CALM, tls, harness.PASSWORD if tls else "",
                           starttls=mode == "starttls", strange=strange)
        self.cutter, self.client, self.lengths = Cutter(self.relay), None, None

    async def mail(self, recipients, size=0):
        sent, *request = self.rig.requests.make("json", self.relay.name, recipients, size)
        with contextlib.suppress(NoAnswer):
            await self.client.send(sent, *request)
        return sent

    async def exchange(self, cut):
        """Two mails: (sent, was the connection cut before), twice; and the connection that was to be cut, whose `ends`
        are the octets that had been seen when each was answered."""
        self.cutter.armed = cut
        first = await self.mail(1, self.size)
        before = bool(self.cutter.links and self.cutter.links[0].is_cut)
        ends = [len(link.seen) for link in self.cutter.links[:1]]
        second = await self.mail(2)
        ends += [len(link.seen) for link in self.cutter.links[:1]]
        links = await self.cutter.hang_up()
        link = links[0] if links else None
        if link:
            link.ends = ends
        return ((first, False), (second, before)), link

    async def measure(self):
        """The lengths of an uncut conversation, when all is known of the relay that there is to know."""
        self.client = Client(self.rig.gateway.api, self.rig.mails, leaves=0)
        for _ in range(3):
            mark = len(self.relay.record)
            mails, link = await self.exchange(None)
            self.note(None, mails, mark)
            if any(sent.outcome != "sent" for sent, _ in mails):
                raise AssertionError("an uncut conversation with %s failed: %r" % (self.relay.name, mails))
        let_go = [next(n_out for seen, n_out in link.trace if seen >= end) for end in link.ends]
        self.lengths = Lengths(len(link.seen), link.n_out, link.ends, let_go)

    def note(self, cut, mails, mark):
        """All found wrong by the record, and the mails to the rig."""
        for sent, _ in mails:
            self.rig.done(sent)
            if not sent.status:
                self.rig.complain("%s: no answer to %r" % (self.name(cut), sent))
        for what, sent, _ in compare([sent for sent, _ in mails], self.relay.record[mark:]):
            self.rig.complain("%s: %s: mail %d, %s" % (self.name(cut), what, sent.number, sent.told()))

    def name(self, cut):
        return "%s:%s" % (self.place, "uncut" if not cut else "%s:%d:%s" % cut)

    async def run(self, cut):
        mark = len(self.relay.record)
        mails, link = await self.exchange(cut)
        self.note(cut, mails, mark)
        for n, (sent, was_cut) in enumerate(mails):
            for what in self.judge(cut, link, n, sent, was_cut):
                self.rig.complain("%s: %s: mail %d, %s" % (self.name(cut), what, sent.number, sent.told()))

    def judge(self, cut, link, n, sent, was_cut):
        """What the record does not show: an `unknown` of a mail that had not gone, and the other way round."""
        is_cut = link is not None and link.is_cut
        if (was_cut or not is_cut) and sent.outcome != "sent":
            yield "its connection was whole, and the mail was not sent"
        if was_cut or not is_cut:
            return
        if n and link.ends[0] < self.lengths.gone[0] - SLACK:
            n = 0  # the first mail went another way
        whole = self.is_whole(link, n, sent)
        if sent.outcome == "unknown" and whole is False and not self.may_have_raced(cut, link, n):
            yield "the body had not gone (%d octets seen, it ends with %d), and the outcome is unknown" % (
                len(link.seen), self.lengths.gone[n])
        if sent.outcome == "not_sent" and whole and cut.how == "fin" and self.is_exact:
            yield "the body had gone, and it is told as not sent"

    def is_whole(self, link, n, sent):
        """Had all of the mail left mailhatch on this connection? None: that cannot be told."""
        if self.relay.tls:
            if not self.is_exact:
                return None
            return len(link.seen) >= self.lengths.gone[n] - SLACK
        at = link.seen.find(b"<%s>" % sent.message_id.encode())
        return at >= 0 and link.seen.find(self.rig.requests.last_line(sent) + b"\r\n", at) >= 0

    def may_have_raced(self, cut, link, n):
        """A body that was let go by the last octets before an RST may have left just after the last look, and a large
        one is on its way whatever happens."""
        return cut.how == "rst" and (self.size or cut.side == "out") and (
            not self.is_exact or link.n_out >= self.lengths.let_go[n] - SLACK)


class Cuts(Rig):
    def __init__(self, options, out):
        super().__init__(options, out)
        self.requests = Requests(options.seed)
        places = [options.only.split(":")[0]] if options.only else PLACES
        self.lanes = {place: [Lane(self, place, n) for n in range(self.n_lanes(place))] for place in places
                      if place in PLACES}
        self.http = Relay("http", options.seed, ONE_FLIGHT, CALM)

    def n_lanes(self, place):
        if self.options.only or place.startswith("large"):
            return 1
        return FEW_LANES if self.options.stride > LONG_STRIDE else LANES

    def make_relays(self):
        return [lane.relay for lanes in self.lanes.values() for lane in lanes] + [self.http]

    def url(self, relay):
        cutter = next((lane.cutter for lanes in self.lanes.values() for lane in lanes if lane.relay is relay), None)
        return super().url(relay).replace(":%d" % relay.port, ":%d" % (cutter.port if cutter else relay.port))

    def settings(self, relay):
        return {"idle_timeout": "2s", **super().settings(relay)}

    async def run(self):
        for lanes in self.lanes.values():
            for lane in lanes:
                await lane.cutter.start()
        try:
            return await super().run()
        finally:
            for lanes in self.lanes.values():
                for lane in lanes:
                    lane.cutter.stop()

    # what there is to cut

    async def measure(self):
        await asyncio.gather(*(lane.measure() for lanes in self.lanes.values() for lane in lanes))
        for kind in KINDS:
            await self.request(kind, None)

    def all_cuts(self):
        """[(place or "http", kind of request or side, octets, how)]"""
        found = []
        for place, lanes in self.lanes.items():
            lengths = lanes[0].lengths
            for side, n in (("in", lengths.n_in), ("out", lengths.n_out)):
                step = n // LARGE_CUTS if lanes[0].size and side == "in" else 1
                found += [(place, side, after, how) for after in range(0, n + 1, step) for how in ("fin", "rst")]
        for kind in KINDS:
            n = len(self.requests.wire(kind, *self.requests.make(kind, "http", 1)[1:]))
            found += [("http", kind, after, how) for after in range(n + 1) for how in ("fin", "rst")]
        return found

    def chosen(self):
        if self.options.only:
            place, side, after, how = self.options.only.split(":")
            return [(place, side, int(after), how)]
        cuts = self.all_cuts()
        rng = random.Random(self.options.seed)
        start = rng.randrange(self.options.stride)
        cuts = cuts[start :: self.options.stride]
        rng.shuffle(cuts)
        return cuts

    async def phases(self):
        end = time.monotonic() + self.options.seconds
        await self.measure()
        for lane in (lane for lanes in self.lanes.values() for lane in lanes):
            lane.client.close()
        before = await self.rest()
        work = collections.defaultdict(list)
        for place, *cut in self.chosen():
            work[place].append(cut)
        n = sum(map(len, work.values()))
        self.say("seed %s, %d cuts; rss %.1f MB, %d descriptors" % (self.options.seed, n, *before[:2]))
        progress = asyncio.create_task(self.progress())
        runs = [self.cut_relay(lane, work[place], end) for place, lanes in self.lanes.items() for lane in lanes]
        runs += [self.cut_requests(work["http"], end) for _ in range(HTTP_LANES)]
        await asyncio.gather(*runs)
        progress.cancel()
        after = await self.rest()
        left = sum(map(len, work.values()))
        self.say("%d of %d cuts made; rss %.1f MB, %d descriptors" % (n - left, n, *after[:2]))
        self.compare_rest(before, after)

    async def cut_relay(self, lane, work, end):
        while work and time.monotonic() < end:
            await lane.run(Cut(*work.pop()))
        lane.client.close()

    # requests that are cut

    async def cut_requests(self, work, end):
        while work and time.monotonic() < end:
            await self.request(work[-1][0], work.pop())

    async def request(self, kind, cut):
        """One request, on a connection of its own. `cut`: (kind, octets, how); None: whole."""
        sent, *request = self.requests.make(kind, "http", 1)
        wire = self.requests.wire(kind, *request)
        after, how = (len(wire), "whole") if not cut else cut[1:]
        name = "http:%s:%d:%s" % (kind, after, how)
        client = Client(self.gateway.api, self.mails, leaves=0)
        await client.open()
        client.writer.write(wire[:after])
        if how == "rst":
            reset(client.writer.transport)
        else:
            await self.listen(client, sent, name, how == "fin")
        client.close()
        if not cut and sent.outcome != "sent":
            raise AssertionError("an uncut request failed: %r" % sent)
        if after < len(wire):
            if sent.status == 200:
                self.complain("%s: half a request was answered: %r" % (name, sent))
            sent.status, sent.answer = 400, {"delivery": "not_sent", "cut": name}  # whatever it said
        self.done(sent)

    async def listen(self, client, sent, name, is_end):
        """Takes the answer, if there is one, and after a FIN all up to the other side's."""
        if is_end:
            client.writer.write_eof()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                with contextlib.suppress(ConnectionError, EOFError):
                    sent.status, sent.answer = await client.answer()
                    if is_end and client.reader:
                        await client.reader.read()
        except TimeoutError:
            self.complain("%s: neither answered nor closed in %d s" % (name, ANSWER_SECONDS))
