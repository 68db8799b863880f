#!/usr/bin/python3
"""The JSON corpus against the running program: run.py [--bin PATH] [--write DIR] [-k WORD]. Every document that is not
JSON is refused as such; every other is read, or refused with exactly the problems that are in it; none crashes, and
none takes long for its size. --write puts the documents into a directory instead."""
import argparse
import base64
import collections
import email
import email.policy
import json
import os
import pathlib
import re
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import big  # noqa: E402
import fields  # noqa: E402
import grammar  # noqa: E402
import harness  # noqa: E402
from case import mail  # noqa: E402

# How much longer a document may take than an ordinary one, and than one as long that is plain text. Nothing linear
# comes near it, and what is quadratic is beyond it at a megabyte.
TIMES_ORDINARY, TIMES_PLAIN = 100, 60
MEMORY_MOST = 128  # MiB
TRIES = 3  # the fastest counts: the machine may have other work


def is_json(document):
    def refuse(word):
        raise ValueError(word)

    try:
        json.loads(document.decode("utf-8"), parse_constant=refuse)
        return True
    except (ValueError, RecursionError):
        return False


def check_corpus(cases):
    """The corpus is what it says, as far as Python's reader can tell. Names become unique."""
    seen = collections.Counter()
    for c in cases:
        seen[c.name] += 1
        if seen[c.name] > 1:
            c.name += " (%d)" % seen[c.name]
        if c.status == 400 and not c.lenient:
            assert not is_json(c.document), c.name
        elif c.status == 200 and not c.lenient:
            assert is_json(c.document), c.name


def lines(text):
    text = re.sub("\r\n|\r|\n", "\n", text)
    return text if text.endswith("\n") else text + "\n"


def addresses(value):
    found = value if isinstance(value, list) else [value] if value else []
    return [a["email"] if isinstance(a, dict) else a for a in found]


class Target:
    """The program, asked on one connection for as long as it keeps it."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.connection = gateway.connection()

    def ask(self, document, accept="application/json", path="/v1/emails/validate"):
        """(answer, seconds)"""
        for last in (False, True):
            begun = time.perf_counter()
            try:
                answer = self.gateway.request("POST", path, document, {"Accept": accept}, connection=self.connection)
                return answer, time.perf_counter() - begun
            except OSError:  # it ended the connection behind an answer
                if last:
                    raise
                self.connection.close()
                self.connection = self.gateway.connection()

    def best(self, document, path="/v1/emails/validate"):
        return min(self.ask(document, path=path)[1] for _ in range(TRIES))

    def measure(self):
        """Seconds of an ordinary mail; seconds an octet of a long one."""
        ordinary = json.dumps(mail(subject="Hello", html="<p>Hello</p>")).encode()
        self.ordinary = statistics.median(self.ask(ordinary)[1] for _ in range(30))
        plain = json.dumps(mail(text="plain text, nothing else\n" * 200000)).encode()
        self.per_octet = self.best(plain) / len(plain)

    def limit(self, document):
        return TIMES_ORDINARY * self.ordinary + TIMES_PLAIN * self.per_octet * len(document)


def check_problems(case, answer):
    told = answer.json.get("errors") or []
    if case.most:
        if len(told) < case.most:
            return "%d problems, expected %d at least" % (len(told), case.most)
        got = {e["code"] for e in told}
    else:
        got = {"%s %s" % (e["pointer"], e["code"]) for e in told}
    if got != case.problems:
        return "problems %s\n    expected %s" % (sorted(got), sorted(case.problems))
    for pointer, words in case.says:
        details = [e["detail"] for e in told if e["pointer"] == pointer]
        if not any(words in d for d in details):
            return "%s is told as %r, expected %r in it" % (pointer, details, words)
    return None


def check_message(case, answer, target):
    """What was composed says what Python reads in the document."""
    meant = json.loads(case.document)
    raw = target.ask(case.document, "message/rfc822")[0].body
    if answer.json.get("valid") is not True:
        return "not valid: %r" % answer
    if answer.json["size"] != len(raw):
        return "size %d, and the message has %d octets" % (answer.json["size"], len(raw))
    expected = {"from": addresses(meant["from"])[0], "to": []}
    for name in ("to", "cc", "bcc"):
        expected["to"] += [a for a in addresses(meant.get(name)) if a not in expected["to"]]
    expected = {**expected, **{k: v for k, v in (meant.get("envelope") or {}).items() if v is not None}}
    if answer.json["envelope"] != expected:
        return "envelope %r, expected %r" % (answer.json["envelope"], expected)
    message = email.message_from_bytes(raw, policy=email.policy.default)
    if (message["Subject"] or None) != (meant.get("subject") or None):
        return "subject %r, expected %r" % (message["Subject"], meant.get("subject"))
    for name, kind in (("text", "plain"), ("html", "html")):
        if meant.get(name) is None:
            continue
        got = lines(message.get_body((kind,)).get_content())
        if got != lines(meant[name]):
            return "%s %.200r, expected %.200r" % (name, got, meant[name])
    files = {p.get_filename(): p.get_payload(decode=True) for p in message.walk() if p.get_filename()}
    for a in meant.get("attachments") or []:
        content = re.sub("[\\s=]", "", a["content"])
        content = base64.b64decode(content + "=" * (-len(content) % 4))
        if files.get(a["filename"]) != content:
            return "file %s is %.100r, expected %.100r" % (a["filename"], files.get(a["filename"]), content)
    return None


def check(case, target):
    """None, or what is wrong."""
    answer, seconds = target.ask(case.document, path=case.path)
    code = {
        400: "invalid_json",
        413: "payload_too_large",
        422: "validation_failed",
        501: "not_implemented",
        200: None,
    }[case.status]
    if (answer.status, answer.code) != (case.status, code):
        return "expected %s %s, got %r" % (case.status, code, answer)
    complaint = None
    if case.status == 400 and not re.search(r"line \d+, column \d+", answer.json["detail"]):
        complaint = "says no place: %s" % answer.json["detail"]
    elif case.status == 413 and "max_json_values" not in answer.json["detail"]:
        complaint = "names no setting: %s" % answer.json["detail"]
    elif case.status in (422, 501):
        complaint = check_problems(case, answer)
    elif case.status == 200:
        complaint = check_message(case, answer, target)
    if not complaint and seconds > target.limit(case.document):
        seconds = target.best(case.document, case.path)
        if seconds > target.limit(case.document):
            complaint = "took %.3f s, at most %.3f s for %d octets" % (
                seconds, target.limit(case.document), len(case.document))  # fmt: skip
    return complaint


def check_memory(gateway):
    """None, or that it took too much at its peak. A sanitizer's own memory is not the program's."""
    with open(harness.binary(), "rb") as f:
        if re.search(rb"__[at]san_init", f.read()):
            return None
    with open("/proc/%d/status" % gateway.process.pid, encoding="ascii") as f:
        peak = int(re.search(r"^VmHWM:\s+(\d+) kB$", f.read(), re.M)[1]) / 1024
    return "%.0f MiB of memory at the peak, at most %d" % (peak, MEMORY_MOST) if peak > MEMORY_MOST else None


def write(cases, directory):
    os.makedirs(directory, exist_ok=True)
    for i, c in enumerate(cases):
        name = "%04d-%d-%s.json" % (i, c.status, re.sub("[^A-Za-z0-9]+", "-", c.name)[:60].strip("-"))
        pathlib.Path(directory, name).write_bytes(c.document)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", help="the program under test (default: $MAILHATCH_BIN or build/mailhatch)")
    parser.add_argument("--write", metavar="DIR", help="only write the documents")
    parser.add_argument("-k", metavar="WORD", default="", help="only documents whose name has this in it")
    args = parser.parse_args()
    cases = [*grammar.cases(), *fields.cases(), *big.cases()]
    check_corpus(cases)
    if args.write:
        write(cases, args.write)
        return 0
    if args.bin:
        os.environ["MAILHATCH_BIN"] = str(pathlib.Path(args.bin).resolve())
    failed = ran = 0
    with harness.Gateway(args=["--sandbox"]) as gateway:
        target = Target(gateway)
        target.measure()
        for c in cases:
            if args.k not in c.name:
                continue
            ran += 1
            try:
                complaint = check(c, target)
            except OSError as e:
                complaint = "no answer: %r" % e
            if complaint:
                failed += 1
                print("FAIL %s: %.200r\n    %s" % (c.name, c.document, complaint[:1500]), flush=True)
            if gateway.process.poll() is not None:
                break  # stop() says how it ended
        else:
            complaint = check_memory(gateway)
            if complaint:
                failed += 1
                print("FAIL " + complaint, flush=True)
    print("JSON corpus: %d passed, %d failed" % (ran - failed, failed))
    return 1 if failed or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
