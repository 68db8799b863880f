"""What the composer writes, read back by four readers: nothing may be lost, added or malformed.

judge.py COMPOSE [-n MAILS] [--only I] [--jobs N]
The hand-made cases, then MAILS random ones; MAILHATCH_SEED repeats a run, --only one random case of it. A failing case
is made smaller and saved beside COMPOSE's directory, in mime-failures/.
"""
import argparse
import json
import multiprocessing
import os
import random
import re
import sys
import time

import cases
import compare
import expect
import generate
import shrink
from readers import Composer, Node
from wire import Wrong

SHRUNK_MOST = 5                         # failures that each worker takes the time for


class Judge:
    def __init__(self, binary):
        self.composer, self.node = Composer([binary]), Node()

    def close(self):
        self.composer.close()
        self.node.close()

    def check(self, request, body, refused=None):
        """Raises Wrong. `refused`: the "pointer code" that must be among the problems. Returns the message."""
        raw, why = self.composer.compose(body)
        if refused is not None or raw is None:
            if raw is not None:
                raise Wrong("was not refused")
            if refused is None:
                raise Wrong("refused: " + why.partition("\n")[0], why)
            if refused and not any((line + " ").startswith(refused + " ") for line in why.split("\n")):
                raise Wrong("refused for another reason", f"{why!r}, expected {refused!r}")
            return raw
        try:
            self.read(request, raw)
        except Wrong as e:
            e.raw = raw
            raise
        return raw

    def read(self, request, raw):
        self.node.send(raw)
        try:
            want = expect.expected(request)
            compare.compare_wire(raw, want)
            compare.compare_python(raw, want)
        finally:
            seen = self.node.receive()
        for who, got in seen.items():
            compare.compare_node(who, got, want)

    def fault(self, request, body=None, refused=None):
        """The Wrong of a case, or None. The readers' own exceptions are failures of the case too."""
        try:
            self.check(request, body or as_json(request), refused)
            return None
        except Wrong as e:
            return e
        except Exception as e:
            wrong = Wrong(f"{type(e).__name__} in {where(e)}", str(e))
            return wrong


def where(e):
    at = e.__traceback__
    while at.tb_next:
        at = at.tb_next
    return f"{os.path.basename(at.tb_frame.f_code.co_filename)}:{at.tb_lineno}"


def as_json(request):
    return json.dumps(request, ensure_ascii=False).encode("utf-8", "surrogatepass")


class Report:
    """Failures as text, and their files."""

    def __init__(self, directory, judge):
        self.directory, self.judge, self.count = directory, judge, 0

    def add(self, title, request, body, refused, fault):
        self.count += 1
        name = os.path.join(self.directory, re.sub(r"[^\w.-]+", "-", title)[:80])
        if refused is None and self.count <= SHRUNK_MOST:
            kind = fault.kind
            request = shrink.shrink(request, lambda r: getattr(self.judge.fault(r), "kind", None) == kind)
            fault, body = self.judge.fault(request) or fault, as_json(request)
        raw = getattr(fault, "raw", None)
        os.makedirs(self.directory, exist_ok=True)
        with open(name + ".json", "wb") as f:
            f.write(body + b"\n")
        with open(name + ".txt", "w", encoding="utf-8", errors="backslashreplace") as f:
            f.write(f"{title}: {fault}\n")
        if raw is not None:
            with open(name + ".eml", "wb") as f:
                f.write(raw)
        return "\n".join([f"FAILED {title}: {fault}", f"--- request ({name}.json)", printable(body[:2000]),
                          "--- message", printable((raw or b"none")[:3000]), "---"])


def printable(octets):
    return octets.decode(errors="backslashreplace").replace("\r\n", "\n")


def random_case(seed, i):
    return generate.request_and_body(random.Random(f"{seed}/{i}"))


def numbered(options):
    """(kind, index) of all cases of the run."""
    if options.only is not None:
        return [("random", options.only)]
    hand = [("hand", i) for i in range(len(cases.CASES))]
    return hand + [("random", i) for i in range(options.mails)]


def make(kind, i, seed):
    if kind == "random":
        return f"random {i} of seed {seed}", *random_case(seed, i), None
    title, request, refused = cases.CASES[i]
    body = json.dumps(request, ensure_ascii=i % 2 == 0).encode("utf-8", "surrogatepass")
    return title, request, body, refused


def work(binary, directory, seed, jobs, results):
    """One worker: takes cases until there are no more, puts ("failed", text) and at last ("done", count)."""
    judge = Judge(binary)
    report = Report(directory, judge)
    for kind, i in jobs:
        title, request, body, refused = make(kind, i, seed)
        fault = judge.fault(request, body, refused)
        if fault:
            results.put(("failed", report.add(title, request, body, refused, fault)))
    judge.close()
    results.put(("done", len(jobs)))


def run(options, seed, directory):
    """(cases judged, failures): the failures are printed as they come."""
    todo, results = numbered(options), multiprocessing.SimpleQueue()
    workers = [multiprocessing.Process(target=work, args=(
        options.binary, directory, seed, todo[k::options.jobs], results)) for k in range(options.jobs)]
    for w in workers:
        w.start()
    judged = failures = done = 0
    while done < len(workers):
        if results.empty():
            if any(w.exitcode for w in workers):
                sys.exit("a worker died")
            time.sleep(0.01)
            continue
        what, value = results.get()
        if what == "done":
            judged, done = judged + value, done + 1
        else:
            failures += 1
            print(value, flush=True)
    for w in workers:
        w.join()
    return judged, failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("-n", dest="mails", type=int, default=10000)
    parser.add_argument("--only", type=int)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    options = parser.parse_args()
    seed = os.environ.get("MAILHATCH_SEED") or str(random.SystemRandom().randrange(10**9))
    directory = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(options.binary))), "mime-failures")
    print(f"mime: seed {seed} (MAILHATCH_SEED={seed} repeats this run)", flush=True)
    begun = time.monotonic()
    judged, failures = run(options, seed, directory)
    print(f"mime: {judged} mails by 4 readers, {failures} failed, {time.monotonic() - begun:.0f} s, seed {seed}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
