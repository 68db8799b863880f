"""One document of the corpus and what must become of it."""
import dataclasses
import json

BASE = b'"from":"a@b.example","to":"c@d.example","text":"x"'  # a mail without its braces


@dataclasses.dataclass
class Case:
    name: str
    document: bytes
    status: int  # 400, 413, 422, 501; 200: read
    problems: frozenset = frozenset()  # 422: all of "pointer code"
    says: tuple = ()  # 422: (pointer, words that its detail has)
    most: int = 0  # 422: at least so many problems are there, and `problems` are the kinds of code: not all are told
    path: str = "/v1/emails/validate"
    lenient: bool = False  # Python's reader takes it too (NaN, 1e999, a BOM …), so it is no witness


def bad(name, document, lenient=False):
    """Not JSON."""
    return Case(name, document, 400, lenient=lenient)


def wrong(name, document, *problems, says=(), status=422):
    """JSON, and these problems exactly: "pointer code"."""
    return Case(name, as_bytes(document), status, frozenset(problems), tuple(says))


def too_many(name, document):
    """More values than max_json_values; nothing is said about them."""
    return Case(name, as_bytes(document), 413)


def many(name, document, least, *codes):
    """JSON with more problems than are told; these codes, and no other."""
    return Case(name, as_bytes(document), 422, frozenset(codes), most=least)


def read(name, document):
    """A mail. What it says is what Python's json reads in it."""
    return Case(name, as_bytes(document), 200)


def batch(case):
    """The document goes where arrays of mails go."""
    return dataclasses.replace(case, path="/v1/emails/batch")


def as_bytes(document):
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def mail(**changes):
    return {"from": "a@b.example", "to": "c@d.example", "text": "x", **changes}


def with_member(member):
    """A mail with one member more, as text."""
    return b"{" + BASE + b"," + member + b"}"


def with_text(string):
    """A mail whose text is this JSON string, quotes included."""
    return b'{"from":"a@b.example","to":"c@d.example","text":' + string + b"}"


def with_subject(string):
    return with_member(b'"subject":' + string)


def label(data, most=40):
    """A name for what may be any bytes."""
    return data[:most].decode("latin-1").encode("unicode_escape").decode()
