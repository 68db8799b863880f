"""What the composer writes, read back by Python's email package: nothing may be lost, added or malformed.

judge.py COMPOSE   runs the hand-made and the random mails through COMPOSE; MAILHATCH_SEED repeats a random run.
"""
import email
import email.errors
import email.policy
import json
import os
import random
import re
import struct
import subprocess
import sys

from cases import CASES, random_mail

REFUSED = 0xFFFFFFFF
RANDOM_MAILS = 500
LINE_HARD, LINE_SOFT, LINE_ENCODED = 998, 78, 76
OURS = ("from", "to", "cc", "reply-to", "subject")
BREAK = re.compile(r"\r\n|\r|\n")


class Wrong(Exception):
    """A message that is not what the request asked for."""


def expect(what, got, want):
    if got != want:
        raise Wrong(f"{what}: got {got!r}, expected {want!r}")


def compose(binary, bodies):
    """The messages for the JSON documents `bodies`, None for a refused one, and what was said about refusals."""
    frames = b"".join(struct.pack(">I", len(b)) + b for b in bodies)
    run = subprocess.run([binary], input=frames, capture_output=True, check=False, timeout=300)
    if run.returncode != 0:
        sys.exit(f"{binary} ended with {run.returncode}:\n{run.stderr.decode(errors='replace')[-4000:]}")
    messages, at = [], 0
    while at < len(run.stdout):
        length = struct.unpack_from(">I", run.stdout, at)[0]
        at += 4
        if length == REFUSED:
            messages.append(None)
        else:
            messages.append(run.stdout[at:at + length])
            at += length
    if len(messages) != len(bodies):
        sys.exit(f"{len(bodies)} requests, {len(messages)} answers")
    return messages


def as_list(value):
    return [] if value is None else value if isinstance(value, list) else [value]


def a_label(domain):
    """Lower-case A-labels; the cases use only domains for which Python's older IDNA gives the same."""
    return domain.lower() if domain.isascii() else domain.encode("idna").decode().lower()


def wanted_address(value):
    """(name, email) as a reader must see it. Strings in the cases are either bare or 'Name <email>' without quotes."""
    if isinstance(value, dict):
        name, address = value.get("name") or "", value["email"]
    elif value.endswith(">"):
        name, _, address = value[:-1].rpartition("<")
        name = name.strip(" ")
    else:
        name, address = "", value
    local, _, domain = address.strip(" ").rpartition("@")
    return name, local + "@" + a_label(domain)


def check_bytes(raw):
    """Line ends and lengths of the raw message; returns the unfolded header's lines."""
    if not raw.endswith(b"\r\n"):
        raise Wrong("the message does not end in CRLF")
    if re.search(rb"(?<!\r)\n|\r(?!\n)|\0", raw):
        raise Wrong("a bare CR or LF, or a NUL")
    for line in raw.split(b"\r\n"):
        if len(line) > LINE_HARD:
            raise Wrong(f"a line of {len(line)} octets")
    header, empty, body = raw.partition(b"\r\n\r\n")
    if not empty:
        raise Wrong("no empty line behind the header")
    if not body.isascii():
        raise Wrong("the body is not 7bit")
    return header.decode("utf-8").split("\r\n")


def is_foldable(line):
    """Whether a line has a space to fold at: outside quotes, behind the first word."""
    words = re.sub(r'"(\\.|[^"\\])*"', lambda m: m.group().replace(" ", "_"), line)
    return " " in re.sub(r"^[^ :]*:", "", words).strip(" ")


def check_header_lines(lines):
    name = ""
    for line in lines:
        if not line.strip(" "):
            raise Wrong("a header line of nothing but spaces")
        if line[0] != " ":
            if not re.match(r"[!-9;-~]+:", line):
                raise Wrong(f"not a header line: {line!r}")
            name = line.partition(":")[0].lower()
        soft = LINE_ENCODED if name in OURS and "=?utf-8?" in line else LINE_SOFT
        if len(line.encode()) > soft and is_foldable(line):
            raise Wrong(f"a header line of {len(line.encode())} octets that could be folded: {line!r}")
        for word in re.findall(r"=\?utf-8\?[qb]\?[^? ]*\?=", line):
            if name in OURS and len(word) > 75:
                raise Wrong(f"an encoded word of {len(word)} octets")
        if re.search(r"[^ -~]", line) and not (name in ("from", "to", "cc", "reply-to", "sender")):
            raise Wrong(f"a header line that is not ASCII: {line!r}")


def check_defects(part):
    defects = list(part.defects)
    for value in part.values():
        defects += getattr(value, "defects", [])
    # An address that is not ASCII is what SMTPUTF8 is for; Python calls it a defect all the same.
    defects = [d for d in defects if not isinstance(d, email.errors.NonASCIILocalPartDefect)]
    if defects:
        raise Wrong(f"defects: {defects!r}")


def squeezed(addresses):
    """Names without their spaces: email.policy leaves one between adjacent encoded words (RFC 2047 6.2: ignored)."""
    return [("".join(a.display_name.split()), a.addr_spec) for a in addresses]


def exact_addresses(raw, field):
    """The same through the older half of Python's reader, which keeps to RFC 2047 there."""
    lines = email.message_from_string(raw, policy=email.policy.compat32)[field]
    pairs = email.utils.getaddresses([re.sub(r"\r?\n", "", lines)])
    return [(str(email.header.make_header(email.header.decode_header(name))), address) for name, address in pairs]


def check_addresses(raw, message, request):
    for field, key in (("From", "from"), ("To", "to"), ("Cc", "cc"), ("Reply-To", "reply_to")):
        want = [wanted_address(a) for a in as_list(request.get(key))]
        if message[field] is None:
            expect(field, [], want)
            continue
        expect(field + " as email.policy reads it", squeezed(message[field].addresses), [
            ("".join(name.split()), address) for name, address in want])
        expect(field, exact_addresses(raw, field), want)
    if message["Bcc"] is not None:
        raise Wrong("Bcc is in the message")


def check_own_headers(raw, message, request):
    own = request.get("headers") or {}
    pairs = [(h["name"], h["value"]) for h in own] if isinstance(own, list) else list(own.items())
    for name in {n.lower() for n, _ in pairs}:
        want = [v for n, v in pairs if n.lower() == name]
        got = [str(v) for v in message.get_all(name, [])]
        if name == "sender":
            got = exact_addresses(raw, name)
            want = [wanted_address(v) for v in want]
        elif name == "date":
            want = [str(email.policy.default.header_factory("Date", v)) for v in want]
        else:
            want = [decoded(v.strip(" ")) if v.isascii() else v for v in want]
        expect(name, got, want)


def decoded(value):
    """A value that its sender has encoded himself."""
    return str(email.policy.default.header_factory("X-Own", value))


def wanted_text(text, alone, encoding):
    """mime.h: all breaks become CRLF. A message ends in CRLF, so a sole part that does not gains one, unless its
    encoding says where it ends."""
    text = BREAK.sub("\n", text)
    if alone and encoding != "base64" and text and not text.endswith("\n"):
        text += "\n"
    return text


def check_part(part, subtype, text, alone):
    expect("type", part.get_content_type(), "text/" + subtype)
    expect("charset", part.get_content_charset(), "utf-8")
    encoding = str(part["Content-Transfer-Encoding"])
    if encoding not in ("7bit", "quoted-printable", "base64"):
        raise Wrong(f"encoding {encoding}")
    got = part.get_payload(decode=True).decode("utf-8")
    if re.search(r"(?<!\r)\n|\r(?!\n)", got):
        raise Wrong("a bare CR or LF inside the encoding")
    expect(subtype, got.replace("\r\n", "\n"), wanted_text(text, alone, encoding))
    check_defects(part)


def check_content(message, request):
    contents = [(s, request[k]) for s, k in (("plain", "text"), ("html", "html")) if request.get(k) is not None]
    if len(contents) == 1:
        check_part(message, *contents[0], alone=True)
        return
    expect("type", message.get_content_type(), "multipart/alternative")
    parts = message.get_payload()
    expect("number of parts", len(parts), 2)
    for part, content in zip(parts, contents):
        check_part(part, *content, alone=False)
    if message.preamble or (message.epilogue or "").strip("\r\n"):
        raise Wrong("text outside the parts")


def check(request, raw):
    check_header_lines(check_bytes(raw))
    message = email.message_from_string(raw.decode("utf-8"), policy=email.policy.default)
    check_defects(message)
    for name in ("From", "Date", "Message-ID", "MIME-Version"):
        expect("number of " + name, len(message.get_all(name, [])), 1)
    subject = request.get("subject")
    expect("subject", None if message["Subject"] is None else str(message["Subject"]), subject)
    check_addresses(raw.decode("utf-8"), message, request)
    check_own_headers(raw.decode("utf-8"), message, request)
    check_content(message, request)


def judge(title, body, request, raw, refused):
    """True when the message is right. A failing case is printed whole."""
    try:
        if (raw is None) != refused:
            raise Wrong("refused" if raw is None else "was not refused")
        if raw is not None:
            check(request, raw)
        return True
    except Exception as e:                  # the reader's own exceptions are failures of the case too
        print(f"FAILED {title}: {type(e).__name__}: {e}\n--- request\n{body.decode(errors='replace')}\n--- message")
        print(raw if raw is None else raw.decode(errors="backslashreplace").replace("\r\n", "\n"))
        print("---")
        return False


def main():
    seed = int(os.environ.get("MAILHATCH_SEED") or random.SystemRandom().randrange(10**9))
    print(f"seed {seed} (MAILHATCH_SEED={seed} repeats this run)")
    source = random.Random(seed)
    cases = [(title, request, False) for title, request in CASES["composed"]]
    cases += [(title, request, True) for title, request in CASES["refused"]]
    cases += [(f"random {i}", random_mail(source), False) for i in range(RANDOM_MAILS)]
    bodies = [json.dumps(request, ensure_ascii=i % 2 == 0).encode("utf-8", "surrogatepass")
              for i, (_, request, _) in enumerate(cases)]
    messages = compose(sys.argv[1], bodies)
    results = [judge(title, body, request, raw, refused)
               for (title, request, refused), body, raw in zip(cases, bodies, messages)]
    passed = sum(results)
    print(f"{passed} passed, {len(results) - passed} failed")
    return 0 if passed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
