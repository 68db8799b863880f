"""Hand-made mails: nasty ones, and those that must be refused."""
import base64

BASE = {"from": "ann@example.com", "to": "bob@example.org", "subject": "Hi", "text": "Hello.\n"}
EMOJI, LONG_E = "\U0001F469‍\U0001F4BB", "é" * 300
EMOJI_255 = "\U0001F600" * 63 + ".zz"
BOUNDARY = "=_0193600d-5eed-7000-8000-0000000000aa.1"


def mail(**fields):
    merged = {**BASE, **fields}
    return {key: value for key, value in merged.items() if value is not ...}


def subjects():
    values = ["", "x", " leading", "trailing ", "   ", "two  spaces", "a" + " " * 80 + "b", "x" * 70, "x" * 71,
              "x" * 78, "x" * 900, "x" * 901, "x" * 5000, "word " * 200 + "end", "=?utf-8?q?not_encoded?=", "a =?b",
              "=?", "é", "é" * 20, LONG_E, EMOJI * 40, "a" * 60 + "é", "mixed é and plain " * 20, "\"quoted\" <a@b>",
              "Re: [list] (comment) ; semi: colon", "tab-less \\ backslash", "日本語の件名" * 12, "=20_underscore_é",
              "ends in question mark é?", "שלום עולם", " é ", "é  é", "x" * 76 + " y",
              "word" * 18 + " " + "word" * 18]
    return [(f"subject {i}", mail(subject=s)) for i, s in enumerate(values)]


def texts():
    values = ["", "a", "a\n", "\n", "\n\n", "a\r\nb\r\n", "a\rb", "a\n\rb", "\r", ".", ".\n", "..\n.x\n.\n",
              "\n.\n.\n",
              "From here\n", "x\nFrom there\n", ">From\n", "trailing space \nnext", "trailing tab\t\n", "x ", "=",
              "=3D=\n", "x" * 998, "x" * 999, "x" * 997 + "é", "x" * 5000 + "\n", "é", "é\n", LONG_E + "\n",
              "日本語" * 400, "日本語\n" * 100, EMOJI * 50, "--\n", "--" + BOUNDARY + "\n", BOUNDARY, "--=_", "\t",
              "a" * 76 + "é\n", "a" * 75 + "é", "é" * 25 + " \n", " " * 2000, "soft" * 18 + "abc=\n" + "é",
              "\x85\u2028é",
              "no newline é", "base64 日本語日本語日本語日本語\r\n", "日本語日本語 ", "From é\nFrom é\n", "-" * 80 + "\n"]
    for i, s in enumerate(values):
        yield f"text {i}", mail(text=s)
        yield f"html {i}", mail(text=..., html=s)
        yield f"both {i}", mail(text=s, html=s)


def addresses():
    names = ["Ann", "Ann B. Example", "Doe, Jane", 'The "Boss"', "back\\slash", "a@b", "<angle>", "(comment)", "é",
             LONG_E,
             "x" * 60, "x" * 61, "x" * 900, "word " * 40 + "end", "dots. and " * 9 + "x", " lead", "trail ",
             "two  spaces",
             "=?utf-8?q?x?=", "日本語" * 20, EMOJI, "'", '"', '""', "a:b;c", ".", "a.", "O'Neil", "[x]", "q" * 58 + '""']
    for i, name in enumerate(names):
        one = {"email": "ann@example.com", "name": name}
        yield f"name {i} as From", mail(**{"from": one})
        yield f"name {i} in a list", mail(to=["a@example.com", one, one, "b@example.com"], cc=[one, "c@example.com"])
    for n in range(1, 80, 3):
        yield f"names behind {n} octets", mail(to=["x" * min(n, 64) + "@example.com",
                                                   "Some Body Else Altogether <b@c.example>",
                                                   {"email": "c@d.example",
                                                    "name": "n" * n + " Long Words Follow Here " * 3 + "x"},
                                                   {"email": "d@d.example", "name": "é" * n}])
    for n in range(1, 60):
        short = {"email": "a@b.example", "name": "é" * 3 + "a" * n}
        yield f"atoms behind {n} octets", mail(to=["x" * n + "@example.com",
                                                   "Long-First-Word And Others " + "to " * 25 +
                                                   "fold <b@c.example>", short])
        yield f"short address behind {n} encoded octets", mail(to=short, cc=[short, "b@c.example", "c@d.example",
                                                                             short])
    yield "named strings", mail(**{"from": "Ann Example <ann@example.com>"}, to=["Jürgen Groß <j@example.com>",
                                                                                 "<b@b.example>"])
    yield "IDN", mail(**{"from": "a@bücher.example"}, to="b@BÜCHER.Example")
    yield "SMTPUTF8", mail(**{"from": "jürgen@example.com"}, to={"email": "用户@example.org", "name": "用户"})
    yield "longest", mail(to="l" * 64 + "@" + ".".join(["d" * 60, "d" * 60, "d" * 59]) + ".example")
    yield "hundreds", mail(to=[f"user{i}@example.com" for i in range(500)],
                             cc=[f"N {i} <u{i}@example.org>" for i in range(400)])
    yield "only Bcc", mail(to=..., bcc=["hidden@example.com", "H <h2@example.com>"])
    yield "empty To", mail(to=[], cc="c@example.com", bcc="hidden@example.com")
    yield "Reply-To", mail(reply_to=["r@example.com", {"email": "s@example.com", "name": "Ä, Ö"}])


def own_headers():
    ids = " ".join(f"<{i}.{'x' * 40}@example.com>" for i in range(60))
    values = [{"X-A": ""}, {"X-A": "b"}, {"X-A": "  b "}, {"X-A": "b" + " " * 100}, {"X-A": "word " * 60},
              {"X-A": "é" * 90},
              {"X-A": "=?utf-8?q?caf=C3=A9?="}, {"x" * 76: "v" * 900}, {"x" * 76: "é"},
              {"X-A": "v" * 900 + " " + "w" * 900},
              {"References": ids, "In-Reply-To": "<a@b.example>"}, {"Date": "Tue, 24 Nov 2026 20:15:00 +0100"},
              {"Message-ID": "<own@example.com>"}, {"Sender": "Jürgen Groß <sender@example.com>"}, {"X-A": " " * 90},
              {"X-A": "a" + " " * 90 + "b"}, {"X-A": "x" * 70 + " " * 30 + "y"},
              {"X-A": "a" + " " * 1000 + "b"}, {"X-A": " " * 3000}]
    for i, own in enumerate(values):
        yield f"own headers {i}", mail(headers=own)
    yield "own headers repeated", mail(headers=[{"name": "X-A", "value": "1"}, {"name": "x-a", "value": "é"}])


def file(filename="a.bin", octets=b"abc", **more):
    one = {"filename": filename, "content": base64.b64encode(octets).decode(), **more}
    return {key: value for key, value in one.items() if value is not ...}


def file_names():
    names = ["a.pdf", "a b.pdf", 'quote".pdf', "semi;colon.pdf", "per%cent.pdf", "%00.txt", "%41.txt", "a\\b.pdf",
             ".hidden", "..", "...", "a", "a.", "=?utf-8?q?x?=.pdf", "UTF-8''x.pdf", "'single'.pdf", "a*0*=b.pdf",
             "é.pdf", "résumé final.docx", "日本語のファイル名.pdf", EMOJI + ".png", EMOJI_255, "a" * 255,
             "é" * 120 + ".pdf", "a" * 251 + ".pdf", "a" * 60 + " " + "b" * 60 + ".pdf", "שלום.pdf", "a\u202egnp.exe",
             "e\u0301.txt", "\ufeffbom.txt", "two  spaces.pdf", "comma, (paren) <angle> [x] @ : = ?.pdf", "é'\"%;.pdf",
             "#$&+!^_`{}~|.pdf", "x" * 70 + ".pdf", "x" * 71 + ".pdf", "x" * 72 + ".pdf", "x" * 77 + ".pdf",
             "CON.txt", "a.PDF", "archive.tar.gz", "no.known.end.qqq", "emoji \U0001F469\u200d\U0001F4BB name.txt"]
    for i, name in enumerate(names):
        yield f"file name {i}", mail(attachments=[file(name)])
    yield "file names, all", mail(attachments=[file(name) for name in names])


def contents():
    every = bytes(range(256))
    values = [b"", b"a", b"\0", b"ab", b"abc", every, every * 300, b"\r\n.\r\n", b"\r", b"\n",
              b"--=_\r\n--" + BOUNDARY.encode(),
              b"x" * 56, b"x" * 57, b"x" * 58, b"x" * 114, b"line\n" * 100, b"From x\n", "é\n".encode(), b"\x80\xff"]
    for i, octets in enumerate(values):
        yield f"content {i}", mail(attachments=[file(octets=octets)])
        yield f"content {i} alone", mail(text=..., attachments=[file(octets=octets)])
        yield f"content {i} as text", mail(attachments=[file("a.txt", octets, content_type="text/plain")])
    encoded = base64.b64encode(every).decode()
    folded = "\r\n".join(encoded[i:i + 76] for i in range(0, len(encoded), 76))
    for i, text in enumerate([encoded.rstrip("="), folded, folded + "\r\n", folded.replace("\r", ""),
                              "\r\n".join(encoded), "YQ", "YQ==", "YWI", "YWI=", "YWJj"]):
        yield f"base64 {i}", mail(attachments=[file() | {"content": text}])


def types():
    values = ["image/png", "IMAGE/PNG", "text/plain; charset=utf-8", 'text/x; a="b c"', 'text/x; a="b;c"; d=e',
              "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "a/b", "text/html",
              "application/pdf; name=other.pdf", 'application/x; a="q\\"uote"', "text/csv;charset=iso-8859-1",
              "application/x; " + "; ".join(f"p{i}=v{i}" for i in range(20))]
    for i, value in enumerate(values):
        yield f"type {i}", mail(attachments=[file(content_type=value)])
    for i, octets in enumerate([b"Subject: x\r\n\r\nbody\r\n", b"Subject: x\r\n\r\nno end",
                                b"Subject: \xe9\r\n\r\n8 bit\r\n",
                                b"Subject: x\n\nbare LF\n", b"Subject: x\r\n\r\n" + b"x" * 998 + b"\r\n",
                                b"Subject: x\r\n\r\n" + b"x" * 999 + b"\r\n",
                                b"Subject: x\r\n\r\n.\r\n..\r\nFrom \r\n",
                                b"Subject: x\r\n\r\n--" + BOUNDARY.encode() + b"\r\n", b"", b"\r\n", b"x\r\r\n",
                                b"a\0b\r\n",
                                b"Subject: x\r\n\r\ntrailing \r\nspace \r\n"]):
        yield f"attached mail {i}", mail(attachments=[file("a.eml", octets, content_type="message/rfc822")])
        yield f"attached mail {i} alone", mail(text=..., attachments=[file("a.eml", octets,
                                                                            content_type="message/rfc822")])


def structures():
    """Every combination of bodies and files, and content ids."""
    one, inline = file("a.pdf"), file("i.png", content_id="i@example.com")
    invite = {"method": "REQUEST", "content": "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"}
    for bits in range(1, 32):
        chosen = [f for i, f in ((8, inline), (4, one)) if bits & i]
        yield f"structure {bits}", mail(text="t" if bits & 1 else ...,
                                        html='<img src="cid:i@example.com">' if bits & 2 else ...,
                                        attachments=chosen or ..., calendar=invite if bits & 16 else ...)
    for i, cid in enumerate(["x", "a.b@c", "!#$%&'*+-/=?^_`{|}~@x", "x" * 60 + "@" + "y" * 60]):
        yield f"content id {i}", mail(html="h", attachments=[file("i.png", content_id=cid)])
    for disposition in ("inline", "attachment"):
        yield f"disposition {disposition}", mail(html="h", attachments=[file("a.pdf", disposition=disposition)])
        yield f"disposition {disposition} and an id", mail(html="h", attachments=[
            file("a.pdf", disposition=disposition, content_id="x@y")])
        yield f"{disposition} text", mail(html="h", attachments=[file("a.txt", disposition=disposition)])
    yield "many files", mail(attachments=[file(f"{i}.bin", bytes([i])) for i in range(100)])
    yield "the same file twice", mail(html="h", attachments=[one, one, inline, file("i.png",
        content_id="j@example.com")])


def calendars():
    for i, text in enumerate(["BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", "BEGIN:VCALENDAR\nEND:VCALENDAR\n",
                              "BEGIN:VCALENDAR\r\nEND:VCALENDAR",
                              "BEGIN:VCALENDAR\r\nSUMMARY:é " + EMOJI + "\r\nEND:VCALENDAR\r\n",
                              "BEGIN:VCALENDAR\r\nX:" + "x" * 1100 + "\r\nEND:VCALENDAR\r\n"]):
        for method in ("REQUEST", "cancel"):
            yield f"calendar {i} {method}", mail(calendar={"method": method, "content": text})
            yield f"calendar {i} {method} alone", mail(text=..., calendar={"method": method, "content": text})


def unsubscribes():
    url = "https://example.com/u?id=1&x=%20"
    for i, value in enumerate([{"url": url}, {"url": "http://example.com/u"},
                               {"mailto": "mailto:u@example.com?subject=x"},
                               {"url": url, "mailto": "mailto:u@example.com"}, {"url": url, "mailto": None},
                               {"url": "https://example.com/" + "u" * 500}, {"url": "HTTPS://example.com/u"},
                               {"url": "https://example.com/a,b;c"}]):
        yield f"unsubscribe {i}", mail(list_unsubscribe=value)


def many():
    yield "a thousand recipients", mail(to=[f"user{i}@example.com" for i in range(1000)])
    yield "a thousand hidden ones", mail(to=..., bcc=[f"hidden{i}@secret.example" for i in range(1000)])
    ids = " ".join(f"<{i}.{'x' * 40}@example.com>" for i in range(250))
    yield "very long References", mail(headers={"References": ids})
    locals_ = ['"a b"', '"a@b"', '"a,b"', '"a\\"b"', '"a\\\\b"', '"plain"', '".dot"', '"a..b"', '"<x>"', '"(c)"',
               '" "',
               "a+b", "!#$%&'*+-/=?^_`{|}~", "ü", "a.b.c", '"q;:"']
    for i, local in enumerate(locals_):
        yield f"local part {i}", mail(**{"from": local + "@example.com"}, to=[local + "@example.com", {
            "email": local + "@example.org", "name": "Some One"}, f"Ann <{local}@example.net>"])
    for i, domain in enumerate(["bücher.example", "BÜCHER.example", "straße.example", "日本語.example", "пример.example",
                                "παράδειγμα.example", "مثال.example", "mañana.example", "xn--bcher-kva.example",
                                "a.b.c.d.e.f.example", "x" * 63 + ".example", "1.example"]):
        yield f"domain {i}", mail(**{"from": f"a@{domain}"}, to={"email": f"b@{domain}", "name": "ü"})


def refused():
    for i, (fields, why) in enumerate((
            ({"subject": "a\r\nBcc: x@example.com"}, "/subject control_character"),
            ({"subject": "a\nb"}, "/subject control_character"),
            ({"subject": "a\u2028b"}, "/subject control_character"), ({"subject": "a\x85b"},
                                                                      "/subject control_character"),
            ({"subject": "\ud800"}, "/subject invalid_unicode"), ({"text": "a\0b"}, "/text control_character"),
            ({"text": "\x1b[0m"}, "/text control_character"), ({"from": "a@b\r\nX: y"}, "/from control_character"),
            ({"from": {"email": "a@b.example", "name": "x\ny"}}, "/from/name control_character"),
            ({"to": "a@example.com, b@example.com"}, "/to invalid_address"), ({"to": []}, "/to required"),
            ({"to": ...}, "/to required"), ({"from": ...}, "/from required"), ({"text": ...}, "/text required"),
            ({"headers": {"X-A": "a\r\nB: c"}}, "/headers/X-A control_character"),
            ({"headers": {"X-A\r\nB": "c"}}, ""), ({"headers": {"X:A": "c"}}, "/headers/X:A invalid_value"),
            ({"headers": {"Bcc": "a@b.example"}}, "/headers/Bcc header_not_allowed"),
            ({"headers": {"content-type": "x"}}, "/headers/content-type header_not_allowed"),
            ({"headers": {"X-A": "v" * 901}}, "/headers/X-A invalid_value"),
            ({"headers": {"X-A": "a\tb"}}, "/headers/X-A control_character"),
            ({"headers": {"é": "c"}}, "/headers/é invalid_value"), ({"headers": {"x" * 77: "c"}}, ""),
            ({"relay": "nobody"}, "/relay unknown_relay"),
            ({"to": [f"u{i}@example.com" for i in range(1001)]}, "/to too_many"))):
        yield f"refused {i}", mail(**fields), why
    for i, (a, why) in enumerate((
            (file(EMOJI_255 + "x"), "filename too_long"), (file(""), "filename invalid_value"), ({"content": "YQ=="},
                "filename"),
            (file("a\r\nX: y"), "filename control_character"), (file("a\0b"), "filename"), (file("a\nb.pdf"),
                "filename"),
            (file("a\u2028b"), "filename"), (file() | {"content": "a"}, "content"), (file() | {"content": "a!b="},
                "content"),
            (file() | {"content": "YQ=a"}, "content"), (file() | {"content": "YQ==="}, "content"),
                                  (file() | {"content": 1}, "content"),
            (file() | {"content": "YQ==\r\nYQ=="}, "content"), (file() | {"content": "-_-_"}, "content"),
            (file(content_type="text"), "content_type"), (file(content_type="text/plain\r\nX: y"), "content_type"),
            (file(content_type="text/"), "content_type"), (file(content_type="multipart/mixed"), "content_type"),
            (file(content_type="é/x"), "content_type"), (file(content_type='a/b; x="'), "content_type"),
            (file(content_id="a b"), "content_id"), (file(content_id="a\r\nb"), "content_id"),
                                  (file(content_id="a<b"), "content_id"),
            (file(content_id="é@x"), "content_id"), (file(disposition="form-data"), "disposition"),
            ({"filename": "a"}, "content"), (file(unknown=1), "unknown"))):
        yield f"refused file {i}", mail(attachments=[a]), f"/attachments/0/{why}"
    for i, (fields, why) in enumerate((
            ({"calendar": {"content": "x"}}, "/calendar/method"), ({"calendar": {"method": "REQUEST"}},
                                                                   "/calendar/content"),
            ({"calendar": {"method": "REQUEST", "content": "METHOD:CANCEL\r\n"}}, "/calendar/method"),
            ({"calendar": {"method": "a b", "content": "x"}}, "/calendar/method"),
            ({"calendar": {"method": "a\r\nX: y", "content": "x"}}, "/calendar/method"),
            ({"list_unsubscribe": {"url": "javascript:x"}}, "/list_unsubscribe/url"),
            ({"list_unsubscribe": {"url": "https://a.example/\r\nX: y"}}, "/list_unsubscribe/url"),
            ({"list_unsubscribe": {"url": "https://a.example/> x"}}, "/list_unsubscribe/url"),
            ({"list_unsubscribe": {"mailto": "mailto:x\r\n"}}, "/list_unsubscribe/mailto"))):
        yield f"refused field {i}", mail(**fields), why


# (title, request, None or "pointer code" of a problem that must be said; without the code any will do)
COMPOSED = [subjects(), texts(), addresses(), own_headers(), file_names(), contents(), types(), structures(),
            calendars(),
            unsubscribes(), many()]
CASES = [(title, request, None) for cases in COMPOSED for title, request in cases] + list(refused())
