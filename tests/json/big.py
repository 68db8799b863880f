"""Documents that are large, or that make a careless reader slow: some megabytes of one thing."""
import json

from case import BASE, bad, batch, mail, many, read, too_many, with_member, with_subject, with_text, wrong

VALUES_MOST = 100000  # max_json_values
MB = 1000 * 1000


def contents():
    yield read("10 MB of text", mail(text="0123456789abcde\n" * (10 * MB // 16)))
    yield read("10 MB in one line", mail(text="x" * 10 * MB))
    yield read("5 MB of accents", json.dumps(mail(text="\u00e9" * (5 * MB // 2)), ensure_ascii=False).encode())
    yield read("6 MB of escapes", mail(text="\u00e9" * MB))
    yield read("1 MB of surrogate pairs", mail(text="\U0001f600" * (MB // 12)))
    yield read("1 MB of line ends", mail(text="\n" * MB))
    yield read("1 MB of escaped quotes", mail(html='"' * (MB // 2)))
    yield read("1 MB of backslashes", with_text(b'"' + b"\\\\" * (MB // 2) + b'"'))
    yield bad("1 MB of backslashes and one", with_text(b'"' + b"\\" * (MB + 1) + b'"'))
    yield read("an attachment of 8 MB", mail(attachments=[{"filename": "a", "content": "AAAA" * 2 * MB}]))
    yield read("1 MB of spaces", b" " * MB + b"{" + BASE + b"}" + b"\n" * MB)
    for n in (510, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, 65535, 65536, 65537):
        yield read("a text of %d" % n, mail(text="x" * n))
        yield read("a text of %d with an escape at its end" % n, mail(text="x" * (n - 2) + "\n"))
        yield read("a text of %d with an escape first" % n, mail(text='"' + "x" * (n - 2)))
        yield wrong("half a pair behind %d" % n, with_text(b'"' + b"x" * n + b'\\ud83d"'), "/text invalid_unicode")
        yield wrong("NUL behind %d" % n, with_text(b'"' + b"x" * n + b'\\u0000"'), "/text control_character")
        yield wrong("\\xff behind %d" % n, with_text(b'"' + b"x" * n + b'\xff"'), "/text invalid_unicode")
        yield wrong("DEL before %d" % n, with_text(b'"\x7f' + b"x" * n + b'"'), "/text control_character")
    for n in (512, 4096):
        text = '"\\\b\f\n\r\t/\u00e9\u20ac\U0001f600'.replace("\b", "").replace("\f", "") * (n // 8)
        for ascii_only in (True, False):
            yield read("escapes of all kinds, %d, %s" % (n, ascii_only),
                       json.dumps(mail(text=text, html=text), ensure_ascii=ascii_only).encode())  # fmt: skip


def limits():
    """Long where little is allowed."""
    yield wrong("a subject of 1 MB", mail(subject="x" * MB), "/subject too_long")
    yield wrong("a name of 1 MB", mail(cc={"email": "e@f.example", "name": "x" * MB}), "/cc/name too_long")
    yield wrong("an address of 1 MB", mail(cc="x" * MB + "@f.example"), "/cc invalid_address")
    for what in ('"', "<", "(", "\\", "@", ".", ",", " "):
        yield wrong("an address of 200 kB of %s" % what, mail(cc=what * 200000), "/cc invalid_address")
        yield wrong("a sender of 200 kB of %s" % what, mail(**{"from": what * 200000}), "/from invalid_address")
    yield wrong("a relay of 1 MB", mail(relay="x" * MB), "/relay too_long")
    yield wrong(
        "500 attachments and one", mail(attachments=[{"filename": "a", "content": "QQ"}] * 501), "/attachments too_many"
    )
    yield wrong("a header of 1 MB", mail(headers={"X-A": "x " * (MB // 2)}), "/headers/X-A invalid_value")
    yield wrong("a header whose name has 1 MB", mail(headers={"x" * MB: "a"}), "/headers invalid_value")
    yield wrong("an unknown name of 1 MB", mail(**{"x" * MB: 1}), " unknown_field")
    yield wrong("a repeated name of 1 MB", with_member(b'"' + b"x" * MB + b'":1,"' + b"x" * MB + b'":1'),
                " duplicate_key", " unknown_field")  # fmt: skip
    for n in (1001, 90000):
        yield wrong("%d recipients" % n, mail(to=["c%d@d.example" % i for i in range(n)]), "/to too_many")
    yield read("1000 recipients", mail(to=["c%d@d.example" % i for i in range(1000)]))
    yield wrong("1000 recipients and one", mail(to=["c%d@d.example" % i for i in range(1000)], bcc="e@f.example"),
                "/to too_many")  # fmt: skip
    yield many("90,000 recipients that are none", mail(to=["x"] * 90000), 100, "invalid_address")


def numbers_of():
    """Many of one thing."""
    yield many("10,000 unknown names", {**mail(), **{"k%d" % i: i for i in range(10000)}}, 100, "unknown_field")
    yield many("10,000 names like ours", {**mail(), **{"subject%d" % i: i for i in range(10000)}}, 100, "unknown_field")
    yield many("10,000 unknown names in an address", mail(cc={"email": "e@f.example",
        **{"k%d" % i: i for i in range(10000)}}),
               100, "unknown_field")  # fmt: skip
    yield many(
        "90,000 names, each twice",
        with_member(b",".join(b'"k%d":1' % (i % 45000) for i in range(90000))),
        100,
        "duplicate_key",
    )
    yield wrong("one name 90,000 times", with_member(b",".join([b'"cc":null'] * 90000)), "/cc duplicate_key")
    yield many(
        "one unknown name 90,000 times",
        with_member(b",".join([b'"n":1'] * 90000)),
        100,
        "duplicate_key",
        "unknown_field",
    )
    most = VALUES_MOST - 5  # the mail, its three fields and the field with these
    for n, kind in ((most, wrong), (most + 1, too_many), (10 * most, too_many)):
        told = ("/n unknown_field",) if kind is wrong else ()
        yield kind("%d names in an unknown object" % n, mail(n={"k%d" % i: i for i in range(n)}), *told)
        yield kind("%d numbers" % n, mail(n=list(range(n))), *told)
        yield kind("%d objects" % n, mail(n=[{}] * n), *told)
        yield kind("%d words" % n, mail(n=[None] * n), *told)
        yield kind("%d strings" % n, mail(n=[""] * n), *told)
    yield many("1 MB of NUL", with_text(b'"' + b"\\u0000" * (MB // 6) + b'"'), 1, "control_character")
    yield many("1 MB of halves of pairs", with_text(b'"' + b"\\ud83d" * (MB // 6) + b'"'), 1, "invalid_unicode")
    yield many("1 MB of \\xff", with_text(b'"' + b"\xff" * MB + b'"'), 1, "invalid_unicode")
    yield many(
        "1 MB of truncated characters", with_text(b'"' + b"\xf0\x9f\x98" * (MB // 3) + b'"'), 1, "invalid_unicode"
    )
    for n in (99, 100, 101, 102, 103):
        for what in (b"\\ud83d", b"\\ude00", b"\\u0000", b"\xff"):
            code = "control_character" if what == b"\\u0000" else "invalid_unicode"
            yield many("%d of %r" % (n, what), with_text(b'"' + what * n + b'"'), 1, code)
            yield many("%d of %r, then text" % (n, what), with_text(b'"' + what * n + b"x" * 600 + b'"'), 1, code)
            yield many("%d of %r, and more" % (n, what),
                with_text(b'"' + what * n + b'","cc":"\xff7","html":"\\ud83d"'), 99,
                       *{code, "invalid_unicode"} if n == 99 else [code])  # fmt: skip
    yield many("halves of pairs in 10,000 names", with_member(b",".join(b'"k%d\\ud83d":1' % i for i in range(10000))),
        100,
               "invalid_unicode")  # fmt: skip
    yield many("10,000 headers", mail(headers={"X-%d" % i: "x" for i in range(10000)}), 1, "too_many")
    yield many(
        "10,000 owned headers", mail(headers=[{"name": "From", "value": "x"}] * 10000), 100, "header_not_allowed"
    )


def nonsense():
    """A megabyte of one character, and its like."""
    for c in b"[ { ] } \" ' , : \\ / - + . 0 1 e t \x00 \x80 \xff a \xef\xbb\xbf <".split(b" "):
        yield bad("1 MB of %r" % c.decode("latin-1"), c * (MB // len(c)), lenient=c in (b"1", b"\xef\xbb\xbf"))
    yield bad("2 MB of spaces", b" " * 2 * MB)
    for piece in (
        b'{"a":',
        b"[[",
        b'[{"a":',
        b'""',
        b"[]",
        b"{}",
        b"[1,",
        b'{"a":1,',
        b"\\u0000",
        b"1 ",
        b"nul",
        b"/**/",
    ):
        yield bad("1 MB of %s" % piece.decode(), piece * (MB // len(piece)))
    for piece, name in ((b"1", "ones"), (b"0", "zeros"), (b"1e", "exponents"), (b"1.", "points"), (b"-", "minus")):
        yield bad(
            "a number of 1 MB of %s" % name, with_member(b'"n":' + piece * (MB // len(piece))), lenient=piece == b"1"
        )
    yield bad("a fraction of 1 MB", with_member(b'"n":0.' + b"1" * MB), lenient=True)
    yield bad("an exponent of 1 MB", with_member(b'"n":1e' + b"0" * MB), lenient=True)
    yield bad("a string that does not end", with_subject(b'"' + b"x" * MB)[:-1])
    yield bad("an error on the last line of many", b"{" + b"\n" * MB + BASE + b",}")
    yield bad("an error at the end of a long line", with_text(b'"' + b"\xc3\xa9" * (MB // 2) + b'"') + b"x")


def batches():
    """The same readers behind an array."""
    one, first = b"{" + BASE + b"}", b"[" + with_text(b'"' + b"\\u0000" * 100 + b'"') + b","
    for name, document, *problems in (
        ("an object", one, " wrong_type"),
        ("a word", b"null", " wrong_type"),
        ("nothing", b"[]", " required"),
        ("101 mails", b"[" + b",".join([one] * 101) + b"]", " too_many"),
        ("what is no object", b"[" + one + b',1,null,[],"x"]', "/1 wrong_type", "/2 wrong_type", "/3 wrong_type",
        "/4 wrong_type"),
        ("defects", b"[" + one + b"," + with_text(b'"\\ud83d\xff"') + b"]", "/1/text invalid_unicode"),
        ("names twice", b"[" + with_member(b'"cc":[],"c\\u0063":[]') + b"," + one + b"]", "/0/cc duplicate_key"),
        ("a problem in each", b"[{" + BASE + b',"n":1},{' + BASE + b',"replyTo":1}]', "/0/n unknown_field",
        "/1/replyTo unknown_field"),
    ):  # fmt: skip
        yield batch(wrong("batch: " + name, document, *problems))
    for name, document in (
        ("a mark of the reader's own", first + with_text(b'"\xff9999999"') + b"]"),
        ("half a pair", first + with_text(b'"\\ud83d"') + b"]"),
        ("a name twice", first + with_text(b'"x"')[:-1] + b',"text":"\xff"}]'),
        ("long ones", first + with_text(b'"' + b"x" * 600 + b'\\ud83d"') + b"]"),
        ("many", b"[" + b",".join([with_text(b'"\xff1\xff\\ud83d\\u0000"')] * 100) + b"]"),
    ):
        codes = {"control_character"} if name != "many" else {"control_character", "invalid_unicode"}
        yield batch(many("batch: behind 100 defects, " + name, document, 90, *codes))
    for name, document in (("no comma", b"[" + one + one + b"]"), ("a comma behind", b"[" + one + b",]"), ("lines",
        one + b"\n" + one),
                           ("not closed", b"[" + one), ("depth 33",
                           b"[" + with_member(b'"n":' + b"[" * 31 + b"]" * 31) + b"]")):  # fmt: skip
        yield batch(bad("batch: " + name, document, lenient=name == "depth 33"))


def cases():
    for part in (contents, limits, numbers_of, nonsense, batches):
        yield from part()
