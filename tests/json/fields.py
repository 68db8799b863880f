"""Documents about the fields of a request: types, nulls, unknown names and what was meant, everything wrong at once."""
from case import as_bytes, mail, read, with_member, wrong

ADDRESS_LISTS = ("to", "cc", "bcc", "reply_to")
STRINGS = ("subject", "text", "html", "relay", "partial", "on_temporary_failure")
OBJECTS = ("calendar", "list_unsubscribe", "envelope", "dsn")
LATER = ("async", "scheduled_at", "expires_in")  # in the contract, and need a queue
ALL = ("from", *ADDRESS_LISTS, *STRINGS, *OBJECTS, *LATER, "headers", "attachments", "tags", "metadata",
       "require_tls")  # fmt: skip
SCALARS = (0, 1, -1.5, 10**30, True, False)
PNG = "iVBORw0KGgo="


def types():
    """Each field, given what it is not."""
    for value in (*SCALARS, [], ["a@b.example"], [[]]):
        yield wrong("from: %r" % (value,), mail(**{"from": value}), "/from wrong_type")
    for name in ADDRESS_LISTS:
        for value in SCALARS:
            yield wrong("%s: %r" % (name, value), mail(**{name: value}), "/%s wrong_type" % name)
            yield wrong("%s: [%r]" % (name, value), mail(**{name: [value]}), "/%s/0 wrong_type" % name)
        for value in (None, [], ["e@f.example"], [None]):
            yield wrong("%s: [%r]" % (name, value), mail(**{name: ["g@h.example", value]}), "/%s/1 wrong_type" % name)
    for name in STRINGS:
        for value in (*SCALARS, [], ["x"], {}, {"x": "y"}):
            yield wrong("%s: %r" % (name, value), mail(**{name: value}), "/%s wrong_type" % name)
    for name in OBJECTS:
        for value in (*SCALARS, "", "x", [], [{}]):
            yield wrong("%s: %r" % (name, value), mail(**{name: value}), "/%s wrong_type" % name)
    for value in (*SCALARS, "", "x", {}, {"filename": "a", "content": ""}):
        yield wrong("attachments: %r" % (value,), mail(attachments=value), "/attachments wrong_type")
    for value in (*SCALARS, "x", None, [], [{}]):
        yield wrong("attachments: [%r]" % (value,), mail(attachments=[value]), "/attachments/0 wrong_type")
    for value in (*SCALARS, "", "X-A: b"):
        yield wrong("headers: %r" % (value,), mail(headers=value), "/headers wrong_type")
    for value in (*SCALARS, {}, ["x"]):
        yield wrong("headers: {X-A: %r}" % (value,), mail(headers={"X-A": value}), "/headers/X-A wrong_type")
    for value in (*SCALARS, "X-A: b", [], None):
        yield wrong("headers: [%r]" % (value,), mail(headers=[value]), "/headers/0 wrong_type")
    for value in (0, 1, "true", "", [], {}):
        yield wrong("require_tls: %r" % (value,), mail(require_tls=value), "/require_tls wrong_type")
    for value in (*SCALARS, "x", {}, {"name": "a", "value": "b"}):
        yield wrong("tags: %r" % (value,), mail(tags=value), "/tags wrong_type")
    for value in (*SCALARS, None, []):
        yield wrong("tags: [%r]" % (value,), mail(tags=["a", value]), "/tags/1 wrong_type")
    for value in (*SCALARS, "x", ["a"]):
        yield wrong("metadata: %r" % (value,), mail(metadata=value), "/metadata wrong_type")
    for value in (*SCALARS, [], {}):
        yield wrong("metadata: {a: %r}" % (value,), mail(metadata={"a": value}), "/metadata/a wrong_type")


# What may be wrong in the members of an object, with the pointer from there on.
IN_AN_ADDRESS = (
    ({}, "/email required"),
    ({"name": "Ann"}, "/email required"),
    ({"email": None, "name": None}, "/email required"),
    ({"email": 1}, "/email wrong_type"),
    ({"email": []}, "/email wrong_type"),
    ({"email": "a@b.example", "name": 1}, "/name wrong_type"),
    ({"email": 1, "name": {}}, "/email wrong_type", "/name wrong_type"),
    ({"email": "Ann <a@b.example>"}, "/email invalid_address"),
    ({"email": "", "name": "x"}, "/email invalid_address"),
    ({"email": "a@b.example", "name": "a\nb"}, "/name control_character"),
    ({"email": "a@b.example", "mail": 1}, "/mail unknown_field"),
    ({"address": "a@b.example"}, "/email required", "/address unknown_field"),
    ({"email": "a@b.example", "e/m~": 1}, "/e~1m~0 unknown_field"),
)
NO_ADDRESSES = ("nobody", "a@b@c", "a@b.example,c@d.example", "<a@b.example", "a b@c.example", "@b.example", "a@")
IN_AN_OPTION = (
    ("partial", "maybe", " invalid_value"),
    ("partial", "", " invalid_value"),
    ("partial", "Allow", " invalid_value"),
    ("on_temporary_failure", "later", " invalid_value"),
    ("on_temporary_failure", "", " invalid_value"),
    ("on_temporary_failure", "Retry", " invalid_value"),
    ("relay", "nowhere", " unknown_relay"),
    ("relay", "", " unknown_relay"),
    ("relay", "a\nb", " control_character"),
    ("headers", {"": "x"}, "/ invalid_value"),
    ("headers", {"X A": "x"}, "/X A invalid_value"),
    ("headers", {"X-\u00e9": "x"}, "/X-\u00e9 invalid_value"),
    ("headers", {"X-A": "a\r\nBcc: x@y.example"}, "/X-A control_character"),
    ("headers", {"From": "x@y.example"}, "/From header_not_allowed"),
    ("headers", {"bcc": "x@y.example"}, "/bcc header_not_allowed"),
    ("headers", {"Content-Type": "text/plain"}, "/Content-Type header_not_allowed"),
    ("headers", {"a/b": 1}, "/a~1b wrong_type"),
    ("headers", {"Date": "yesterday"}, "/Date invalid_value"),
    ("headers", [{}], "/0 wrong_type"),
    ("headers", [{"name": "X-A"}], "/0 wrong_type"),
    ("headers", [{"name": 1, "value": "x"}], "/0 wrong_type"),
    ("dsn", {"ret": "all"}, "/ret invalid_value"),
    ("dsn", {"ret": 1}, "/ret wrong_type"),
    ("dsn", {"notify": {}}, "/notify wrong_type"),
    ("dsn", {"notify": [1]}, "/notify/0 wrong_type"),
    ("dsn", {"notify": ["delay", "x"]}, "/notify/1 invalid_value"),
    ("dsn", {"notify": ["never", "delay"]}, "/notify invalid_value"),
    ("dsn", {"envid": "\u00e9"}, "/envid invalid_value"),
    ("dsn", {"envid": "x" * 101}, "/envid too_long"),
    ("dsn", {"x": 1}, "/x unknown_field"),
    ("envelope", {"to": []}, "/to required"),
    ("envelope", {"from": [], "to": True}, "/from wrong_type", "/to wrong_type"),
    ("envelope", {"x": 1}, "/x unknown_field"),
    ("calendar", {"method": 1, "content": 1}, "/method wrong_type", "/content wrong_type"),
    ("calendar", {"method": "REQUEST", "content": "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", "x": 1}, "/x unknown_field"),
    ("calendar", {}, "/method required", "/content required"),
    ("calendar", {"method": "REQUEST"}, "/content required"),
    ("calendar", {"method": "SHOUT", "content": "BEGIN:VCALENDAR"}, "/method invalid_value"),
    ("calendar", {"method": "REQUEST", "content": "hello"}, "/content invalid_value"),
    ("calendar", {"method": "REPLY", "content": "BEGIN:VCALENDAR\nMETHOD:REQUEST\n"}, "/method invalid_value"),
    ("list_unsubscribe", {}, " required"),
    ("list_unsubscribe", {"url": None}, " required"),
    ("list_unsubscribe", {"url": "ftp://b.example/"}, "/url invalid_value"),
    ("list_unsubscribe", {"url": "https://b.example/a b"}, "/url invalid_value"),
    ("list_unsubscribe", {"url": "https://b.example/>,<https://x.example"}, "/url invalid_value"),
    ("list_unsubscribe", {"url": "https://b.example/\r\nBcc: x@y.example"}, "/url control_character"),
    ("list_unsubscribe", {"mailto": "nobody"}, "/mailto invalid_value"),
    ("tags", [{}], "/0/name required"),
    ("tags", [{"name": 1, "value": 2}], "/0/name wrong_type", "/0/value wrong_type"),
    ("tags", [""], "/0 invalid_value"),
    ("tags", [{"name": "a", "x": 1}], "/0/x unknown_field"),
    ("tags", ["x"] * 51, " too_many"),
    ("tags", ["x" * 257], "/0 too_long"),
    ("metadata", {"a": None}, "/a wrong_type"),
    ("metadata", {"a/b~": 1}, "/a~1b~0 wrong_type"),
    ("metadata", {str(i): "x" for i in range(51)}, " too_many"),
    ("metadata", {"a": "x" * 1001}, "/a too_long"),
    ("list_unsubscribe", {"url": 1, "mailto": []}, "/url wrong_type", "/mailto wrong_type"),
    ("list_unsubscribe", {"x": 1, "url": "https://b.example/u"}, "/x unknown_field"),
)
IN_AN_ATTACHMENT = (
    ({}, "/filename required", "/content required"),
    ({"filename": "", "content": PNG}, "/filename invalid_value"),
    ({"filename": "x" * 256, "content": PNG}, "/filename too_long"),
    ({"filename": "a", "content": PNG, "content_type": "png"}, "/content_type invalid_value"),
    ({"filename": "a", "content": PNG, "content_type": "multipart/mixed"}, "/content_type invalid_value"),
    ({"filename": "a", "content": PNG, "content_type": "a/b;c"}, "/content_type invalid_value"),
    ({"filename": "a", "content": PNG, "content_type": "a/b\r\nX: y"}, "/content_type control_character"),
    ({"filename": "a", "content": PNG, "content_id": "a b"}, "/content_id invalid_value"),
    ({"filename": "a", "content": PNG, "content_id": "<>"}, "/content_id invalid_value"),
    ({"filename": "a", "content": PNG, "disposition": "form-data"}, "/disposition invalid_value"),
    ({"filename": 1, "content": PNG}, "/filename wrong_type"),
    ({"filename": "a.png", "content": 1}, "/content wrong_type"),
    ({"filename": "a.png", "content": []}, "/content wrong_type"),
    ({"filename": "a.png", "content": PNG, "content_type": 1}, "/content_type wrong_type"),
    ({"filename": "a.png", "content": PNG, "content_id": {}}, "/content_id wrong_type"),
    ({"filename": "a.png", "content": PNG, "disposition": True}, "/disposition wrong_type"),
    ({"filename": "a.png", "content": PNG, "path": "/etc/passwd"}, "/path unknown_field"),
    ({"filename": "a\nb", "content": PNG}, "/filename control_character"),
    ({"filename": "a.png"}, "/content required"),
    ({"filename": "a.png", "content": None}, "/content required"),
)
NO_BASE64 = (
    "A", "AA=", "AAAAA", "AA==A", "AA==AA==", "=", "==", "====", "A===", "AAA==", "!!!!", "AA AA", "A-_A", "AAA\t",
    "\u00e9",
    "data:image/png;base64,AAAA", "%41%41",
)  # fmt: skip


def members():
    """The members of the fields that are objects."""
    for at, make in (
        ("/from", lambda v: mail(**{"from": v})),
        ("/to", lambda v: mail(to=v)),
        ("/cc/1", lambda v: mail(cc=["e@f.example", v])),
        ("/reply_to/0", lambda v: mail(reply_to=[v])),
        ("/envelope/from", lambda v: mail(envelope={"from": v})),
        ("/envelope/to/0", lambda v: mail(envelope={"to": [v]})),
    ):
        for value, *problems in IN_AN_ADDRESS:
            yield wrong("%s: %r" % (at, value), make(value), *(at + p for p in problems))
        for value in NO_ADDRESSES:
            yield wrong("%s: %r" % (at, value), make(value), at + " invalid_address")
    for field, value, *problems in IN_AN_OPTION:
        yield wrong("%s: %r" % (field, value), mail(**{field: value}), *("/" + field + p for p in problems))
    for value, *problems in IN_AN_ATTACHMENT:
        yield wrong("attachment: %r" % value, mail(attachments=[value]), *("/attachments/0" + p for p in problems))
    for content in NO_BASE64:
        for name, before in (("base64", ""), ("long base64", "AAAA" * 200)):
            document = mail(attachments=[{"filename": "a", "content": before + content}])
            yield wrong("%s %r" % (name, content), document, "/attachments/0/content invalid_base64")


def nulls():
    """null is as if it were not there."""
    for name in ALL:
        if name == "from":
            yield wrong("null from", mail(**{"from": None}), "/from required")
        elif name == "to":
            yield wrong("null to", mail(to=None), "/to required")
            yield read("null to, and cc", mail(to=None, cc="e@f.example"))
        elif name == "text":
            yield wrong("null text", mail(text=None), "/text required")
            yield read("null text, and html", mail(text=None, html="<p>x</p>"))
        else:
            yield read("null %s" % name, mail(**{name: None}))
    yield wrong("all null", {name: None for name in ALL}, "/from required", "/to required", "/text required")
    yield read("all null but three", {**{name: None for name in ALL}, **mail()})
    yield wrong("an unknown null", mail(n=None), "/n unknown_field")
    yield read("null members", mail(envelope={"from": None, "to": None}, dsn={"ret": None, "envid": None,
        "notify": None},
                                    cc={"email": "e@f.example", "name": None}))  # fmt: skip


def readings():
    """What is there and says nothing, or says it in another way."""
    yield read("empty text", mail(text=""))
    yield read("empty html", mail(html=""))
    yield read("empty subject", mail(subject=""))
    yield read("empty cc", mail(cc=[], bcc=[], reply_to=[]))
    yield read("empty to, and bcc", mail(to=[], bcc=["e@f.example"]))
    yield wrong("nobody", mail(to=[], cc=[], bcc=[]), "/to required")
    yield read("empty objects", mail(headers={}, metadata={}, envelope={}))
    yield read("empty arrays", mail(headers=[], tags=[], attachments=[]))
    yield read("false", mail(require_tls=False))
    yield read(
        "addresses as objects",
        mail(**{"from": {"email": "a@b.example", "name": "Ann"}, "to": [{"email": "c@d.example"}]}),
    )
    yield read("text and html", mail(html="<p>\u00e9</p>", subject="\u00e9 \U0001f600"))
    yield read("both kinds of lines", mail(text="a\nb\r\nc\n\n"))
    yield read("an envelope", mail(envelope={"from": "bounce@b.example", "to": ["e@f.example"]}))
    yield read("headers", mail(headers={"X-A": "b", "X-B": "\u00e9" * 20}))
    yield read("tags and metadata", mail(tags=["a", {"name": "b", "value": "c"}], metadata={"a": "b", "": ""}))
    yield read("partial", mail(partial="reject"))
    yield read("on_temporary_failure", mail(on_temporary_failure="fail"))
    yield read("on_temporary_failure: retry", mail(on_temporary_failure="retry"))
    yield read("notify without an array", mail(dsn={"notify": "never"}))
    yield read("dsn", mail(dsn={"ret": "Full", "envid": "a b", "notify": ["DELAY", "success"]}))
    yield read("an attachment", mail(attachments=[{"filename": "a.png", "content": PNG}]))
    for content in ("", "AA==", "AA", "AAA=", "AAA", "AAAA", "AA\r\nAA\n", "AB", "AA=\n=", "//++"):
        yield read("base64 %r is read" % content, mail(attachments=[{"filename": "a", "content": content}]))
        yield read(
            "long base64 %r is read" % content, mail(attachments=[{"filename": "a", "content": "Aa0/" * 200 + content}])
        )
    yield read(
        "two attachments",
        mail(attachments=[{"filename": "a", "content": "QUJD" * 300}, {"filename": "b", "content": "Qg"}]),
    )
    yield read(
        "an attachment alone",
        {"from": "a@b.example", "to": "c@d.example", "attachments": [{"filename": "a", "content": "QQ"}]},
    )
    yield read("names that are words of ours as values", mail(subject="from", text="null", cc=["null@f.example"]))


def meant():
    """Names that are not ours, and the one that may have been meant."""
    for name, likely in (
        ("replyTo", "reply_to"), ("reply-to", "reply_to"), ("ReplyTo", "reply_to"), ("Reply-To", None), ("reply_too",
        "reply_to"),
        ("form", "from"), ("From", "from"), ("frm", "from"), ("FROM", None), ("sender", None), ("subjet", "subject"),
        ("Subject", "subject"), ("sbuject", "subject"), ("body", None), ("txt", "text"), ("Text", "text"), ("htlm",
        "html"),
        ("HTML", None), ("attachment", "attachments"), ("atachments", "attachments"), ("bbc", "bcc"), ("tag", "tags"),
        ("metaData", None),
        ("header", "headers"), ("Headers", "headers"), ("listUnsubscribe", "list_unsubscribe"), ("requireTls",
        "require_tls"),
        ("onTemporaryFailure", "on_temporary_failure"), ("scheduledAt", "scheduled_at"), ("expiresIn", "expires_in"),
        ("envelop", "envelope"), ("xyzzy", None), ("a" * 63, None), ("a" * 64, None), ("a" * 65, None), ("\u00e9",
        None),
    ):  # fmt: skip
        words = 'did you mean "%s"' % likely if likely else "no such field"
        yield wrong("meant: %s" % name, mail(**{name: "x"}), "/%s unknown_field" % name, says=[("/" + name, words)])
    for value, at, likely in (
        ({"Email": "a@b.example"}, "/Email", "email"), ({"email": "a@b.example", "nmae": "x"}, "/nmae", "name"),
    ):  # fmt: skip
        problems = ["/cc%s unknown_field" % at] + (["/cc/email required"] if "email" not in value else [])
        yield wrong(
            "meant: %s in an address" % at, mail(cc=value), *problems, says=[("/cc" + at, 'did you mean "%s"' % likely)]
        )


def at_once():
    everything = {
        "from": 1, "to": ["nobody", 2, {"name": "x"}], "cc": {"email": True}, "bcc": "x", "reply_to": [None],
        "subject": "a\nb",
        "text": [], "html": {}, "headers": {"From": "x", "X-A": 1, "Y": "fine"}, "relay": "nowhere", "partial": "x",
        "envelope": {"from": "x", "to": []}, "dsn": {"ret": "x", "notify": ["x"]}, "require_tls": "x", "tags": 1,
        "metadata": 1,
        "attachments": "x", "calendar": "x", "list_unsubscribe": "x", "replyTo": "x", "n": None,
    }  # fmt: skip
    problems = (
        "/from wrong_type", "/to/0 invalid_address", "/to/1 wrong_type", "/to/2/email required", "/cc/email wrong_type",
        "/bcc invalid_address", "/reply_to/0 wrong_type", "/subject control_character", "/text wrong_type",
        "/html wrong_type",
        "/headers/From header_not_allowed", "/headers/X-A wrong_type", "/relay unknown_relay", "/partial invalid_value",
        "/envelope/from invalid_address", "/envelope/to required", "/dsn/ret invalid_value",
        "/dsn/notify/0 invalid_value",
        "/require_tls wrong_type", "/tags wrong_type", "/metadata wrong_type", "/attachments wrong_type",
        "/calendar wrong_type",
        "/list_unsubscribe wrong_type", "/replyTo unknown_field", "/n unknown_field",
    )  # fmt: skip
    yield wrong("everything at once", everything, *problems)
    text = as_bytes(everything)
    defects = b',"html":"\\ud83d","cc":"\\u0000","\\u006e":"\xff"}'
    yield wrong("and what is no text besides", text[:-1] + defects, *problems, "/html duplicate_key",
        "/html invalid_unicode",
                "/cc duplicate_key", "/cc control_character", "/cc invalid_address", "/n duplicate_key",
                "/n invalid_unicode")  # fmt: skip
    yield wrong(
        "a defect and a missing field",
        b'{"to":"c@d.example","text":"\\udc00"}',
        "/text invalid_unicode",
        "/from required",
    )
    yield wrong(
        "a defect where nobody looks",
        with_member(b'"n":[{"a":"\\udc00"}]'),
        "/n/0/a invalid_unicode",
        "/n unknown_field",
    )


def cases():
    for part in (types, members, nulls, readings, meant, at_once):
        yield from part()
