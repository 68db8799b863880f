"""The octets of a message, taken apart by the letter of the RFCs: a reader that forgives nothing."""
import base64
import binascii
import quopri
import re
import urllib.parse

LINE_HARD, LINE_SOFT, LINE_ENCODED = 998, 78, 76
OURS = ("from", "to", "cc", "reply-to", "sender", "subject")
ADDRESSES = ("from", "to", "cc", "reply-to", "sender")
ONCE = ("from", "date", "message-id", "mime-version")
AT_MOST_ONCE = ("to", "cc", "reply-to", "subject", "sender", "in-reply-to", "references", "content-type",
                "content-transfer-encoding", "content-disposition", "content-id", "list-unsubscribe",
                "list-unsubscribe-post")
PART_FIELDS = ("content-type", "content-transfer-encoding", "content-disposition", "content-id")
ENCODINGS = ("7bit", "quoted-printable", "base64")
PARAMETER = re.compile(r';[ \t]*([!#$%&\'*+\-.^_`{|}~0-9A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^\s;"(),:<>@\[\]?=\\/]+)[ \t]*')
BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=?]{1,70}")          # RFC 2046 5.1.1, without its space


class Wrong(Exception):
    """A message that is not what the request asked for. `kind` stays the same while a case is shrunk."""

    def __init__(self, kind, detail=""):
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind


def cut(value, most=600):
    text = repr(value)
    return text if len(text) <= most else text[:most // 2] + " … " + text[-most // 2:]


def expect(what, got, want):
    if got == want:
        return
    detail = f"got {cut(got)}, expected {cut(want)}"
    if isinstance(got, (str, bytes)) and isinstance(want, (str, bytes)) and type(got) is type(want):
        at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
        detail = (f"differs at {at} of {len(want)} (got {len(got)}): got {cut(got[max(at - 30, 0):at + 60])}, "
                  f"expected {cut(want[max(at - 30, 0):at + 60])}")
    raise Wrong(what, detail)


class Part:
    """One part: its unfolded fields, and either the octets of its body or its children."""

    def __init__(self, fields, body):
        self.fields = fields                    # [(name as written, unfolded value)]
        self.body = body
        self.children = []
        self.content = None                     # decoded
        self.type, self.parameters = structured(self.get("content-type", "text/plain"))
        self.disposition, self.disposition_parameters = structured(self.get("content-disposition", ""))
        self.encoding = self.get("content-transfer-encoding", "7bit")

    def get(self, name, default=None):
        return next((value for key, value in self.fields if key.lower() == name), default)

    def structure(self):
        if not self.children:
            return self.type
        return self.type.partition("/")[2] + "(" + ",".join(c.structure() for c in self.children) + ")"

    def leaves(self):
        return [leaf for c in self.children for leaf in c.leaves()] if self.children else [self]


def structured(value):
    """(value in lower case, parameters decoded by RFC 2231) of a Content-Type or Content-Disposition."""
    head, _, _ = value.partition(";")
    rest, raw = value[len(head):], {}
    at = 0
    for m in PARAMETER.finditer(rest):
        if m.start() != at:
            break
        at = m.end()
        name, text = m.group(1).lower(), m.group(2)
        if name in raw:
            raise Wrong("a parameter twice", value)
        raw[name] = re.sub(r"\\(.)", r"\1", text[1:-1]) if text[0] == '"' else text
    if at != len(rest):
        raise Wrong("parameters", f"cannot read {cut(rest[at:])} in {cut(value)}")
    return head.strip(" \t").lower(), joined(raw)


def joined(raw):
    """RFC 2231: NAME*, NAME*0*, NAME*0 … into NAME. Plain NAME beside them is the older readers' fallback."""
    out, pieces = {}, {}
    for name, text in raw.items():
        base, star, rest = name.partition("*")
        if not star:
            out.setdefault(base, text)
            continue
        number, extended = (0, True) if rest == "" else (int(rest.rstrip("*")), rest.endswith("*"))
        pieces.setdefault(base, {})[number] = (text, extended)
    for base, numbered in pieces.items():
        if sorted(numbered) != list(range(len(numbered))):
            raise Wrong("continued parameter", f"numbers {sorted(numbered)}")
        octets, charset = b"", "us-ascii"
        for i in range(len(numbered)):
            text, extended = numbered[i]
            if i == 0 and extended:
                charset, _, text = text.split("'", 2)
            octets += urllib.parse.unquote_to_bytes(text) if extended else text.encode()
        if base in out and not out[base].isascii():
            raise Wrong("a fallback that is not ASCII")
        out[base] = octets.decode(charset)
    return out


def is_foldable(line):
    """Whether a line has a space to fold at: outside quotes, behind the first word."""
    words = re.sub(r'"(\\.|[^"\\])*"', lambda m: m.group().replace(" ", "_"), line)
    return " " in re.sub(r"^[^ :]*:", "", words).strip(" ")


def check_header_line(name, line):
    if not line.strip(" "):
        raise Wrong("a header line of nothing but spaces")
    soft = LINE_ENCODED if name in OURS and "=?utf-8?" in line else LINE_SOFT
    if len(line.encode()) > soft and is_foldable(line):
        raise Wrong("a header line that could be folded", f"{len(line.encode())} octets: {cut(line)}")
    for word in re.findall(r"=\?utf-8\?[qb]\?[^? ]*\?=", line):
        if name in OURS and len(word) > 75:
            raise Wrong("a long encoded word", f"{len(word)} octets")
    if re.search(r"[^ -~]", line) and name not in ADDRESSES:
        raise Wrong("a header line that is not ASCII", cut(line))


def fields_of(header):
    """[(name, unfolded value)] of header lines, each checked."""
    fields, name = [], ""
    for line in header.decode("utf-8").split("\r\n") if header else []:
        if line[:1] not in (" ", "\t"):
            m = re.match(r"([!-9;-~]+):", line)
            if not m:
                raise Wrong("not a header line", cut(line))
            name = m.group(1)
            fields.append((name, line[m.end():]))
        elif not fields:
            raise Wrong("a header that begins with a continuation")
        else:
            fields[-1] = (name, fields[-1][1] + line)
        check_header_line(name.lower(), line)
    return [(key, value.strip(" \t")) for key, value in fields]


def take_part(octets):
    if octets.startswith(b"\r\n"):
        return Part([], octets[2:])
    header, empty, body = octets.partition(b"\r\n\r\n")
    if not empty:
        raise Wrong("no empty line behind the header")
    return Part(fields_of(header), body)


def split(part):
    """The octets between the delimiters of a multipart, whose preamble and epilogue must be empty."""
    boundary = part.parameters.get("boundary", "")
    if not BOUNDARY.fullmatch(boundary):
        raise Wrong("boundary", cut(boundary))
    delimiter = b"\r\n--" + boundary.encode()
    pieces = (b"\r\n" + part.body).split(delimiter)
    if pieces[0] not in (b"", b"\r\n"):
        raise Wrong("text before the first part", cut(pieces[0]))
    if not re.fullmatch(rb"--(\r\n)?", pieces[-1]):
        raise Wrong("end of a multipart", cut(pieces[-1]))
    for piece in pieces[1:-1]:
        if not piece.startswith(b"\r\n"):
            raise Wrong("boundary in the content", cut(piece[:80]))
    return [piece[2:] for piece in pieces[1:-1]]


def decode_base64(body):
    lines = body.removesuffix(b"\r\n").split(b"\r\n")
    if any(len(line) != 76 for line in lines[:-1]) or len(lines[-1]) > 76:
        raise Wrong("base64 lines", f"lengths {cut([len(line) for line in lines])}")
    try:
        return base64.b64decode(b"".join(lines), validate=True)
    except binascii.Error as e:
        raise Wrong("base64", str(e)) from None


def decode_quoted(body):
    for line in body.split(b"\r\n"):
        if len(line) > 76:
            raise Wrong("a quoted-printable line", f"{len(line)} octets")
        if not re.fullmatch(rb"(?:[!-<>-~ \t]|=[0-9A-F]{2})*=?", line) or line[-1:] in (b" ", b"\t"):
            raise Wrong("quoted-printable", cut(line))
    return quopri.decodestring(body)


def read_leaf(part):
    if part.encoding not in ENCODINGS:
        raise Wrong("encoding", part.encoding)
    if part.type.startswith("message/") and part.encoding != "7bit":
        raise Wrong("a message in an encoding", part.encoding)      # RFC 2046 5.2.1
    decode = {"7bit": bytes, "quoted-printable": decode_quoted, "base64": decode_base64}[part.encoding]
    part.content = decode(part.body)


def check_counts(fields, once, most):
    names = [name.lower() for name, _ in fields]
    for name in once:
        if names.count(name) != 1:
            raise Wrong("number of " + name, str(names.count(name)))
    for name in most:
        if names.count(name) > 1:
            raise Wrong("more than one " + name)
    if "bcc" in names:
        raise Wrong("Bcc is in the message")


def check_lines(raw):
    if not raw.endswith(b"\r\n"):
        raise Wrong("the message does not end in CRLF")
    if re.search(rb"(?<!\r)\n|\r(?!\n)|\0", raw):
        raise Wrong("a bare CR or LF, or a NUL")
    longest = max(len(line) for line in raw.split(b"\r\n"))
    if longest > LINE_HARD:
        raise Wrong("a long line", f"{longest} octets")


def read(raw):
    """The tree of the message's parts; Wrong when anything in it is not as the RFCs have it."""
    check_lines(raw)
    root = take_part(raw)
    if not root.body.isascii():
        raise Wrong("the body is not 7bit")
    check_counts(root.fields, ONCE, AT_MOST_ONCE)
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if not part.type.startswith("multipart/"):
            read_leaf(part)
            continue
        if part.encoding != "7bit":
            raise Wrong("a multipart in an encoding", part.encoding)
        part.children = [take_part(piece) for piece in split(part)]
        if len(part.children) < 2:
            raise Wrong("a multipart of one part", part.type)
        for child in part.children:
            check_counts(child.fields, ("content-type",), PART_FIELDS)
            odd = [name for name, _ in child.fields if name.lower() not in PART_FIELDS]
            if odd:
                raise Wrong("fields of a part", str(odd))
        waiting += part.children
    return root
