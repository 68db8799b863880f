"""Bodies of requests other than JSON, as clients write them."""
import gzip
import urllib.parse

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
MULTIPART = "multipart/form-data; boundary=" + BOUNDARY
URLENCODED = "application/x-www-form-urlencoded"
RAW = "message/rfc822"


def part(name, data, filename=None, kind=None):
    """One part, with names escaped as browsers do (the HTML standard's multipart/form-data encoding)."""
    data = data.encode() if isinstance(data, str) else data
    escape = lambda s: s.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = 'Content-Disposition: form-data; name="%s"' % escape(name)
    if filename is not None:
        head += '; filename="%s"' % escape(filename)
    if kind:
        head += "\r\nContent-Type: " + kind
    return ("--%s\r\n%s\r\n\r\n" % (BOUNDARY, head)).encode() + data + b"\r\n"


def multipart(*parts):
    return b"".join(part(*p) for p in parts) + ("--%s--\r\n" % BOUNDARY).encode()


def urlencoded(*pairs):
    return urllib.parse.urlencode(pairs).encode()


def packed(data, level=6):
    return gzip.compress(data, level)
