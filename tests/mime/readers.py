"""The composer, and the readers of what it writes: Python's email here, mailparser and postal-mime in node."""
import base64
import email
import email.errors
import email.header
import email.policy
import email.utils
import functools
import json
import os
import re
import struct
import subprocess

from wire import Wrong

# The default, which parses a field each time it is looked at; what comes out never changes, so once is enough.
POLICY = email.policy.default.clone(header_factory=functools.lru_cache(1000)(email.policy.default.header_factory))
# Newer versions refuse a whole list for a quoted "[" or "@" unless they are told not to.
NOT_STRICT = {"strict": False} if getattr(email.utils, "supports_strict_parsing", False) else {}
HERE = os.path.dirname(os.path.abspath(__file__))
REFUSED = 0xFFFFFFFF
FIELDS = {"from": "From", "to": "To", "cc": "Cc", "reply_to": "Reply-To", "sender": "Sender"}


class Process:
    """A program that answers one question at a time, as often as it is asked; started again when it has died."""

    def __init__(self, command):
        self.command = command
        self.process = None

    def send(self, octets):
        if not self.process:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.process.stdin.write(struct.pack(">I", len(octets)) + octets)
            self.process.stdin.flush()
        except BrokenPipeError:
            self.died()

    def read(self, n):
        octets = self.process.stdout.read(n)
        if len(octets) != n:
            self.died()
        return octets

    def died(self):
        self.process.stdin.close()
        status, self.process = self.process.wait(), None
        raise Wrong(f"{os.path.basename(self.command[0])} ended with {status}")

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()
            self.process = None


class Composer(Process):
    def frame(self):
        n = struct.unpack(">I", self.read(4))[0]
        return None if n == REFUSED else self.read(n)

    def compose(self, body):
        """(message, None), or (None, why it was refused: lines "pointer code")."""
        self.send(body)
        message = self.frame()
        return (message, None) if message is not None else (None, self.frame().decode())


class Node(Process):
    """What mailparser and postal-mime see; `send` first, and use the time until they answer."""

    def __init__(self):
        super().__init__(["node", os.path.join(HERE, "readers.mjs")])

    def receive(self):
        line = self.process.stdout.readline()
        if not line:
            self.died()
        seen = json.loads(line)
        for mail in seen.values():
            for a in mail.get("attachments", []):
                a["content"] = base64.b64decode(a["content"])
        return seen


def check_defects(part):
    defects = list(part.defects)
    for value in part.values():
        defects += getattr(value, "defects", [])
    # An address that is not ASCII is what SMTPUTF8 is for; Python calls it a defect all the same.
    defects = [d for d in defects if not isinstance(d, email.errors.NonASCIILocalPartDefect)]
    if defects:
        raise Wrong("defects", repr(defects))


def exact_addresses(old, name):
    """Through the older half of Python's reader: the newer one leaves a space between adjacent encoded words, which RFC
    2047 6.2 ignores."""
    lines = old[name]
    pairs = email.utils.getaddresses([re.sub(r"\r?\n", "", lines)], **NOT_STRICT) if lines is not None else []
    return [(str(email.header.make_header(email.header.decode_header(name))), address) for name, address in pairs]


def python_leaf(part):
    """A part without parts. Of an attached message Python keeps no octets, only another tree: wire.py reads it."""
    disposition = part["Content-Disposition"]
    is_mail = part.get_content_type() == "message/rfc822"
    return {
        "type": part.get_content_type(),
        "parameters": dict(part["Content-Type"].params),
        "disposition": disposition and disposition.content_disposition,
        # get_filename() strips; this does not
        "filename": disposition and disposition.params.get("filename"),
        "cid": part["Content-ID"] and str(part["Content-ID"]).strip().strip("<>"),
        "content": None if is_mail else part.get_payload(decode=True),
        "encoding": str(part["Content-Transfer-Encoding"] or "7bit").lower(),
    }


def python_leaves(message):
    """walk() would go down into attached messages."""
    waiting, leaves = [message], []
    while waiting:
        part = waiting.pop(0)
        check_defects(part)
        if part.get_content_maintype() == "multipart":
            waiting[:0] = part.get_payload()
        else:
            leaves.append(python_leaf(part))
    return leaves


def read_python(raw):
    # The package knows no RFC 6532: octets beyond ASCII would be replaced, so they are decoded first. Only address
    # fields have any (wire.py), everything else is the same either way.
    text = raw.decode("utf-8")
    message = email.message_from_string(text, policy=POLICY)
    old = email.parser.HeaderParser(policy=email.policy.compat32).parsestr(text)
    newer = {key: [(a.display_name, a.addr_spec) for a in message[name].addresses] if message[name] is not None else []
             for key, name in FIELDS.items()}
    return {
        "subject": None if message["Subject"] is None else str(message["Subject"]),
        "message_id": str(message["Message-ID"]),
        "addresses": {key: exact_addresses(old, name) for key, name in FIELDS.items()},
        "newer addresses": newer,
        "headers": message,
        "leaves": python_leaves(message),
    }
