"""docs/migrating.md against the libraries themselves: a scripted peer fails, the library says what the page says it
does, and mailhatch, asked the same, answers with a code of that row."""
import json
import re
import smtplib
import socket
import ssl
import subprocess
import tempfile
import unittest
from email.message import EmailMessage

import harness
from harness import Gateway, mail
from peer import BASIC, Peer, close, hang, reply_close, reset
from test_connect import black_hole

PAGE = harness.ROOT / "docs" / "migrating.md"
PYTHON, NODE, CURL = "Python: smtplib", "Node.js: nodemailer", "curl"
ROW = re.compile(r"^\| `([^|]*)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$")
CODE = re.compile(r"\[`([a-z0-9_]+)`\]\(errors\.md#([a-z0-9_]+)\)")


def rows_of_page():
    """{section: {error text: codes}}"""
    found, section = {}, None
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = found.setdefault(line[3:], {})
        row = ROW.match(line)
        if row:
            section[row[1]] = [code for code, _ in CODE.findall(row[3])]
    return {name: rows for name, rows in found.items() if rows}


class TestPage(unittest.TestCase):
    def test_rows(self):
        """Every line of a table is read, and there are enough of them."""
        text = PAGE.read_text(encoding="utf-8")
        rows = rows_of_page()
        lines = [line for line in text.splitlines() if line.startswith("| `")]
        self.assertEqual(sum(len(r) for r in rows.values()), len(lines))
        self.assertGreater(len(lines), 100)
        self.assertEqual(len(rows), 8)
        for name in (PYTHON, NODE, CURL):
            self.assertIn(name, rows)

    def test_codes_exist(self):
        with Gateway(relay="smtp://ann@127.0.0.1:1") as g:
            known = {e["code"] for e in g.get("/v1/errors").json["data"]}
        for name, rows in rows_of_page().items():
            for text, codes in rows.items():
                self.assertTrue(codes, "%s: %s has no code" % (name, text))
                self.assertLessEqual(set(codes), known, "%s: %s" % (name, text))
        for code, anchor in CODE.findall(PAGE.read_text(encoding="utf-8")):
            self.assertEqual(code, anchor)


class TestSnippets(unittest.TestCase):
    """What stands on the page in place of the library's call sends a mail, and raises code, detail and hint."""

    COMMANDS = {"python": ["/usr/bin/python3", "-c"], "js": ["node", "--input-type=module", "-e"], "sh": ["sh", "-c"]}

    def run_snippet(self, language, gateway):
        code = re.search("```%s\n(.*?)```" % language, PAGE.read_text(encoding="utf-8"), re.S)[1]
        self.assertIn("http://127.0.0.1:8587", code)
        code = code.replace("http://127.0.0.1:8587", "http://" + gateway.api)
        with tempfile.TemporaryDirectory() as directory:
            with open(directory + "/mail.eml", "w", encoding="ascii") as f:
                f.write("From: ann@example.com\nTo: bob@example.org\nSubject: Hello\n\nIt works.\n")
            command = [*self.COMMANDS[language], code]
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    def test_they_send(self):
        for language in self.COMMANDS:
            with self.subTest(language), Peer() as p, Gateway(relay=p.url()) as g:
                status, said = self.run_snippet(language, g)
                self.assertEqual((status, len(p.mails)), (0, 1), said)

    def test_they_tell(self):
        for language in self.COMMANDS:
            with self.subTest(language), Peer(on={"rcpt": "550 5.1.1 no"}) as p, Gateway(relay=p.url()) as g:
                status, said = self.run_snippet(language, g)
                self.assertIn("recipients_rejected", said)
                self.assertIn("Correct the address: localhost says that the mailbox does not exist.", said)
                self.assertTrue(status or language == "sh")  # curl shows the answer, whatever it is


# --- the libraries, each a function of how the relay is reached that returns what the application would log


def by_smtplib(port, implicit=False, user="ann", timeout=10, to="bob@example.net"):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ann@example.org", to, "Hello"
    message.set_content("Hello Bob.\n")
    context = ssl.create_default_context(cafile=harness.cert_path("ca.pem"))
    try:
        if implicit:
            smtp = smtplib.SMTP_SSL("localhost", port, timeout=timeout, context=context)
        else:
            smtp = smtplib.SMTP("localhost", port, timeout=timeout)
        with smtp:
            if not implicit:
                smtp.starttls(context=context)
            if user:
                smtp.login(user, harness.PASSWORD)
            smtp.send_message(message)
    except (OSError, smtplib.SMTPException, ValueError) as e:
        return "%s: %s" % (type(e).__name__, e)
    return "sent"


def by_nodemailer(port, implicit=False, user="ann", timeout=10, to="bob@example.net"):
    options = {
        "host": "localhost",
        "port": port,
        "secure": implicit,
        "requireTLS": not implicit,
        "connectionTimeout": timeout * 1000,
        "greetingTimeout": timeout * 1000,
        "socketTimeout": 30000,
        "tls": {"ca": open(harness.cert_path("ca.pem"), encoding="ascii").read()},
    }
    if user:
        options["auth"] = {"user": user, "pass": harness.PASSWORD}
    wanted = {"options": options, "mail": mail(to=to)}
    script = harness.ROOT / "tests" / "e2e" / "node" / "send.mjs"
    done = subprocess.run(["node", str(script), json.dumps(wanted)], capture_output=True, text=True, timeout=60)
    assert done.stdout, done.stderr
    return done.stdout


def by_curl(port, implicit=False, user="ann", timeout=10, to="bob@example.net"):
    command = ["curl", "-sS", "--ssl-reqd", "--cacert", harness.cert_path("ca.pem"), "--max-time", str(timeout)]
    command += ["--mail-from", "ann@example.org", "--mail-rcpt", to, "-T", "-"]
    command += ["--user", "%s:%s" % (user, harness.PASSWORD)] if user else []
    command += ["%s://localhost:%d" % ("smtps" if implicit else "smtp", port)]
    done = subprocess.run(command, input="Subject: Hello\r\n\r\nHi\r\n", capture_output=True, text=True, timeout=60)
    return done.stderr


LIBRARIES = {PYTHON: by_smtplib, NODE: by_nodemailer, CURL: by_curl}
NAMES = {PYTHON: "smtplib", NODE: "nodemailer", CURL: "curl"}


class TestLibraries(unittest.TestCase):
    maxDiff = None

    def run_row(self, section, text, code, peer, port=None, **how):
        codes = rows_of_page()[section]
        self.assertIn(text, codes, "docs/migrating.md has no such row")
        self.assertIn(code, codes[text])
        with Peer(**{"caps": BASIC, **peer}) as p:
            at = port or p.port
            said = LIBRARIES[section](at, **how)
            self.assertIn(text, said)
            self.assert_gateway_says(code, at, how)

    def assert_gateway_says(self, code, port, how):
        user = how.get("user", "ann")
        scheme = "smtps" if how.get("implicit") else "smtp"
        relay = "%s://%slocalhost:%d" % (scheme, user + "@" if user else "", port)
        with Gateway({"MAILHATCH_RELAY_TIMEOUT": "5"}, relay=relay) as g:
            answer = g.post(mail(to=how.get("to", "bob@example.net")))
            self.assertEqual(answer.code, code, repr(answer))


COUNT = {}


def same(section, text, code, peer=None, **how):
    def test(self):
        if how.get("port") == "closed":
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))  # bound, not listening
                self.run_row(section, text, code, {}, **{**how, "port": s.getsockname()[1]})
        elif how.get("port") == "silent":
            with black_hole("127.0.0.1") as port:
                self.run_row(section, text, code, {}, **{**how, "port": port})
        else:
            self.run_row(section, text, code, peer or {}, **how)

    COUNT[section] = COUNT.get(section, 0) + 1
    setattr(TestLibraries, "test_%s_%02d_%s" % (NAMES[section], COUNT[section], code), test)


IMPLICIT = {"implicit": True}
NOBODY = {"user": None}

same(PYTHON, "SMTPServerDisconnected: Connection unexpectedly closed", "connection_closed", {"on": {"banner": close}})
same(
    PYTHON,
    "SMTPServerDisconnected: Connection unexpectedly closed",
    "auth_failed",
    {"on": {"auth": reply_close("535 5.7.8 no")}},
)
same(
    PYTHON,
    "SMTPNotSupportedError: STARTTLS extension not supported by server.",
    "starttls_not_offered",
    {"tls_mode": "none"},
)
same(
    PYTHON,
    "SMTPNotSupportedError: SMTP AUTH extension not supported by server.",
    "auth_not_offered",
    {"auth": ""},
)
same(
    PYTHON,
    "No suitable authentication method found.",
    "auth_mechanism_unsupported",
    {"auth": "GSSAPI NTLM"},
)
same(PYTHON, "SMTPAuthenticationError: (535,", "auth_failed", {"on": {"auth": "535 5.7.8 no"}})
same(
    PYTHON,
    "SMTPAuthenticationError: (535,",
    "auth_basic_disabled",
    {"on": {"auth": "535 5.7.139 Authentication unsuccessful, basic authentication is disabled."}},
)
same(
    PYTHON,
    "SMTPAuthenticationError: (534,",
    "auth_app_password_required",
    {"on": {"auth": "534 5.7.9 Application-specific password required"}},
)
same(
    PYTHON,
    "SMTPSenderRefused: (530,",
    "auth_required",
    {"on": {"mail": "530 5.7.0 Authentication required"}},
    **NOBODY,
)
same(PYTHON, "SMTPSenderRefused: (552,", "message_too_large", {"on": {"mail": "552 5.3.4 too big"}})
same(PYTHON, "SMTPSenderRefused: (550,", "sender_rejected", {"on": {"mail": "550 5.7.1 not your address"}})
same(PYTHON, "SMTPRecipientsRefused", "recipients_rejected", {"on": {"rcpt": "550 5.1.1 no such user"}})
same(PYTHON, "SMTPRecipientsRefused", "relay_denied", {"on": {"rcpt": "554 5.7.1 Relay access denied"}})
same(PYTHON, "SMTPDataError: (554,", "message_rejected", {"on": {"body": "554 5.7.1 spam"}})
same(PYTHON, "SMTPConnectError: (421,", "relay_busy", {"on": {"banner": reply_close("421 too many connections")}})
same(PYTHON, "SMTPConnectError: (554,", "banner_rejected", {"on": {"banner": reply_close("554 go away")}})
same(PYTHON, "[SSL: WRONG_VERSION_NUMBER] wrong version number", "tls_on_plaintext_port", **IMPLICIT)
same(
    PYTHON,
    "certificate verify failed: self-signed certificate",
    "tls_cert_untrusted",
    {"cert": "selfsigned"},
)
same(
    PYTHON,
    "certificate verify failed: unable to get local issuer certificate",
    "tls_cert_untrusted",
    {"cert": "unknownca"},
)
same(PYTHON, "certificate verify failed: certificate has expired", "tls_cert_expired", {"cert": "expired"})
same(PYTHON, "certificate verify failed: Hostname mismatch", "tls_cert_name_mismatch", {"cert": "wrongname"})
same(PYTHON, "ConnectionRefusedError: [Errno 111] Connection refused", "connect_refused", port="closed")
same(
    PYTHON,
    "SMTPServerDisconnected: Connection unexpectedly closed: timed out",
    "plaintext_on_tls_port",
    {"tls_mode": "implicit"},
    timeout=1,
)
same(PYTHON, "TimeoutError: timed out", "connect_timeout", port="silent", timeout=1)
same(
    PYTHON,
    "does not advertise the required SMTPUTF8 capability",
    "smtputf8_unsupported",
    to="jürgen@example.net",
)

same(NODE, "connect ECONNREFUSED", "connect_refused", port="closed")
same(NODE, "Greeting never received", "plaintext_on_tls_port", {"tls_mode": "implicit"}, timeout=1)
same(NODE, "wrong version number", "tls_on_plaintext_port", **IMPLICIT)
same(NODE, "Invalid login: 535", "auth_failed", {"on": {"auth": "535 5.7.8 no"}})
same(
    NODE,
    "Invalid login: 534",
    "auth_app_password_required",
    {"on": {"auth": "534 5.7.9 Application-specific password required"}},
)
same(NODE, "self-signed certificate", "tls_cert_untrusted", {"cert": "selfsigned"})
same(NODE, "unable to verify the first certificate", "tls_cert_untrusted", {"cert": "unknownca"})
same(NODE, "certificate has expired", "tls_cert_expired", {"cert": "expired"})
same(NODE, "does not match certificate's altnames", "tls_cert_name_mismatch", {"cert": "wrongname"})
same(
    NODE,
    "alert protocol version",
    "tls_version_unsupported",
    {"min_tls": ssl.TLSVersion.TLSv1, "max_tls": ssl.TLSVersion.TLSv1_1},
)
same(
    NODE,
    "Error upgrading connection with STARTTLS",
    "starttls_not_offered",
    {"tls_mode": "none", "on": {"starttls": "502 5.5.1 no"}},
)
same(NODE, "Connection closed unexpectedly", "connection_closed", {"on": {"mail": close}})
same(NODE, "read ECONNRESET", "connection_closed", {"on": {"mail": reset}})
same(NODE, "Invalid greeting", "banner_rejected", {"on": {"banner": reply_close("554 go away")}})
same(
    NODE,
    "Mail command failed: 530",
    "auth_required",
    {"on": {"mail": "530 5.7.0 Authentication required"}},
    **NOBODY,
)
same(NODE, "Mail command failed: 550", "sender_rejected", {"on": {"mail": "550 5.7.1 not your address"}})
same(
    NODE,
    "Can't send mail - all recipients were rejected",
    "recipients_rejected",
    {"on": {"rcpt": "550 5.1.1 no such user"}},
)
same(NODE, "Message failed: 554", "message_rejected", {"on": {"body": "554 5.7.1 spam"}})
same(NODE, "Message failed: 552", "message_too_large", {"on": {"body": "552 5.3.4 too big"}})

same(CURL, "curl: (67) Login denied", "auth_failed", {"on": {"auth": "535 5.7.8 no"}})
same(CURL, "curl: (64) STARTTLS not supported", "starttls_not_offered", {"tls_mode": "none"})
same(CURL, "wrong version number", "tls_on_plaintext_port", **IMPLICIT)
same(CURL, "curl: (60) SSL certificate problem", "tls_cert_untrusted", {"cert": "selfsigned"})
same(
    CURL,
    "curl: (60) SSL: no alternative certificate subject name matches target host name",
    "tls_cert_name_mismatch",
    {"cert": "wrongname"},
)
same(CURL, "curl: (55) MAIL failed:", "sender_rejected", {"on": {"mail": "550 5.7.1 not your address"}})
same(CURL, "curl: (55) RCPT failed:", "recipients_rejected", {"on": {"rcpt": "550 5.1.1 no such user"}})
same(CURL, "curl: (7) Failed to connect to", "connect_refused", port="closed")
same(CURL, "curl: (28)", "timeout", {"on": {"banner": hang}}, timeout=1)


if __name__ == "__main__":
    unittest.main()
