"""What a reader must see, derived from the request alone."""
import base64
import re
from dataclasses import dataclass, field

from wire import structured

BREAK = re.compile(r"\r\n|\r|\n")
ATOM = re.compile(r"[^\x00-\x20\x7f\"(),:;<>@\[\\\].]+(\.[^\x00-\x20\x7f\"(),:;<>@\[\\\].]+)*")
# The A-labels (RFC 5890) of the domains in the cases, by hand: no second implementation of IDNA is asked.
A_LABELS = {"bücher": "xn--bcher-kva", "straße": "xn--strae-oqa", "日本語": "xn--wgv71a119e", "παράδειγμα":
            "xn--hxajbheg2az3al", "пример": "xn--e1afmkfd", "مثال": "xn--mgbh0fb", "mañana": "xn--maana-pta"}
# Types by the file name's end, those that everybody agrees on.
TYPES = {"pdf": "application/pdf", "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif",
         "txt": "text/plain", "csv": "text/csv", "html": "text/html", "zip": "application/zip",
         "gz": "application/gzip",
         "json": "application/json",
         "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "svg": "image/svg+xml"}


@dataclass
class Leaf:
    type: str                               # lower case
    content: bytes
    parameters: dict = field(default_factory=dict)
    is_text: bool = False                   # a body: what the sender wrote, not a file
    filename: str | None = None
    cid: str | None = None
    disposition: str | None = None
    related: bool = False
    guessed: bool = False                   # a charset may have been added


@dataclass
class Expected:
    subject: str | None
    addresses: dict                         # field -> [(name, address)]
    headers: list                           # the caller's own: [(name, value)]
    message_id: str | None                  # None: made
    tree: tuple                             # (multipart subtype, [children]) or a Leaf
    hidden: list                            # addresses that may not be anywhere
    unsubscribe: dict

    def leaves(self):
        return leaves_of(self.tree)

    def structure(self):
        return structure_of(self.tree)


def leaves_of(tree):
    return [tree] if isinstance(tree, Leaf) else [leaf for child in tree[1] for leaf in leaves_of(child)]


def structure_of(tree):
    return tree.type if isinstance(tree, Leaf) else tree[0] + "(" + ",".join(map(structure_of, tree[1])) + ")"


def as_list(value):
    return [] if value is None else value if isinstance(value, list) else [value]


def a_label(domain):
    return ".".join(A_LABELS.get(label, label) for label in domain.lower().split("."))


def canonical(address):
    """The domain as A-labels; the local part with no more quoting than it needs (RFC 5321 4.1.2)."""
    local, _, domain = address.strip(" ").rpartition("@")
    if local.startswith('"'):
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
        if not ATOM.fullmatch(local):
            local = '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'
    return local + "@" + a_label(domain)


def phrase(text):
    """A display name in a string: quoted strings are literal, runs of spaces outside count as one."""
    out = ""
    for quoted, plain in re.findall(r'"((?:[^"\\]|\\.)*)"|([^"]+)', text):
        if quoted:
            out += re.sub(r"\\(.)", r"\1", quoted)
            continue
        plain = re.sub(" +", " ", plain)
        out += plain[1:] if plain.startswith(" ") and (not out or out.endswith(" ")) else plain
    return out.strip(" ")


def split_angle(text):
    """('phrase', 'address') of 'phrase <address>', or None: the "<" that is not in quotes."""
    if not text.endswith(">"):
        return None
    m = re.match(r'((?:"(?:[^"\\]|\\.)*"|[^"<])*)<(.*)>', text, re.S)
    return m and (m.group(1), m.group(2))


def address(value):
    """(name, address) of an address in any of its forms."""
    if isinstance(value, dict):
        return value.get("name") or "", canonical(value["email"])
    named = split_angle(value.strip(" "))
    return (phrase(named[0]), canonical(named[1])) if named else ("", canonical(value))


def own_headers(request):
    own = request.get("headers") or {}
    return [(h["name"], h["value"]) for h in own] if isinstance(own, list) else list(own.items())


def crlf(text):
    """mime.h: all breaks become CRLF."""
    return BREAK.sub("\r\n", text).encode()


def body(subtype, text, **parameters):
    return Leaf("text/" + subtype, crlf(text), {"charset": "utf-8", **parameters}, is_text=True)


def decode_content(text):
    text = re.sub(r"[\r\n]", "", text)
    return base64.b64decode(text + "=" * (-len(text) % 4))


def as_attached_mail(content):
    """The octets of a message/rfc822 part, or None: RFC 2046 5.2.1 allows it no encoding, so what 7bit cannot carry is
    sent as octets; and so is what does not even begin with a header field. Bare LF becomes CRLF."""
    if not content.isascii() or re.search(rb"\r(?!\n)|\0", content) or not re.match(rb"[!-9;-~]+:", content):
        return None
    content = re.sub(rb"\r?\n", b"\r\n", content)
    return content if all(len(line) <= 998 for line in content.split(b"\r\n")) else None


def guess(filename):
    return TYPES.get((filename or "").rpartition(".")[2].lower(), "application/octet-stream")


def attachment(a, has_html):
    content = decode_content(a["content"])
    given = a.get("content_type")
    kind, parameters = structured(given) if given else (guess(a.get("filename")), {})
    if kind == "message/rfc822":
        mail = as_attached_mail(content)
        kind, content = (kind, mail) if mail is not None else ("application/octet-stream", content)
    cid = a.get("content_id")
    disposition = a.get("disposition") or ("inline" if cid else "attachment")
    parameters = {k: v for k, v in parameters.items() if k != "name"}
    return Leaf(kind, content, parameters, filename=a.get("filename") or None, cid=cid and cid.strip("<>"),
                disposition=disposition, related=bool(cid and has_html),
                guessed=not given)


def calendar_method(calendar):
    """What is given, else what the object itself says."""
    given = calendar.get("method") or re.search(r"^METHOD:(\w+)", calendar["content"], re.M).group(1)
    return given.upper()


def build(request):
    """mixed > related > alternative, each only where it is needed."""
    parts = [body(s, request[k]) for s, k in (("plain", "text"), ("html", "html")) if request.get(k) is not None]
    calendar = request.get("calendar")
    if calendar:
        parts.append(body("calendar", calendar["content"], method=calendar_method(calendar)))
    files = [attachment(a, request.get("html") is not None) for a in request.get("attachments") or []]
    if calendar:
        files.append(Leaf("application/ics", crlf(calendar["content"]), filename="invite.ics",
                          disposition="attachment", guessed=True))
    related, rest = [f for f in files if f.related], [f for f in files if not f.related]
    tree = ("alternative", parts) if len(parts) > 1 else parts[0] if parts else None
    if related:
        tree = ("related", [tree, *related])
    children = [child for child in [tree, *rest] if child]
    return ("mixed", children) if len(children) > 1 else children[0]


def expected(request):
    fields = {f: [address(a) for a in as_list(request.get(f))] for f in ("from", "to", "cc", "bcc", "reply_to")}
    own = own_headers(request)
    shown = {a for f in ("from", "to", "cc", "reply_to") for _, a in fields[f]}
    senders = [address(value) for name, value in own if name.lower() == "sender"]
    return Expected(
        subject=request.get("subject"),
        addresses={**{f: fields[f] for f in ("from", "to", "cc", "reply_to")}, "sender": senders},
        headers=[(n, v) for n, v in own if n.lower() not in ("sender", "message-id")],
        message_id=next((v for n, v in own if n.lower() == "message-id"), None),
        tree=build(request),
        hidden=[a for _, a in fields["bcc"] if a not in shown],
        unsubscribe={k: v for k, v in (request.get("list_unsubscribe") or {}).items() if v is not None})
