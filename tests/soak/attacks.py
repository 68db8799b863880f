"""Requests with another one hidden in them: each kind of disagreement between two HTTP parsers that we know of."""
import dataclasses
import json

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
# In place of the one field that both ends understand.
ENCODINGS = (
    b"Transfer-Encoding: \x0bchunked\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding:\tchunked\r\n", b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n", b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding: identity, chunked\r\n", b"X: y\nTransfer-Encoding: chunked\r\n",
    b"X: y\r\n Transfer-Encoding: chunked\r\n", b"X: y\rTransfer-Encoding: chunked\r\n",
    b"X: y\0\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: \"chunked\"\r\n",
    CHUNKED + b"Transfer-encoding: cow\r\n", b"Transfer_Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\0\r\n", b"Transfer-Encoding\0: chunked\r\n",
    b"Transfer-Encoding: CHUNKED \r\n", b"\tTransfer-Encoding: chunked\r\n", b"Connection: Content-Length\r\n",
    b"Connection: Transfer-Encoding, X-Request-Id, Host\r\n", b"\0\r\n",
)  # fmt: skip
LENGTHS = (
    b"Content-Length: +%d\r\n", b"Content-Length: %d, 0\r\n", b"Content-Length: 0, %d\r\n",
    b"Content-Length:\r\n %d\r\n",
    b"Content-Length : %d\r\n", b"Content-Length: 0x%d\r\n", b"Content-Length: %d\r\nContent-Length: 0\r\n",
    b"Content-Length: 0\r\nContent-Length: %d\r\n", b"Content-Length: %d \r\n", b"Content-Length: 00%d\r\n",
    b"Content-Length: %d\0\r\n", b"X: y\nContent-Length: %d\r\n", b"Content_Length: %d\r\n", b"Content-Length: -%d\r\n",
    b"Content-Length: %d\x0b\r\n", b"X: y\r\n Content-Length: 0\r\nContent-Length: %d\r\n",
)  # fmt: skip
LINES = (
    b"POST /v1/emails HTTP/1.0", b"POST /v1/emails HTTP/1.1 ", b"POST  /v1/emails HTTP/1.1",
    b"POST\t/v1/emails\tHTTP/1.1",
    b"POST http://elsewhere.example/v1/emails HTTP/1.1", b"POST /v1/emails\0 HTTP/1.1", b"POST /v1/emails HTTP/1.2",
    b"post /v1/emails HTTP/1.1", b"\r\n\r\nPOST /v1/emails HTTP/1.1", b"POST /v1/emails?a\rb HTTP/1.1",
    b"POST /v1/emails",
    b"POST /v1/emails HTTP/1.1\nX: y", b"POST /v1/emails#x HTTP/1.1", b"POST * HTTP/1.1",
    b"CONNECT localhost:25 HTTP/1.1",
)  # fmt: skip


@dataclasses.dataclass
class Attack:
    kind: str
    data: bytes
    hidden: str  # the text of the mail that is in the inner request
    is_body: bool  # by any reading it lies in a body: it must never be sent


def mail_of(text):
    return json.dumps({"from": "a@example.org", "to": "b@example.net", "subject": "s", "text": text}).encode()


def post(body, *fields, line=b"POST /v1/emails HTTP/1.1"):
    return line + b"\r\n" + HOST + JSON + b"".join(fields) + b"\r\n" + body


def length(body):
    return b"Content-Length: %d\r\n" % len(body)


def attacks(name):
    """All of them; `name` makes their texts unique."""
    made = []

    def add(kind, build, is_body=False):
        hidden = "evil-%s-%d" % (name, len(made))
        body = mail_of(hidden)
        inner = post(body, length(body), b"X-Request-Id: %s\r\n" % hidden.encode())
        made.append(Attack(kind, build(inner), hidden, is_body))

    end = b"0\r\n\r\n"
    add("CL.TE", lambda i: post(end + i, length(end + i), CHUNKED))
    add("TE.CL", lambda i: post(b"%x\r\n%s\r\n0\r\n\r\n" % (len(i), i), CHUNKED, b"Content-Length: 4\r\n"))
    for field in ENCODINGS:
        add("encoding %r" % field, lambda i, f=field: post(end + i, f, length(end + i)))
        add("encoding %r, no length" % field, lambda i, f=field: post(end + i, f))
    for field in LENGTHS:
        add("length %r" % field, lambda i, f=field: post(i, f % len(i)))
    for line in LINES:
        add("line %r" % line, lambda i, li=line: post(i, length(i), line=li))
        add("line %r, chunked" % line, lambda i, li=line: post(end + i, CHUNKED, line=li))
    for size in (b"5;a=\"\r\n", b"5;\n", b" 5\r\n", b"0x5\r\n", b"5 \r\n", b"5\n", b"5\r", b"00000000000000005\r\n",
                 b"10000000000000005\r\n", b"-5\r\n", b"5;a\rb\r\n", b"5\0\r\n", b"+5\r\n"):  # fmt: skip
        add("chunk size %r" % size, lambda i, s=size: post(s + b"hello\r\n" + end + i, CHUNKED))
    for tail in (b"0\r\nX: y\r\n\r\n", b"0\r\nContent-Length: 9\r\n\r\n", b"0\r\n\n", b"0\n\n", b"0\r\n\0\r\n",
                 b"0;\r\n\r\n",
                 b"5\r\nhelloXX0\r\n\r\n", b"0\r\nX: y\r\n z\r\n\r\n", b"0\r\n\rX\r\n\r\n"):  # fmt: skip
        add("end of chunks %r" % tail, lambda i, t=tail: post(t + i, CHUNKED))
    add("a body of its own", lambda i: post(i, length(i)), True)
    add("a chunk of its own", lambda i: post(b"%x\r\n%s\r\n0\r\n\r\n" % (len(i), i), CHUNKED), True)
    for line in (b"GET /v1/errors/timeout HTTP/1.1", b"POST /nothing HTTP/1.1", b"PUT /v1/emails HTTP/1.1",
                 b"GET /livez HTTP/1.1", b"DELETE / HTTP/1.1", b"HEAD / HTTP/1.1", b"OPTIONS * HTTP/1.1"):  # fmt: skip
        add("refused early: %r" % line, lambda i, li=line: post(i, length(i), line=li), True)
    add("another type", lambda i: post(i, length(i), b"Content-Type: text/plain\r\n"), True)
    add("Expect", lambda i: post(i, length(i), b"Expect: 100-continue\r\n"), True)
    add("Expect, refused", lambda i: post(i, length(i), b"Expect: 100-continue\r\n", line=b"POST /x HTTP/1.1"), True)
    add("Upgrade", lambda i: post(i, length(i), b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"), True)
    add("Expect without a body", lambda i: b"GET / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\n\r\n" + i)
    return made
