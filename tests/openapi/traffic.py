"""openapi.yaml against the running service: two linters read it (contract.py), Prism watches requests and answers go
by, and a client made from it is compiled and used.

traffic.py BINARY   last line "N passed, N failed"

Prism stands before the service as a proxy. It runs without --errors on purpose: with it a request that breaks the
contract never reaches the service, and how the service answers those is half of what is to be checked. Instead Prism
reports in the header sl-violations, and this program decides: an answer may never break the contract; a good request
may not, and a bad one must.
"""
import gzip
import http.client
import json
import os
import re
import selectors
import socket
import subprocess
import sys
import time
import urllib.parse

import contract
from contract import CONTRACT, HERE, NODE_BIN

START_SECONDS = 60
KEPT = []                               # sockets that keep their ports

MAIL = {"from": "ann@example.com", "to": "bob@example.org", "subject": "Hello", "text": "Hi Bob"}
INVITATION = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n"
FULL_MAIL = {
    "from": {"email": "ann@example.com", "name": "Änn"},
    "to": ["bob@example.org", "Carol <carol@example.org>"],
    "cc": [{"email": "dave@example.org"}],
    "bcc": ["archive@example.com"],
    "reply_to": ["support@example.com"],
    "subject": "Grüße",
    "text": "Hi",
    "html": '<p>Hi</p><img src="cid:logo">',
    "attachments": [{"filename": "a.txt", "content": "YQ"},
                    {"filename": "b.pdf", "content": "YQ==", "content_type": "application/pdf",
                     "disposition": "attachment"},
                    {"content_id": "<logo>", "content": "R0lG\r\nODlh", "filename": None}],
    "calendar": {"method": "REQUEST", "content": INVITATION},
    "headers": {"X-Order": "4711", "In-Reply-To": "<1@example.com>"},
    "list_unsubscribe": {"url": "https://example.com/u", "mailto": "mailto:u@example.com?subject=stop"},
    "tags": ["a", {"name": "b", "value": "c"}],
    "metadata": {"order": "4711"},
    "relay": "sandbox",
    "envelope": {"from": "bounce+1@example.com", "to": ["bob@example.org"]},
    "dsn": {"ret": "hdrs", "envid": "order-1", "notify": ["failure", "delay"]},
    "require_tls": True,
    "partial": "reject",
    "async": False,
    "on_temporary_failure": "retry",
}
MESSAGE = (b"From: Ann <ann@example.com>\nTo: bob@example.org\nBcc: eve@example.org\nSubject: Finished\n\n"
           b"Hi Bob\n")
AS_MESSAGE = {"Content-Type": "message/rfc822"}
URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
FORM = [("from", "Ann <ann@example.com>"), ("to", "bob@example.org"), ("to", "carol@example.org"), ("subject", "Hi"),
        ("text", "Hi & bye"), ("html", '<img src="cid:logo.gif">'), ("headers", '{"X-A": "1"}'),
        ("tags", "a"), ("tags", "b"), ("require_tls", "on")]
FILES = [("attachment", "a.pdf", b"%PDF-1.4"), ("inline", "logo.gif", b"GIF89a")]
NOT_IN_THIS_VERSION = {
    "async": True,
    "scheduled_at": "in 10 min",
    "on_temporary_failure": "queue",
    "expires_in": 60,
}

# As much as is allowed: the schema may not be narrower than the service.
LARGEST_MAIL = {
    "from": {"email": "a" * 64 + "@example.com", "name": "x" * 1000},
    "to": ["bob@example.org"] * 1000,
    "subject": "x" * 65536,
    "attachments": [{"filename": "x" * 255, "content_type": "application/" + "x" * 188,
                     "content_id": "<" + "x" * 200 + ">", "content": ""}] + [{"filename": "a", "content": ""}] * 499,
    "headers": [{"name": "X" * 76, "value": "x " * 8191 + "xx"}] + [{"name": "X-A", "value": "x" * 900}] * 199,
    "list_unsubscribe": {"url": "https://example.com/".ljust(800, "x"),
                         "mailto": "u@example.com?subject=".ljust(800, "x")},
    "tags": ["x" * 256] + [{"name": "x" * 256, "value": "x" * 256}] * 49,
    "metadata": {str(i).ljust(256, "x"): "x" * 1000 for i in range(50)},
    "dsn": {"envid": "x" * 100},
}

# What a schema can say, and the service refuses too.
AGAINST_SCHEMA = {
    "no from": {"from": None},
    "from is a number": {"from": 7},
    "to is an object without email": {"to": {"name": "Bob"}},
    "subject is a list": {"subject": ["x"]},
    "a subject that is too long": {"subject": "x" * 65537},
    "text is a number": {"text": 1},
    "an unknown field": {"sbject": "x"},
    "an unknown word in partial": {"partial": "maybe"},
    "an unknown word in on_temporary_failure": {"on_temporary_failure": "later"},
    "a header that is a number": {"headers": {"X-A": 1}},
    "a header's name that is too long": {"headers": {"X" * 77: "1"}},
    "too many headers": {"headers": [{"name": "X-A", "value": "1"}] * 201},
    "an attachment without content": {"attachments": [{"filename": "a"}]},
    "an attachment without a name": {"attachments": [{"content": "YQ=="}]},
    "an attachment with a path to fetch": {"attachments": [{"filename": "a", "path": "https://example.com/a"}]},
    "a disposition of another word": {"attachments": [{"filename": "a", "content": "", "disposition": "hidden"}]},
    "a file name that is too long": {"attachments": [{"filename": "x" * 256, "content": ""}]},
    "too many attachments": {"attachments": [{"filename": "a", "content": ""}] * 501},
    "a calendar without content": {"calendar": {"method": "REQUEST"}},
    "a calendar of another method": {"calendar": {"method": "INVITE", "content": "BEGIN:VCALENDAR"}},
    "a calendar that is none": {"calendar": {"method": "REQUEST", "content": "Lunch?"}},
    "an empty list_unsubscribe": {"list_unsubscribe": {}},
    "too many tags": {"tags": ["a"] * 51},
    "a tag without a name": {"tags": [{"value": "a"}]},
    "a metadata value that is a number": {"metadata": {"a": 1}},
    "a metadata value that is too long": {"metadata": {"a": "x" * 1001}},
    "too much metadata": {"metadata": {str(i): "x" for i in range(51)}},
    "an envelope without recipients": {"envelope": {"to": []}},
    "an unknown word in dsn": {"dsn": {"ret": "all"}},
    "an envid that is too long": {"dsn": {"envid": "x" * 101}},
    "an unknown word in notify": {"dsn": {"notify": ["always"]}},
    "require_tls is a string": {"require_tls": "true"},
}

# What no schema says.
BEYOND_SCHEMA = {
    "no recipient": {"to": None},
    "nothing to read": {"text": None},
    "an address without a domain": {"to": "bob@"},
    "two addresses in one string": {"to": "bob@example.org, carol@example.org"},
    "more recipients than allowed": {"to": ["bob@example.org"] * 1001},
    "a line break in the subject": {"subject": "a\r\nBcc: eve@example.com"},
    "a control character in the text": {"text": "a\u0007"},
    "a header that mailhatch owns": {"headers": {"Bcc": "eve@example.com"}},
    "a Message-ID that is none": {"headers": {"Message-ID": "4711"}},
    "a relay that does not exist": {"relay": "nowhere"},
    "base64 that is none": {"attachments": [{"filename": "a", "content": "!!!!"}]},
    "base64url": {"attachments": [{"filename": "a", "content": "_-8="}]},
    "an attachment that is multipart": {"attachments": [{"filename": "a", "content": "",
                                                         "content_type": "multipart/mixed"}]},
    "a content id with a blank": {"attachments": [{"content_id": "a b", "content": ""}]},
    "a method other than the calendar's": {"calendar": {"method": "CANCEL", "content": INVITATION}},
    "a calendar whose method nobody says": {"calendar": {"content": "BEGIN:VCALENDAR"}},
    "an unsubscribe URL that is none": {"list_unsubscribe": {"url": "example.com/u"}},
    "List-Unsubscribe twice": {"list_unsubscribe": {"mailto": "u@example.com"},
                               "headers": {"List-Unsubscribe": "<mailto:u@example.com>"}},
    "never beside another word": {"dsn": {"notify": ["never", "failure"]}},
}

# What Prism would not pass on as it is: it writes JSON anew.
BROKEN_JSON_MAILS = {
    "a name twice": b'{"from": "ann@example.com", "from": "eve@example.com", "to": "bob@example.org", "text": "x"}',
    "half of a surrogate pair": b'{"from": "ann@example.com", "to": "bob@example.org", "text": "\\ud800"}',
}

MESSAGES_WITH_MISTAKES = {
    "a message with a line of 999 octets": b"From: ann@example.com\nTo: bob@example.org\n\n" + b"x" * 999 + b"\n",
    "a message with two From": b"From: ann@example.com\nFrom: eve@example.com\nTo: bob@example.org\n\n",
    "a message without From": b"To: bob@example.org\n\n",
    "a message without recipients": b"From: ann@example.com\n\nHi\n",
    "a message that was resent": b"Resent-To: eve@example.com\n" + MESSAGE,
}


PROBLEM_MEMBERS = ("type", "title", "status", "code", "stage", "delivery", "retryable", "detail", "hint", "relay",
                   "smtp", "tls", "recipients", "attempts", "id", "request_id", "name", "message", "statusCode")


class Process:
    """A started program, its last lines, and its end by its own id."""

    def __init__(self, name, command, stream, environment=None):
        self.name, self.lines, self.pending = name, [], b""
        # One pipe for the stream that is read; the other one is of no interest.
        self.popen = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                                      **{stream: subprocess.PIPE,
                                         "stdout" if stream == "stderr" else "stderr": subprocess.DEVNULL})
        self.pipe = getattr(self.popen, stream)
        os.set_blocking(self.pipe.fileno(), False)

    def wait_for(self, wanted):
        """The first result of wanted(line) that is not None; waits for lines, not for time."""
        deadline = time.monotonic() + START_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self.pipe, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                selector.select(deadline - time.monotonic())
                data = self.pipe.read()
                if data == b"":
                    break
                *lines, self.pending = (self.pending + (data or b"")).split(b"\n")
                for line in lines:
                    self.lines.append(line.decode(errors="replace"))
                    found = wanted(self.lines[-1])
                    if found is not None:
                        return found
        raise SystemExit(f"{self.name} did not start:\n" + "\n".join(self.lines[-20:]))

    def stop(self):
        self.popen.terminate()
        try:
            self.popen.wait(10)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        self.pipe.close()
        return self.popen.returncode


KEY = "sesame-0123456789"


def start_service(binary, key=None, relay=None):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAILHATCH_")}
    environment.update(MAILHATCH_LISTEN="127.0.0.1:0", MAILHATCH_ADMIN_LISTEN="127.0.0.1:0",
                       MAILHATCH_LOG_FORMAT="json", MAILHATCH_API_KEYS=key or "")
    if relay:
        environment["MAILHATCH_RELAY_URL"] = relay
    service = Process("mailhatch", [binary] + ([] if relay else ["--sandbox"]), "stderr", environment)

    def listening(line):
        try:
            event = json.loads(line)
        except ValueError:
            return None
        return (event["api"], event["admin"]) if event.get("event") == "listening" else None

    try:
        return service, *service.wait_for(listening)
    except BaseException:
        service.stop()
        raise


def closed_port():
    """A port of which nobody answers: it is bound, and not listened on, until the end."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    KEPT.append(taken)
    return taken.getsockname()[1]


def start_prism(upstream):
    prism = Process("prism", [os.path.join(NODE_BIN, "prism"), "proxy", "--port", "0", CONTRACT, f"http://{upstream}"],
                    "stdout")

    def listening(line):
        match = re.search(r"listening on http://([\d.]+:\d+)", line)
        return match and match.group(1)

    try:
        return prism, prism.wait_for(listening)
    except BaseException:
        prism.stop()
        raise


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()
        self.violations = json.loads(response.headers.get("sl-violations", "[]"))

    def violations_in(self, side):
        return [v for v in self.violations if v["location"][0] == side]

    def member(self, name):
        """One member of a JSON object; None when there is no such thing."""
        try:
            return json.loads(self.body).get(name)
        except (ValueError, AttributeError):
            return None


def ask(address, method, path, body=None, headers=None):
    headers = dict(headers or {})
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(method, path, body, headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def multipart(fields, files):
    """A form with its Content-Type. Prism's reader needs one for each file."""
    boundary = "4c0ffee"
    parts = [(f'name="{name}"', value.encode()) for name, value in fields]
    parts += [(f'name="{name}"; filename="{filename}"\r\nContent-Type: application/octet-stream', data)
              for name, filename, data in files]
    body = b"".join(f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + data + b"\r\n"
                    for head, data in parts)
    return body + f"--{boundary}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


class Checks:
    """Counts what holds, and tells what does not."""

    def __init__(self):
        self.passed = self.failed = 0
        self.mistakes = set()           # the words of errors[].code that were answered

    def check(self, what, problems):
        if problems:
            self.failed += 1
            print(f"FAIL {what}")
            for problem in problems:
                print(f"     {problem}")
        else:
            self.passed += 1

    def equal(self, what, got, wanted):
        self.check(what, [] if got == wanted else [f"{got!r}, not {wanted!r}"])

    def good(self, what, answer, status):
        """A request within the contract."""
        self.check(what, self._difference(answer, status) + [json.dumps(v) for v in answer.violations])
        return answer

    def bad(self, what, answer, status, code):
        """A request outside the contract, answered within it."""
        problems = self._difference(answer, status, code)
        if not answer.violations_in("request"):
            problems.append("openapi.yaml allows this request")
        self.check(what, problems + [json.dumps(v) for v in answer.violations_in("response")])

    def refused(self, what, answer, status, code):
        """A request within the schema that the service refuses for a reason no schema can say."""
        self.check(what, self._difference(answer, status, code) + [json.dumps(v) for v in answer.violations])
        return answer

    def unwatched(self, what, answer, status, code):
        """An answer past Prism: its proxy replaces a 501 by an example, and does not pass broken JSON on."""
        problems = self._difference(answer, status, code)
        if answer.headers["Content-Type"] != "application/problem+json":
            problems.append(f"Content-Type {answer.headers['Content-Type']}")
        problems += [f"no member {name}" for name in PROBLEM_MEMBERS if name not in json.loads(answer.body)]
        self.check(what, problems)

    def answered(self, what, answer, status, code=None):
        """A form: Prism reads a name that comes several times as one string, so only the answer is judged."""
        self.check(what, self._difference(answer, status, code) +
                   [json.dumps(v) for v in answer.violations_in("response")])
        return answer

    def _difference(self, answer, status, code=None):
        self.mistakes.update(mistake["code"] for mistake in answer.member("errors") or [])
        if answer.status != status:
            return [f"status {answer.status}, not {status}: {answer.body[:300]!r}"]
        if code and answer.member("code") != code:
            return [f"code {answer.member('code')}, not {code}: {answer.body[:300]!r}"]
        return []


def check_emails(checks, api, direct):
    sent = checks.good("a short mail", ask(api, "POST", "/v1/emails", MAIL), 200)
    checks.good("a mail with every field", ask(api, "POST", "/v1/emails", FULL_MAIL), 200)
    nulls = dict.fromkeys(FULL_MAIL) | MAIL
    checks.good("a mail with as much as is allowed", ask(api, "POST", "/v1/emails/validate", LARGEST_MAIL), 200)
    checks.good("null means absent", ask(api, "POST", "/v1/emails", nulls), 200)
    listed = [{"name": "X-A", "value": "1"}, {"name": "X-A", "value": "2"}]
    checks.good("headers as a list", ask(api, "POST", "/v1/emails", {**MAIL, "headers": listed}), 200)
    checks.good("the null sender", ask(api, "POST", "/v1/emails", {**MAIL, "envelope": {"from": ""}}), 200)
    checks.good("a request id of ours", ask(api, "POST", "/v1/emails", MAIL, {"X-Request-Id": "abc-1"}), 200)

    for field, value in NOT_IN_THIS_VERSION.items():
        checks.unwatched(f"{field} is not in this version",
                         ask(direct, "POST", "/v1/emails", {**MAIL, field: value}), 501, "not_implemented")
    for what, change in AGAINST_SCHEMA.items():
        checks.bad(what, ask(api, "POST", "/v1/emails", {**MAIL, **change}), 422, "validation_failed")
    for what, change in BEYOND_SCHEMA.items():
        checks.refused(what, ask(api, "POST", "/v1/emails", {**MAIL, **change}), 422, "validation_failed")
    for what, body in BROKEN_JSON_MAILS.items():
        checks.unwatched(what, ask(direct, "POST", "/v1/emails", body), 422, "validation_failed")
    return sent


def check_validation(checks, api):
    mail = {**FULL_MAIL, "to": "jürgen@example.org", "envelope": None}
    valid = checks.good("a valid mail", ask(api, "POST", "/v1/emails/validate", mail), 200)
    checks.equal("the extensions it needs", valid.member("extensions"), ["8BITMIME", "SMTPUTF8", "DSN", "REQUIRETLS"])
    composed = checks.good("the composed message",
                           ask(api, "POST", "/v1/emails/validate", MAIL, {"Accept": "message/rfc822"}), 200)
    checks.check("it is a message", [] if b"\r\nSubject: Hello\r\n" in composed.body else [repr(composed.body[:200])])
    checks.refused("a mail that is not valid",
                   ask(api, "POST", "/v1/emails/validate", {**MAIL, "to": "bob@"}), 422, "validation_failed")


def check_batches(checks, api, direct):
    mails = [MAIL, {**MAIL, "to": "carol@example.org"}]
    with_refused = [MAIL, {**MAIL, "to": "bob@fail.test"}]
    with_mistake = [MAIL, {**MAIL, "to": "bob@"}]
    permissive = {"X-Batch-Validation": "permissive"}

    def batch(body, headers=None):
        return ask(api, "POST", "/v1/emails/batch", body, headers)

    sent = checks.good("a batch", batch(mails), 200)
    checks.equal("a result for each", [item["status"] for item in sent.member("data") or []], ["sent", "sent"])
    mixed = checks.good("a batch with a mail that the relay refuses", batch(with_refused), 207)
    checks.equal("one has failed", mixed.member("failed"), 1)
    strict = checks.refused("a batch with a mistake", batch(with_mistake), 422, "validation_failed")
    checks.equal("its pointer", [mistake["pointer"] for mistake in strict.member("errors") or []], ["/1/to"])
    lenient = checks.good("a permissive batch with a mistake", batch(with_mistake, permissive), 207)
    checks.equal("in order", [item.get("code") for item in lenient.member("data") or []], [None, "validation_failed"])
    checks.bad("an empty batch", batch([]), 422, "validation_failed")
    checks.bad("a batch of 101", batch([MAIL] * 101), 422, "validation_failed")
    checks.bad("a batch that is an object", batch(MAIL), 422, "validation_failed")
    checks.bad("another X-Batch-Validation", batch(mails, {"X-Batch-Validation": "lax"}), 400, "invalid_request")
    checks.bad("a batch that is a form", batch(b"from=ann@example.com", URLENCODED), 415, "unsupported_media_type")
    checks.unwatched("a batch with what is not in this version",
                     ask(direct, "POST", "/v1/emails/batch", [MAIL, {**MAIL, "async": True}]), 501, "not_implemented")


def check_forms(checks, api):
    urlencoded = urllib.parse.urlencode(FORM).encode()
    for path in ("/v1/emails", "/v1/emails/validate"):
        checks.answered(f"an urlencoded form to {path}", ask(api, "POST", path, urlencoded, URLENCODED), 200)
        checks.answered(f"a form with files to {path}", ask(api, "POST", path, *multipart(FORM, FILES)), 200)
    calendar = ("calendar", INVITATION)
    composed = checks.answered("a form with an invitation",
                               ask(api, "POST", "/v1/emails/validate", multipart([*FORM, calendar], FILES)[0],
                                   {**multipart([], [])[1], "Accept": "message/rfc822"}), 200)
    for wanted in (b"text/calendar", b"application/pdf", b"Content-ID: <logo.gif>", b"multipart/related"):
        checks.check(f"the message has {wanted.decode()}", [] if wanted in composed.body else [repr(composed.body)])
    mistakes = {
        "an unknown field in a form": [*FORM, ("sbject", "x")],
        "a field twice": [*FORM, ("subject", "x")],
        "two addresses in one field": [*FORM, ("cc", "a@example.org, b@example.org")],
        "headers that are no JSON": [("from", "ann@example.com"), ("to", "bob@example.org"), ("text", "x"),
                                     ("headers", "{X-A: 1}")],
        "attachments by the name of JSON": [*FORM, ("attachments", "x")],
    }
    for what, fields in mistakes.items():
        checks.answered(what, ask(api, "POST", "/v1/emails", *multipart(fields, [])), 422, "validation_failed")
    cut = multipart(FORM, FILES)[0][:-20]
    checks.answered("a form that is cut off", ask(api, "POST", "/v1/emails", cut, multipart([], [])[1]), 400,
                    "invalid_request")


def check_messages(checks, api):
    path = "/v1/emails/validate"
    checks.good("a finished message", ask(api, "POST", "/v1/emails", MESSAGE, AS_MESSAGE), 200)
    valid = checks.good("its envelope", ask(api, "POST", path, MESSAGE, AS_MESSAGE), 200)
    checks.equal("as in its header", valid.member("envelope"),
                 {"from": "ann@example.com", "to": ["bob@example.org", "eve@example.org"]})
    query = urllib.parse.urlencode([("from", "<>"), ("to", "carol@example.org"), ("to", "dave@example.org"),
                                    ("relay", "sandbox")])
    valid = checks.good("another envelope", ask(api, "POST", f"{path}?{query}", MESSAGE, AS_MESSAGE), 200)
    checks.equal("as in the query", valid.member("envelope"),
                 {"from": "", "to": ["carol@example.org", "dave@example.org"]})
    as_sent = {**AS_MESSAGE, "Accept": "message/rfc822"}
    written = checks.good("as it is sent", ask(api, "POST", path, MESSAGE, as_sent), 200)
    checks.check("without Bcc", [] if b"\r\nSubject: Finished\r\n" in written.body and b"Bcc" not in written.body
                 else [repr(written.body)])
    for what, message in MESSAGES_WITH_MISTAKES.items():
        checks.refused(what, ask(api, "POST", path, message, AS_MESSAGE), 422, "validation_failed")
    for what, query in (("an unknown relay in the query", "relay=nowhere"), ("an unknown name in the query", "form=x"),
                        ("a recipient that is none", "to=bob%40")):
        checks.refused(what, ask(api, "POST", f"{path}?{query}", MESSAGE, AS_MESSAGE), 422, "validation_failed")


def check_gzip(checks, direct):
    """Past Prism, which reads the body as JSON without inflating it."""
    packed = {"Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps(MAIL).encode())
    answer = ask(direct, "POST", "/v1/emails", body, packed)
    checks.equal("a gzip body", (answer.status, answer.member("status")), (200, "sent"))
    form, headers = multipart(FORM, FILES)
    answer = ask(direct, "POST", "/v1/emails/validate", gzip.compress(form), {**headers, **packed})
    checks.equal("a gzip form", (answer.status, answer.member("valid")), (200, True))
    checks.unwatched("a gzip body that is cut off", ask(direct, "POST", "/v1/emails", body[:-9], packed), 400,
                     "invalid_request")
    checks.unwatched("another coding", ask(direct, "POST", "/v1/emails", body, {"Content-Encoding": "br"}), 415,
                     "unsupported_media_type")
    # 36 MiB of blanks before the object are JSON, and 36 kB on the way.
    bomb = gzip.compress(b" " * (36 << 20) + json.dumps(MAIL).encode())
    checks.unwatched("a body too large once inflated", ask(direct, "POST", "/v1/emails", bomb, packed), 413,
                     "payload_too_large")


def check_mistakes(checks):
    """The contract lists the words of errors[].code; each was answered by something above."""
    with open(CONTRACT, encoding="utf-8") as file:
        section = file.read().partition("\n    MistakeCode:\n")[2].partition("\n\n")[0]
    listed = set(re.findall(r"^        - (\w+)$", section, re.M))
    checks.check("each word of errors[].code occurs", [f"never answered: {word}" for word in listed - checks.mistakes])
    checks.check("no other word occurs", [f"not in the contract: {word}" for word in checks.mistakes - listed])


def check_framing(checks, api, direct):
    checks.unwatched("broken JSON", ask(direct, "POST", "/v1/emails", b'{"from":'), 400, "invalid_json")
    checks.bad("an array", ask(api, "POST", "/v1/emails", b"[]"), 422, "validation_failed")
    checks.bad("text/plain", ask(api, "POST", "/v1/emails", b"Hi", {"Content-Type": "text/plain"}), 415,
               "unsupported_media_type")
    for header, value in (("Idempotency-Key", "k1"), ("Prefer", "respond-async")):
        checks.unwatched(f"{header} is not in this version",
                         ask(direct, "POST", "/v1/emails", MAIL, {header: value}), 501, "not_implemented")
    checks.refused("from a web page", ask(api, "POST", "/v1/emails", MAIL, {"Origin": "https://evil.example"}), 403,
                   "forbidden")


def check_reading(checks, api, mail_id):
    catalogue = checks.good("the catalogue", ask(api, "GET", "/v1/errors"), 200).member("data") or []
    checks.check("the catalogue has entries", [] if catalogue else ["it is empty"])
    for code in [entry["code"] for entry in catalogue]:
        checks.good(f"error {code}", ask(api, "GET", f"/v1/errors/{urllib.parse.quote(code)}"), 200)
    checks.refused("an error that does not exist", ask(api, "GET", "/v1/errors/nothing"), 404, "not_found")
    checks.good("what this is", ask(api, "GET", "/"), 200)
    contract = checks.good("the contract", ask(api, "GET", "/openapi.yaml"), 200)
    with open(CONTRACT, "rb") as file:
        checks.check("the contract is the one of this checkout", [] if contract.body == file.read() else ["it differs"])

    listed = checks.good("the sandbox's mails", ask(api, "GET", "/sandbox/messages"), 200).member("data") or []
    checks.check("the sandbox lists what was sent",
                 [] if mail_id in [mail["id"] for mail in listed] else [f"{mail_id} is missing"])
    checks.good("one mail", ask(api, "GET", f"/sandbox/messages/{mail_id}"), 200)
    as_mail = {"Accept": "message/rfc822"}
    raw = checks.good("its bytes", ask(api, "GET", f"/sandbox/messages/{mail_id}", headers=as_mail), 200)
    checks.check("its bytes are a mail", [] if b"\r\nSubject: Hello\r\n" in raw.body else [repr(raw.body[:200])])
    checks.refused("a mail that does not exist", ask(api, "GET", "/sandbox/messages/none"), 404, "not_found")
    checks.good("forget the mails", ask(api, "DELETE", "/sandbox/messages"), 204)
    left = ask(api, "GET", "/sandbox/messages").member("total")
    checks.check("they are forgotten", [] if left == 0 else [f"{left} are left"])


def check_keys(checks, api):
    """By a key that may send one mail an hour from example.com to example.net, and may not ask for a diagnosis."""
    key = {"Authorization": "Bearer " + KEY}
    mail = {**MAIL, "from": "ann@example.com", "to": "bob@example.net"}

    def send(changes, headers=key):
        return ask(api, "POST", "/v1/emails", {**mail, **changes}, headers)

    checks.refused("a wrong key", send({}, {"Authorization": "Bearer x"}), 401, "invalid_api_key")
    checks.refused("a sender that is not the key's", send({"from": "ann@example.org"}), 403, "sender_not_allowed")
    checks.refused("a recipient that is not the key's", send({"to": "bob@example.org"}), 403, "recipient_not_allowed")
    checks.refused("a diagnosis that is not the key's", send({"diagnose": True}), 403, "forbidden")
    checks.good("a mail by a key", send({}), 200)
    answer = checks.refused("one mail too many", send({}), 429, "rate_limited")
    told = [f"no {name}" for name in ("Retry-After", "RateLimit", "RateLimit-Policy") if not answer.headers[name]]
    checks.check("it says when", told)


def check_operations(checks, admin):
    for path in ("/livez", "/readyz", "/metrics", "/version"):
        checks.good(path, ask(admin, "GET", path), 200)
    checks.bad("another value of relay", ask(admin, "GET", "/readyz?relay=shallow"), 400, "invalid_request")
    checks.good("readiness by the relay", ask(admin, "GET", "/readyz?relay=deep"), 200)


def check_relays(checks, api, admin):
    """The admin listener's first deep probe comes before any diagnosis."""
    checks.good("nothing is known of the relay", ask(admin, "GET", "/readyz?relay=deep"), 503)
    checks.good("the relays", ask(api, "GET", "/v1/relays"), 200)
    report = checks.good("a diagnosis", ask(api, "POST", "/v1/relays/sandbox/diagnose"), 200)
    checks.equal("it works", report.member("ok"), True)
    wish = {"to": "bob@example.org", "from": {"email": "ann@example.com"}, "send": False, "tls_versions": True,
            "all_ports": True}
    report = checks.good("a diagnosis of all", ask(api, "POST", "/v1/relays/sandbox/diagnose", wish), 200)
    checks.equal("the versions were tried", [v["version"] for v in report.member("facts")["tls_versions"]],
                 ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"])
    for what, wish in {"an unknown wish": {"port": 25}, "a recipient that is a number": {"to": 7},
                       "send is a string": {"to": "bob@example.org", "send": "yes"}}.items():
        checks.bad(what, ask(api, "POST", "/v1/relays/sandbox/diagnose", wish), 422, "validation_failed")
    checks.refused("send without a recipient", ask(api, "POST", "/v1/relays/sandbox/diagnose", {"send": True}), 422,
                   "validation_failed")
    checks.refused("a relay that does not exist", ask(api, "POST", "/v1/relays/nowhere/diagnose"), 404, "not_found")
    checks.refused("the same", ask(api, "GET", "/v1/relays/nowhere"), 404, "not_found")
    failed = checks.refused("a failure with its diagnosis",
                            ask(api, "POST", "/v1/emails", {**MAIL, "to": "bob@fail.test", "diagnose": True}), 422,
                            "recipients_rejected")
    checks.equal("its step", (failed.member("diagnosis") or {}).get("failed_at"), "rcpt")
    relay = checks.good("one relay", ask(api, "GET", "/v1/relays/sandbox"), 200)
    checks.equal("its last diagnosis", relay.member("last_diagnosis")["ok"], True)


def run(checks, binary):
    contract.check_linters(checks)
    processes = []
    try:
        service, api, admin = start_service(binary)
        processes.append(service)
        keyed, keyed_api, _ = start_service(binary, f"web:{KEY} scope=send sender=@example.com "
                                            "recipient=@example.net rate=1/h")
        processes.append(keyed)
        prism, keyed_proxy = start_prism(keyed_api)
        processes.append(prism)
        check_keys(checks, keyed_proxy)
        prism, api_proxy = start_prism(api)
        processes.append(prism)
        prism, admin_proxy = start_prism(admin)
        processes.append(prism)
        sent = check_emails(checks, api_proxy, api)
        check_validation(checks, api_proxy)
        check_batches(checks, api_proxy, api)
        check_forms(checks, api_proxy)
        check_messages(checks, api_proxy)
        check_gzip(checks, api)
        check_mistakes(checks)
        check_framing(checks, api_proxy, api)
        check_reading(checks, api_proxy, sent.member("id"))
        check_relays(checks, api_proxy, admin_proxy)
        check_operations(checks, admin_proxy)
        contract.check_codes(checks, api)
        with_client, client_api, _ = start_service(binary, f"client:{KEY}")
        processes.append(with_client)
        broken, broken_api, _ = start_service(binary, f"client:{KEY}", f"smtp://127.0.0.1:{closed_port()}")
        processes.append(broken)
        contract.check_client(checks, api, client_api, broken_api, KEY)
    finally:
        for process in reversed(processes):
            status = process.stop()
            if process.name == "mailhatch":
                checks.check("mailhatch ends with status 0", [] if status == 0 else [f"status {status}"])


def main(arguments):
    checks = Checks()
    run(checks, os.path.abspath(arguments[0]))
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
