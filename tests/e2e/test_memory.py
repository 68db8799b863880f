"""What a request may take of memory and of the processor, whatever is in it: at the peak no more than 2.5 times its
size (inflated), little when it is refused, and all of it comes back. Measured on bodies of up to nearly max_body, of
every type, and of the shapes that cost most: as many values, names, parts, lines, defects or recipients as fit."""
import base64
import contextlib
import gzip
import itertools
import json
import os
import re
import threading
import unittest

import harness
from forms import MULTIPART, RAW, URLENCODED, multipart
from harness import ROOT, Gateway, mail
from judge import Fault
from peer import Peer
from test_large import MIB, bomb, forget_peak, is_sanitized, memory

N = 34 * MIB  # max_body is 35 MiB
M = 16 * MIB  # of what grows with the body alone
TIMES = 2.5
LEAST = 16 * MIB  # what max_json_values lets a small body take
SLACK = 2 * MIB  # what any request takes: sessions, answers, the allocator's steps
CPU_MOST = 10  # seconds; seen is less than one, and a quadratic reader takes minutes
ANSWER_MOST = 256 * 1024
JSON = "application/json"
BATCH = "/v1/emails/batch"
VALIDATE = "/v1/emails/validate"
CAPS = ("PIPELINING", "CHUNKING", "8BITMIME", "ENHANCEDSTATUSCODES")

ENVELOPE = b'"from":"a@b.example","to":"c@d.example"'
BASE = ENVELOPE + b',"text":"x"'


def cpu_seconds(g):
    with open("/proc/%d/stat" % g.process.pid, encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def filled(before, unit, after, n=M):
    return before + unit * ((n - len(before) - len(after)) // len(unit)) + after


def within(member, unit, last=b"0]", start=BASE):
    """A mail with this member, filled with the unit."""
    return filled(b"{" + start + b"," + member, unit, last + b"}", N)


def keys(n, each):
    return b",".join(b'"%08d%s":0' % (i, b"k" * (each - 8)) for i in range(n))


def recipients(n, address):
    return b",".join(address % i for i in range(n))


# ---- the shapes: (what, status, body) ----


def json_shapes():
    text = b'"text":"' + b"x" * 600 + b'"'
    yield "numbers", 413, within(b'"n":[', b"0,")
    yield "empty strings", 413, within(b'"n":[', b'"",', b'""]')
    yield "empty objects", 413, within(b'"n":[', b"{},", b"{}]")
    yield "nested arrays", 413, within(b'"n":[', b"[" * 29 + b"]" * 29 + b",")
    yield "attachments", 413, within(b'"attachments":[', b'{"filename":"a","content":""},')
    yield "as many short strings as may be", 422, within(b'"n":[', b'"' + b"x" * 360 + b'",')
    yield "and a long one", 422, within(text + b',"n":[', b'"' + b"x" * 360 + b'",', start=ENVELOPE)
    yield "half of it long", 422, within(
        b'"text":"' + b"x" * (N // 2) + b'","n":[', b'"' + b"x" * 360 + b'",', start=ENVELOPE
    )
    yield "just long strings", 422, within(b'"n":[', b'"' + b"x" * 512 + b'",')
    yield "names", 422, b"{" + BASE + b"," + keys(N // 364, 360) + b"}"
    yield "names and a long string", 422, b"{" + ENVELOPE + b"," + text + b"," + keys(N // 372, 360) + b"}"
    yield "one name", 422, filled(b"{" + BASE + b',"', b"k", b'":0}', N)
    yield "blanks", 200, filled(b"{" + BASE, b" ", b"}", N)
    yield "a number", 400, within(b'"n":', b"1", b"")
    yield "octets that are not UTF-8", 422, within(b'"subject":"', b"\xff", b'"')


def defect_shapes():
    """Each of a hundred defects was told with the whole name that it stands below: 3.5 GB of answer."""
    doubles = b",".join(b'"%d":0,"%d":0' % (i, i) for i in range(150))
    yield "doubles below a long name", 422, b"{" + BASE + b',"' + b"k" * (N - 5000) + b'":{' + doubles + b"}}"
    yield "defects in a long name", 422, b"{" + BASE + b',"' + b"\\u0000" * 200 + b"k" * (N - 5000) + b'":0}'
    yield "one name often", 422, b"{" + BASE + b"," + b",".join([b'"k":0'] * 90000) + b" " * (N - 10**6) + b"}"
    yield "headers of long names", 422, (
        b"{" + BASE + b',"headers":{' + b",".join(b'"%s%d":"v"' % (b"X" * 170000, i) for i in range(200)) + b"}}"
    )


def content_shapes():
    """Each encoding, and line ends that become two octets."""
    units = {"LF": b"\\n", "latin": b"\xc3\xa9", "escapes": b"\\u00e9", "equal signs": b"=", "tabs": b"\\t\\n"}
    for name, unit in units.items():
        yield "a text of " + name, 200, filled(b"{" + ENVELOPE + b',"text":"', unit, b'"}')
    half = b"\xc3\xa9" * (M // 4 - 100)
    yield "text and html", 200, b"{" + ENVELOPE + b',"text":"' + half + b'","html":"' + half + b'"}'
    start = b"{" + BASE + b',"attachments":[{"filename":"a","content":"'
    yield "an attachment", 200, filled(start, b"AAAA", b'"}]}')
    message = base64.b64encode(b"A:b\n\n\n" * 2)
    start = b"{" + BASE + b',"attachments":[{"filename":"a.eml","content_type":"message/rfc822","content":"'
    yield "a message as attachment", 200, filled(start, message, b'"}]}')
    start = b"{" + ENVELOPE + b',"calendar":{"method":"REQUEST","content":"BEGIN:VCALENDAR'
    yield "an invitation", 422, filled(start, b"\\n", b'"}}')


def batch_shapes():
    text = b"\xc3\xa9" * (N // 200 - 50)
    yield "100 large mails", 200, b"[" + b",".join([b"{" + ENVELOPE + b',"text":"' + text + b'"}'] * 100) + b"]"
    named = recipients(990, b'"%s <u%%d@b.cd>"' % (b"n" * 330))
    one = b'{"from":"a@b.example","text":"' + b"x" * 600 + b'","to":[' + named + b"]}"
    yield "98,010 recipients with names", 200, b"[" + b",".join([one] * 99) + b"]"
    yield "numbers", 413, filled(b"[", b"0,", b"0]", N)


def form_shapes():
    head = list(mail().items())[:3]
    yield "a file", 200, multipart(*mail().items(), ("attachment", b"\xff\x00" * (M // 2 - 1000), "f", None))
    yield "490 files", 200, multipart(*mail().items(), *[("attachment", b"x" * 35000, "f", None)] * 490)
    yield "a message", 200, multipart(
        *mail().items(), ("attachment", b"A:b\n" + b"\n" * (M - 2000), "f.eml", "message/rfc822")
    )
    yield "a text of LF", 200, multipart(*head, ("text", b"\n" * (M - 2000)))
    yield "a calendar of LF", 422, multipart(*head, ("calendar", b"BEGIN:VCALENDAR\n" + b"\n" * (M - 2000)))
    yield "100,000 empty parts", 400, multipart(*[("to", "")] * 100000)
    yield "2000 parts", 422, multipart(*[("x", b"y" * 8000)] * 1990)
    yield "long types", 422, multipart(*mail().items(), *[("x", b"", "f", "text/" + "f" * 15000)] * 1000)
    numbers = b'{"a":[' + b"0," * 99000 + b"0]}"
    structures = ("headers", "list_unsubscribe", "metadata", "envelope", "dsn", "calendar")
    yield "numbers in each field", 413, multipart(*mail().items(), *[(s, numbers) for s in structures])
    yield "a preamble", 400, b"x" * M


def urlencoded_shapes():
    yield "a&a&a", 400, b"a&" * (M // 2)
    yield "a text", 200, filled(b"from=a@b.example&to=c@d.example&text=", b"xy", b"")
    yield "a text of %XX", 200, filled(b"from=a@b.example&to=c@d.example&text=", b"%0A", b"")
    yield "a name", 400, b"k" * M
    yield "numbers", 413, filled(b"from=a@b.example&to=c@d.example&metadata=[", b"0,", b"0]", N)


def raw_shapes():
    head = b"From: a@b.example\r\nTo: c@d.example\r\n"
    yield "a body of LF", 200, filled(head + b"\r\n", b"\n", b"")
    yield "2,800,000 header lines", 422, filled(head, b"X: y\r\n", b"")
    yield "a header line of 16 MiB", 422, filled(head + b"X: ", b"y", b"\r\n\r\n")
    yield "a body of lines", 200, filled(head + b"\r\n", b"xyz\r\n", b"")
    yield "lines too long", 422, filled(head + b"\r\n", b"x" * 999 + b"\r\n", b"")
    addresses = b",\r\n ".join(b"a%d@b.c" % i for i in range(60000))
    yield "60,000 recipients", 422, filled(b"From: a@b.example\r\nTo: " + addresses + b"\r\n\r\n", b"x\r\n", b"")


def shape(shapes, name):
    return next(body for what, _, body in shapes if what == name)


class TestPeaks(Fault):
    """One gateway to each type of body: what an earlier request has left counts against the next."""

    def measure(self, shapes, kind=JSON, path=VALIDATE, packed=False):
        with Peer(caps=CAPS) as p, Gateway({"MAILHATCH_REQUEST_TIMEOUT": "120s"}, relay=p.url()) as g:
            self.assertEqual(g.post(mail()).status, 200)
            for name, status, body in shapes:
                with self.subTest(name):
                    self.one(g, name, status, body, kind, path, packed)
                p.mails.clear()

    def one(self, g, name, status, body, kind, path, packed):
        if not is_sanitized():
            forget_peak(g)
        before, cpu = memory(g, "VmRSS"), cpu_seconds(g)
        headers = {"Content-Type": kind}
        if packed:
            headers["Content-Encoding"] = "gzip"
        answer = g.request("POST", path, gzip.compress(body, 1) if packed else body, headers)
        self.assertEqual(answer.status, status, repr(answer)[:1000])
        if path != BATCH:
            self.assertLess(len(answer.body), ANSWER_MOST)
        if status == 413:
            self.assertIn("max_json_values", answer.json["detail"])
        if is_sanitized():
            return
        grown, cpu = memory(g, "VmHWM") - before, cpu_seconds(g) - cpu
        figures = len(body) / MIB, grown / MIB, grown / len(body), cpu
        print("%-32s %4.1f MiB: %5.1f more, %.2f times; %.2f s" % (name, *figures))
        self.assertLess(grown, max(TIMES * len(body), LEAST) + SLACK)
        self.assertLess(cpu, CPU_MOST)

    def test_json(self):
        self.measure(json_shapes())

    def test_json_defects(self):
        self.measure(defect_shapes())

    def test_json_contents(self):
        self.measure(content_shapes())

    def test_json_packed(self):
        chosen = ("numbers", "and a long one", "just long strings")
        self.measure((s for s in json_shapes() if s[0] in chosen), packed=True)

    def test_batch(self):
        self.measure(batch_shapes(), path=BATCH)

    def test_sent(self):
        """The relay's side takes no further copy."""
        self.measure(itertools.islice(content_shapes(), 2), path="/v1/emails")

    def test_multipart(self):
        self.measure(form_shapes(), MULTIPART)

    def test_urlencoded(self):
        self.measure(urlencoded_shapes(), URLENCODED)

    def test_raw(self):
        self.measure(raw_shapes(), RAW)


class TestValues(Fault):
    """max_json_values, wherever JSON is read."""

    def values(self, n):
        return json.dumps(mail(unknown=[0] * (n - 6))).encode()

    def test_at_the_limit(self):
        with Gateway({"MAILHATCH_MAX_JSON_VALUES": "100"}, args=["--sandbox"]) as g:
            answer = g.post(self.values(100))
            self.check(answer, "422 validation_failed request not_sent no")
            for body in (self.values(101), gzip.compress(self.values(101))):
                headers = {"Content-Encoding": "gzip"} if body[:1] == b"\x1f" else {}
                answer = g.post(body, headers)
                self.check(answer, "413 payload_too_large request not_sent no")
                self.assertEqual(answer.json["detail"], "The JSON has more than 100 values (max_json_values).")
            answer = g.request("POST", BATCH, b"[" + self.values(100) + b"]")
            self.check(answer, "413 payload_too_large request not_sent no")
            answer = g.request("POST", "/v1/relays/sandbox/diagnose", self.values(101))
            self.check(answer, "413 payload_too_large request not_sent no")

    def test_reload(self):
        with contextlib.ExitStack() as stack:
            path = os.path.join(harness.run_dir(), "values-%d.yaml" % os.getpid())
            stack.callback(os.unlink, path)
            with open(path, "w", encoding="ascii") as f:
                f.write("max_json_values: 100\n")
            g = stack.enter_context(Gateway(args=["--sandbox", "--config", path]))
            self.assertEqual(g.post(self.values(101)).status, 413)
            with open(path, "w", encoding="ascii") as f:
                f.write("max_json_values: 101\n")
            g.signal(1)
            harness.wait_for(lambda: g.events("reload"), what="the settings are reloaded")
            self.assertEqual(g.post(self.values(101)).status, 422)
            self.assertEqual(g.post(self.values(102)).status, 413)


def shipped_limits():
    """(memory limit, max_inflight_bytes) of deploy/kubernetes."""
    deploy = ROOT / "deploy" / "kubernetes"
    limit = re.search(r"limits: \{memory: (\d+)Mi\}", (deploy / "overlays/standalone/deployment.yaml").read_text())
    inflight = re.search(r"^max_inflight_bytes: (\d+)MiB$", (deploy / "base/mailhatch.yaml").read_text(), re.M)
    return int(limit[1]) * MIB, int(inflight[1]) * MIB


@contextlib.contextmanager
def limited_to(pid, limit):
    """A cgroup of that much memory, without swap, where one can be made: gives whether."""
    name = "mailhatch-test-%d" % pid
    for parent, files in (("/sys/fs/cgroup/memory", ("memory.limit_in_bytes",)),
                          ("/sys/fs/cgroup", ("memory.max",))):  # fmt: skip
        path = os.path.join(parent, name)
        try:
            os.mkdir(path)
        except OSError:
            continue
        try:
            for file in files:
                with open(os.path.join(path, file), "w", encoding="ascii") as f:
                    f.write(str(limit))
            with open(os.path.join(path, "cgroup.procs"), "w", encoding="ascii") as f:
                f.write(str(pid))
        except OSError:
            with contextlib.suppress(OSError):
                os.rmdir(path)
            continue
        try:
            yield True
        finally:
            harness.wait_for(lambda: not os.path.exists("/proc/%d" % pid) or not in_group(path, pid), what="it left")
            with contextlib.suppress(OSError):
                os.rmdir(path)
        return
    yield False


def in_group(path, pid):
    with open(os.path.join(path, "cgroup.procs"), encoding="ascii") as f:
        return str(pid) in f.read().split()


class TestShippedLimit(Fault):
    def storm(self, g):
        """Everything at once, again and again; each is answered."""
        bodies = [
            (shape(json_shapes(), "and a long one"), JSON, VALIDATE, {}),
            (shape(content_shapes(), "a text of LF"), JSON, VALIDATE, {}),
            (shape(form_shapes(), "490 files"), MULTIPART, VALIDATE, {}),
            (shape(raw_shapes(), "a body of LF"), RAW, VALIDATE, {}),
            (gzip.compress(within(b'"n":[', b"0,"), 1), JSON, VALIDATE, {"Content-Encoding": "gzip"}),
            (bomb(1024 * MIB), JSON, BATCH, {"Content-Encoding": "gzip"}),
        ]
        statuses = []

        def post(i):
            body, kind, path, headers = bodies[i % len(bodies)]
            answer = g.request("POST", path, body, {"Content-Type": kind, **headers})
            statuses.append(answer.status)

        def run(first):
            for i in range(first, first + 8):
                with contextlib.suppress(OSError):  # refused before it was read
                    post(i)

        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(bodies))]
        for t in threads:
            t.start()
        for t in threads:
            t.join(120)
        return statuses

    def test_storm(self):
        limit, inflight = shipped_limits()
        room = 16 * limit if is_sanitized() else limit
        env = {"MAILHATCH_MAX_INFLIGHT_BYTES": str(inflight), "MAILHATCH_REQUEST_TIMEOUT": "120s"}
        g = Gateway(env, args=["--sandbox"])
        with limited_to(g.process.pid, room) as is_limited, g:
            self.assertEqual(g.post(mail()).status, 200)
            first = memory(g, "VmRSS")
            statuses = self.storm(g)
            self.assertIsNone(g.process.poll(), g.log())
            self.assertEqual(g.post(mail()).status, 200)
            self.assertIn(200, statuses)
            self.assertLessEqual(set(statuses), {200, 413, 422, 503})
            harness.wait_for(lambda: g.metric("mailhatch_inflight_bytes") == 0, what="all room is given back")
            if is_sanitized():
                return
            peak = memory(g, "VmHWM")
            print("storm in a cgroup: %s; peak %.0f MiB, statuses %s" % (is_limited, peak / MIB, sorted(statuses)))
            self.assertLess(peak, limit)
            harness.wait_for(lambda: memory(g, "VmRSS") < first + 12 * MIB, what="memory comes back")

    def test_memory_comes_back_under_load(self):
        """Small mails go on all the time."""
        if is_sanitized():
            return
        with Peer(caps=CAPS) as p, Gateway(relay=p.url()) as g:
            self.assertEqual(g.post(mail()).status, 200)
            first = memory(g, "VmRSS")
            for _, status, body in itertools.islice((s for s in json_shapes() if s[1] == 422), 4):
                self.assertEqual(g.request("POST", VALIDATE, body).status, status)

            def is_back():
                self.assertEqual(g.post(mail()).status, 200)
                return memory(g, "VmRSS") < first + 8 * MIB

            harness.wait_for(is_back, what="memory comes back")


class TestReservations(Fault):
    def test_recipients_count(self):
        """A batch of 1 MB with 90,000 recipients takes 40 MB until it is answered."""
        one = b'{"from":"a@b.example","text":"x","to":[' + recipients(900, b'"u%d@b.cd"') + b"]}"
        body = b"[" + b",".join([one] * 100) + b"]"
        with Gateway({"MAILHATCH_MAX_INFLIGHT_BYTES": str(16 * MIB)}, args=["--sandbox"]) as g:
            self.check(g.request("POST", BATCH, body), "503 overloaded queue not_sent yes")
            harness.wait_for(lambda: g.metric("mailhatch_inflight_bytes") == 0, what="all room is given back")
            self.assertEqual(g.get("/sandbox/messages").json["total"], 0)

    def test_many_recipients_arrive(self):
        """More of them than go out at once: every mail of the batch has its place in the answer."""
        one = b'{"from":"a@b.example","text":"x","to":[' + recipients(900, b'"u%d@b.cd"') + b"]}"
        with Gateway({"MAILHATCH_REQUEST_TIMEOUT": "120s"}, args=["--sandbox"]) as g:
            answer = g.request("POST", BATCH, b"[" + b",".join([one, b'{"from":1}'] * 15) + b"]",
                               {"X-Batch-Validation": "permissive"})  # fmt: skip
            self.assertEqual(answer.status, 207, repr(answer)[:500])
            data = answer.json["data"]
            self.assertEqual([d.get("status") for d in data], ["sent", 422] * 15)
            self.assertEqual(g.get("/sandbox/messages").json["total"], 15)


if __name__ == "__main__":
    unittest.main()
