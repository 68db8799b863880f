#!/usr/bin/python3
"""Writes the examples of errors in openapi.yaml, from answers that the program really gave.

    mkdir answers; MAILHATCH_E2E_ANSWERS=answers tests/e2e/run.py; tests/openapi/examples.py answers

Of the answers with each code the shortest is taken; what is of the test's machine (addresses, ports, ids) gives way to
names that are for documentation. The block between the two marks in openapi.yaml is written anew; traffic.py checks
that each code of the catalogue has one, and that it stands under its status.
"""
import json
import os
import pathlib
import re
import sys
import textwrap

CONTRACT = pathlib.Path(__file__).resolve().parents[2] / "openapi.yaml"
BEGIN, END = "    # Written by tests/openapi/examples.py: begin\n", "    # Written by tests/openapi/examples.py: end\n"
HOST, ADDRESS, PORT = "smtp.example.com", "192.0.2.10", 587
# Where 587 would be another case.
PORTS = {"plaintext_on_tls_port": 2465, "tls_on_plaintext_port": 2525}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
WIDTH = 118


def usable(problem):
    text = json.dumps(problem)
    return "/tmp/" not in text and "fail.test" not in text and "diagnosis" not in problem and "\\u" not in text \
        and "the server on this machine" not in text and " has no port " not in text


def choose(path):
    """The shortest answer; of those that concern a relay, if there are any."""
    answers = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    answers = [a for a in answers if usable(a)] or answers
    answers = [a for a in answers if a.get("relay")] or answers
    return min(answers, key=lambda a: (a["retryable"], len(json.dumps(a)), json.dumps(a)))


def rewrite(value, change):
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [rewrite(v, change) for v in value]
    if isinstance(value, dict):
        return {k: rewrite(v, change) for k, v in value.items()}
    return value


def neutral(problem, number):
    """The same answer, of a relay that exists in documentation only."""
    relay = problem.get("relay") or {}
    host, address, port = relay.get("host"), relay.get("address"), relay.get("port")
    new_port = PORTS.get(problem["code"], PORT)
    ids = {}

    def change(text):
        if host:
            text = text.replace("%s:%d" % (host, port), "%s:%d" % (HOST, new_port))
            text = re.sub(r"(?<![\w.-])%s(?![\w.-]*\w)" % re.escape(host), HOST, text)
            text = re.sub(r"\b%d\b" % port, str(new_port), text)
        if address:
            text = text.replace(address, ADDRESS)
        text = re.sub(r"\b127\.0\.0\.1\b", ADDRESS, text)
        return UUID.sub(lambda m: ids.setdefault(m[0], "0192f7c1-%04x-7000-8000-%012x" % (number, len(ids) + 1)), text)

    problem = rewrite(problem, change)
    if problem.get("relay"):
        problem["relay"]["port"] = new_port
    return problem


def scalar(value):
    return json.dumps(value, ensure_ascii=False)


def emit(value, indent, first):
    """`value` as YAML behind a key or a dash that reaches to column `first`: on its line where that is wide enough."""
    flow = json.dumps(value, ensure_ascii=False)
    pad = " " * indent
    if len(flow) + first <= WIDTH:
        return " " + flow + "\n"
    if isinstance(value, dict):
        return "\n" + "".join("%s%s:%s" % (pad, k, emit(v, indent + 2, indent + len(k) + 1)) for k, v in value.items())
    if isinstance(value, list):
        return "\n" + "".join("%s-%s" % (pad, emit(v, indent + 2, indent + 1)) for v in value)
    if isinstance(value, str) and "  " not in value and "\n" not in value and value == value.strip():
        lines = textwrap.wrap(value, WIDTH - indent, break_long_words=False, break_on_hyphens=False)
        return " >-\n" + "".join(pad + line + "\n" for line in lines)
    return " " + flow + "\n"


def example(problem):
    code = problem["code"]
    text = "    %s:\n      summary:%s      value:\n" % (code, emit(problem["title"], 8, 14))
    return text + "".join("        %s:%s" % (k, emit(v, 10, 9 + len(k))) for k, v in problem.items())


def main(directory):
    paths = sorted(pathlib.Path(directory).glob("*.jsonl"), key=lambda p: p.stem)
    problems = [neutral(choose(p), n) for n, p in enumerate(paths, 1)]
    problems.sort(key=lambda p: (p["status"], p["code"]))
    text = CONTRACT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    block = "".join(example(p) for p in problems)
    new = CONTRACT.with_suffix(".new")
    new.write_text(before + BEGIN + block + END + after, encoding="utf-8")
    os.replace(new, CONTRACT)
    print("%d examples" % len(problems))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
