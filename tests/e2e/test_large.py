"""Large bodies: limits before and after inflation, bombs, uploads that stop or leave, what small requests feel of a
large one, and memory, which comes back."""
import base64
import contextlib
import functools
import json
import os
import re
import signal
import socket
import statistics
import struct
import threading
import time
import unittest
import zlib

import harness
from forms import MULTIPART, RAW, URLENCODED, multipart, packed, urlencoded
from harness import Gateway, mail
from judge import Fault, parsed
from peer import Peer

MIB = 1024 * 1024
NO_SIZE = ("PIPELINING", "CHUNKING", "8BITMIME", "ENHANCEDSTATUSCODES")


@functools.cache
def is_sanitized():
    """A sanitizer's own memory and time are not the program's."""
    with open(harness.binary(), "rb") as f:
        return bool(re.search(rb"__[at]san_init", f.read()))


def memory(g, field):
    """VmHWM or VmRSS in octets."""
    with open("/proc/%d/status" % g.process.pid, encoding="ascii") as f:
        return int(re.search(r"^%s:\s+(\d+) kB$" % field, f.read(), re.M)[1]) * 1024


def forget_peak(g):
    """VmHWM is counted from now on."""
    with open("/proc/%d/clear_refs" % g.process.pid, "w", encoding="ascii") as f:
        f.write("5")


def head(kind, length=None, path="/v1/emails", extra=""):
    return (
        "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n%s%s\r\n"
        % (path, kind, extra, "Content-Length: %d\r\n" % length if length is not None else "")
    ).encode()


def bomb(size, member=32 * MIB):
    """gzip of `size` zeros, made in members so that it is made quickly."""
    z = zlib.compressobj(9, zlib.DEFLATED, 31)
    one = z.compress(bytes(member)) + z.flush()
    return one * (size // member)


def request_of(size):
    """A JSON request of about that size, most of it one attachment."""
    content = base64.b64encode(os.urandom(3 * 1024)).decode() * (size // 4096)
    return json.dumps(mail(attachments=[{"filename": "large.bin", "content": content}])).encode()


class TestLimits(Fault):
    MAX = 20000

    @classmethod
    def setUpClass(cls):
        cls.g = Gateway({"MAILHATCH_MAX_BODY": str(cls.MAX)}, args=["--sandbox"])

    @classmethod
    def tearDownClass(cls):
        cls.g.stop()

    def post(self, body, kind="application/json", path="/v1/emails", **headers):
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        return self.g.request("POST", path, body, {"Content-Type": kind, **headers})

    def bodies(self, n):
        """One of each type, of exactly n octets."""
        fields = [("from", "ann@example.org"), ("to", "bob@example.net")]
        raw = b"From: ann@example.org\r\nTo: bob@example.net\r\n\r\n"
        text = lambda make: make(*fields, ("text", "x" * (n - len(make(*fields, ("text", ""))))))
        as_json = json.dumps(mail()).encode()
        return (
            (as_json + b" " * (n - len(as_json)), "application/json"),
            (text(multipart), MULTIPART),
            (text(urlencoded), URLENCODED),
            (raw + b"y\r\n" * ((n - len(raw)) // 3) + b"z" * ((n - len(raw)) % 3), RAW),
        )

    def chunked(self, body, kind, size):
        with contextlib.closing(self.g.connection()) as c:
            with contextlib.suppress(OSError):  # refused while it is still being written
                c.request(
                    "POST",
                    "/v1/emails",
                    (body[i : i + size] for i in range(0, len(body), size)),
                    {"Content-Type": kind, "Transfer-Encoding": "chunked"},
                    encode_chunked=True,
                )
            r = c.getresponse()
            return harness.Answer(r.status, r.headers, r.read())

    def each_way(self, n):
        for body, kind in self.bodies(n):
            self.assertEqual(len(body), n)
            yield "%s plain" % kind, self.post(body, kind)
            yield "%s packed" % kind, self.post(packed(body), kind, Content_Encoding="gzip")
            yield "%s chunked" % kind, self.chunked(body, kind, 1000)

    def test_at_the_limit(self):
        for how, answer in self.each_way(self.MAX):
            self.assertEqual(answer.status, 200, "%s: %r" % (how, answer))

    def test_one_more(self):
        for how, answer in self.each_way(self.MAX + 1):
            self.check(answer, "413 payload_too_large request not_sent no")
            self.assertEqual("inflated" in answer.json["detail"], "packed" in how, how)

    def test_the_packed_length_counts_too(self):
        body = packed(os.urandom(self.MAX + 100))
        self.check(self.post(body, Content_Encoding="gzip"), "413 payload_too_large request not_sent no")

    def test_refused_before_it_is_read(self):
        """By its length alone: nothing of the body has to be sent."""
        for kind in ("application/json", MULTIPART, RAW):
            with contextlib.closing(harness.connect(self.g.api)) as s:
                s.sendall(head(kind, 10**12))
                answer = harness.read_response(s.makefile("rb"))
                self.check(answer, "413 payload_too_large request not_sent no")


class TestBombs(Fault):
    LIMIT = 2 * MIB

    def strike(self, body, kind, path="/v1/emails", code="413 payload_too_large"):
        with Gateway({"MAILHATCH_MAX_BODY": str(self.LIMIT)}, args=["--sandbox"]) as g:
            self.assertEqual(g.post(mail()).status, 200)
            forget_peak(g)
            before = memory(g, "VmRSS")
            begun = time.monotonic()
            answer = g.request("POST", path, body, {"Content-Type": kind, "Content-Encoding": "gzip"})
            took = time.monotonic() - begun
            self.check(answer, code + " request not_sent no")
            if not is_sanitized():
                grown = memory(g, "VmHWM") - before
                self.assertLess(grown, 4 * self.LIMIT, "grew by %d octets" % grown)
            self.assertEqual(g.post(mail()).status, 200)
            harness.wait_for(lambda: g.metric("mailhatch_inflight_bytes") == 0, what="the bomb's memory is released")
            return took

    def test_thousand_to_one(self):
        """A gigabyte in one megabyte: no more is inflated than the limit, so it costs what the limit costs."""
        small, large = bomb(32 * MIB), bomb(1024 * MIB)
        self.assertLess(len(large), self.LIMIT)
        start = multipart(*mail().items(), ("attachment", b"", "zeros", None)).rsplit(b"\r\n--", 1)[0]
        for kind, before in (("application/json", b""), (MULTIPART, packed(start)), (RAW, b"")):
            quick, slow = self.strike(before + small, kind), self.strike(before + large, kind)
            print("bomb as %.20s: 32 MiB %.3f s, 1 GiB %.3f s" % (kind, quick, slow))
        self.strike(large, "application/json", "/v1/emails/batch")
        for kind in (MULTIPART, URLENCODED):  # no form at all, which is seen earlier
            self.strike(large, kind, code="400 invalid_request")

    def test_one_huge_part(self):
        inside = multipart(("from", "a@b.example"), ("attachment", b"\0" * 40 * MIB, "zeros", None))
        self.strike(packed(inside, 9), MULTIPART)

    def test_many_small_parts(self):
        inside = multipart(*[("to", "a@b.example")] * 40000)
        self.assertGreater(len(inside), self.LIMIT)
        with Gateway({"MAILHATCH_MAX_BODY": str(self.LIMIT)}, args=["--sandbox"]) as g:
            answer = g.post(packed(inside), {"Content-Type": MULTIPART, "Content-Encoding": "gzip"})
            self.assertIn(answer.code, ("payload_too_large", "invalid_request"), repr(answer))


class TestLargeOnes(Fault):
    def test_small_ones_are_not_held_up(self):
        """A request of nearly 35 MB is uploaded, read, composed and sent while small ones go by. Judged against the
        unloaded case and the large one's own time, since the machine may be slow or busy."""
        body = request_of(34 * MIB)
        with Peer(caps=NO_SIZE) as p, Gateway({"MAILHATCH_REQUEST_TIMEOUT": "120s"}, relay=p.url()) as g:
            unloaded = self.small_ones(g, lambda n: n < 200)
            done, large = threading.Event(), {}

            def send_large():
                begun = time.monotonic()
                with contextlib.closing(harness.connect(g.api, 120)) as s:
                    s.sendall(head("application/json", len(body)) + body)
                    large["answer"] = harness.read_response(s.makefile("rb"))
                large["took"] = time.monotonic() - begun
                done.set()

            t = threading.Thread(target=send_large)
            t.start()
            loaded = self.small_ones(g, lambda n: not done.is_set())
            t.join(120)
            self.assertEqual(large["answer"].status, 200, repr(large["answer"])[:500])
            print("35 MB: %.2f s" % large["took"])
            print("small ones before: median %.1f ms, worst %.1f ms" % self.figures(unloaded))
            print("small ones meanwhile: median %.1f ms, worst %.1f ms, %d" % (*self.figures(loaded), len(loaded)))
            self.assertGreater(len(loaded), 5)
            self.assertLess(max(loaded), max(large["took"] / 2, 20 * max(unloaded)))
            self.assertLess(statistics.median(loaded), 30 * statistics.median(unloaded))
            self.assertIn(b"large.bin", max((m.data for m in p.mails), key=len)[:5000])

    def small_ones(self, g, more):
        times = []
        with contextlib.closing(g.connection()) as c:
            while more(len(times)):
                begun = time.monotonic()
                answer = g.post(mail(), connection=c)
                times.append(time.monotonic() - begun)
                self.assertEqual(answer.status, 200, repr(answer))
        return times

    @staticmethod
    def figures(times):
        return statistics.median(times) * 1000, max(times) * 1000

    def test_arrives_whole(self):
        """Every way of 20 MB: the attachment is the same to the octet."""
        data = os.urandom(MIB) * 20
        content = base64.b64encode(data).decode()
        finished = (
            b"From: a@example.org\r\nTo: b@example.net\r\nMIME-Version: 1.0\r\nContent-Type: application/x-data\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(data)
        )
        as_json = json.dumps(mail(attachments=[{"filename": "a", "content": content}])).encode()
        for body, kind, extra in (
            (as_json, "application/json", {}),
            (packed(as_json, 1), "application/json", {"Content-Encoding": "gzip"}),
            (multipart(*mail().items(), ("attachment", data, "a", None)), MULTIPART, {}),
            (finished, RAW, {}),
        ):
            with Peer(caps=NO_SIZE) as p, Gateway({"MAILHATCH_REQUEST_TIMEOUT": "120s"}, relay=p.url()) as g:
                answer = g.post(body, {"Content-Type": kind, **extra})
                self.assertEqual(answer.status, 200, repr(answer)[:1000])
                message = parsed(p.mails[0].data)
                parts = [x for x in message.walk() if x["Content-Transfer-Encoding"] == "base64"]
                found = [x.get_payload(decode=True) for x in parts]
                self.assertEqual([len(f) for f in found], [len(data)])
                self.assertTrue(found[0] == data, "%s: other octets" % kind)

    def test_memory_comes_back(self):
        if is_sanitized():
            self.skipTest("a sanitizer keeps what is freed")
        body = request_of(20 * MIB)
        with Peer(caps=NO_SIZE) as p, Gateway(relay=p.url()) as g:
            self.assertEqual(g.post(body).status, 200)
            harness.wait_for(lambda: memory(g, "VmRSS") < 30 * MIB, what="the first large one's memory comes back")
            first = memory(g, "VmRSS")
            forget_peak(g)
            for _ in range(5):
                self.assertEqual(g.post(body).status, 200)
                p.mails.clear()
            peak = memory(g, "VmHWM")
            harness.wait_for(lambda: memory(g, "VmRSS") < first + 8 * MIB, what="memory comes back")
            print("20 MB five times: peak %.0f MB, before %.0f MB, after %.0f MB"
                  % (peak / MIB, first / MIB, memory(g, "VmRSS") / MIB))  # fmt: skip
            self.assertLess(peak, first + 100 * MIB)
            self.assertEqual(g.metric("mailhatch_inflight_bytes"), 0)

    def test_inflight_limit(self):
        """Bodies that are held count; who finds no room is told to come back."""
        env = {"MAILHATCH_MAX_INFLIGHT_BYTES": str(32 * MIB)}
        with Gateway(env, args=["--sandbox"]) as g, contextlib.closing(harness.connect(g.api)) as s:
            s.sendall(head("application/json", 20 * MIB) + b"{")
            harness.wait_for(lambda: g.metric("mailhatch_inflight_bytes") >= 20 * MIB, what="room is reserved")
            with contextlib.closing(harness.connect(g.api)) as other:
                other.sendall(head("application/json", 15 * MIB))
                answer = harness.read_response(other.makefile("rb"))
                self.check(answer, "503 overloaded queue|request not_sent yes")
            self.assertEqual(g.post(mail()).status, 200)
            s.close()
            harness.wait_for(lambda: g.metric("mailhatch_inflight_bytes") == 0, what="room is given back")
            self.assertEqual(g.post(request_of(15 * MIB)).status, 200)

    def test_inflight_limit_of_what_is_unpacked(self):
        env = {"MAILHATCH_MAX_INFLIGHT_BYTES": str(4 * MIB)}
        with Gateway(env, args=["--sandbox"]) as g:
            answer = g.post(bomb(32 * MIB), {"Content-Encoding": "gzip"})
            self.check(answer, "503 overloaded queue|request not_sent yes")
            harness.wait_for(lambda: g.metric("mailhatch_inflight_bytes") == 0, what="room is given back")


class TestLeaving(Fault):
    def test_client_leaves_in_the_middle(self):
        """In every state of an upload, by FIN and by RST: nothing is sent, nothing is kept."""
        body = request_of(4 * MIB)
        form = multipart(*mail().items(), ("attachment", os.urandom(MIB), "a", None))
        with Gateway(args=["--sandbox"]) as g:
            for kind, data, extra in (
                ("application/json", body, ""),
                ("application/json", packed(body, 1), "Content-Encoding: gzip\r\n"),
                (MULTIPART, form, ""),
            ):
                for part in (0, 1, 1000, len(data) // 2, len(data) - 1):
                    for reset in (False, True):
                        with contextlib.closing(harness.connect(g.api)) as s:
                            s.sendall(head(kind, len(data), extra=extra) + data[:part])
                            if reset:
                                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            harness.wait_for(lambda: g.metric("mailhatch_inflight_bytes") == 0, what="all room is given back")
            self.assertEqual(g.get("/sandbox/messages").json["total"], 0)
            self.assertEqual(g.post(mail()).status, 200)

    def test_client_had_left_before_we_looked(self):
        """Head, a piece and the client's end wait together: epoll tells of them once."""
        body = request_of(MIB)
        with Gateway(args=["--sandbox"]) as g:
            for kind, data, extra in (
                ("application/json", body, ""),
                ("application/json", bomb(32 * MIB), "Content-Encoding: gzip\r\n"),
            ):
                for part in (0, 1, 1000, 12000):
                    with contextlib.closing(harness.connect(g.api)) as s:
                        g.process.send_signal(signal.SIGSTOP)
                        s.sendall(head(kind, len(data), extra=extra) + data[:part])
                    g.process.send_signal(signal.SIGCONT)
            harness.wait_for(lambda: g.metric("mailhatch_inflight_bytes") == 0, what="all room is given back")

    def test_client_leaves_while_it_is_worked_on(self):
        """The body is whole, so the mail goes out without him, or not at all; nobody crashes."""
        body = request_of(8 * MIB)
        with Gateway(args=["--sandbox"]) as g:
            for _ in range(5):
                with contextlib.closing(harness.connect(g.api)) as s:
                    s.sendall(head("application/json", len(body)) + body)
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            harness.wait_for(lambda: g.metric("mailhatch_inflight_bytes") == 0, what="all room is given back")
            self.assertEqual(g.post(mail()).status, 200)

    def stop_while(self, part, rest):
        """SIGTERM when `part` of a large body has come; then the rest comes, or not."""
        body = request_of(6 * MIB)
        with Gateway({"MAILHATCH_DRAIN_TIMEOUT": "5s"}, args=["--sandbox"]) as g:
            with contextlib.closing(harness.connect(g.api)) as s:
                s.sendall(head("application/json", len(body)) + body[: int(len(body) * part)])
                harness.wait_for(lambda: g.metric("mailhatch_inflight_bytes") > 0, what="the upload has begun")
                g.signal(signal.SIGTERM)
                harness.wait_for(lambda: g.events("drain"), what="it drains")
                answer = None
                with contextlib.suppress(OSError):
                    if rest:
                        s.sendall(body[int(len(body) * part) :])
                    answer = harness.read_response(s.makefile("rb"))
            self.assertEqual(g.wait(20), 0, g.log())
            return answer

    def test_stopped_while_a_body_comes(self):
        for part in (0, 0.5, 0.99):
            answer = self.stop_while(part, True)
            if answer is None:
                continue  # closed without an answer: nothing was sent, and the client can see that
            if answer.status == 200:
                self.assertEqual(answer.json["status"], "sent")
            else:
                self.check(answer, "503 shutting_down queue not_sent yes")

    def test_stopped_while_a_body_stands_still(self):
        answer = self.stop_while(0.5, False)
        if answer is not None:
            self.assertIn(answer.code, ("shutting_down", "request_timeout"), repr(answer))

    def test_stopped_while_many_are_worked_on(self):
        body = request_of(6 * MIB)
        with Gateway({"MAILHATCH_DRAIN_TIMEOUT": "20s"}, args=["--sandbox"]) as g, contextlib.ExitStack() as stack:
            conns = [stack.enter_context(contextlib.closing(harness.connect(g.api))) for _ in range(4)]
            for s in conns:
                s.sendall(head("application/json", len(body)) + body)
            g.signal(signal.SIGTERM)
            answers = []
            for s in conns:
                with contextlib.suppress(OSError):
                    answers.append(harness.read_response(s.makefile("rb")))
            self.assertEqual(g.wait(30), 0, g.log())
            for a in answers:
                self.assertTrue(a is None or a.status == 200 or a.code == "shutting_down", repr(a))


if __name__ == "__main__":
    unittest.main()
