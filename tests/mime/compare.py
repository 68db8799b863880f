"""What was read against what is expected.

The readers' own ways are evened out here and nowhere else, each with the reason. Names, addresses, subjects, file names
and the octets of attachments are compared as they are.
"""
import email.policy
import re

import wire
from expect import A_LABELS
from readers import FIELDS, read_python
from wire import Wrong, expect

HEADER = email.policy.default.header_factory


# ---- wire.py: exact ----

def compare_leaf(who, got, want, is_root):
    content = want.content
    # mime.h: a message ends in CRLF, so a sole part that does not gains one, unless its encoding says where it ends.
    if is_root and got.encoding != "base64" and content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    expect(f"{who} content of {want.type}", got.content, content)
    if not want.is_text and got.encoding != "base64" and want.type != "message/rfc822":
        raise Wrong(f"{who} encoding of an attachment", got.encoding)
    parameters = {k: v for k, v in got.parameters.items() if k != "name"}
    if want.guessed and "charset" not in want.parameters:
        parameters.pop("charset", None)
    expect(f"{who} parameters", parameters, want.parameters)
    expect(f"{who} file name", got.disposition_parameters.get("filename"), want.filename)
    expect(f"{who} disposition", got.disposition or None, want.disposition)
    expect(f"{who} content id", got.get("content-id"), want.cid and f"<{want.cid}>")


def compare_unsubscribe(tree, want):
    value = tree.get("list-unsubscribe")
    got = sorted(re.findall(r"<[^<>]*>", value or ""))
    if value and not re.fullmatch(r"<[^<> ]+>(, <[^<> ]+>)*", value):
        raise Wrong("wire List-Unsubscribe", value)
    expect("wire List-Unsubscribe", got, sorted(f"<{v}>" for v in want.values()))
    one_click = "List-Unsubscribe=One-Click" if want.get("url", "").lower().startswith("https:") else None
    expect("wire List-Unsubscribe-Post", tree.get("list-unsubscribe-post"), one_click)


def compare_wire(raw, want):
    tree = wire.read(raw)
    expect("structure", tree.structure(), want.structure())
    leaves = tree.leaves()
    for got, leaf in zip(leaves, want.leaves()):
        compare_leaf("wire", got, leaf, is_root=len(leaves) == 1)
    compare_unsubscribe(tree, want.unsubscribe)
    low = raw.lower()
    for address in want.hidden:
        if address.lower().encode() in low:
            raise Wrong("a Bcc address is in the message", address)
    related = [p for p in walk(tree) if p.type == "multipart/related"]
    for part in related:                # RFC 2387 3.1: the type parameter is required
        expect("type of related", part.parameters.get("type"), part.children[0].type)
    return tree


def walk(tree):
    waiting, seen = [tree], []
    while waiting:
        part = waiting.pop()
        seen.append(part)
        waiting += part.children
    return seen


# ---- Python's email ----

def squeezed(addresses):
    """Names without their spaces: email.policy leaves one between adjacent encoded words. Local parts without quotes:
    it takes off those of "a..b". The older reader, which does neither, is compared exactly."""
    return [("".join(name.split()), re.sub(r'["\\]', "", address)) for name, address in addresses]


def own_header(name, value):
    """A value as the package shows it: a date is written anew, an encoded word that the caller wrote is decoded."""
    value = value.strip(" ")
    return str(HEADER("Date" if name == "date" else "X-Own", value)) if value.isascii() else value


def compare_own_headers(message, want):
    for name in {n.lower() for n, _ in want.headers}:
        values = [own_header(name, v) for n, v in want.headers if n.lower() == name]
        expect("python header", (name, [str(v) for v in message.get_all(name, [])]), (name, values))
        written = [n for n in message.keys() if n.lower() == name]
        expect("python header's name", written, [n for n, _ in want.headers if n.lower() == name])


def compare_python(raw, want):
    got = read_python(raw)
    expect("python subject", got["subject"], want.subject)
    for key, name in FIELDS.items():
        expect("python " + name, got["addresses"][key], want.addresses[key])
        expect(f"python {name} as email.policy reads it", squeezed(got["newer addresses"][key]),
               squeezed(want.addresses[key]))
    if want.message_id:
        expect("python Message-ID", got["message_id"], want.message_id)
    compare_own_headers(got["headers"], want)
    leaves = want.leaves()
    expect("python parts", [leaf["type"] for leaf in got["leaves"]], [leaf.type for leaf in leaves])
    for seen, leaf in zip(got["leaves"], leaves):
        content = seen["content"]
        if content is not None and leaf.is_text:
            # The package gives a 7bit text's line ends as "\n"; that they are CRLF, wire.py has seen.
            end = b"\n" if len(leaves) == 1 and seen["encoding"] != "base64" else b""
            expected = leaf.content.replace(b"\r\n", b"\n")
            content = content.replace(b"\r\n", b"\n")
            expect("python content", content, expected + (end if expected and expected[-1:] != b"\n" else b""))
        elif content is not None:
            expect("python content of an attachment", content, leaf.content)
        expect("python file name", seen["filename"], leaf.filename)
        expect("python disposition", seen["disposition"], leaf.disposition)
        expect("python content id", seen["cid"], leaf.cid)
        if "charset" in leaf.parameters:
            expect("python charset", seen["parameters"].get("charset"), leaf.parameters["charset"])


# ---- mailparser and postal-mime ----

def plain(leaf):
    return leaf.content.decode("utf-8").replace("\r\n", "\n")


def runs_into_body(leaf):
    """An inline file of text, or mail, is shown in the body by both readers, not among the files."""
    return not leaf.is_text and leaf.disposition == "inline" and leaf.type in (
        "text/plain", "text/html", "message/rfc822")


def compare_text(who, got, want, leaves):
    """Both readers give "\\n" for CRLF, and cannot tell an empty body from none."""
    if any(runs_into_body(leaf) for leaf in leaves):
        return                          # only the other files are compared
    for key, kind in (("text", "text/plain"), ("html", "text/html")):
        shown = [leaf for leaf in leaves if leaf.is_text and leaf.type == kind]
        text = plain(shown[0]) if shown else ""
        seen = got[key]
        if who == "postal-mime" and not shown:
            continue                    # it makes html of text and text of html
        # postal-mime keeps the CRLF of base64, gives "\n" for all others, and ends the last line too; a sole body has
        # been given a line end by the composer. Python and wire.py compare the ends exactly.
        seen = seen.replace("\r\n", "\n")
        if who == "postal-mime":
            seen, text = without_bom(seen), without_bom(text)
        expect(f"{who} {key}", seen.removesuffix("\n") if seen == text + "\n" else seen, text)


def evened_file(who, leaf, content, is_root):
    """Of a type that a reader takes for text, not for octets: what remains of it."""
    if leaf.type == "message/rfc822" and is_root:
        content = content.removesuffix(b"\r\n")         # the message's own end
    if who != "postal-mime":
        return content
    if leaf.type == "message/rfc822":                   # it takes 7bit for lines that end in "\n"
        return content.replace(b"\r\n", b"\n").rstrip(b"\n")
    if leaf.type in ("text/calendar", "application/ics"):           # the same, with one "\n" at the end
        return without_bom(content.decode()).encode().replace(b"\r\n", b"\n").rstrip(b"\n")
    return content


def compare_file_name(who, got, want):
    if who == "postal-mime" and want:
        # It looks for encoded words even in a name that RFC 2231 has encoded, and a name of nothing but U+FEFF is none.
        if "=?" in want or not without_bom(want):
            return
        got, want = without_bom(got), without_bom(want)
    expect(f"{who} file name", got, want)


def compare_files(who, got, leaves):
    files = [leaf for leaf in leaves if not runs_into_body(leaf)]
    files = [leaf for leaf in files if not leaf.is_text or leaf.type == "text/calendar"]
    seen = got["attachments"]
    expect(f"{who} files", [a["type"].lower() for a in seen], [leaf.type for leaf in files])
    for a, leaf in zip(seen, files):
        compare_file_name(who, a["filename"], leaf.filename)
        expect(f"{who} content id", a["cid"], leaf.cid)
        expect(f"{who} disposition", a["disposition"], leaf.disposition)
        expect(f"{who} related", a["related"], leaf.related)
        is_root = len(leaves) == 1
        expect(f"{who} content of {leaf.type}", evened_file(who, leaf, a["content"], is_root),
               evened_file(who, leaf, leaf.content, is_root))


U_LABELS = {ascii: label for label, ascii in A_LABELS.items()}


def with_u_labels(address):
    local, _, domain = address.rpartition("@")
    return local + "@" + ".".join(U_LABELS.get(label, label) for label in domain.split("."))


def loosely_quoted(addresses):
    """mailparser takes quotes off local parts such as "." and spaces out of them."""
    return [(name, re.sub(r'["\\ ]', "", address)) for name, address in addresses]


def without_bom(text):
    """postal-mime's decoder takes U+FEFF for a byte order mark at the beginning of each text and encoded word."""
    return text.replace("\ufeff", "")


def compare_addresses(who, key, got, want):
    if who == "postal-mime" and any(address.startswith('"') for _, address in want):
        return                          # it takes the quotes off local parts, and then for separators what they held
    seen = [tuple(pair) for pair in got[key]]
    if who == "mailparser":             # it shows A-labels as what they mean
        want = [(name, with_u_labels(address)) for name, address in want]
    if who == "mailparser" and any(address.startswith('"') for _, address in want):
        seen, want = loosely_quoted(seen), loosely_quoted(want)
    if who == "postal-mime":
        want = [(without_bom(name), address) for name, address in want]
        seen = [(without_bom(name), address) for name, address in seen]
    expect(f"{who} {key}", seen, want)


def compare_node(who, got, want):
    if "error" in got:
        raise Wrong(f"{who} failed", got["error"])
    # An empty subject is none to both.
    subjects = [got["subject"] or "", want.subject or ""]
    expect(f"{who} subject", *map(without_bom, subjects) if who == "postal-mime" else subjects)
    for key in ("from", "to", "cc", "reply_to"):
        compare_addresses(who, key, got, want.addresses[key])
    expect(f"{who} bcc", got["bcc"], [])
    if want.message_id:
        expect(f"{who} message id", got["message_id"], want.message_id)
    leaves = want.leaves()
    compare_text(who, got, want, leaves)
    compare_files(who, got, leaves)
