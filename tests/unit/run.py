#!/usr/bin/python3
"""Runs the unit programs, as many at a time as there are processors: run.py PROGRAM…. What fails is printed whole; the
last line is the sum. A program that does not say how many checks it ran has failed."""
import concurrent.futures
import os
import re
import subprocess
import sys
import time

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
TIMEOUT = 600  # seconds for one program; each test in it has a limit of its own


def run(program):
    """(name, checks, failed, seconds, output)"""
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [os.path.abspath(program)],
            cwd=ROOT,
            env={"CK_DEFAULT_TIMEOUT": "60", **os.environ},  # of one test; a sanitizer's takes its time
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
        )
        output, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as e:
        output, status = (e.stdout or b"").decode("utf-8", "replace") + "\nno end within %d s\n" % TIMEOUT, -1
    sums = re.findall(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)$", output, re.M)
    checks = sum(int(c) for c, _, _ in sums)
    failed = sum(int(f) + int(e) for _, f, e in sums)
    if status != 0 or not checks:
        failed = max(failed, 1)
    return os.path.basename(program), checks, failed, time.monotonic() - begun, output


def main(programs):
    checks = failures = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for name, n, failed, seconds, output in pool.map(run, programs):
            checks, failures = checks + n, failures + failed
            print("%-24s %4d checks, %d failed, %.1f s" % (name, n, failed, seconds), flush=True)
            if failed:
                print(output, flush=True)
    print("%d unit programs: %d checks, %d failed" % (len(programs), checks, failures))
    return 0 if failures == 0 and programs else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
