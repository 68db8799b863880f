#!/usr/bin/python3
"""The soak test: mailhatch between clients and relays for a long time, on bad days of many kinds; then the relays' own
record is compared with what was answered, and memory, descriptors and sessions with what they were.

    soak.py [--bin PATH] [--seconds 600] [--seed N] [KIND]

Without a kind each has its share of the seconds, in turn. Kinds:
  --storm          mails of all sizes to relays that misbehave by a seeded plan; --depth N: mails in flight on one
                   session; --cut: few sessions, cut at random bytes, either way; --clients N
  --cut-each-byte  connections cut, by FIN and by RST, after exactly N octets, for each N of a conversation: what the
                   relay receives and what it sends, plain and over TLS, and HTTP requests of each type. The seed is
                   the order. It ends when all are done. --stride N: each Nth only; --only CUT: the one of that name
  --kills          SIGKILL, and now and then SIGTERM, at random moments under load, and a new start
  --stops          SIGSTOP for up to 5 s at random moments, with time-outs of 1 to 2 s
  --reloads        SIGHUP again and again under load, with settings that change back and forth or are broken

SOAK_SECONDS and SOAK_SEED are the defaults. MAILHATCH_RELAY_… settings of the environment are given to every relay,
other MAILHATCH_… ones to the program. The exit status is 0 when all is as it should be."""
import argparse
import asyncio
import contextlib
import logging
import os
import pathlib
import sys

from rig import harness
from cuts import Cuts
from kills import Kills
from reloads import Reloads
from stops import Stops
from storm import Storm

KINDS = {"storm": Storm, "cut_each_byte": Cuts, "kills": Kills, "stops": Stops, "reloads": Reloads}
SHARES = {"storm": 0.3, "cut_each_byte": 0.35, "kills": 0.12, "stops": 0.12, "reloads": 0.11}
ROUND_SECONDS = 900  # at most, in a rotation


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=harness.binary())
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SOAK_SECONDS") or 600))
    parser.add_argument("--seed", default=os.environ.get("SOAK_SEED") or str(int.from_bytes(os.urandom(4), "big")))
    parser.add_argument("--clients", type=int, default=0, help="default: 24, or as many as keep the depth full")
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--cut", action="store_true")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--only")
    kinds = parser.add_mutually_exclusive_group()
    for kind in KINDS:
        kinds.add_argument("--" + kind.replace("_", "-"), dest="kind", action="store_const", const=kind)
    options = parser.parse_args(argv)
    if not options.kind and (options.cut or options.depth or options.clients):
        options.kind = "storm"
    if not options.kind and (options.only or options.stride > 1):
        options.kind = "cut_each_byte"
    return options


def plan(options):
    """[(kind, seconds, seed)]"""
    if options.kind:
        return [(options.kind, options.seconds, options.seed)]
    rounds = max(1, round(options.seconds / ROUND_SECONDS))
    seeds = [options.seed] + ["%s.%d" % (options.seed, n) for n in range(2, rounds + 1)]
    return [(kind, SHARES[kind] * options.seconds / rounds, seed) for seed in seeds for kind in KINDS]


def soak(argv=None, out=sys.stdout):
    """True when all is as it should be."""
    options = arguments(argv)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # connections that break are what this is about
    os.environ["MAILHATCH_BIN"] = str(pathlib.Path(options.bin).resolve())
    failed = []
    with contextlib.suppress(KeyboardInterrupt):
        for kind, options.seconds, options.seed in plan(options):
            shown = "--%s --seconds %.0f --seed %s" % (kind.replace("_", "-"), options.seconds, options.seed)
            out.write("== %s\n" % shown)
            if not asyncio.run(KINDS[kind](options, out).run()):
                failed.append(shown)
        for shown in failed:
            out.write("FAILED: soak.py %s\n" % shown)
        return not failed
    return False


if __name__ == "__main__":
    sys.exit(0 if soak() else 1)
