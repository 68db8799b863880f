"""Octets that have no place in a request's head: a NUL, another control, a line end that is none, a folded line, at
every place of it; fields that are given twice; and escaped NULs. Each is refused with 400, and nothing is taken."""
import concurrent.futures
import contextlib
import json
import unittest

import harness
from harness import Gateway, raw_exchange
from peer import Peer

KEY = b"one-secret-key-123"
BODY = json.dumps(harness.MAIL).encode()
CHUNKED = b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
SMUGGLED = b"GET /v1/errors/timeout HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + KEY + b"\r\n\r\n"
HEAD = (
    b"POST /v1/emails?a=b&c=d HTTP/1.1\r\nHost: localhost\r\nX-Unknown: some thing\r\nAuthorization: Bearer " + KEY
    + b"\r\nContent-Type: application/json\r\nX-Empty:\r\nContent-Length: %d\r\n\r\n" % len(BODY)
)
CONTROLS = (b"\0", b"\x01", b"\x0b", b"\x0c", b"\x1b", b"\x7f", b"\r", b"\n")
ONCE = (
    "Host: localhost", "Authorization: Bearer " + KEY.decode(), "Content-Type: application/json",
    "Content-Encoding: identity", "Idempotency-Key: a", "Origin: https://app.example", "Sec-Fetch-Site: same-origin",
    "X-Batch-Validation: strict", "Access-Control-Request-Method: POST",
)  # fmt: skip


def head(*lines, start="POST /v1/emails HTTP/1.1"):
    """As they stand, each with CRLF."""
    fixed = ("Host: localhost", "Authorization: Bearer " + KEY.decode(), "Content-Type: application/json")
    return "\r\n".join((start, *fixed, *lines)).encode("latin-1") + b"\r\n"


def sized(*lines, **more):
    return head(*lines, "Content-Length: %d" % len(BODY), **more) + b"\r\n" + BODY


class TestOctets(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        with contextlib.ExitStack() as stack:
            cls.peer = stack.enter_context(Peer())
            settings = {"MAILHATCH_API_KEYS": "web:" + KEY.decode(), "MAILHATCH_REQUEST_TIMEOUT": "4s"}
            cls.g = stack.enter_context(Gateway(settings, relay=cls.peer.url()))
            cls.stack = stack.pop_all()

    @classmethod
    def tearDownClass(cls):
        cls.stack.close()

    def statuses(self, data, where=None):
        """Of all answers on one connection: libmicrohttpd's own pages too."""
        got = raw_exchange(where or self.g.api, data, timeout=10)
        return [int(line[9:12]) for line in got.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]

    def all_refused(self, requests, where=None):
        """Each with 400 and nothing else, whatever lies behind it. (A Content-Length that is no number is
        refused by libmicrohttpd, with its status line twice.)"""
        before = len(self.peer.mails)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            requests = list(requests)
            got = list(pool.map(lambda data: self.statuses(data + SMUGGLED, where), requests))
        self.assertEqual([(a, r) for a, r in zip(got, requests) if set(a) != {400}], [])
        self.assertEqual(len(self.peer.mails), before, "a mail went out")

    def taken(self, data):
        answers = harness.split_responses(raw_exchange(self.g.api, data, timeout=10))
        self.assertEqual([a.status for a in answers], [200], "%r: %r" % (data, answers))

    def test_the_request_itself_is_fine(self):
        self.taken(HEAD.replace(b"X-Empty", b"Connection: close\r\nX-Empty") + BODY)

    def test_every_place(self):
        """Before the request an empty line is allowed (RFC 9112 §2.2), and on a first line without a target
        libmicrohttpd hangs up."""
        self.all_refused(
            HEAD[:i] + c + HEAD[i:] + BODY
            for i in range(len(HEAD))
            for c in CONTROLS
            if i > 4 or c != b"\n" and (i, c) != (0, b"\r")
        )
        for i in range(1, 5):
            self.assertEqual(self.statuses(HEAD[:i] + b"\n" + HEAD[i:] + BODY + SMUGGLED), [])

    def test_nothing_is_cut_off(self):
        self.all_refused(
            sized(line)
            for line in (
                "X: a\0b", "X: a\0", "X: \0", "X:\0", "X\0: a", "\0X: a", "\0", "X: a\0\0", "X\0Y: b: c", "X: a\0: b",
                "X: a\0\0Y: b", "Cookie: a=\0b",
            )
        )  # fmt: skip

    def test_a_key_with_something_behind_it(self):
        for junk in (b"\0junk", b"\0", b"\0\0", b"\x01", b"\x7f"):
            self.all_refused([HEAD.replace(KEY, KEY + junk) + BODY])

    def test_request_lines(self):
        starts = (
            "POST\0/ /v1/emails HTTP/1.1", "POST /v1/emails\0 HTTP/1.1", "POST /v1/emails\0/x HTTP/1.1",
            "POST /v1/emails?a\0b HTTP/1.1", "POST /v1/emails?\0 HTTP/1.1", "POST /v1/emails?a=b\x01 HTTP/1.1",
            "POST  /v1/emails HTTP/1.1", "POST /v1/emails  HTTP/1.1", "POST /v1/emails?a b HTTP/1.1",
            "POST /v1/emails? HTTP/1.1 HTTP/1.1", "POST\t/v1/emails HTTP/1.1", "POST /v1/emails\tHTTP/1.1",
            "POST /v1/emails?a=\x7f HTTP/1.1", "POST\x0b /v1/emails HTTP/1.1",
        )  # fmt: skip
        self.all_refused(sized(start=start) for start in starts)

    def test_line_ends(self):
        whole = sized()
        lines = whole.split(b"\r\n\r\n")[0].split(b"\r\n")
        bad = [
            b"\r\n".join(lines[:i]) + end + b"\r\n".join(lines[i:]) + b"\r\n\r\n" + BODY
            for i in range(1, len(lines))
            for end in (b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n\n", b"\n\n")
        ]
        for end in (b"\n", b"\n\n", b"\r\n\n", b"\n\r\n", b"\r\r"):
            bad.append(b"\r\n".join(lines) + end + b"\r\n" + BODY)
        self.all_refused(bad)

    def test_folded_lines(self):
        self.all_refused(
            sized(*lines)
            for lines in (
                ("X: a\r\n b",), ("X: a\r\n\tb",), ("X:\r\n a",), ("X: a\r\n ",), ("X: a\r\n  \r\n b",),
                ("X: a\r\n : b",), ("X: a\r\n Y: b", "Z: c"), (" X: a",),
            )
        )  # fmt: skip

    def test_transfer_encodings(self):
        """With a control: the field is broken, whether it would be understood or not."""
        for value in ("\x0bchunked", "chunked\x0c", "chu\0nked", "chunked\0", "\0chunked"):
            self.all_refused([head("Transfer-Encoding: " + value) + b"\r\n" + CHUNKED + b"\r\n"])

    def test_trailers(self):
        start = head("Transfer-Encoding: chunked", "Connection: close") + b"\r\n" + CHUNKED
        self.taken(start + b"X-Trailer: fine\r\n\r\n")
        self.all_refused(
            start + trailer + b"\r\n" for trailer in (b"X: a\x01\r\n", b"X y: a\r\n", b"X: a\r\n b\r\n c\r\n")
        )

    def test_large_heads(self):
        """Each is taken or refused in words, however it fills libmicrohttpd's memory: with long values, many fields,
        many arguments or many cookies; and none is sent without an answer. (Hundreds of cookies or arguments leave
        libmicrohttpd no memory for its own refusal, before anybody here is asked.)"""
        before, sent = len(self.peer.mails), 0
        requests = [sized("X-Long: " + "a" * n, "Connection: close") for n in range(10000, 17000, 97)]
        requests += [sized(*["X: %d" % i for i in range(n)], "Connection: close") for n in range(10, 320, 3)]
        requests += [sized(*["X%d:" % i for i in range(n)], " : x") for n in range(10, 320, 3)]
        requests += [
            sized("Cookie: " + "; ".join("a%d=b" % i for i in range(n)), "Connection: close") for n in range(10, 320, 3)
        ]
        requests += [
            sized("Connection: close", start="POST /v1/emails?%s HTTP/1.1" % "&".join("a" for _ in range(n)))
            for n in range(10, 320, 3)
        ]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for data, got in zip(requests, pool.map(self.statuses, requests)):
                if b"Cookie" not in data and data.count(b"&") < 150:
                    self.assertEqual(len(got), 1, "%d octets: %r" % (len(data), data[:300]))
                self.assertLessEqual(set(got), {200, 400, 431})
                sent += got == [200]
        self.assertEqual(len(self.peer.mails), before + sent)

    def test_given_twice(self):
        for line in ONCE:
            self.all_refused([sized(line) + b"" if line in ONCE[:3] else sized(line, line)])
            other = line.split(":")[0] + ": other"
            self.all_refused([sized(line, other), sized(other, line)])

    def test_lists_may_repeat(self):
        for line in ("Accept: a/b", "X-Forwarded-For: 192.0.2.1", "X-Unknown: a", "Via: 1.1 a"):
            self.taken(sized(line, line, "Connection: close"))

    def test_escaped(self):
        """Nobody decodes the path, so it is another path; in the envelope of a finished message it is a mistake."""
        message = b"From: ann@example.org\r\nTo: bob@example.net\r\n\r\nx\r\n"
        auth = {"Authorization": "Bearer " + KEY.decode(), "Content-Type": "message/rfc822"}
        for path, status in (
            ("/v1/emails%00", 404), ("/v1%00/emails", 404), ("/v1/emails?to=bob@example.net%00", 422),
            ("/v1/emails?to=bob@example.net%00x", 422), ("/v1/emails?%00to=bob@example.net", 422),
            ("/v1/emails?to%00=bob@example.net", 422), ("/v1/emails?relay=default%00", 422),
            ("/v1/emails?to=bob@example.net%0d%0aRCPT", 422), ("/v1/emails?relay=default&relay=default", 422),
            ("/v1/emails?on_temporary_failure=fail&on_temporary_failure=retry", 422),
            ("/v1/emails?from=a@example.org&from=b@example.org", 422),
        ):  # fmt: skip
            answer = self.g.request("POST", path, message, auth)
            self.assertEqual(answer.status, status, "%s: %r" % (path, answer))
        self.assertEqual(harness.http_request(self.g.admin_at, "GET", "/readyz?relay=deep%00").status, 400)

    def test_admin_listener(self):
        get = "GET /livez HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
        for line in ("X: a\0b\r\n", "X: a\n", "X: a\r\n b\r\n", "Host: localhost\r\n", "X: \x01\r\n", "\0\r\n"):
            self.all_refused([(get % line).encode()], self.g.admin_at)


if __name__ == "__main__":
    unittest.main()
