"""Documents about the grammar of RFC 8259: numbers, strings, structure, white space, encodings, depth, names."""
from case import BASE, bad, label, read, with_member, with_subject, with_text, wrong

NUMBERS = """0 -0 1 -1 10 -10 0.0 -0.0 0.5 1.5 -1.5 10.01 1e5 1E5 1e+5 1e-5 1E+05 0e0 0E-0 0e999 -1.5E-10 1e308
1.7976931348623157e308 5e-324 1e-400 1e-99999 9007199254740993 -9223372036854775809 123456789012345678901234567890
0.00000000000000000000000000000000001 1.00000000000000000000000000000000000""".split()

NO_NUMBERS = """01 -01 00 -00 007 00.1 - -- --1 +1 +0 ++1 .5 -.5 +.5 1. -1. 0.
1.e5 0.e1 2.e+3 9.e-1 1e 1E 0e 1e+ 1e- 1e1.5
1ee5 1e5e5 1e+-5 1.5.5 0.1.2 1..5 0x10 0X1F 0b1 0o7 1_000 1'000 1f 1L 1n 1a -a 1+1 1-1 (1) $1 1% \uff11 \u0661 \u00bd
\u221e Infinity -Infinity +Infinity NaN -NaN nan inf -inf 1e309 -1e309 1e999 -1e999 1e99999999999999999999""".split()
LENIENT_NUMBERS = ("Infinity", "-Infinity", "NaN", "1e309", "-1e309", "1e999", "-1e999", "1e99999999999999999999")


def numbers():
    for n in NUMBERS + ["1" * 309, "0." + "3" * 398]:
        b = n.encode()
        yield wrong("number %s" % n, with_member(b'"n":' + b), "/n unknown_field")
        yield wrong("number %s in an array" % n, with_member(b'"n":[' + b + b"," + b + b"]"), "/n unknown_field")
        yield wrong("number %s alone" % n, b, " wrong_type")
    for n in NO_NUMBERS:
        lenient = n in LENIENT_NUMBERS
        b = n.encode()
        yield bad("no number %s" % n, with_member(b'"n":' + b), lenient)
        yield bad("no number %s in an array" % n, with_member(b'"n":[' + b + b"]"), lenient)
        yield bad("no number %s alone" % n, b, lenient)
    yield bad("number cut by a space", with_member(b'"n":1 000'))
    yield bad("number with a comma", with_member(b'"n":1,5'))
    yield bad("minus and a space", with_member(b'"n":- 1'))
    yield bad("number of 401 characters", with_member(b'"n":0.' + b"3" * 399), lenient=True)
    yield bad("number beyond a double by its digits", with_member(b'"n":' + b"9" * 310), lenient=True)


STRINGS = [
    b"", b" ", b"\\\"\\\\\\/\\b", b"/", b"\\/", b"\\n", b"a\\r\\nb", b"\\t", b"\\u0041", b"\\u00e9\\u00E9\\u00Ea",
    b"\\ud83d\\ude00", b"\\uD83D\\uDE00", b"\\uDBFF\\uDFFF", b"\\ud800\\udc00", b"\\uFFFF", b"\\uFFFE\\uFDD0",
    b"\\uFEFF",
    b"\\uE000", b"\\u2028\\u2029", b"\\u0022\\u005c", b"\\\\u0041", b"\\\\\\u0041", b"\\\\\\\\", b"\\\\u0000",
    b"\\\\ud800",
    b"\\u0080\\u009f", b"/* no comment */", b"// neither", b"{}[],:", b"null", b"'", b"%00", b"&amp;", b"<!-- -->",
    "\u00e9".encode(), "\u20ac".encode(), "\U0001f600".encode(), "\U0010ffff".encode(), "\uffff".encode(),
    "\ufeff".encode(), "\u2028".encode(), "\ud7ff\ue000".encode(), "\u200b".encode(), "e\u0301".encode(), b"x" * 5000,
    b"a " * 1000, b"\\u00e9" * 2000, b"\\ud83d\\ude00" * 500,
]  # fmt: skip
BAD_ESCAPES = [
    b"\\a", b"\\e", b"\\v", b"\\0", b"\\1", b"\\x41", b"\\'", b"\\`", b"\\U0041", b"\\N", b"\\ ", b"\\\t", b"\\\n",
    b"\\\r\n",
    b"\\(", b"\\%", b"\\\x00", b"\\\xc3\xa9", b"\\\xff", b"\\u", b"\\u1", b"\\u12", b"\\u123", b"\\u123g", b"\\ug123",
    b"\\u+123", b"\\u-123", b"\\u 123", b"\\u0x41", b"\\u{41}", b"\\u\xef\xbc\x91234", b"\\ud83d\\u", b"\\ud83d\\ude0",
    b"\\ud83d\\x", b"\\ud83d\\", b"\\\\\\", b"\\",
]  # fmt: skip
LONE = [
    b"\\ud800", b"\\udfff", b"\\ud83d", b"\\ude00\\ud83d", b"\\ud83d\\ud83d", b"\\ud83d\\ud83d\\ude00", b"\\ud83da",
    b"\\ud83d\\u0041", b"\\ud83d\\n", b"\\ude00", b"a\\udc00b", b"\\ud83d\\ude00\\ude00", b"\\uD83D \\uDE00",
]  # fmt: skip
NOT_UTF8 = [
    ("overlong", b"\xc0\x80 \xc0\xaf \xc1\xbf \xe0\x80\x80 \xe0\x9f\xbf \xf0\x80\x80\x80 \xf0\x8f\xbf\xbf"),
    ("surrogate", b"\xed\xa0\x80 \xed\xbf\xbf \xed\xa0\xbd\xed\xb8\x80"),
    ("beyond U+10FFFF",
    b"\xf4\x90\x80\x80 \xf5\x80\x80\x80 \xf7\xbf\xbf\xbf \xf8\x88\x80\x80\x80 \xfc\x84\x80\x80\x80\x80"),
    ("truncated", b"\xc3 \xe2\x82 \xe2 \xf0\x9f\x98 \xf0\x9f \xf0"),
    ("stray", b"\x80 \xbf \xe9 \xfe \xff \xc3\xc3\xa9 \xc3\xa9\xa9"),
]  # fmt: skip


def strings():
    for s in STRINGS:
        yield read("text " + label(s), with_text(b'"' + s + b'"').replace(b"\\b", b""))
    for s in BAD_ESCAPES:
        yield bad("escape %s" % label(s), with_text(b'"' + s + b'"'))
        yield bad("escape %s in a name" % label(s), with_member(b'"' + s + b'":1'))
    for c in range(0x20):
        yield bad("raw U+%04X" % c, with_text(b'"a' + bytes([c]) + b'b"'))
        escape = b'"a\\u%04xb"' % c
        if c == 0:
            yield wrong("\\u0000", with_text(escape), "/text control_character")
            yield wrong("\\u0000 alone", with_text(b'"\\u0000"'), "/text control_character")
        elif c not in (9, 10, 13):
            yield wrong("escaped U+%04X" % c, with_text(escape), "/text control_character")
        yield wrong("escaped U+%04X in a subject" % c, with_subject(escape), "/subject control_character")
    yield bad("raw control in a name", with_member(b'"a\x01":1'))
    yield wrong(
        "\\u0000 in a name", with_member(b'"a\\u0000b":1'), "/a\ufffdb control_character", "/a\ufffdb unknown_field"
    )
    yield wrong(
        "\\u0000 in a name of ours",
        with_member(b'"cc\\u0000":1'),
        "/cc\ufffd control_character",
        "/cc\ufffd unknown_field",
    )
    yield wrong("DEL", with_text(b'"\x7f"'), "/text control_character")
    for c in (0x7F, 0x80, 0x85, 0x9F, 0x2028, 0x2029):
        yield wrong("U+%04X in a subject" % c, with_subject(b'"a\\u%04xb"' % c), "/subject control_character")
        yield wrong(
            "raw U+%04X in a subject" % c, with_subject(b'"a' + chr(c).encode() + b'b"'), "/subject control_character"
        )
    for s in LONE:
        yield wrong("half a pair " + label(s), with_text(b'"' + s + b'"'), "/text invalid_unicode")
        yield wrong("half a pair %s in an array" % label(s), with_member(b'"cc":["e@f.example","' + s + b'"]'),
                    "/cc/1 invalid_unicode",
                    "/cc/1 %s" % ("control_character" if b"\\n" in s else "invalid_address"))  # fmt: skip
    yield wrong(
        "half a pair in a name", with_member(b'"\\ud83d":1'), "/\ufffd invalid_unicode", "/\ufffd unknown_field"
    )
    yield wrong("half a pair in a nested name", with_member(b'"headers":{"X-\\udc00":"a"}'),
                "/headers/X-\ufffd invalid_unicode", "/headers/X-\ufffd invalid_value")  # fmt: skip
    for kind, sequences in NOT_UTF8:
        for s in sequences.split(b" "):
            name = "%s %s" % (kind, s.hex())
            yield wrong(name, with_text(b'"' + s + b'"'), "/text invalid_unicode")
            yield wrong(name + " between letters", with_subject(b'"a' + s + b'b"'), "/subject invalid_unicode")
            yield bad(name + " outside of a string", with_member(b'"n":' + s))
            yield bad(name + " for a space", b"{" + s + BASE + b"}")
    yield wrong("\\xff in a name", with_member(b'"k\xff":1'), "/k\ufffd invalid_unicode", "/k? unknown_field")


STRUCTURE = [
    b"{%s,}", b"{,%s}", b"{%s,,}", b"{%s,,\"cc\":[]}", b"{%s \"cc\":[]}", b"{%s;\"cc\":[]}", b"{%s,\"cc\"}",
    b"{%s,\"cc\" []}",
    b"{%s,\"cc\"::[]}", b"{%s,\"cc\"=[]}", b"{%s,\"cc\":}", b"{%s,:[]}", b"{%s,cc:[]}", b"{%s,'cc':[]}",
    b"{%s,`cc`:[]}",
    b"{%s,1:[]}", b"{%s,null:[]}", b"{%s,[]:1}", b"{%s,{}:1}", b"{%s,\"cc\":[],1}", b"{%s,\"cc\":[]:1}", b"{%s",
    b"%s}", b"%s",
    b"{{%s}}", b"{%s}}", b"{%s]", b"[%s}", b"{%s}{}", b"{%s} {}", b"{%s},", b"{%s};", b"{%s}x", b"{%s}\0",
    b"{%s}\0\0\0",
    b"{%s} \0", b"{%s}null", b"{%s}\"\"", b"{%s}//", b"{%s}/**/", b"{%s}#", b"{%s}\n{%s}", b"{%s}\x1a", b"{%s}\xc2\xa0",
    b"{%s}\xe2\x80\xa8", b"{%s}\f", b"\f{%s}", b"\v{%s}", b"\xc2\xa0{%s}", b"\xe2\x80\x8b{%s}", b"\xe3\x80\x80{%s}",
    b"\0{%s}",
    b"\x1e{%s}", b"{\f%s}", b"{%s,\v\"cc\":[]}", b"{\xc2\xa0%s}", b"{\xef\xbb\xbf%s}", b"/**/{%s}", b"//x\n{%s}",
    b"#x\n{%s}",
    b"{/**/%s}", b"{%s/**/}", b"{%s,\"cc\":/**/[]}", b"({%s})", b"f({%s})", b"f({%s});", b"x={%s}", b")]}'\n{%s}",
    b"while(1);{%s}",
    b"%%%s", b"{...%s}", b"{%s,\"cc\":[}", b"{%s,\"cc\":]}", b"{%s,\"cc\":[,]}", b"{%s,\"cc\":[\"e@f.example\",]}",
    b"{%s,\"cc\":[,\"e@f.example\"]}", b"{%s,\"cc\":[\"e@f.example\",,\"g@h.example\"]}",
    b"{%s,\"cc\":[\"e@f.example\" \"g@h.example\"]}",
    b"{%s,\"cc\":[\"e@f.example\":1]}", b"{%s,\"cc\":(\"e@f.example\")}", b"{%s,\"cc\":['e@f.example']}",
    b"{%s,\"cc\":[e@f.example]}",
    b"{%s,\"cc\":[\"e@f.example\"", b"{%s,\"cc\":\"e@f.example}", b"{%s,\"cc\":e@f.example\"}", b"{%s,\"cc\":\"\"\"}",
    b"{%s,\"cc\":\"a\"\"b\"}",
    b"{%s,\"cc\":\"a\"+\"b\"}", b"{%s,\"cc\":\"\"\"x\"\"\"}", b"{%s,\"cc\":@}", b"{%s,\"cc\":*}", b"{%s,\"cc\":?}",
    b"{%s,\"cc\":\\u005b]}",
]  # fmt: skip
NO_WORDS = b"""True TRUE False nul nulll Null NULL None nil undefined tru truex fals falsee yes no on t f n a -null
!0 <null>""".split()
OTHER_LANGUAGES = [
    b"", b" ", b"\n", b"\t\r\n ", b"\0", b"\0\0\0\0", b"\xff", b"\xef\xbb\xbf", b",", b":", b"{", b"}", b"[", b"]",
    b"\"", b"'", b"\\", b"/", b"-", b"[\"", b"{\"",
    b"{\"\":", b"[1", b"[1,", b"{]", b"[}", b"]{", b"from=a@b.example&to=c@d.example",
    b"from: a@b.example\nto: c@d.example\n",
    b"<mail><from>a@b.example</from></mail>", b"<!DOCTYPE html>",
    b"--b\r\nContent-Disposition: form-data; name=\"from\"\r\n\r\na@b.example\r\n--b--\r\n",
    b"From: a@b.example\r\n\r\nx\r\n", b"{from:\"a@b.example\"}", b"eyJmcm9tIjoiYUBiLmV4YW1wbGUifQ==",
    b"\x1f\x8b\x08\x00\x00", b"\x81\xa4from\xa1a",
    b"O:1:\"a\":0:{}", b"(lp0\n.", b"a: &a [*a]", b"{\"$ref\":\"#\"", b"{%00}", b"%7B%7D",
]  # fmt: skip


def structure():
    for form in STRUCTURE:
        yield bad("structure " + label(form, 60), form.replace(b"%%", b"\\").replace(b"%s", BASE))
    for word in NO_WORDS:
        yield bad("word %s" % label(word), with_member(b'"n":' + word))
        yield bad("word %s alone" % label(word), word)
    for text in OTHER_LANGUAGES:
        yield bad("text " + label(text), text)
    whole = (
        b'{"from":{"email":"a@b.example"},"to":["c@d.example"],"text":"\\ud83d\\ude00 \xc3\xa9",'
        b'"headers":{},"n":[1.5e+3,true]}'
    )
    for n in range(len(whole)):
        yield bad("cut short at %d" % n, whole[:n])
    yield wrong("the same, whole", whole, "/n unknown_field")
    for space in (b" ", b"\t", b"\n", b"\r", b"\r\n", b" \t\r\n" * 20):
        tokens = [b"", b"{", b'"from"', b":", b'"a@b.example"', b",", b'"to"', b":", b"[", b'"c@d.example"', b",",
                  b'"e@f.example"', b"]", b",", b'"text"', b":", b'"x"', b"}", b""]  # fmt: skip
        yield read("white space " + label(space), space.join(tokens))
    for value in (b"null", b"true", b"false", b'""', b'"x"', b"[]", b"[{}]", b"[null]", b" [1, 2] "):
        yield wrong("not an object: %s" % label(value), value, " wrong_type")
    yield wrong("an empty object", b"{}", "/from required", "/to required", "/text required")
    for name, document in (("a word", b"tr\xc3\xbce"), ("two words", b"true false"), ("an array and a value", b"[] 1")):
        yield bad(name, document)


def encodings():
    text = "{%s}" % BASE.decode()
    for name in ("utf-16-le", "utf-16-be", "utf-16", "utf-32-le", "utf-32-be", "utf-32", "utf-7", "cp037"):
        if name == "utf-7":
            yield read("utf-7, which is ASCII here", text.encode(name))
        else:
            yield bad("encoding " + name, text.encode(name), lenient=True)
    yield bad("utf-8 with a BOM", b"\xef\xbb\xbf" + text.encode(), lenient=True)
    yield bad("a BOM twice", b"\xef\xbb\xbf\xef\xbb\xbf" + text.encode(), lenient=True)
    yield bad("half a BOM", b"\xef\xbb" + text.encode())
    yield bad("a BOM behind", text.encode() + b"\xef\xbb\xbf")
    yield wrong("latin-1", b'{"from":"a@b.example","to":"c@d.example","text":"d\xe9j\xe0"}', "/text invalid_unicode")
    yield wrong("cp1252", with_subject(b'"\x93x\x94"'), "/subject invalid_unicode")
    yield wrong("CESU-8", with_subject(b'"\xed\xa0\xbd\xed\xb8\x80"'), "/subject invalid_unicode")
    yield wrong("Java's NUL", with_subject(b'"\xc0\x80"'), "/subject invalid_unicode")


def depth():
    for n, fine in ((31, True), (32, False), (33, False), (1000, False), (100000, False)):
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")):
            levels = n // len(closing)
            document = with_member(b'"n":' + opening * levels + (b"1" if b":" in opening else b"") + closing * levels)
            name = "depth %d of %s" % (levels * len(closing) + 1, label(opening))
            if fine:
                yield wrong(name, document, "/n unknown_field")
            elif levels * len(closing) + 1 > 32:
                yield bad(name, document, lenient=True)
    yield wrong("depth 32 alone", b"[" * 32 + b"]" * 32, " wrong_type")
    yield bad("depth 33 alone", b"[" * 33 + b"]" * 33, lenient=True)
    yield wrong("broad, not deep", with_member(b'"n":[' + b",".join([b"[[]]"] * 5000) + b"]"), "/n unknown_field")


def names():
    yield read(
        "escaped names", b'{"\\u0066rom":"a@b.example","t\\u006f":"c@d.example","\\u0074\\u0065\\u0078\\u0074":"x"}'
    )
    for member, *problems in (
        (b'"to":"e@f.example"', "/to duplicate_key"),
        (b'"t\\u006f":"e@f.example"', "/to duplicate_key"),
        (b'"\\u0074\\u006F":null', "/to duplicate_key"),
        (b'"from":"a@b.example"', "/from duplicate_key"),
        (b'"text":"y","text":"z","text":"a"', "/text duplicate_key"),
        (b'"text":"y","from":"e@f.example"', "/text duplicate_key", "/from duplicate_key"),
        (b'"n":1,"n":1', "/n duplicate_key", "/n unknown_field"),
        (b'"":1,"":2', "/ duplicate_key", "/ unknown_field"),
        (b'"n":{"a":1,"a":1}', "/n/a duplicate_key", "/n unknown_field"),
        (b'"n":[0,{"a":{"b":1,"\\u0062":2}}]', "/n/1/a/b duplicate_key", "/n unknown_field"),
        (b'"cc":{"email":"e@f.example","email":"g@h.example"}', "/cc/email duplicate_key"),
        (b'"cc":["i@j.example",{"email":"e@f.example","name":"E","n\\u0061me":"F"}]', "/cc/1/name duplicate_key"),
        (b'"headers":{"X-A":"1","X-A":"2"}', "/headers/X-A duplicate_key"),
        (b'"a/b":1,"a/b":1', "/a~1b duplicate_key", "/a~1b unknown_field"),
        (b'"~":1,"~":1', "/~0 duplicate_key", "/~0 unknown_field"),
        (b'"\\u00e9":1,"\xc3\xa9":1', "/\u00e9 duplicate_key", "/\u00e9 unknown_field"),
        (b'"\\ud83d\\ude00":1,"\xf0\x9f\x98\x80":1', "/\U0001f600 duplicate_key", "/\U0001f600 unknown_field"),
        (b'"n":{"a":1,"A":1,"a ":1,"\xc3\xa1":1,"a\xcc\x81":1}', "/n unknown_field"),
        (b'"n":[{"a":1},{"a":1}]', "/n unknown_field"),
        (b'"":1', "/ unknown_field"),
        (b'" ":1', "/  unknown_field"),
        (b'"m~n":1', "/m~0n unknown_field"),
        (b'"a/b":1', "/a~1b unknown_field"),
        (b'"~1":1', "/~01 unknown_field"),
        (b'"c%d":1', "/c%d unknown_field"),
        (b'"%s%n":1', "/%s%n unknown_field"),
        (b'"\\"":1', '/" unknown_field'),
        (b'"\\\\":1', "/\\ unknown_field"),
        (b'"\\n":1', "/\n unknown_field"),
        (b'"0":1', "/0 unknown_field"),
        (b'"__proto__":{"from":"e@f.example"}', "/__proto__ unknown_field"),
        (b'"constructor":1', "/constructor unknown_field"),
    ):
        yield wrong("names " + label(member, 60), with_member(member), *problems)


def cases():
    for part in (numbers, strings, structure, encodings, depth, names):
        yield from part()
