"""Every way to hand a mail in: JSON, forms, finished messages, packed or not; from curl and as browsers write them.
What arrives is read back from the sandbox and compared to the octet."""
import base64
import contextlib
import json
import os
import subprocess
import tempfile
import time
import unittest

import forms
import harness
from forms import MULTIPART, RAW, URLENCODED, multipart, packed, urlencoded
from harness import Gateway, mail
from judge import Fault, body_of, parsed
from peer import Peer

OCTETS = bytes(range(256)) * 9 + b"\r\n.\r\n--\r\n" + b"\0" * 30
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(255, -1, -1))
ICS = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
FINISHED = (
    b"From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: finished\r\nMessage-ID: <own@example.org>\r\n"
    b"Date: Tue, 24 Nov 2026 20:15:00 +0000\r\nX-Folded: a\r\n\tb\r\n\r\n.\r\n..dots\r\nlast line\r\n"
)


def b64(data):
    return base64.b64encode(data).decode()


class Input(Fault):
    args, env = ["--sandbox"], {}

    @classmethod
    def setUpClass(cls):
        cls.g = Gateway(cls.env, args=cls.args)

    @classmethod
    def tearDownClass(cls):
        cls.g.stop()

    def setUp(self):
        self.assertEqual(self.g.request("DELETE", "/sandbox/messages").status, 204)

    def post(self, body, kind="application/json", path="/v1/emails", **headers):
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        return self.g.request("POST", path, body, {"Content-Type": kind, **headers})

    def kept(self, answer):
        """(record, octets) of the mail that this answer is about."""
        self.assertEqual((answer.status, answer.json and answer.json.get("status")), (200, "sent"), repr(answer))
        at = "/sandbox/messages/" + answer.json["id"]
        raw = self.g.get(at, {"Accept": RAW})
        self.assertEqual(raw.status, 200, repr(raw))
        return self.g.get(at).json, raw.body

    def arrived(self, answer):
        return parsed(self.kept(answer)[1])

    def nothing_kept(self):
        self.assertEqual(self.g.get("/sandbox/messages").json["total"], 0)

    def refused(self, answer, status, code, *problems):
        """`problems`: "pointer code" of each."""
        self.check(answer, "%d %s request not_sent no" % (status, code))
        if problems:
            self.assertEqual(["%(pointer)s %(code)s" % e for e in answer.json["errors"]], list(problems), repr(answer))
        self.nothing_kept()


def files_of(message):
    """Each attachment as (name, type, content id, disposition, octets)."""
    found = []
    for p in message.walk():
        if p.get_content_disposition() in ("attachment", "inline"):
            found.append(
                (
                    p.get_filename(),
                    p.get_content_type(),
                    p["Content-ID"],
                    p.get_content_disposition(),
                    p.get_payload(decode=True),
                )
            )
    return found


class TestSameMail(Input):
    """One mail in every form; what arrives is the same."""

    TEXT = "Grüße & <b>\nzweite Zeile = %41 + 1\n"
    HTML = '<p>Grüße <img src="cid:logo.png"></p>'
    SUBJECT = "Grüße, \"Bob\" & Co; 100 % = +"
    FILES = [
        ("plan für 2027.pdf", "application/pdf", None, "attachment", OCTETS),
        ("leer.txt", "text/plain", None, "attachment", b""),
        ("logo.png", "image/png", "<logo.png>", "inline", PNG),
    ]

    def as_json(self):
        return mail(
            **{
                "from": "Ann Ünal <ann@example.org>",
                "to": ["bob@example.net", "Carol <carol@example.net>"],
                "cc": "dan@example.net",
                "bcc": ["eve@example.net"],
                "subject": self.SUBJECT,
                "text": self.TEXT,
                "html": self.HTML,
                "headers": {"X-Order": "4711"},
                "attachments": [
                    {"filename": "plan für 2027.pdf", "content": b64(OCTETS)},
                    {"filename": "leer.txt", "content": ""},
                    {"filename": "logo.png", "content": b64(PNG), "content_id": "logo.png"},
                ],
            }
        )

    def fields(self):
        j = self.as_json()
        return [
            ("from", j["from"]),
            ("to", j["to"][0]),
            ("to", j["to"][1]),
            ("cc", j["cc"]),
            ("bcc", j["bcc"][0]),
            ("subject", j["subject"]),
            ("text", j["text"]),
            ("html", j["html"]),
            ("headers", json.dumps(j["headers"])),
        ]

    def as_multipart(self):
        return multipart(
            *self.fields(),
            ("attachment", OCTETS, "plan für 2027.pdf", "application/pdf"),
            ("attachment", b"", "leer.txt", "text/plain"),
            ("inline", PNG, "logo.png", "image/png"),
        )

    def look(self, answer, files):
        record, raw = self.kept(answer)
        message = parsed(raw)
        self.assertEqual(record["envelope"]["from"], "ann@example.org")
        self.assertEqual(
            record["envelope"]["to"], ["bob@example.net", "carol@example.net", "dan@example.net", "eve@example.net"]
        )
        self.assertEqual(message["From"].addresses[0].display_name, "Ann Ünal")
        self.assertEqual(message["Subject"], self.SUBJECT)
        self.assertEqual(message["X-Order"], "4711")
        self.assertEqual(body_of(message), self.TEXT)
        self.assertEqual(body_of(message, "html"), self.HTML + "\n")
        self.assertNotIn(b"eve@example.net", raw)
        self.assertNotIn(b"\nBcc:", raw)
        self.assertEqual(sorted(files_of(message), key=str), sorted(files, key=str))
        return raw

    def test_json(self):
        self.look(self.post(self.as_json()), self.FILES)

    def test_multipart(self):
        self.look(self.post(self.as_multipart(), MULTIPART), self.FILES)

    def test_urlencoded(self):
        self.look(self.post(urlencoded(*self.fields()), URLENCODED), [])

    def test_packed(self):
        for kind in ("gzip", "x-gzip", "GZIP"):
            answer = self.post(packed(json.dumps(self.as_json()).encode()), Content_Encoding=kind)
            self.look(answer, self.FILES)
        self.look(self.post(packed(self.as_multipart()), MULTIPART, Content_Encoding="gzip"), self.FILES)
        self.look(self.post(packed(urlencoded(*self.fields())), URLENCODED, Content_Encoding="gzip"), [])

    def test_raw_again(self):
        """The composed mail, handed in as finished: not an octet is changed."""
        raw = self.look(self.post(self.as_json()), self.FILES)
        query = "/v1/emails?from=ann@example.org" + "".join(
            "&to=%s@example.net" % n for n in ("bob", "carol", "dan", "eve")
        )
        self.assertEqual(self.look(self.post(raw, RAW, query), self.FILES), raw)
        self.assertEqual(self.look(self.post(packed(raw), RAW, query, Content_Encoding="gzip"), self.FILES), raw)
        self.assertEqual(self.look(self.post(raw.replace(b"\r\n", b"\n"), RAW, query), self.FILES), raw)

    def test_chunked(self):
        """Of no known length, in pieces of every size."""
        for size in (1, 7, 1000, 100000):
            body = self.as_multipart()
            pieces = (body[i : i + size] for i in range(0, len(body), size))
            with contextlib.closing(self.g.connection()) as c:
                c.request(
                    "POST",
                    "/v1/emails",
                    pieces,
                    {"Content-Type": MULTIPART, "Transfer-Encoding": "chunked"},
                    encode_chunked=True,
                )
                r = c.getresponse()
                self.look(harness.Answer(r.status, r.headers, r.read()), self.FILES)


class TestCurl(Input):
    """The commands that the documentation shows."""

    def curl(self, *args, path="/v1/emails", stdin=b""):
        done = subprocess.run(
            ["curl", "-sS", "-i", "--noproxy", "*", "http://%s%s" % (self.g.api, path), *args],
            input=stdin,
            capture_output=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        head, body = done.stdout.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"").split(b"\r\n\r\n", 1)
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        return harness.Answer(int(head.split()[1]), headers, body)

    def files(self, stack, **contents):
        d = stack.enter_context(tempfile.TemporaryDirectory(prefix="mailhatch-e2e-"))
        for name, data in contents.items():
            with open(os.path.join(d, name.replace("_", ".")), "wb") as f:
                f.write(data)
        return d

    BASE = ("-F", "from=ann@example.org", "-F", "to=bob@example.net", "-F", "subject=Hi")

    def test_files(self):
        with contextlib.ExitStack() as stack:
            d = self.files(stack, note_txt=b"Gr\xc3\xbc\xc3\x9fe\n", r_pdf=OCTETS, logo_png=PNG, page_html=b"<p>x</p>")
            files = "-F", "attachment=@%s/r.pdf" % d, "-F", "inline=@%s/logo.png" % d
            for text in ("text=@%s/note.txt", "text=<%s/note.txt"):
                message = self.arrived(
                    self.curl(*self.BASE, "-F", text % d, "-F", "html=<%s/page.html" % d, *files)
                )
                self.assertEqual(body_of(message), "Grüße\n")
                self.assertEqual(body_of(message, "html"), "<p>x</p>\n")
                self.assertEqual(
                    sorted(files_of(message), key=str),
                    [
                        ("logo.png", "image/png", "<logo.png>", "inline", PNG),
                        ("r.pdf", "application/pdf", None, "attachment", OCTETS),
                    ],
                )

    def test_names_and_types(self):
        with contextlib.ExitStack() as stack:
            d = self.files(stack, a_bin=OCTETS)
            for how, name, kind in (
                ("", "a.bin", "application/octet-stream"),
                (";type=application/zip", "a.bin", "application/zip"),
                (";filename=Größe 1.csv", "Größe 1.csv", "text/csv"),
                (';filename="x;y.txt";type=text/x-y', "x;y.txt", "text/x-y"),
            ):
                message = self.arrived(self.curl(*self.BASE, "-F", "attachment=@%s/a.bin%s" % (d, how)))
                self.assertEqual(files_of(message), [(name, kind, None, "attachment", OCTETS)])

    def test_large_file(self):
        """Over a megabyte curl asks first: Expect: 100-continue."""
        with contextlib.ExitStack() as stack:
            large = OCTETS * 900
            d = self.files(stack, large_bin=large)
            message = self.arrived(self.curl(*self.BASE, "-F", "attachment=@%s/large.bin" % d))
            self.assertEqual(files_of(message)[0][4], large)

    def test_data_urlencode(self):
        message = self.arrived(
            self.curl(
                *("--data-urlencode", "from=Ann <ann@example.org>", "--data-urlencode", "to=bob@example.net"),
                *("--data-urlencode", "subject=a+b & c=d%41", "--data-urlencode", "text=Größe\n"),
            )
        )
        self.assertEqual((message["Subject"], body_of(message)), ("a+b & c=d%41", "Größe\n"))

    def test_eml(self):
        with contextlib.ExitStack() as stack:
            d = self.files(stack, x_eml=FINISHED)
            at = "--data-binary", "@%s/x.eml" % d, "-H", "Content-Type: message/rfc822"
            self.assertEqual(self.kept(self.curl(*at))[1], FINISHED)
            record, raw = self.kept(self.curl(*at, path="/v1/emails?from=b%2B1@example.org&to=x+y@example.net"))
            self.assertEqual(record["envelope"], {"from": "b+1@example.org", "to": ["x+y@example.net"]})

    def test_gzip(self):
        body = json.dumps(mail(text="x" * 100000)).encode()
        at = "--data-binary", "@-", "-H", "Content-Type: application/json", "-H", "Content-Encoding: gzip"
        message = self.arrived(self.curl(*at, stdin=packed(body)))
        self.assertEqual(body_of(message), "x" * 100000 + "\n")

    def test_calendar(self):
        with contextlib.ExitStack() as stack:
            d = self.files(stack, i_ics=ICS.encode())
            for how in ("calendar=<%s/i.ics", "calendar=@%s/i.ics"):
                message = self.arrived(self.curl(*self.BASE, "-F", "text=x", "-F", how % d))
                p = [p for p in message.walk() if p.get_content_type() == "text/calendar"][0]
                self.assertEqual(p.get_param("method"), "REQUEST")
                self.assertEqual(p.get_payload(decode=True).decode(), ICS)


class TestForms(Input):
    BASE = [("from", "ann@example.org"), ("to", "bob@example.net"), ("text", "x")]

    def form(self, *parts):
        return self.post(multipart(*self.BASE, *parts), MULTIPART)

    def test_browsers_names(self):
        for name, want in (
            ('quo"te.txt', 'quo"te.txt'),  # written as %22
            ("Grüße 🎉.txt", "Grüße 🎉.txt"),
            ("C:\\Users\\ann\\report.txt", "report.txt"),
            ("dir/report.txt", "report.txt"),
            ("semi;colon, comma.txt", "semi;colon, comma.txt"),
        ):
            found = files_of(self.arrived(self.form(("attachment", b"x", name, "text/plain"))))
            self.assertEqual([f[0] for f in found], [want])

    def test_empty_file_input(self):
        message = self.arrived(self.form(("attachment", b"", "", "application/octet-stream")))
        self.assertEqual(files_of(message), [])

    def test_text_area(self):
        body = multipart(*self.BASE[:2], ("text", "a\r\nb\r\n\r\n"), ("_charset_", "UTF-8"))
        message = self.arrived(self.post(body, MULTIPART))
        self.assertEqual(body_of(message), "a\nb\n\n")

    def test_field_as_blob(self):
        """fetch() with a Blob sends text as a file named "blob"."""
        message = self.arrived(self.post(multipart(*self.BASE[:2], ("html", b"<p>", "blob", "text/html")), MULTIPART))
        self.assertEqual(body_of(message, "html"), "<p>\n")

    def test_preamble_and_boundaries(self):
        body = multipart(*self.BASE)
        for b in ("x", "a b'()+_,-./:=?", "=" * 70, "--"):
            kind = 'multipart/form-data; boundary="%s"' % b
            framed = b"preamble\r\n" + body.replace(forms.BOUNDARY.encode(), b.encode()) + b"epilogue"
            self.arrived(self.post(framed, kind))

    def test_refused(self):
        whole = multipart(*self.BASE, ("attachment", OCTETS, "a", None))
        for body, kind in (
            (whole, "multipart/form-data"),
            (whole, "multipart/form-data; boundary="),
            (whole, "multipart/form-data; boundary=" + "x" * 71),
            (whole, "multipart/form-data; boundary=other"),
            (b"", MULTIPART),
            (b"from=a@b.example&to=c@d.example&text=x", MULTIPART),
        ):
            self.refused(self.post(body, kind), 400, "invalid_request")

    def test_truncated(self):
        whole = multipart(*self.BASE, ("attachment", b"some data", "a.txt", "text/plain"))
        end = len(("--%s--\r\n" % forms.BOUNDARY))
        for n in [*range(0, len(whole) - end, 23), len(whole) - 5, len(whole) - 4]:
            self.refused(self.post(whole[:n], MULTIPART), 400, "invalid_request")
        self.arrived(self.post(whole[:-2], MULTIPART))

    def test_problems_of_fields_and_files(self):
        answer = self.form(
            ("cc", "nobody"),
            ("attachment", b"x"),
            ("inline", b"x", "a b.png", "image/png"),
            ("subject", b"\xff"),
            ("subjct", "x"),
        )
        self.refused(
            answer,
            422,
            "validation_failed",
            "/subject invalid_unicode",
            "/attachment/0 required",
            "/inline/0 invalid_value",
            "/cc/0 invalid_address",
            "/subjct unknown_field",
        )

    def test_no_injection(self):
        for parts in (
            [("subject", "a\r\nBcc: x@y.example")],
            [("to", "bob@example.net\r\nRCPT TO:<x@y.example>")],
            [("cc", "Ann\nBcc: x@y.example <c@d.example>")],
        ):
            self.refused(self.form(*parts), 422, "validation_failed")
        found = self.kept(self.form(("attachment", b"x", "a\r\nX-Evil: 1.txt", "text/plain")))[1]
        self.assertNotIn(b"\nX-Evil", found)

    def test_urlencoded(self):
        body = b"from=ann%40example.org&to=bob@example.net&text=%E2%82%AC+1%2B1&&subject="
        message = self.arrived(self.post(body, URLENCODED))
        self.assertEqual((body_of(message), message["Subject"]), ("€ 1+1\n", ""))
        self.setUp()
        answer = self.post(b"", URLENCODED)
        self.refused(answer, 422, "validation_failed", "/from required", "/to required", "/text required")


class TestRaw(Input):
    def test_as_it_is(self):
        self.assertEqual(self.kept(self.post(FINISHED, RAW))[1], FINISHED)
        self.assertEqual(self.kept(self.post(FINISHED.replace(b"\r\n", b"\n"), RAW + "; charset=x"))[1], FINISHED)
        eight = FINISHED + "Grüße\r\n".encode("latin-1")
        self.assertEqual(self.kept(self.post(eight, RAW))[1], eight)

    def test_what_is_missing_is_added(self):
        record, raw = self.kept(self.post(b"From: ann@example.org\nTo: bob@example.net\n\nx\n", RAW))
        message = parsed(raw)
        self.assertLess(abs(message["Date"].datetime.timestamp() - time.time()), 60)
        self.assertRegex(message["Message-ID"], r"^<[0-9a-f-]{36}@example\.org>$")
        self.assertTrue(raw.endswith(b"From: ann@example.org\r\nTo: bob@example.net\r\n\r\nx\r\n"), raw)

    def test_envelope(self):
        for query, sender, rcpts in (
            ("", "ann@example.org", ["bob@example.net"]),
            ("?from=", "", ["bob@example.net"]),
            ("?from=<>", "", ["bob@example.net"]),
            ("?from=%3C%3E&to=x@example.net", "", ["x@example.net"]),
            ("?to=x@y.example&to=z@y.example&to=x@y.example", "ann@example.org", ["x@y.example", "z@y.example"]),
            ("?from=bounce%2B1@example.org", "bounce+1@example.org", ["bob@example.net"]),
            ("?relay=sandbox", "ann@example.org", ["bob@example.net"]),
        ):
            record, raw = self.kept(self.post(FINISHED, RAW, "/v1/emails" + query))
            self.assertEqual(record["envelope"], {"from": sender, "to": rcpts}, query)
            self.assertEqual(raw, FINISHED)

    def test_bcc_is_taken_out(self):
        for bcc in (
            b"Bcc: eve@example.net\r\n",
            b"bcc:\r\n eve@example.net,\r\n\tfay@example.net\r\n",
            b"BCC: Eve <eve@example.net>\r\n",
        ):
            at = FINISHED.index(b"Subject")
            record, raw = self.kept(self.post(FINISHED[:at] + bcc + FINISHED[at:], RAW))
            self.assertEqual(raw, FINISHED)
            self.assertIn("eve@example.net", record["envelope"]["to"])
        resent = b"Resent-From: r@example.org\r\nResent-To: s@example.net\r\nResent-Bcc: eve@example.net\r\n" + FINISHED
        record, raw = self.kept(self.post(resent, RAW, "/v1/emails?from=r@example.org&to=s@example.net"))
        self.assertNotIn(b"eve@", raw)
        self.assertIn(b"Resent-To: s@example.net\r\n", raw)

    def test_refused(self):
        head = b"From: ann@example.org\r\nTo: bob@example.net\r\n"
        for body, code, line in (
            (head + b"\r\na\rb\r\n", "control_character", 4),
            (head + b"\r\n1\r\n2\0\r\n", "control_character", 5),
            (head + b"\r\n" + b"x" * 999 + b"\r\n", "line_too_long", 4),
            (head + b"X: " + b"x" * 996 + b"\r\n\r\nx", "line_too_long", 3),
            (head + b"no field\r\n\r\nx", "invalid_header", 3),
            (head + b"From: z@example.org\r\n\r\nx", "invalid_header", 3),
            (b"From ann Tue Nov 24\r\n" + head + b"\r\nx", "invalid_header", 1),
        ):
            answer = self.post(body, RAW)
            self.refused(answer, 422, "validation_failed")
            self.assertEqual(answer.json["errors"][0]["code"], code, repr(answer))
            self.assertIn("line %d" % line, answer.json["errors"][0]["detail"])
        self.refused(self.post(b"", RAW), 422, "validation_failed")
        answer = self.post(b"Resent-To: x@example.net\r\n" + FINISHED, RAW)
        self.refused(answer, 422, "validation_failed", " invalid_header")
        self.assertEqual(self.kept(self.post(head + b"\r\n" + b"x" * 998, RAW))[1][-1000:], b"x" * 998 + b"\r\n")

    def test_query(self):
        answer = self.post(FINISHED, RAW, "/v1/emails?form=x@example.org&tos=y&subject=z")
        unknown = ("%s unknown_field" % name for name in ("/form", "/tos", "/subject"))
        self.refused(answer, 422, "validation_failed", *unknown)
        self.assertIn('did you mean "from"?', answer.json["errors"][0]["detail"])
        self.assertIn('did you mean "to"?', answer.json["errors"][1]["detail"])
        for query, problem in (
            ("from=a@b.example&from=c@d.example", "/from duplicate_key"),
            ("to=x%0D%0ADATA", "/to/0 invalid_address"),
            ("to=x@example.net%00", " control_character"),
            ("relay=other", "/relay unknown_relay"),
        ):
            self.refused(self.post(FINISHED, RAW, "/v1/emails?" + query), 422, "validation_failed", problem)


class TestTypes(Input):
    def test_charsets(self):
        form = urlencoded(("from", "ann@example.org"), ("to", "bob@example.net"), ("text", "x"))
        body = json.dumps(mail()).encode()
        for kind in ("utf-8", "UTF-8", '"utf-8"', "us-ascii"):
            self.arrived(self.post(body, "application/json; charset=" + kind))
            self.arrived(self.post(form, URLENCODED + ";charset=" + kind))
        for kind in ("iso-8859-1", "utf-16", "windows-1252", '"latin1"'):
            self.setUp()
            self.refused(self.post(body, "application/json; charset=" + kind), 415, "unsupported_media_type")
            self.refused(self.post(form, URLENCODED + "; Charset=" + kind), 415, "unsupported_media_type")

    def test_types(self):
        for kind in ("text/plain", "multipart/mixed; boundary=x", "message/global", "application/json-x", "x", "*/*"):
            self.refused(self.post(b"{}", kind), 415, "unsupported_media_type")

    def test_codings(self):
        body = json.dumps(mail()).encode()
        self.arrived(self.post(body, Content_Encoding="identity"))
        self.setUp()
        for coding in ("deflate", "br", "zstd", "gzip, gzip", "compress", "*"):
            self.refused(self.post(body, Content_Encoding=coding), 415, "unsupported_media_type")

    def test_wrong_gzip(self):
        good = packed(json.dumps(mail(text="x" * 1000)).encode())
        for body in (b"", b"{}", json.dumps(mail()).encode(), good[:-1], good[:12], good + b"x", good + good[:9],
                     good[:-8] + bytes(8), b"\x1f\x8b", good[:20] + b"\xff\xff" + good[22:]):  # fmt: skip
            self.refused(self.post(body, Content_Encoding="gzip"), 400, "invalid_request")
        half = json.dumps(mail()).encode()
        self.arrived(self.post(packed(half[:20]) + packed(b"") + packed(half[20:]), Content_Encoding="gzip"))

    def test_types_of_the_other_endpoints(self):
        for kind in (RAW, URLENCODED, MULTIPART):
            self.refused(self.post(b"x", kind, "/v1/emails/batch"), 415, "unsupported_media_type")


class TestContents(Input):
    def test_attachments(self):
        attachments = [
            {"filename": "no-padding", "content": b64(b"a").rstrip("=")},
            {"filename": "lines", "content": "\r\n".join(b64(OCTETS)[i : i + 76] for i in range(0, 3200, 76)) + "\r\n"},
            {"filename": "typed", "content": b64(b"x"), "content_type": "application/x-y; a=\"b c\""},
            {"filename": "a\"b\\c;d.txt", "content": b64(b"quoted"), "disposition": "attachment"},
            {"filename": "Größe " + "ä" * 100 + ".txt", "content": b64(b"long")},
            {"content_id": "only@id", "content": b64(PNG), "content_type": "image/png"},
            {"filename": "empty", "content": ""},
        ]
        found = files_of(self.arrived(self.post(mail(html='<img src="cid:only@id">', attachments=attachments))))
        by_name = {f[0]: f for f in found}
        self.assertEqual(len(found), 7)
        self.assertEqual(by_name["no-padding"][4], b"a")
        self.assertEqual(by_name["lines"][4], OCTETS)
        self.assertEqual(by_name["typed"][1], "application/x-y")
        self.assertEqual(by_name["a\"b\\c;d.txt"][4], b"quoted")
        self.assertEqual(by_name["Größe " + "ä" * 100 + ".txt"][4], b"long")
        self.assertEqual(by_name[None][2:], ("<only@id>", "inline", PNG))
        self.assertEqual(by_name["empty"][4], b"")

    def test_refused_attachments(self):
        bad = [
            {"filename": "a", "content": "A"},
            {"filename": "a", "content": "QU-D"},
            {"filename": "a\nb", "content": ""},
            {"content": ""},
            {"filename": "a"},
            {"filename": "a", "content": "", "content_type": "multipart/mixed"},
            {"filename": "a", "content": "", "path": "https://x.example/a"},
        ]
        self.refused(
            self.post(mail(attachments=bad)),
            422,
            "validation_failed",
            *("/attachments/0/content invalid_base64", "/attachments/1/content invalid_base64"),
            *("/attachments/2/filename control_character", "/attachments/3/filename required"),
            *("/attachments/4/content required", "/attachments/5/content_type invalid_value"),
            "/attachments/6/path unknown_field",
        )

    def test_calendar_and_unsubscribe(self):
        message = self.arrived(
            self.post(
                mail(
                    calendar={"method": "request", "content": ICS},
                    list_unsubscribe={"url": "https://example.org/u?x=1", "mailto": "u@example.org"},
                    tags=["a", {"name": "b", "value": "c"}],
                    metadata={"k": "TEXT-OF-METADATA"},
                )
            )
        )
        p = [p for p in message.walk() if p.get_content_type() == "text/calendar"][0]
        self.assertEqual((p.get_param("method"), p.get_payload(decode=True).decode()), ("REQUEST", ICS))
        self.assertIn("<https://example.org/u?x=1>", message["List-Unsubscribe"])
        self.assertIn("<mailto:u@example.org>", message["List-Unsubscribe"])
        self.assertEqual(message["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click")
        self.assertNotIn("TEXT-OF-METADATA", message.as_string())

    def test_envelope(self):
        record, raw = self.kept(self.post(mail(envelope={"from": "", "to": ["x@example.net"]}, bcc="eve@example.net")))
        self.assertEqual(record["envelope"], {"from": "", "to": ["x@example.net"]})
        self.assertNotIn(b"eve@", raw)
        record, raw = self.kept(self.post(mail(envelope={"from": "bounce+1@example.org"})))
        self.assertEqual(record["envelope"], {"from": "bounce+1@example.org", "to": ["bob@example.net"]})

    def test_validate(self):
        attachments = [{"filename": "a", "content": b64(OCTETS)}]
        for body, kind, query in ((mail(attachments=attachments), "application/json", ""),
                                  (FINISHED, RAW, "?from=s@example.org"),
                                  (multipart(*TestForms.BASE), MULTIPART, ""),
                                  (urlencoded(*TestForms.BASE), URLENCODED, "")):  # fmt: skip
            told = self.post(body, kind, "/v1/emails/validate" + query)
            self.assertEqual((told.status, told.json["valid"]), (200, True), repr(told))
            self.assertEqual(told.json["envelope"]["to"], ["bob@example.net"])
            self.assertEqual(told.json["envelope"]["from"], "s@example.org" if query else "ann@example.org")
            self.assertEqual(told.json["relay"], "sandbox")
            shown = self.post(body, kind, "/v1/emails/validate" + query, Accept=RAW)
            self.assertEqual((shown.status, shown.headers["Content-Type"]), (200, RAW))
            self.assertEqual(len(shown.body), told.json["size"])
            self.assertEqual(parsed(shown.body)["To"], "bob@example.net")
            self.nothing_kept()
        self.assertEqual(self.post(FINISHED, RAW, "/v1/emails/validate", Accept=RAW).body, FINISHED)
        self.refused(self.post({}, path="/v1/emails/validate"), 422, "validation_failed")
        self.refused(self.post({}, path="/v1/emails/validate", Accept=RAW), 422, "validation_failed")
        self.refused(self.post(b"{", path="/v1/emails/validate"), 400, "invalid_json")


class TestBatch(Input):
    def batch(self, items, **headers):
        return self.post(items, path="/v1/emails/batch", **headers)

    def test_hundred(self):
        answer = self.batch([mail(subject="mail %d" % i, to="r%d@example.net" % i) for i in range(100)])
        self.assertEqual((answer.status, set(answer.json)), (200, {"data"}), repr(answer)[:500])
        self.assertEqual([r["status"] for r in answer.json["data"]], ["sent"] * 100)
        rcpts = [r["recipients"][0]["email"] for r in answer.json["data"]]
        self.assertEqual(rcpts, ["r%d@example.net" % i for i in range(100)])
        self.assertEqual(len({r["id"] for r in answer.json["data"]}), 100)
        self.assertEqual(self.g.get("/sandbox/messages?limit=100").json["total"], 100)
        for i in (0, 57, 99):
            got = self.g.get("/sandbox/messages/" + answer.json["data"][i]["id"], {"Accept": RAW})
            self.assertEqual(parsed(got.body)["Subject"], "mail %d" % i)

    def test_not_a_batch(self):
        self.refused(self.batch([mail()] * 101), 422, "validation_failed", " too_many")
        self.refused(self.batch([]), 422, "validation_failed", " required")
        self.refused(self.batch(mail()), 422, "validation_failed", " wrong_type")
        self.refused(self.batch(b"[{}"), 400, "invalid_json")
        self.refused(self.batch(b"null"), 422, "validation_failed", " wrong_type")
        self.refused(self.batch([mail()], X_Batch_Validation="lenient"), 400, "invalid_request")
        self.refused(self.batch([mail()], X_Batch_Validation=""), 400, "invalid_request")

    MIXED = [
        mail(),
        mail(to=["x"]),
        7,
        mail(subject="second good one"),
        mail(attachments=[{"filename": "a", "content": "?"}], subject="a\nb"),
    ]
    PROBLEMS = (
        "/1/to/0 invalid_address",
        "/2 wrong_type",
        "/4/attachments/0/content invalid_base64",
        "/4/subject control_character",
    )

    def test_strict(self):
        for headers in ({}, {"X_Batch_Validation": "strict"}, {"X_Batch_Validation": "STRICT"}):
            answer = self.batch(self.MIXED, **headers)
            self.check(answer, "422 validation_failed request not_sent no")
            self.assertEqual(sorted("%(pointer)s %(code)s" % e for e in answer.json["errors"]), sorted(self.PROBLEMS))
            self.nothing_kept()

    def test_permissive(self):
        answer = self.batch(self.MIXED, X_Batch_Validation="permissive")
        self.assertEqual((answer.status, answer.json["failed"]), (207, 3), repr(answer))
        data = answer.json["data"]
        self.assertEqual([d["status"] for d in data], ["sent", 422, 422, "sent", 422])
        self.assertEqual({d.get("code") for d in data if d["status"] == 422}, {"validation_failed"})
        got = ["%(pointer)s %(code)s" % e for d in data for e in d.get("errors", [])]
        self.assertEqual(sorted(got), sorted(self.PROBLEMS))
        for d in data:
            if "code" in d:
                self.assertEqual((d["statusCode"], d["name"], d["delivery"]), (422, "validation_failed", "not_sent"))
                self.assertTrue(d["title"] and d["hint"] and d["request_id"])
        self.assertEqual(self.g.get("/sandbox/messages").json["total"], 2)
        self.assertEqual(self.batch([mail()], X_Batch_Validation="permissive").status, 200)
        answer = self.batch([{}, 1], X_Batch_Validation="permissive")
        self.assertEqual((answer.status, answer.json["failed"]), (207, 2))

    def test_packed(self):
        body = packed(json.dumps([mail(), mail()]).encode())
        self.assertEqual(len(self.batch(body, Content_Encoding="gzip").json["data"]), 2)


class TestBatchRelay(Fault):
    @staticmethod
    def refusing(s):
        s.send("550 5.1.1 no such user\r\n") if "refuse" in s.line else s.default_action()

    def test_one_refused(self):
        """What the relay refuses is that item's affair."""
        with Peer(on={"rcpt": self.refusing}) as p, Gateway(relay=p.url()) as g:
            items = [mail(to="a@example.net"), mail(to="refuse@example.net"), mail(to="b@example.net")]
            answer = g.request("POST", "/v1/emails/batch", items)
            self.assertEqual((answer.status, answer.json["failed"]), (207, 1), repr(answer))
            data = answer.json["data"]
            self.assertEqual([d["status"] for d in data], ["sent", 422, "sent"])
            self.assertEqual((data[1]["code"], data[1]["delivery"]), ("recipients_rejected", "rejected"))
            self.assertEqual(data[1]["recipients"][0]["smtp"]["code"], 550)
            self.assertEqual(sorted(m.rcpts[0] for m in p.mails), ["a@example.net", "b@example.net"])

    def test_over_the_pool(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            answer = g.request("POST", "/v1/emails/batch", [mail(subject=str(i)) for i in range(60)])
            self.assertEqual((answer.status, len(p.mails)), (200, 60), repr(answer)[:500])
            self.assertGreater(len(p.sessions), 1)
            self.assertLessEqual(len(p.sessions), 8)

    def test_no_relay(self):
        with Gateway(relay="smtp://ann@127.0.0.1:1") as g:
            answer = g.request("POST", "/v1/emails/batch", [mail(), mail()])
            self.assertEqual((answer.status, answer.json["failed"]), (207, 2), repr(answer))
            self.assertTrue(all(d["retryable"] for d in answer.json["data"]), repr(answer))


class TestCommand(unittest.TestCase):
    def test_send_with_attachments(self):
        with Peer() as p:
            attachments = [{"filename": "a.bin", "content": b64(OCTETS)}]
            request = mail(attachments=attachments, html="<p>x</p>", bcc="eve@example.net")
            env = {
                "MAILHATCH_RELAY_URL": p.url(),
                "MAILHATCH_RELAY_PASSWORD": harness.PASSWORD,
                "MAILHATCH_RELAY_CA_FILE": harness.cert_path("ca.pem"),
            }
            code, out, err = harness.run_program("send", env=env, stdin=json.dumps(request).encode())
            self.assertEqual((code, json.loads(out)["status"]), (0, "sent"), out + err)
            file = ("a.bin", "application/octet-stream", None, "attachment", OCTETS)
            self.assertEqual(files_of(parsed(p.mails[0].data)), [file])
            request["attachments"].append({"filename": "b", "content": "!"})
            code, out, err = harness.run_program("send", env=env, stdin=json.dumps(request).encode())
            self.assertEqual((code, json.loads(out)["code"]), (1, "validation_failed"), out + err)
            self.assertEqual(json.loads(out)["errors"][0]["pointer"], "/attachments/1/content")
            self.assertEqual(len(p.mails), 1)


if __name__ == "__main__":
    unittest.main()
