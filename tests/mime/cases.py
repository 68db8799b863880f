"""The judge's mails: hand-made nasty ones, those that must be refused, and a maker of random ones."""

BASE = {"from": "ann@example.com", "to": "bob@example.org", "subject": "Hi", "text": "Hello.\n"}
EMOJI, LONG_E = "\U0001F469‍\U0001F4BB", "é" * 300
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


def refused():
    for i, fields in enumerate((
            {"subject": "a\r\nBcc: x@example.com"}, {"subject": "a\nb"}, {"subject": "a\u2028b"},
            {"subject": "a\x85b"},
            {"subject": "\ud800"}, {"text": "a\0b"}, {"text": "\x1b[0m"}, {"from": "a@b\r\nX: y"},
            {"from": {"email": "a@b.example", "name": "x\ny"}},
            {"to": "a@example.com, b@example.com"}, {"to": []}, {"to": ...}, {"from": ...}, {"text": ...},
            {"headers": {"X-A": "a\r\nB: c"}}, {"headers": {"X-A\r\nB": "c"}}, {"headers": {"X:A": "c"}},
            {"headers": {"Bcc": "a@b.example"}},
            {"headers": {"content-type": "x"}}, {"headers": {"X-A": "v" * 901}},
            {"headers": {"X-A": "a\tb"}}, {"headers": {"é": "c"}}, {"headers": {"x" * 77: "c"}},
            {"relay": "nobody"})):
        yield f"refused {i}", mail(**fields)


CASES = {"composed": [*subjects(), *texts(), *addresses(), *own_headers()], "refused": list(refused())}

WORDS = ["a", "the", "word", "é", "日本", "\U0001F600", "=?", "?=", "=?utf-8?q?x?=", "\"", "\\", "<", ">", "@", ",",
         ";", "(", ")", ".",
         "x" * 60, "x" * 80, "From ", "é" * 40, "=", "_", "--", "ß", "e\u0301", "\u200b", "\ufeff", " "]
BREAKS = ["\n", "\r\n", "\r", "\n\n", "\n.", "\n..", " \n", "\t\n", "\nFrom "]


def random_words(source, most, between):
    return "".join(source.choice(WORDS) + source.choice(between) for _ in range(source.randrange(most)))


def random_address(source):
    local = "".join(source.choice("abcxyz019_-+=!#") for _ in range(source.randint(1, 64)))
    address = local + "@" + source.choice(["example.com", "a.b.c.example", "bücher.example", "x" * 63 + ".example"])
    name = random_words(source, 9, ["", " ", "  "])
    kind = source.randrange(3)
    return address if kind == 0 else {"email": address} if kind == 1 else {"email": address, "name": name}


def random_mail(source):
    request = {"from": random_address(source), "to": [random_address(source) for _ in range(source.randint(1, 8))]}
    if source.random() < 0.3:
        request["cc"] = random_address(source)
    if source.random() < 0.3:
        request["bcc"] = [random_address(source)]
    if source.random() < 0.9:
        request["subject"] = random_words(source, 30, ["", " ", " ", "  "])
    kind = source.randrange(3)
    if kind != 0:
        request["text"] = random_words(source, 120, ["", " ", *BREAKS])
    if kind != 1:
        request["html"] = random_words(source, 120, ["", " ", *BREAKS])
    if source.random() < 0.5:
        request["headers"] = {f"X-{i}": "".join(source.choice(["a", "word", "x" * 50]) + " " * source.randint(1, 4)
                                                for _ in range(source.randint(1, 30))) for i in range(3)}
    return request
