"""Small mails as requests of each type, of a length that does not change from one to the next."""
import gzip
import json
import urllib.parse

from client import Sent
from relay import text_digest

KINDS = ("json", "chunked", "gzip", "urlencoded", "multipart", "raw")
BOUNDARY = "cut-here"
CHUNK = 90
FILLER = "The quick brown fox jumps over the lazy dog, again and again, until it is tired.\n"


class Requests:
    def __init__(self, seed):
        self.seed, self.count = seed, 0

    def make(self, kind, relay, recipients, size=0):
        """(Sent, path, content type, body). `size`: octets of further text, for one that is not small."""
        self.count += 1
        n = self.count
        text = FILLER * (size // len(FILLER)) + "A line.\n.\n..a dot\nend %08d\n" % n
        to = tuple("r%d.%08d@example.net" % (i, n) for i in range(recipients))
        sent = Sent(n, relay, kind, "%08d.%s@soak.example.org" % (n, self.seed), "bounce+%08d@example.org" % n, to,
                    text_digest(text.encode()), len(text))
        if kind == "raw":
            return sent, *self.raw(sent, text)
        mail = {
            "from": "ann@example.org",
            "to": list(to),
            "envelope": {"from": sent.sender},
            "subject": "Cut %08d" % n,
            "relay": relay,
            "headers": {"Message-ID": "<%s>" % sent.message_id},
            "text": text,
        }
        return sent, "/v1/emails", *getattr(self, "as_" + kind)(mail)

    def last_line(self, sent):
        return b"end %08d" % sent.number

    def as_json(self, mail):
        return "application/json", json.dumps(mail).encode()

    as_chunked = as_gzip = as_json

    def fields(self, mail):
        for name, value in mail.items():
            for one in value if isinstance(value, list) else [value]:
                yield name, json.dumps(one) if isinstance(one, dict) else one

    def as_urlencoded(self, mail):
        return "application/x-www-form-urlencoded", urllib.parse.urlencode(list(self.fields(mail))).encode()

    def as_multipart(self, mail):
        parts = ["--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n" % (BOUNDARY, name, value)
                 for name, value in self.fields(mail)]
        return "multipart/form-data; boundary=" + BOUNDARY, ("".join(parts) + "--%s--\r\n" % BOUNDARY).encode()

    def raw(self, sent, text):
        query = urllib.parse.urlencode([("from", sent.sender), ("relay", sent.relay), ("to", sent.recipients[0])])
        head = "From: ann@example.org\nTo: all@example.net\nSubject: raw\nMessage-ID: <%s>\n\n" % sent.message_id
        return "/v1/emails?" + query, "message/rfc822", (head + text).encode()

    def wire(self, kind, path, content_type, body):
        """The whole request."""
        head = "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n" % (path, content_type)
        if kind == "gzip":
            body = gzip.compress(body)
            head += "Content-Encoding: gzip\r\n"
        if kind == "chunked":
            pieces = [body[at : at + CHUNK] for at in range(0, len(body), CHUNK)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\nX-Trailer: end\r\n\r\n"
            return (head + "Transfer-Encoding: chunked\r\n\r\n").encode() + body
        return (head + "Content-Length: %d\r\n\r\n" % len(body)).encode() + body
