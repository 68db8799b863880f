"""Between mailhatch and a relay: hands on what both say, and cuts one connection after exactly so many octets."""
import asyncio
import collections
import contextlib
import os
import socket
import struct

Cut = collections.namedtuple("Cut", "side after how")  # side: "in", what the relay receives, or "out", what it sends


def reset(transport):
    """RST instead of FIN."""
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Link(asyncio.Protocol):
    """The connection from mailhatch. `seen`: all that came from it, handed on or not. `trace`: (octets seen, octets of
    the relay that mailhatch had been sent by then), at each arrival."""

    def __init__(self, cutter):
        self.cutter, self.cut = cutter, cutter.armed
        cutter.armed = None
        self.transport, self.upstream, self.ahead = None, None, bytearray()
        self.seen, self.n_in, self.n_out, self.trace = bytearray(), 0, 0, []
        self.is_cut, self.is_over, self.ends_upstream = False, False, False

    def connection_made(self, transport):
        self.transport = transport
        self.cutter.links.append(self)
        if self.cut and not self.cut.after:
            self.sever()
        else:
            self.cutter.tasks.append(asyncio.create_task(self.connect()))

    async def connect(self):
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_connection(lambda: Upstream(self), "127.0.0.1", self.cutter.relay.port)
        except OSError:
            self.transport.close()
            return
        self.upstream = transport
        transport.write(bytes(self.ahead))
        if self.ends_upstream:
            transport.write_eof()

    def room(self, side, n):
        return self.cut.after - n if self.cut and self.cut.side == side else None

    def data_received(self, data):
        self.seen += data
        self.trace.append((len(self.seen), self.n_out))
        if self.is_cut:
            return
        data = data[: self.room("in", self.n_in)]
        self.n_in += len(data)
        if self.upstream:
            self.upstream.write(data)
        else:
            self.ahead += data
        if self.room("in", self.n_in) == 0:
            self.sever()

    def from_relay(self, data):
        if self.is_cut:
            return
        data = data[: self.room("out", self.n_out)]
        self.n_out += len(data)
        self.transport.write(data)
        if self.room("out", self.n_out) == 0:
            self.sever()

    def sever(self):
        """The relay gets to its end what was handed on; mailhatch gets FIN or RST after what it was sent. What it says
        after a FIN is still heard, and dropped."""
        self.is_cut = True
        self.end_upstream()
        if self.cut.how == "fin":
            self.transport.write_eof()
            return
        self.transport.pause_reading()
        with contextlib.suppress(OSError):
            while more := os.read(self.transport.get_extra_info("socket").fileno(), 1 << 18):
                self.seen += more
        reset(self.transport)

    def end_upstream(self):
        self.ends_upstream = True
        if self.upstream and not self.upstream.is_closing():
            self.upstream.write_eof()

    def relay_ended(self):
        if not self.is_cut:
            self.transport.close()

    def connection_lost(self, why):
        self.is_over = True
        self.end_upstream()


class Upstream(asyncio.Protocol):
    def __init__(self, link):
        self.link = link

    def data_received(self, data):
        self.link.from_relay(data)

    def connection_lost(self, why):
        self.link.relay_ended()


class Cutter:
    def __init__(self, relay):
        self.relay, self.armed, self.links, self.tasks, self.server, self.port = relay, None, [], [], None, None

    async def start(self):
        self.server = await asyncio.get_running_loop().create_server(lambda: Link(self), "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    def is_quiet(self):
        is_over = all(link.is_over for link in self.links) and all(task.done() for task in self.tasks)
        return is_over and not self.relay.sessions

    async def hang_up(self):
        """Ends all connections, so that the next mail opens one; the links there were, the oldest first."""
        end = asyncio.get_running_loop().time() + 15
        while not self.is_quiet():
            for link in self.links:
                if not link.is_cut and not link.is_over:
                    link.transport.close()
            if asyncio.get_running_loop().time() > end:
                raise AssertionError("connections of relay %s do not end" % self.relay.name)
            await asyncio.sleep(0.001)
        links, self.links, self.tasks = self.links, [], []
        return links

    def stop(self):
        self.server.close()
