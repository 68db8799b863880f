"""openapi.yaml against the running service: redocly lints it, Prism watches requests and answers go by.

traffic.py BINARY   last line "N passed, N failed"

Prism stands before the service as a proxy. It runs without --errors on purpose: with it a request that breaks the
contract never reaches the service, and how the service answers those is half of what is to be checked. Instead Prism
reports in the header sl-violations, and this program decides: an answer may never break the contract; a good request
may not, and a bad one must.
"""
import http.client
import json
import os
import re
import selectors
import subprocess
import sys
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
CONTRACT = os.path.normpath(os.path.join(HERE, "..", "..", "openapi.yaml"))
NODE_BIN = os.path.join(HERE, "node_modules", ".bin")
START_SECONDS = 60

MAIL = {"from": "ann@example.com", "to": "bob@example.org", "subject": "Hello", "text": "Hi Bob"}
FULL_MAIL = {
    "from": {"email": "ann@example.com", "name": "Änn"},
    "to": ["bob@example.org", "Carol <carol@example.org>"],
    "cc": [{"email": "dave@example.org"}],
    "bcc": ["archive@example.com"],
    "reply_to": ["support@example.com"],
    "subject": "Grüße",
    "text": "Hi",
    "html": "<p>Hi</p>",
    "headers": {"X-Order": "4711"},
    "relay": "sandbox",
    "partial": "reject",
}
NOT_IN_THIS_VERSION = {
    "attachments": [{"filename": "a.txt", "content": "YQ=="}],
    "calendar": {"method": "REQUEST", "content": "BEGIN:VCALENDAR"},
    "list_unsubscribe": {"url": "https://example.com/u"},
    "tags": ["a"],
    "metadata": {"a": "b"},
    "envelope": {"from": "bounce@example.com"},
    "dsn": {"notify": ["failure"]},
    "require_tls": True,
    "async": True,
    "scheduled_at": "in 10 min",
    "on_temporary_failure": "retry",
    "expires_in": 60,
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


def start_service(binary):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAILHATCH_")}
    environment.update(MAILHATCH_LISTEN="127.0.0.1:0", MAILHATCH_ADMIN_LISTEN="127.0.0.1:0",
                       MAILHATCH_LOG_FORMAT="json")
    service = Process("mailhatch", [binary, "--sandbox"], "stderr", environment)

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


class Checks:
    """Counts what holds, and tells what does not."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, what, problems):
        if problems:
            self.failed += 1
            print(f"FAIL {what}")
            for problem in problems:
                print(f"     {problem}")
        else:
            self.passed += 1

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

    def unwatched(self, what, answer, status, code):
        """An answer past Prism: its proxy replaces a 501 by an example, and does not pass broken JSON on."""
        problems = self._difference(answer, status, code)
        if answer.headers["Content-Type"] != "application/problem+json":
            problems.append(f"Content-Type {answer.headers['Content-Type']}")
        problems += [f"no member {name}" for name in PROBLEM_MEMBERS if name not in json.loads(answer.body)]
        self.check(what, problems)

    @staticmethod
    def _difference(answer, status, code=None):
        if answer.status != status:
            return [f"status {answer.status}, not {status}: {answer.body[:300]!r}"]
        if code and answer.member("code") != code:
            return [f"code {answer.member('code')}, not {code}: {answer.body[:300]!r}"]
        return []


def check_emails(checks, api, direct):
    sent = checks.good("a short mail", ask(api, "POST", "/v1/emails", MAIL), 200)
    checks.good("a mail with every field", ask(api, "POST", "/v1/emails", FULL_MAIL), 200)
    nulls = {**MAIL, "html": None, "cc": None, "relay": None}
    checks.good("null means absent", ask(api, "POST", "/v1/emails", nulls), 200)
    listed = [{"name": "X-A", "value": "1"}, {"name": "X-A", "value": "2"}]
    checks.good("headers as a list", ask(api, "POST", "/v1/emails", {**MAIL, "headers": listed}), 200)
    checks.good("a request id of ours", ask(api, "POST", "/v1/emails", MAIL, {"X-Request-Id": "abc-1"}), 200)

    for field, value in NOT_IN_THIS_VERSION.items():
        checks.unwatched(f"{field} is not in this version",
                         ask(direct, "POST", "/v1/emails", {**MAIL, field: value}), 501, "not_implemented")
    wrong = {
        "no from": {"to": "bob@example.org", "subject": "x", "text": "x"},
        "from is a number": {**MAIL, "from": 7},
        "to is an object without email": {**MAIL, "to": {"name": "Bob"}},
        "subject is a list": {**MAIL, "subject": ["x"]},
        "text is a number": {**MAIL, "text": 1},
        "an unknown field": {**MAIL, "sbject": "x"},
        "an unknown word in partial": {**MAIL, "partial": "maybe"},
        "a header that is a number": {**MAIL, "headers": {"X-A": 1}},
    }
    for what, mail in wrong.items():
        checks.bad(what, ask(api, "POST", "/v1/emails", mail), 422, "validation_failed")

    beyond_schema = {
        "no recipient": {"from": "ann@example.com", "subject": "x", "text": "x"},
        "neither text nor html": {"from": "ann@example.com", "to": "bob@example.org", "subject": "x"},
        "an address without a domain": {**MAIL, "to": "bob@"},
        "a line break in the subject": {**MAIL, "subject": "a\r\nBcc: eve@example.com"},
        "a header that mailhatch owns": {**MAIL, "headers": {"Bcc": "eve@example.com"}},
        "a relay that does not exist": {**MAIL, "relay": "nowhere"},
    }
    for what, mail in beyond_schema.items():
        checks.refused(what, ask(api, "POST", "/v1/emails", mail), 422, "validation_failed")
    return sent


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


def check_operations(checks, admin, direct):
    for path in ("/livez", "/readyz", "/metrics", "/version"):
        checks.good(path, ask(admin, "GET", path), 200)
    checks.unwatched("readiness by the relay", ask(direct, "GET", "/readyz?relay=deep"), 501, "not_implemented")


def run(checks, binary):
    lint = subprocess.run([os.path.join(NODE_BIN, "redocly"), "lint", "--config", os.path.join(HERE, "redocly.yaml"),
                           "--format=stylish", CONTRACT], capture_output=True, text=True, check=False)
    warned = "warning" in lint.stdout + lint.stderr
    checks.check("redocly lint", [lint.stdout + lint.stderr] if lint.returncode or warned else [])

    processes = []
    try:
        service, api, admin = start_service(binary)
        processes.append(service)
        prism, api_proxy = start_prism(api)
        processes.append(prism)
        prism, admin_proxy = start_prism(admin)
        processes.append(prism)
        sent = check_emails(checks, api_proxy, api)
        check_framing(checks, api_proxy, api)
        check_reading(checks, api_proxy, sent.member("id"))
        check_operations(checks, admin_proxy, admin)
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
