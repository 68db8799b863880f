#!/usr/bin/python3
"""Runs the tests of what is shipped beside the program: run.py [--bin PATH] [-k PATTERN] [FILE…]. The last line is
"N passed, N failed", with the number of skipped tests when there are any."""
import argparse
import os
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
# These take minutes, and root and a Debian mirror: they run when they are named.
SLOW = ("test_image", "test_debian")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", help="the program under test (default: $MAILHATCH_BIN or build/mailhatch)")
    parser.add_argument("-k", metavar="PATTERN", help="only tests whose name matches")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    binary = pathlib.Path(args.bin or os.environ.get("MAILHATCH_BIN") or HERE.parents[1] / "build" / "mailhatch")
    if not os.access(binary, os.X_OK):
        sys.exit("%s is not there: run make" % binary)
    os.environ["MAILHATCH_BIN"] = str(binary.resolve())
    os.chdir(HERE.parents[1])
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
    loader = unittest.TestLoader()
    if args.k:
        loader.testNamePatterns = ["*" + args.k + "*"]
    names = [pathlib.Path(f).stem for f in args.files] or sorted(
        p.stem for p in HERE.glob("test_*.py") if p.stem not in SLOW
    )
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=1).run(loader.loadTestsFromNames(names))
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skipped)
    ran = max(result.testsRun, failed + skipped)        # what fails before its first test is not counted there
    for test, why in result.skipped:
        print("skipped: %s: %s" % (test.id(), why))
    print(
        "%d passed, %d failed%s"
        % (ran - failed - skipped, failed, ", %d skipped" % skipped if skipped else "")
    )
    return 1 if failed or ran == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
