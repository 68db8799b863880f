"""The HTTP side: broken framing, smuggling, slow and rude clients, wrong methods and types, keys, browsers, and
requests for what is not built."""
import contextlib
import json
import threading
import time
import unittest

import harness
from harness import Gateway, mail, raw_exchange, split_responses
from peer import Peer, after, default

BODY = json.dumps(harness.MAIL).encode()


def request(head, body=b"", method=b"POST", path=b"/v1/emails", host=b"Host: localhost\r\n"):
    """Bytes of one request. `head`: further header lines, each with its CRLF."""
    return method + b" " + path + b" HTTP/1.1\r\n" + host + head + b"\r\n" + body


def length(body):
    return b"Content-Length: %d\r\n" % len(body)


JSON = b"Content-Type: application/json\r\n"
SMUGGLED = b"GET /v1/errors/timeout HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Abuse(unittest.TestCase):
    maxDiff = None
    env = {}

    @classmethod
    def setUpClass(cls):
        cls.peer = Peer()
        cls.g = Gateway(cls.env, relay=cls.peer.url())

    @classmethod
    def tearDownClass(cls):
        try:
            cls.g.stop()
        finally:
            cls.peer.stop()

    def setUp(self):
        self.before = len(self.peer.mails)

    def nothing_sent(self):
        self.assertEqual(len(self.peer.mails), self.before, "a mail went out")

    def problem(self, answer, status, code):
        self.assertEqual((answer.status, answer.code), (status, code), repr(answer))
        self.assertEqual(answer.headers["Content-Type"], "application/problem+json")
        self.assertTrue(answer.json["detail"] and answer.json["hint"])
        self.assertEqual((answer.json["stage"], answer.json["delivery"]), ("request", "not_sent"))
        self.assertTrue(answer.headers["X-Request-Id"])

    def raw(self, data, shut=False, timeout=None):
        """All answers on one connection, which the server has to close (or the time runs out)."""
        return split_responses(raw_exchange(self.g.api, data, shut, timeout))

    def refused(self, data, status, code=None):
        """One refusal, then the connection is closed: what lay behind must not be served as a request."""
        begun = time.monotonic()
        answers = self.raw(data)
        self.assertLess(time.monotonic() - begun, 10, "the connection was not closed")
        self.assertEqual([a.status for a in answers], [status], repr(answers))
        if code:
            self.problem(answers[0], status, code)
        self.nothing_sent()


class TestFraming(Abuse):
    def test_two_content_lengths(self):
        self.refused(request(JSON + length(BODY) + b"Content-Length: 3\r\n", BODY + SMUGGLED), 400, "invalid_request")

    def test_two_equal_content_lengths(self):
        self.refused(request(JSON + length(BODY) * 2, BODY + SMUGGLED), 400, "invalid_request")

    def test_content_length_and_transfer_encoding(self):
        for head in (
            length(BODY) + b"Transfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\n" + length(BODY),
        ):
            self.refused(request(JSON + head, b"0\r\n\r\n" + SMUGGLED), 400, "invalid_request")

    def test_two_transfer_encodings(self):
        self.refused(
            request(JSON + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED),
            400,
            "invalid_request",
        )

    def test_two_hosts(self):
        self.refused(request(JSON + b"Host: evil.test\r\n" + length(BODY), BODY), 400, "invalid_request")

    def test_no_host(self):
        answers = self.raw(request(JSON + length(BODY), BODY, host=b""))
        self.assertEqual([a.status for a in answers], [400], repr(answers))
        self.nothing_sent()

    def test_other_transfer_encodings(self):
        for value in (b"gzip, chunked", b"gzip", b"identity", b"chunked, identity", b"xchunked", b"chunked, chunked"):
            self.refused(
                request(JSON + b"Transfer-Encoding: " + value + b"\r\n", b"0\r\n\r\n" + SMUGGLED),
                501,
                "unsupported_transfer_encoding",
            )

    def test_chunked_body_is_fine(self):
        chunks = (
            b"".join(b"%x\r\n%s\r\n" % (len(BODY[i : i + 7]), BODY[i : i + 7]) for i in range(0, len(BODY), 7))
            + b"0\r\n\r\n"
        )
        answers = self.raw(request(JSON + b"Transfer-Encoding: chunked\r\nConnection: close\r\n", chunks))
        self.assertEqual([a.status for a in answers], [200], repr(answers))

    def test_content_length_that_is_no_number(self):
        for value in (b"-1", b"0x10", b"1e3", b"99999999999999999999999", b"", b"12, 12", b"+5"):
            # libmicrohttpd's own page, sometimes with the status line twice: not a well-formed answer, but a refusal
            data = raw_exchange(self.g.api, request(JSON + b"Content-Length: " + value + b"\r\n", BODY + SMUGGLED))
            self.assertRegex(data, rb"^HTTP/1.1 4(00|13) ", repr(value))
            self.assertNotIn(b"HTTP/1.1 200", data, repr(value))
        self.nothing_sent()

    def test_bad_chunk_sizes(self):
        for size in (b"zz", b"-1", b"ffffffffffffffffff", b"0x5"):
            data = raw_exchange(
                self.g.api,
                request(JSON + b"Transfer-Encoding: chunked\r\n", size + b"\r\nhello\r\n0\r\n\r\n" + SMUGGLED),
                timeout=20,
            )
            self.assertNotIn(b"HTTP/1.1 200", data)
        self.nothing_sent()

    def test_folded_header_does_not_smuggle(self):
        answers = self.raw(
            request(JSON + b"X-A: b\r\n Content-Length: 3\r\n" + length(BODY) + b"Connection: close\r\n", BODY)
        )
        self.assertIn([a.status for a in answers], ([400], [200]), repr(answers))

    def test_space_before_the_colon(self):
        answers = self.raw(
            request(JSON + b"Content-Length : 3\r\n" + length(BODY) + b"Connection: close\r\n", BODY + SMUGGLED)
        )
        self.assertEqual(len(answers), 1, repr(answers))

    def test_binary_garbage(self):
        for data in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100 + b"\r\n\r\n",
            b"\0" * 3000,
            b"EHLO localhost\r\nMAIL FROM:<a@b>\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ):
            self.assertNotIn(b" 200 ", raw_exchange(self.g.api, data, shut=True, timeout=20))
        self.assertEqual(self.g.post(mail()).status, 200)

    def test_long_target_and_headers(self):
        """Longer than ours, shorter than libmicrohttpd's memory: a problem object."""
        self.problem(self.g.get("/" + "a" * 9000), 414, "uri_too_long")
        self.problem(self.g.get("/", {"X-Long": "a" * 13000}), 431, "headers_too_large")

    def test_very_long_request_line_and_headers(self):
        for data in (
            request(b"", path=b"/" + b"a" * 200000, method=b"GET"),
            request(b"X-Long: " + b"a" * 200000 + b"\r\n", method=b"GET"),
            request(b"".join(b"X-%d: a\r\n" % i for i in range(20000)), method=b"GET"),
        ):
            answers = [
                line
                for line in raw_exchange(self.g.api, data, timeout=20).split(b"\r\n")
                if line.startswith(b"HTTP/1.1 ")
            ]
            self.assertTrue(not answers or answers[0].split()[1] in (b"400", b"414", b"431", b"413"), answers)
        self.assertEqual(self.g.post(mail()).status, 200)

    def test_absolute_form(self):
        answers = self.raw(request(b"Connection: close\r\n", method=b"GET", path=b"http://localhost/v1/errors"))
        self.assertIn([a.status for a in answers], ([200], [400], [404]), repr(answers))

    def test_encoded_paths_are_not_decoded(self):
        for path in ("/v1%2ferrors", "/v1/emails%00", "/v1/../v1/errors", "//v1/errors", "/v1/errors/"):
            answer = self.g.request("GET", path)
            self.assertEqual(answer.status, 404, "%s: %r" % (path, answer))


class TestClients(Abuse):
    env = {"MAILHATCH_REQUEST_TIMEOUT": "1s"}

    def test_slow_clients_are_cut_off(self):
        """A byte now and then, in the header, in the body, in a chunk: an absolute deadline, not one of inactivity."""
        starts = (
            b"POST /v1/emails HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
            request(JSON + b"Content-Length: 100000\r\n", b'{"text":"'),
            request(JSON + b"Transfer-Encoding: chunked\r\n", b"ffff\r\n"),
        )
        for start in starts:
            with contextlib.closing(harness.connect(self.g.api)) as s:
                s.sendall(start)
                s.settimeout(0.1)
                begun, got = time.monotonic(), b""
                with contextlib.suppress(ConnectionError):
                    while time.monotonic() - begun < 20:
                        try:
                            chunk = s.recv(65536)
                        except TimeoutError:
                            s.sendall(b"a")
                            continue
                        if not chunk:
                            break
                        got += chunk
                self.assertLess(time.monotonic() - begun, 15, "still open after 15 s: %r" % start)
                self.assertNotIn(b" 200 ", got)
        self.nothing_sent()

    def test_silent_body_is_408(self):
        answers = self.raw(request(JSON + b"Content-Length: 1000\r\n", b'{"from":'))
        self.assertEqual(len(answers), 1, repr(answers))
        self.problem(answers[0], 408, "request_timeout")
        self.assertIs(answers[0].json["retryable"], True)

    def test_two_hundred_slow_clients_do_not_hinder_others(self):
        with contextlib.ExitStack() as stack:
            for _ in range(200):
                s = stack.enter_context(contextlib.closing(harness.connect(self.g.api)))
                s.sendall(b"POST /v1/emails HTTP/1.1\r\nHost: localhost\r\nX: ")
            self.assertEqual(self.g.post(mail()).status, 200)


class TestRude(Abuse):
    def test_client_leaves_in_the_body(self):
        for start in (
            request(JSON + b"Content-Length: 1000\r\n", b'{"from":'),
            request(JSON + b"Transfer-Encoding: chunked\r\n", b"5\r\nab"),
            b"POST /v1",
        ):
            with contextlib.closing(harness.connect(self.g.api)) as s:
                s.sendall(start)
        self.assertEqual(self.g.post(mail()).status, 200)
        self.assertEqual(len(self.peer.mails), self.before + 1)

    def test_pipelined_requests(self):
        """Three mails in one write: three answers, in order."""
        bodies = [json.dumps(mail(subject="p%d" % i)).encode() for i in range(3)]
        data = b"".join(request(JSON + length(b) + b"X-Request-Id: p%d\r\n" % i, b) for i, b in enumerate(bodies))
        data += request(b"Connection: close\r\n", method=b"GET", path=b"/v1/errors/timeout")
        answers = self.raw(data)
        self.assertEqual([a.status for a in answers], [200] * 4, repr(answers))
        self.assertEqual([a.headers["X-Request-Id"] for a in answers[:3]], ["p0", "p1", "p2"])

    def test_keep_alive(self):
        c = self.g.connection()
        self.assertEqual([self.g.post(mail(), connection=c).status for _ in range(10)], [200] * 10)
        self.assertEqual(self.g.post(b"{", connection=c).status, 400)
        self.assertEqual(self.g.post(mail(), connection=c).status, 200)
        c.close()

    def test_half_closed_client_gets_its_answer(self):
        answers = self.raw(request(JSON + length(BODY) + b"Connection: close\r\n", BODY), shut=True)
        self.assertIn([a.status for a in answers], ([200], []), repr(answers))

    def test_client_that_leaves_does_not_stop_its_mail(self):
        go = threading.Event()
        with Peer(on={"body": after(go, default)}) as p, Gateway(relay=p.url()) as g:
            with contextlib.closing(harness.connect(g.api)) as s:
                s.sendall(request(JSON + length(BODY), BODY))
                harness.wait_for(lambda: any(c.startswith("MAIL") for c in p.commands()), what="the mail is under way")
            begun = time.monotonic()  # who leaves within 100 ms is not looked for
            harness.wait_for(lambda: time.monotonic() - begun > 0.15, what="time passes")
            go.set()
            harness.wait_for(lambda: p.mails, what="the mail is taken")
            harness.wait_for(lambda: "client_gone" in g.log(), what="the log says client_gone")
            self.assertEqual(g.post(mail()).status, 200)


class TestSize(Abuse):
    env = {"MAILHATCH_MAX_BODY": "100000"}

    def test_by_content_length_before_the_body(self):
        answers = self.raw(request(JSON + b"Content-Length: 100001\r\n"), timeout=20)
        self.assertEqual(len(answers), 1, repr(answers))
        self.problem(answers[0], 413, "payload_too_large")

    def test_by_content_length_with_expect(self):
        answers = self.raw(request(JSON + b"Content-Length: 100001\r\nExpect: 100-continue\r\n"), timeout=20)
        self.assertEqual([a.status for a in answers], [413], repr(answers))

    def test_by_chunks(self):
        chunk = b"2710\r\n" + b" " * 10000 + b"\r\n"
        data = raw_exchange(
            self.g.api, request(JSON + b"Transfer-Encoding: chunked\r\n", chunk * 30 + b"0\r\n\r\n"), timeout=20
        )
        self.assertRegex(data, b"^HTTP/1.1 413 ")
        self.nothing_sent()

    def test_exactly_the_limit(self):
        body = BODY + b" " * (100000 - len(BODY))
        self.assertEqual(self.g.post(body).status, 200)
        self.problem(self.g.post(body + b" "), 413, "payload_too_large")

    def test_expect_100_continue(self):
        with contextlib.closing(harness.connect(self.g.api)) as s:
            s.sendall(request(JSON + length(BODY) + b"Expect: 100-continue\r\nConnection: close\r\n"))
            with s.makefile("rb") as stream:
                self.assertIn(b" 100 ", stream.readline())
                self.assertEqual(stream.readline(), b"\r\n")
                s.sendall(BODY)
                self.assertEqual(harness.read_response(stream).status, 200)


class TestRoutes(Abuse):
    def test_405_says_what_is_allowed(self):
        for path, methods, allowed in (
            ("/v1/emails", ("GET", "PUT", "DELETE", "PATCH"), {"POST"}),
            ("/v1/errors", ("POST", "DELETE"), {"GET", "HEAD"}),
            ("/", ("POST",), {"GET", "HEAD"}),
            ("/openapi.yaml", ("PUT",), {"GET", "HEAD"}),
        ):
            for method in methods:
                answer = self.g.request(method, path)
                if path == "/v1/emails" and method == "GET" and answer.status == 501:
                    continue  # listing is not built yet
                self.problem(answer, 405, "method_not_allowed")
                self.assertTrue(
                    {m.strip() for m in answer.headers["Allow"].split(",")} >= allowed - {"HEAD"},
                    "%s %s: %r" % (method, path, answer),
                )

    def test_404(self):
        for path in (
            "/nothing",
            "/v1",
            "/v1/errors/no_such_code",
            "/V1/emails",
            "/v1/emails/x/y",
            "/sandbox/messages",
            "/livez",
        ):
            answer = self.g.get(path)
            self.problem(answer, 404, "not_found")

    def test_head(self):
        with contextlib.closing(harness.connect(self.g.api)) as s:
            s.sendall(request(b"Connection: close\r\n", method=b"HEAD", path=b"/v1/errors"))
            data = b""
            while chunk := s.recv(65536):
                data += chunk
        self.assertRegex(data, b"^HTTP/1.1 200 ")
        self.assertTrue(data.endswith(b"\r\n\r\n"), "HEAD has a body")

    def test_unknown_methods(self):
        for method in (b"BREW", b"CONNECT", b"TRACE", b"OPTIONS"):
            answers = self.raw(request(b"Connection: close\r\n", method=method))
            self.assertTrue(answers and answers[0].status in (400, 403, 404, 405, 501), "%r %r" % (method, answers))

    def test_415(self):
        for kind in ("text/plain", "application/xml", "application/jsonx", "garbage", "text/json"):
            self.problem(self.g.post(BODY, {"Content-Type": kind}), 415, "unsupported_media_type")
        for kind in ("application/json; charset=utf-8", "APPLICATION/JSON", "application/json;charset=UTF-8"):
            self.assertEqual(self.g.post(BODY, {"Content-Type": kind}).status, 200, kind)

    def test_415_without_a_type(self):
        answers = self.raw(request(length(BODY) + b"Connection: close\r\n", BODY))
        self.assertIn(answers[0].status, (415, 200), repr(answers))

    def test_not_built(self):
        for changes in (
            {"async": True},
            {"scheduled_at": "in 10 min"},
            {"on_temporary_failure": "queue"},
            {"expires_in": 60},
        ):
            answer = self.g.post(mail(**changes))
            self.problem(answer, 501, "not_implemented")
            self.assertIn(next(iter(changes)), answer.body.decode())
        for path in ("/v1/emails", "/v1/emails/batch", "/v1/emails/validate"):
            for headers in ({"Idempotency-Key": "k1"}, {"Prefer": "respond-async"}, {"Prefer": "wait=5"}):
                self.problem(self.g.request("POST", path, mail(), headers), 501, "not_implemented")
        for path in ("/v1/emails", "/v1/emails/0192f7c0-8f3a-7c31-9d55-0b5d0d6f2a11"):
            self.problem(self.g.get(path), 501, "not_implemented")
        self.nothing_sent()

    def test_root_errors_and_contract(self):
        root = self.g.get("/")
        self.assertEqual((root.status, root.json["name"]), (200, "mailhatch"))
        contract = self.g.get("/openapi.yaml")
        self.assertTrue(contract.body.startswith(b"openapi: 3.1"))
        listing = self.g.get("/v1/errors").json["data"]
        codes = [e["code"] for e in listing]
        self.assertEqual(len(codes), len(set(codes)))
        for e in listing:
            self.assertEqual(self.g.get("/v1/errors/" + e["code"]).json, e)
            self.assertTrue(e["title"] and e["meaning"] and e["hint"], e)

    def test_request_id(self):
        self.assertEqual(self.g.post(mail(), {"X-Request-Id": "abc-123_x.y"}).headers["X-Request-Id"], "abc-123_x.y")
        for bad in ("a b", "x" * 200, "a\"b", "{}", "\xfc"):
            got = self.g.post(mail(), {"X-Request-Id": bad}).headers["X-Request-Id"]
            self.assertNotEqual(got, bad)
            self.assertTrue(got)
        first, second = (self.g.get("/").headers["X-Request-Id"] for _ in range(2))
        self.assertNotEqual(first, second)


class TestJson(Abuse):
    def test_invalid_json(self):
        for body in (
            b"",
            b"{",
            b"nonsense",
            BODY + b"x",
            BODY + BODY,
            b"\xef\xbb\xbf" + BODY,
            b'{"from":"a@b.example",}',
            b"{'a':1}",
            b'{"a":01}',
            b'{"a":"\t"}',
            b'{"a":"\xff"}',
            b'{"a":NaN}',
            b"[" * 100000,
            b'{"a":' * 40 + b"1" + b"}" * 40,
            b'{"text":"\xed\xa0\x80"}',
        ):
            answer = self.g.post(body)
            self.assertIn(
                (answer.status, answer.code),
                ((400, "invalid_json"), (422, "validation_failed")),
                "%r %r" % (body[:60], answer),
            )
        self.nothing_sent()
        self.problem(self.g.post(b'{"from":'), 400, "invalid_json")

    def test_validation(self):
        """Each mistake by its pointer."""
        for changes, pointer in (
            ({"from": "nobody"}, "/from"),
            ({"from": "a@b.example\r\nBcc: c@d.example"}, "/from"),
            ({"to": ["bob@example.net", "bob@"]}, "/to/1"),
            ({"to": "bob@example.net, eve@example.net"}, "/to"),
            ({"cc": 5}, "/cc"),
            ({"subject": "a\r\nBcc: x@example.net"}, "/subject"),
            ({"subject": 7}, "/subject"),
            ({"sbject": "x"}, "/sbject"),
            ({"headers": {"Bcc": "x@example.net"}}, "/headers/Bcc"),
            ({"headers": {"X-A": "b\nBcc: x@example.net"}}, "/headers/X-A"),
            ({"headers": {"To": "x@example.net"}}, "/headers/To"),
            ({"relay": "other"}, "/relay"),
            ({"partial": "maybe"}, "/partial"),
            ({"to": {"email": "x", "name": "y"}}, "/to"),
            ({"from": ["a@example.org", "b@example.org"]}, "/from"),
            ({"reply_to": "x"}, "/reply_to"),
            ({"a/b~c": 1}, "/a~1b~0c"),
        ):
            answer = self.g.post(mail(**changes))
            self.problem(answer, 422, "validation_failed")
            pointers = [e["pointer"] for e in answer.json["errors"]]
            self.assertTrue(
                any(p == pointer or p.startswith(pointer + "/") for p in pointers), "%r: %r" % (changes, answer)
            )
            self.assertTrue(all(e["code"] and e["detail"] for e in answer.json["errors"]))
        self.nothing_sent()

    def test_all_mistakes_at_once(self):
        answer = self.g.post({"from": "x", "to": ["y", "bob@example.net", "z"], "sbject": 1})
        self.assertTrue(
            {"/from", "/to/0", "/to/2", "/sbject"} <= {e["pointer"] for e in answer.json["errors"]}, repr(answer)
        )

    def test_missing(self):
        for without in ("from", "to", "text"):
            body = mail()
            del body[without]
            self.problem(self.g.post(body), 422, "validation_failed")
        answer = self.g.post([mail()])
        self.assertIn(answer.status, (400, 422), repr(answer))

    def test_duplicate_keys_nul_and_surrogates(self):
        for body in (
            b'{"from":"a@example.org","from":"b@example.org","to":"c@example.net","text":"x"}',
            b'{"from":"a@example.org","to":"c@example.net","text":"x\\u0000y"}',
            b'{"from":"a@example.org","to":"c@example.net","text":"\\ud800"}',
        ):
            answer = self.g.post(body)
            self.assertIn(
                (answer.status, answer.code),
                ((400, "invalid_json"), (422, "validation_failed")),
                "%r %r" % (body, answer),
            )
        self.nothing_sent()

    def test_null_is_absent(self):
        self.assertEqual(self.g.post(mail(cc=None, html=None, headers=None)).status, 200)

    def test_address_bombs(self):
        for bad in (
            '"' * 200000,
            "<" * 200000,
            "(" * 200000,
            "a@" * 100000,
            "a" * 65 + "@example.net",
            "a@" + "b" * 300 + ".example",
            "a b@example.net",
            "a@exa_mple.net",
            "a@b..example",
            "@example.net",
            "a@[1.2.3.4]x",
            "bob@example.net\0",
            "b\u00adob@exam\u202eple.net",
        ):
            begun = time.monotonic()
            answer = self.g.post(mail(to=bad))
            self.assertEqual(answer.status, 422, "%r: %r" % (bad[:30], answer))
            self.assertLess(time.monotonic() - begun, 5)
        self.nothing_sent()

    def test_too_many_recipients(self):
        answer = self.g.post(mail(to=["r%d@example.net" % i for i in range(1001)]))
        self.problem(answer, 422, "validation_failed")
        self.nothing_sent()


class TestKeys(Abuse):
    env = {"MAILHATCH_API_KEYS": "web:first-secret-key-123,second-secret-key-456"}

    def test_missing(self):
        for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "first-secret-key-123"}):
            answer = self.g.post(mail(), headers)
            self.assertEqual(answer.status, 401)
            self.assertIn(answer.code, ("missing_api_key", "invalid_api_key") if headers else ("missing_api_key",))
            self.assertIn("Bearer", answer.headers["WWW-Authenticate"])
        self.nothing_sent()

    def test_wrong(self):
        for key in ("wrong", "first-secret-key-12", "first-secret-key-1234", "web:first-secret-key-123", "", "web"):
            answer = self.g.post(mail(), {"Authorization": "Bearer " + key})
            self.assertEqual(answer.status, 401, "%s: %r" % (key, answer))
        self.problem(self.g.post(mail(), {"Authorization": "Bearer wrong"}), 401, "invalid_api_key")
        self.nothing_sent()

    def test_right(self):
        for key in ("first-secret-key-123", "second-secret-key-456"):
            for scheme in ("Bearer", "bearer"):
                self.assertEqual(self.g.post(mail(), {"Authorization": scheme + " " + key}).status, 200)

    def test_with_a_key_a_browser_may(self):
        self.assertEqual(
            self.g.post(
                mail(), {"Authorization": "Bearer first-secret-key-123", "Origin": "https://app.example"}
            ).status,
            200,
        )

    def test_refused_before_the_body(self):
        """A caller without a key is not allowed to upload."""
        answers = self.raw(request(JSON + b"Content-Length: 30000000\r\n"), timeout=20)
        self.assertEqual([a.status for a in answers], [401], repr(answers))

    def test_key_comes_before_path(self):
        self.assertEqual(self.g.get("/nothing").status, 401)

    def test_no_key_in_the_log(self):
        self.g.post(mail(), {"Authorization": "Bearer first-secret-key-123"})
        self.assertNotIn("secret-key", self.g.log())


class TestBrowsers(Abuse):
    env = {"MAILHATCH_ALLOWED_HOSTS": "mailhatch.internal"}

    def test_web_pages_may_not(self):
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://localhost:8587"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Host": "evil.example"},
            {"Host": "evil.example:8587"},
            {"Host": "localhost.evil.example"},
            {"Host": "localhost..:8587"},
            {"Host": "."},
            {"Host": "127.0.0.1.evil.example"},
            {"Host": "192.0.2.1"},
        ):
            self.problem(self.g.post(mail(), headers), 403, "forbidden")
            self.problem(self.g.request("GET", "/v1/errors", None, headers), 403, "forbidden")
        self.nothing_sent()

    def test_others_may(self):
        for headers in (
            {"Sec-Fetch-Site": "none"},
            {"Sec-Fetch-Site": "same-origin"},
            {"Host": "localhost:1234"},
            {"Host": "127.0.0.1"},
            {"Host": "[::1]:99"},
            {"Host": "LOCALHOST"},
            {"Host": "localhost.:8587"},
            {"Host": "mailhatch.internal"},
            {"Authorization": "Bearer whatever"},
        ):
            self.assertEqual(self.g.post(mail(), headers).status, 200, headers)


if __name__ == "__main__":
    unittest.main()
