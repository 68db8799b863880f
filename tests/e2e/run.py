#!/usr/bin/python3
"""Runs the end-to-end tests, two files at a time: run.py [--bin PATH] [-k PATTERN] [--set NAME=VALUE] [FILE…]. Failures
are printed whole; the last line is "N passed, N failed". A full run also checks that each error code of GET /v1/errors
was seen on a socket, or has a reason not to be."""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
# Codes that this version cannot produce, or not over a socket, and why. A row goes when its feature comes.
NOT_YET = {
    "invalid_idempotency_key": "idempotency keys come later",
    "idempotency_in_progress": "idempotency keys come later",
    "idempotency_key_reused": "idempotency keys come later",
    "not_cancelable": "the queue comes later",
    "queue_full": "the queue comes later",
    "store_unavailable": "the store comes later",
    "expired": "the queue comes later",
    "canceled": "the queue comes later",
    "not_acceptable": "no resource with several forms refuses one",
    "proxy_failed": "proxies come later",
    "oauth_token_failed": "OAuth comes later",
    "internal_error": "needs a failing malloc",
}


def run_file(name, args, env):
    """(name, tests run, tests that failed, output)"""
    command = [sys.executable, str(HERE / "run.py"), "--one", name] + (["-k", args.k] if args.k else [])
    if name in ("test_interop.py", "test_smuggling.py") and os.geteuid() != 0:
        keep = [k + "=" + v for k, v in env.items() if k.startswith("MAILHATCH_") or k == "PATH"]
        command = ["sudo", "-n", "env", *keep, *command]
    begun = time.monotonic()
    done = subprocess.run(
        command,
        cwd=HERE,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    found = re.findall(r"^@@ (\d+) (\d+)$", done.stdout, re.M)
    ran, failed = (int(found[-1][0]), int(found[-1][1])) if found else (1, 1)
    print("%-20s %4d passed, %d failed, %.0f s" % (name, ran - failed, failed, time.monotonic() - begun), flush=True)
    return name, ran, failed, re.sub(r"^@@ .*\n", "", done.stdout, flags=re.M)


def run_one(name, pattern):
    """In a process of its own: one file's tests, with a line for run_file at the end."""
    import unittest

    sys.path.insert(0, str(HERE))
    loader = unittest.TestLoader()
    if pattern:
        loader.testNamePatterns = [pattern if "*" in pattern else "*" + pattern + "*"]
    suite = loader.loadTestsFromName(name.removesuffix(".py"))
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=0).run(suite)
    failed = len({str(t).split(" [")[0] for t, _ in result.failures + result.errors}) + len(result.unexpectedSuccesses)
    print("@@ %d %d" % (max(result.testsRun, failed), failed))
    return 0 if failed == 0 else 1


def check_coverage(run_dir):
    """Each code of the catalogue was seen in this run. Returns complaints."""
    sys.path.insert(0, str(HERE))
    import harness

    with harness.Gateway(relay="smtp://ann@127.0.0.1:1") as g:
        codes = {e["code"] for e in g.get("/v1/errors").json["data"]} - {"sent"}
    with open(os.path.join(run_dir, "codes"), encoding="ascii") as f:
        seen = set(f.read().split())
    complaints = ["%s: no test made it happen" % c for c in sorted(codes - seen - set(NOT_YET))]
    complaints += ["%s: answered, but not in GET /v1/errors" % c for c in sorted(seen - codes)]
    complaints += ["%s: is in NOT_YET and was seen; take it out" % c for c in sorted(seen & set(NOT_YET))]
    complaints += ["%s: is in NOT_YET and not in GET /v1/errors" % c for c in sorted(set(NOT_YET) - codes)]
    return complaints


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", help="the program under test (default: $MAILHATCH_BIN or build/mailhatch)")
    parser.add_argument("-k", metavar="PATTERN", help="only tests whose name matches")
    parser.add_argument("--jobs", type=int, default=2, choices=(1, 2))
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="a setting for every gateway, such as "
        "MAILHATCH_HTTP_LOOPS=3; may be given several times"
    )
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    if args.one:
        return run_one(args.files[0], args.k)
    binary = pathlib.Path(
        args.bin or os.environ.get("MAILHATCH_BIN") or HERE.parents[1] / "build" / "mailhatch"
    ).resolve()
    if not os.access(binary, os.X_OK):
        sys.exit("%s is not there: run make" % binary)
    files = [pathlib.Path(f).name for f in args.files] or sorted(
        (p.name for p in HERE.glob("test_*.py")), key=lambda n: n != "test_faults.py"
    )
    run_dir = tempfile.mkdtemp(prefix="mailhatch-e2e-")
    env = {**os.environ, "MAILHATCH_BIN": str(binary), "MAILHATCH_E2E_DIR": run_dir, "PYTHONDONTWRITEBYTECODE": "1"}
    env["MAILHATCH_E2E_SETTINGS"] = "\n".join(args.set)
    os.environ.update(env)
    try:
        sys.path.insert(0, str(HERE))
        import harness

        harness.certs()  # once, before there are two processes
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            results = list(pool.map(lambda n: run_file(n, args, env), files))
        if not args.files and not args.k:
            complaints = check_coverage(run_dir)
            results.append(("coverage of GET /v1/errors", 1, 1 if complaints else 0, "\n".join(complaints) + "\n"))
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)
    for name, _, failed, output in results:
        if failed:
            print("\n==== %s\n%s" % (name, output))
    failed = sum(r[2] for r in results)
    ran = sum(r[1] for r in results)
    print("%d passed, %d failed" % (ran - failed, failed))
    if not ran:
        print("no test is called so: %s" % args.k, file=sys.stderr)
    return 1 if failed or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
