"""Random requests: every structure and every alphabet often, nearly all of them small."""
import base64
import json

ALPHABETS = {
    "ascii": list("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789"),
    "punctuation": list("!#$%&'*+-/=?^_`{|}~.,:;()[]<>@\"\\"),
    "latin": list("éèüöäßñçøåŁžğ"),
    "cyrillic": list("приветмирЖЪ"),
    "rtl": list("שלוםعربي") + ["\u200f", "\u202b", "\u202c"],
    "cjk": list("日本語中文한국어"),
    "emoji": ["\U0001F600", "\U0001F469\u200d\U0001F4BB", "\U0001F1E9\U0001F1EA", "\U0001F44D\U0001F3FD", "❤\ufe0f"],
    "combining": ["e\u0301", "a\u0308\u0323", "o\u0302\u0303", "\u0300", "ก\u0e33", "क\u094d\u0937"],
    "eight bit": ["\u00a0", "\u00ad", "\u00ff", "\u0100", "\u07ff", "\u0800", "\ufffd", "\uffff", "\U00010000",
                  "\U0010ffff"],
    "invisible": ["\u200b", "\ufeff", "\u2060", "\u3000", "\u2003"],
}
TRAPS = ["=?utf-8?q?x?=", "=?", "?=", "=?utf-8?b?w6k=?=", "--", "=", "==", "_", "%00", "\"", "\\", "<x>", "''", "*0*="]
TEXT_TRAPS = [*TRAPS, "From ", ".", "..", "--=_", "\t", "cid:x@y", "\x85", "\u2028", "=20", "=\n"]
BREAKS = ["\n"] * 6 + ["\r\n"] * 4 + ["\r", "\n\n", "\n.\n", "\n.", " \n", "\t\r\n", "\nFrom ", "\n\r"]
DOMAINS = ["example.com"] * 4 + ["mail.example.org", "bücher.example", "straße.example", "日本語.example", "x" * 63 +
                                 ".example", "EXAMPLE.net", "пример.example", "a.b.c.d.example"]
ENDS = ["pdf", "png", "jpg", "txt", "csv", "zip", "json", "html", "docx", "PDF", "unknown", "", "tar.gz", "svg"]
GIVEN_TYPES = ["application/pdf", "image/png", "application/octet-stream", "text/plain", "text/plain; charset=utf-8",
               "text/csv; charset=iso-8859-1; header=present", "application/x-thing; a=\"b c; d\"", "Image/PNG",
               "application/json", "application/vnd.a.b+xml", "audio/x-a.b", "video/mp4; codecs=\"a, b\""]


class Maker:
    """One random request from one source of randomness."""

    def __init__(self, source):
        self.r = source

    def often(self, probability):
        return self.r.random() < probability

    def size(self, limits):
        """A size class by weight, then a size in it."""
        low, high = self.r.choices([(low, high) for low, high, _ in limits], [w for _, _, w in limits])[0]
        return self.r.randint(low, high)

    def alphabet(self):
        """Characters to draw from: one alphabet, or a few mixed."""
        names = self.r.sample(sorted(ALPHABETS), self.r.choice([1, 1, 2, 3]))
        return [c for name in names for c in ALPHABETS[name]]

    def words(self, limits, between=(" ",), traps=TRAPS):
        """Words of one mixture of alphabets, now and then a trap or a long one."""
        count, letters, out = self.size(limits), self.alphabet(), []
        for _ in range(count):
            if self.often(0.08):
                out.append(self.r.choice(traps))
            else:
                n = self.size([(1, 8, 80), (9, 30, 15), (60, 100, 3)])
                out.append("".join(self.r.choices(letters, k=n)))
            out.append(self.r.choice(between))
        if out and self.often(0.8):
            out.pop()
        return "".join(out)

    def line(self, most=12):
        return self.words([(0, 0, 3), (1, 3, 60), (3, most, 30), (most, 3 * most, 4)], [" "] * 12 + ["", "", "  "])

    def text(self):
        """Lines with breaks of every kind."""
        limits = [(0, 0, 4), (1, 5, 50), (6, 60, 42), (100, 400, 4), (1500, 2500, 0.3)]
        out = self.words(limits, [" "] * 12 + ["", "  "] + BREAKS, TEXT_TRAPS)
        if self.often(0.02):
            out += self.r.choice(["x", "é", " ", "日"]) * self.r.choice([75, 76, 77, 900, 996, 997, 998, 999, 3000])
        return out + self.r.choice(["", "\n", "\r\n", "\n\n"])

    # ---- addresses ----

    def local(self):
        atext = "abcdefgXYZ0189!#$%&'*+-/=?^_`{|}~"
        kind = self.r.random()
        if kind < 0.04:
            inner = "".join(self.r.choices("ab .,:;<>@[]()", k=self.r.randint(1, 20)))
            return '"' + inner + self.r.choice(["", '\\"', "\\\\"]) + '"'
        if kind < 0.07:
            return "".join(self.r.choices(["ü", "日", "a", "0", "я"], k=self.r.randint(1, 12)))
        n = self.size([(1, 12, 90), (13, 60, 9), (64, 64, 1)])
        letters = "abcdefghijklmnopqrstuvwxyz0123456789" if self.often(0.8) else atext
        return "".join(self.r.choices(letters, k=n))

    def email(self):
        return self.local() + "@" + self.r.choice(DOMAINS)

    def name(self):
        limits = [(1, 3, 80), (4, 10, 18), (20, 30, 2)]
        name = self.words(limits, [" "] * 10 + ["", "  ", ". ", ", "])
        while len(name.encode()) > 1000:
            name = name[:len(name) // 2]
        return name

    def in_a_string(self, name, email):
        """'Name <email>', with quotes where the name needs them or by chance."""
        plain = all(c.isalnum() or c == " " for c in name) and self.often(0.8)
        shown = name if plain else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return shown + self.r.choice([" ", " ", "", "  "]) + "<" + email + ">"

    def address(self):
        kind, email = self.r.random(), self.email()
        if kind < 0.35:
            return email
        if kind < 0.4:
            return {"email": email}
        if kind < 0.7:
            return {"email": email, "name": self.name()}
        return self.in_a_string(self.name(), email)

    def addresses(self):
        if self.often(0.3):
            return self.address()
        return [self.address() for _ in range(self.size([(1, 1, 50), (2, 4, 40), (5, 12, 9), (40, 60, 0.5)]))]

    # ---- attachments ----

    def filename(self):
        stem = self.words([(1, 3, 90), (4, 8, 8), (20, 24, 2)], [" "] * 8 + ["", "_", ".", ";", "/", "  "])
        while len(stem.encode()) > 240:
            stem = stem[:len(stem) // 2]
        end = self.r.choice(ENDS)
        return (stem.strip(" ./\\") or "f") + ("." + end if end else "")

    def octets(self):
        if self.often(0.0005):
            return self.r.randbytes(1 << 20)
        n = self.size([(0, 0, 6), (1, 4, 20), (5, 120, 40), (121, 2000, 26), (2001, 70000, 6)])
        kind = self.r.random()
        if kind < 0.6:
            return self.r.randbytes(n)
        if kind < 0.8:
            return (self.text().encode() * 3)[:n]
        return bytes(range(256)) * (n // 256) + b"\r\n.\r\n"[:n % 256]

    def base64(self, octets):
        """Padded or not, in one line or many."""
        text = base64.b64encode(octets).decode()
        if self.often(0.3):
            text = text.rstrip("=")
        if self.often(0.3):
            width, end = self.r.choice([76, 64, 60, 7, 4]), self.r.choice(["\r\n", "\n"])
            text = end.join(text[i:i + width] for i in range(0, len(text), width)) + self.r.choice(["", end])
        return text

    def a_mail(self):
        """An attached message: usually fit for 7bit, sometimes not."""
        head = f"From: {self.local().replace(chr(34), '')}@example.com\r\nSubject: inner\r\n\r\n"
        text = self.line() + "\r\n.\r\n--\r\n" + self.line()
        if self.often(0.7):
            text = "".join(c for c in text if " " <= c <= "~" or c in "\r\n")
            head = head.encode("ascii", "replace").decode()
        return (head + text + self.r.choice(["", "\r\n", "\n", "\r\n" + "x" * 999])).encode()

    def attachment(self, inline):
        a = {"filename": self.filename()}
        if self.often(0.04):
            a["content_type"], octets = "message/rfc822", self.a_mail()
        else:
            octets = self.octets()
            if self.often(0.4):
                a["content_type"] = self.r.choice(GIVEN_TYPES)
        a["content"] = self.base64(octets)
        if inline:
            a["content_id"] = "".join(self.r.choices("abc019.-_+!#$%&'*/=?^`{|}~", k=self.r.randint(1, 24))) + \
                self.r.choice(["", "@example.com", "@x"])
            a["content_id"] = a["content_id"].replace("..", ".").strip(".")  or "x"
        if self.often(0.1):
            a["disposition"] = self.r.choice(["inline", "attachment"])
        return a

    def calendar(self):
        method = self.r.choice(["REQUEST", "CANCEL", "REPLY", "request", "PUBLISH"])
        lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "METHOD:" + method, "BEGIN:VEVENT", "SUMMARY:" + self.line(),
                 "END:VEVENT", "END:VCALENDAR"]
        end = self.r.choice(["\r\n", "\n"])
        calendar = {"content": end.join(lines) + self.r.choice([end, end, ""])}
        if self.often(0.8):
            calendar["method"] = method
        return calendar

    # ---- headers ----

    def message_ids(self):
        n = self.size([(1, 3, 80), (4, 20, 18), (100, 150, 2)])
        return self.r.choice([" ", "  "]).join(f"<{self.r.getrandbits(96):x}@example.com>" for _ in range(n))

    def own_value(self):
        if self.often(0.6):
            words = ["a", "word", "x" * 50, "y" * 90, "<tag>", "(comment)", "1;", "a=b"]
            return " ".join(self.r.choices(words, k=self.size([(1, 4, 70), (5, 30, 30)])))
        # A word of a header may have 900 octets.
        words = self.line(6).replace("=?", "=").split(" ")
        return " ".join(w.encode()[:900].decode(errors="ignore") for w in words).strip() or "x"

    def headers(self):
        pairs = [(f"X-{self.r.choice(['A', 'Long-Name-Of-A-Field', 'b'])}-{i}", self.own_value())
                 for i in range(self.r.randint(0, 3))]
        for name, make, probability in (
                ("References", self.message_ids, 0.3), ("In-Reply-To", self.message_ids, 0.2),
                ("Message-ID", lambda: f"<{self.r.getrandbits(64):x}@id.example>", 0.2),
                ("Date", lambda: "Tue, 24 Nov 2026 20:15:00 +0100", 0.1), ("sender", self.address, 0.1)):
            if self.often(probability):
                value = make()
                pairs.append((name, value if isinstance(value, str) else value["email"]))
        self.r.shuffle(pairs)
        if self.often(0.5):
            return dict(pairs)
        if pairs and self.often(0.2):
            pairs += [("Comments", "first"), ("Comments", "second one")]
        return [{"name": n, "value": v} for n, v in pairs]

    def unsubscribe(self):
        out = {}
        if self.often(0.8):
            out["url"] = self.r.choice(["https", "https", "http"]) + "://example.com/u?" + \
                "".join(self.r.choices("abc019&=%-_.~", k=self.size([(1, 40, 80), (41, 300, 20)])))
        if not out or self.often(0.4):
            out["mailto"] = "mailto:u@example.com" + self.r.choice(["", "?subject=unsubscribe%20me"])
        return out

    # ---- the whole ----

    def content(self, request):
        """Text, html, inline and other attachments, calendar: every combination of them comes often."""
        while not request.keys() & {"text", "html", "attachments", "calendar"}:
            if self.often(0.65):
                request["text"] = self.text()
            if self.often(0.6):
                request["html"] = self.text()
            files = [self.attachment(True) for _ in range(self.r.choice([0, 0, 0, 1, 1, 2, 3]))]
            files += [self.attachment(False) for _ in range(self.r.choice([0, 0, 0, 1, 1, 2, 3]))]
            self.r.shuffle(files)
            if files:
                request["attachments"] = files
            if self.often(0.12):
                request["calendar"] = self.calendar()

    def not_in_the_mail(self, request):
        for name, make, probability in (
                ("tags", lambda: ["welcome", {"name": "kind", "value": "test"}], 0.05),
                ("metadata", lambda: {"order": self.line(3).replace("=?", "")[:200]}, 0.05),
                ("envelope", lambda: {"from": "bounce@example.com"}, 0.05), ("require_tls", lambda: True, 0.05),
                ("dsn", lambda: {"ret": "hdrs", "notify": ["failure"]}, 0.05), ("text", lambda: None, 0.02),
                ("cc", lambda: None, 0.02)):
            if name not in request and self.often(probability):
                request[name] = make()

    def request(self):
        request = {"from": self.address(), "to": self.addresses()}
        if self.often(0.25):
            request["cc"] = self.addresses()
        if self.often(0.2):
            request["bcc"] = [f"hidden{i}.{self.r.getrandbits(32):x}@secret.example"
                              for i in range(self.r.randint(1, 3))]
        if self.often(0.2):
            request["reply_to"] = self.addresses()
        if self.often(0.9):
            request["subject"] = self.line(10)[:8000]
        self.content(request)
        if self.often(0.35):
            request["headers"] = self.headers()
        if self.often(0.1):
            request["list_unsubscribe"] = self.unsubscribe()
        self.not_in_the_mail(request)
        pairs = list(request.items())
        self.r.shuffle(pairs)
        return dict(pairs)


def request_and_body(source):
    """(request, its JSON as octets, with or without escapes)."""
    request = Maker(source).request()
    return request, json.dumps(request, ensure_ascii=source.random() < 0.5).encode("utf-8", "surrogatepass")
