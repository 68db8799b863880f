"""End-of-data smuggling: every mixture of CR, LF and CRLF around a dot, with a second mail's commands behind it, in
texts and in finished messages, through Postfix and Exim, by BDAT and by DATA. One request is one mail, with exactly its
content; and what the servers would do with a sequence that got through is shown by sending it to them directly."""
import base64
import email
import itertools
import re
import socket
import ssl
import unittest
import urllib.parse

import harness
import servers
from harness import Gateway, mail
from judge import body_of, parsed

ENDS = ("\n", "\r", "\r\n")
# One or two line ends, each string once: "\r" and "\n" are "\r\n".
BREAKS = tuple(dict.fromkeys(["".join(e) for n in (1, 2) for e in itertools.product(ENDS, repeat=n)]))
SEQUENCES = tuple(dict.fromkeys(a + "." + b for a, b in itertools.product(BREAKS, BREAKS)))
SIMPLE = tuple(a + "." + b for a, b in itertools.product(ENDS, ENDS))
COMMANDS = (
    "MAIL FROM:<evil@example.org>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"
    "From: evil@example.org\r\nMessage-ID: <evil@example.org>\r\nSubject: smuggled\r\n\r\nsmuggled"
)
PIECE = 64 * 1024  # the session takes a mail's content in pieces of this size


def has_bare_cr(text):
    return re.search(r"\r(?!\n)", text) is not None


def lines(text):
    """With LF only, as Python's email package and a Maildir have it."""
    return re.sub(r"\r\n|\r|\n", "\n", text)


def content(sequence):
    return "before" + sequence + COMMANDS + sequence + "after\r\n"


def content_at_border(sequence, shift):
    """The sequence again and again where the first piece ends, however long the header is, and shifted octet by octet
    through the border; then the commands."""
    padding = ("p" * 62 + "\r\n") * ((PIECE - 3000) // 64) + "s" * shift
    return padding + ("x" + sequence) * (6000 // (len(sequence) + 1)) + COMMANDS + sequence + "after\r\n"


def at_border():
    return [content_at_border(s, shift) for s in SIMPLE for shift in range(len(s) + 1)]


class PostfixData(servers.Postfix):
    def main_cf(self, owner):
        """As gullible as it comes: bare line ends are taken for line ends."""
        return super().main_cf(owner) + "smtpd_discard_ehlo_keywords = chunking\nsmtpd_forbid_bare_newline = no\n"


class EximData(servers.Exim):
    def set_up(self):
        super().set_up()
        conf = self.dir / "root/etc/exim4/exim4.conf"
        conf.write_text("chunking_advertise_hosts =\n" + conf.read_text())


class Smtp:
    """A client that writes what it is told; smtplib would mend it."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.file = self.socket.makefile("rb")
        self.reply()
        self.say("EHLO client.example")
        self.say("STARTTLS")
        context = ssl.create_default_context(cafile=harness.cert_path("ca.pem"))
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.file = self.socket.makefile("rb")
        self.offers = self.say("EHLO client.example")
        secret = base64.b64encode(("\0%s\0%s" % (servers.USER, servers.PASSWORD)).encode()).decode()
        self.say("AUTH PLAIN " + secret)

    def reply(self):
        got = b""
        while True:
            line = self.file.readline()
            got += line
            if len(line) < 4 or line[3:4] != b"-":
                return got.decode()

    def say(self, line):
        self.socket.sendall(line.encode() + b"\r\n")
        return self.reply()

    def close(self):
        self.file.close()
        self.socket.close()


class Smuggling:
    server_class = None
    has_chunking = True

    @classmethod
    def setUpClass(cls):
        cls.server = cls.server_class()
        cls.wanted = {}  # Message-ID: what must have arrived under it
        try:
            cls.g = Gateway(
                {"MAILHATCH_RELAY_PASSWORD": servers.PASSWORD},
                relay="smtp://%s@localhost:%d" % (servers.USER, cls.server.port),
            )
        except BaseException:
            cls.server.stop()
            raise
        cls.c = cls.g.connection()

    @classmethod
    def tearDownClass(cls):
        try:
            cls.c.close()
            cls.g.stop()
        finally:
            cls.server.stop()

    def send_text(self, text):
        answer = self.g.post(mail(to="bob@example.test", text=text), connection=self.c)
        self.assertEqual(answer.status, 200, "%r\n%s" % (answer, self.server.output()[-2000:]))
        self.assertEqual(answer.json["status"], "sent")
        self.wanted[answer.json["message_id"]] = ("text", lines(text))

    def post_raw(self, message):
        query = urllib.parse.urlencode({"from": "ann@example.org", "to": "bob@example.test"})
        return self.g.request(
            "POST", "/v1/emails?" + query, message, {"Content-Type": "message/rfc822"}, connection=self.c
        )

    def raw(self, body):
        identity = "<raw-%d-%d@example.org>" % (self.server.port, len(self.wanted))
        header = (
            "From: ann@example.org\r\nTo: bob@example.test\r\nBcc: carol@example.test,\r\n dave@example.test\r\n"
            "Subject: raw\r\nDate: Tue, 24 Nov 2026 23:56:00 +0000\r\nMessage-ID: %s\r\n\r\n" % identity
        )
        return identity, header, (header + body).encode()

    def send_raw(self, body):
        identity, header, message = self.raw(body)
        answer = self.post_raw(message)
        self.assertEqual(answer.status, 200, "%r\n%s" % (answer, self.server.output()[-2000:]))
        self.assertEqual(answer.json["message_id"], identity)
        kept = re.sub(r"Bcc: .*\r\n .*\r\n", "", header)
        self.wanted[identity] = ("raw", lines(kept + body))

    def check_mailbox(self):
        """After one more mail, all is there once, and nothing else."""
        self.send_text("the last one of this test\n")

        def arrived():
            return sum(1 for p in self.server.maildir().rglob("new/*") if p.is_file()) >= len(self.wanted)

        try:
            harness.wait_for(arrived, 120, "%d mails in the mailbox" % len(self.wanted))
        except AssertionError as e:
            raise AssertionError("%s\n%s" % (e, self.server.output()[-3000:])) from None
        found = self.server.mails()
        identities = [email.message_from_bytes(m)["Message-ID"] for m in found]
        self.assertEqual(sorted(identities), sorted(self.wanted))
        for identity, data in zip(identities, found):
            kind, want = self.wanted[identity]
            if kind == "raw":
                self.assertTrue(data.decode().endswith("\n" + want), (data[-3000:], want[-3000:]))
                continue
            message = parsed(data)
            self.assertEqual(message["Return-Path"].strip("<>"), "ann@example.org")
            self.assertEqual(message["Content-Transfer-Encoding"], "7bit")  # else there is no sequence on the wire
            self.assertEqual(body_of(message), want)
        self.assertNotIn("evil@", self.server.output())

    def test_offers(self):
        client = Smtp(self.server.port)
        self.assertEqual("CHUNKING" in client.offers, self.has_chunking)
        client.close()

    def test_text(self):
        for sequence in SEQUENCES:
            self.send_text(content(sequence))
        self.check_mailbox()

    def test_text_at_border(self):
        for text in at_border():
            self.send_text(text)
        self.check_mailbox()

    def test_raw(self):
        for sequence in SEQUENCES:
            if not has_bare_cr(content(sequence)):
                self.send_raw(content(sequence))
        self.check_mailbox()

    def test_raw_at_border(self):
        for body in at_border():
            if not has_bare_cr(body):
                self.send_raw(body)
        self.check_mailbox()

    def test_raw_bare_cr(self):
        for body in [content(s) for s in SEQUENCES] + at_border():
            if has_bare_cr(body):
                answer = self.post_raw(self.raw(body)[2])
                self.assertEqual((answer.status, answer.code), (422, "validation_failed"), repr(answer))
                self.assertIn("control_character", [e["code"] for e in answer.json["errors"]])
        self.check_mailbox()


class TestControl(unittest.TestCase):
    """What these tests guard against exists: the same contents, written to the server by somebody who mends nothing."""

    def test_bare_line_feeds_end_the_data(self):
        server, taken_in = PostfixData(), set()
        try:
            for sequence in SIMPLE:
                client = Smtp(server.port)
                for command in ("MAIL FROM:<ann@example.org>", "RCPT TO:<bob@example.test>", "DATA"):
                    client.say(command)
                message = "From: ann@example.org\r\nSubject: control\r\n\r\n" + content(sequence)
                client.socket.sendall(message.encode() + b".\r\nQUIT\r\n")
                if client.file.read().count(b"250 ") > 1:  # replies to the commands in the content
                    taken_in.add(sequence)
                client.close()
        finally:
            server.stop()
        self.assertEqual(taken_in, {"\n.\n", "\n.\r\n", "\r\n.\n", "\r\n.\r\n"})


class TestPostfixChunking(Smuggling, unittest.TestCase):
    server_class = servers.Postfix


class TestPostfixData(Smuggling, unittest.TestCase):
    server_class = PostfixData
    has_chunking = False


class TestEximChunking(Smuggling, unittest.TestCase):
    server_class = servers.Exim


class TestEximData(Smuggling, unittest.TestCase):
    server_class = EximData
    has_chunking = False


if __name__ == "__main__":
    unittest.main()
