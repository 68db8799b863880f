#!/usr/bin/python3
"""What one send costs besides time: system calls by name (strace), blocks and bytes asked of malloc (a counter in
LD_PRELOAD), bytes on the wire, flights; all per mail, over a loaded interval. cost.sh is how to call it."""
import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import rig
from rig import BENCH, HERE, Meter, Rig

COUNTER = f"{BENCH}/bin/malloc_count.so"
PATIENCE = 10


def arguments():
    parser = argparse.ArgumentParser(prog="cost.sh", description=__doc__)
    parser.add_argument("--payload", default="1k")
    parser.add_argument("--conns", type=int, default=16, help="HTTP connections")
    parser.add_argument("--sessions", type=int, default=16, help="SMTP sessions in the pool")
    parser.add_argument("--callers", action="store_true", help="also who allocates, by the first return address")
    parser.add_argument("--secs", type=int, default=4)
    parser.add_argument("--peer", default="ours", help="a peer of kind http whose peer_exec becomes one process")
    parser.add_argument("--sink-args", default="")
    parser.add_argument("--rtt", type=float, default=0)
    parser.add_argument("--pin", choices=["split", "none"], default="split")
    parser.add_argument("--port", type=int, default=18080)
    parser.add_argument("--sink-port", type=int, default=2587)
    return parser.parse_args()


class CountingRig(Rig):
    """The rig, with the counter in the peer."""

    counts = f"{BENCH}/malloc_count.json"

    def peer_environment(self):
        return dict(super().peer_environment(), LD_PRELOAD=COUNTER, MALLOC_COUNT=self.counts)

    def read_counts(self, pid):
        lines = pathlib.Path(self.counts).read_text(encoding="ascii").count("\n")
        os.kill(pid, signal.SIGUSR2)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            text = pathlib.Path(self.counts).read_text(encoding="ascii")
            if text.count("\n") > lines:
                return json.loads(text.splitlines()[-1])
            time.sleep(.01)
        raise SystemExit("the counter does not answer SIGUSR2")


def build_counter():
    source = f"{HERE}/malloc_count.c"
    if not rig.newer(COUNTER, source):
        subprocess.run(["gcc", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-fno-builtin", "-o",
                        COUNTER, source], check=True)


def traced(pid):
    """Whether all threads are."""
    for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status"):
        if re.search(r"^TracerPid:\s+0$", status.read_text(encoding="ascii", errors="replace"), re.M):
            return False
    return True


def start_strace(bench, pid, path):
    strace = bench.processes.start(["strace", "-f", "-c", "-qq", "-o", path, "-p", str(pid)])
    end = time.monotonic() + PATIENCE
    while not traced(pid):
        if strace.poll() is not None or time.monotonic() > end:
            raise SystemExit("strace cannot attach: it needs root, or kernel.yama.ptrace_scope=0")
        time.sleep(.01)
    return strace


def stop_strace(bench, strace, path):
    """{system call: (how often, how often in vain)}"""
    strace.send_signal(signal.SIGINT)
    strace.wait(PATIENCE)
    bench.processes.forget(strace)
    rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+)(?: +(\d+))? +(\w+)$",
                      pathlib.Path(path).read_text(encoding="ascii"), re.M)
    return {name: (int(calls), int(errors or 0)) for calls, errors, name in rows if name != "total"}


def with_peer(bench, name, measure):
    sink = bench.start_sink()
    try:
        peer, _ = bench.start_peer(name, "http")
        try:
            bench.wrk(bench.options.payload, bench.options.conns, 1)
            return measure(bench, peer.pid)
        finally:
            bench.processes.stop(peer)
    finally:
        bench.processes.stop(sink)


def load(bench):
    """How much was sent and received meanwhile, by the sink's statistics."""
    before = bench.stats()
    result = bench.wrk(bench.options.payload, bench.options.conns, bench.options.secs)
    after = bench.stats()
    if result["non2xx"]:
        raise SystemExit(f"{result['non2xx']} answers were not 2xx")
    return {name: after[name] - before[name] for name in after}


def measure_time(bench, pid):
    meter = Meter(bench, pid)
    sent = load(bench)
    return sent, meter.read(0)["cpu_us"]


def measure_calls(bench, pid):
    path = f"{BENCH}/strace.txt"
    strace = start_strace(bench, pid, path)
    sent = load(bench)
    return sent["msgs"], stop_strace(bench, strace, path)


def resolve(pid, addresses):
    """{return address: function and line, or the library}"""
    maps = [re.match(r"(\w+)-(\w+) r-xp (\w+) \S+ \S+ +(/.+)", line) for line in
            pathlib.Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()]
    maps = [(int(m[1], 16), int(m[2], 16), int(m[3], 16), m[4]) for m in maps if m]
    names = {}
    for at in addresses:
        for start, end, offset, path in maps:
            if start <= at < end:
                # The call is before the return address. In a program linked as usual addresses are offsets here.
                command = ["addr2line", "-fse", path, hex(at - 1 - start + offset)]
                found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
                known = len(found) > 1 and not found[1].startswith("??")    # else the name is a guess, often wrong
                names[at] = " ".join(found[:2]) if known else os.path.basename(path)
    return names


def measure_memory(bench, pid):
    before = bench.read_counts(pid)
    sent = load(bench)
    after = bench.read_counts(pid)
    old, new = before.pop("callers"), after.pop("callers")
    callers = {int(at): (calls - old.get(at, (0, 0))[0], size - old.get(at, (0, 0))[1])
               for at, (calls, size) in new.items()}
    names = resolve(pid, [at for at in callers if callers[at][0]]) if bench.options.callers else {}
    return sent["msgs"], {name: after[name] - before[name] for name in after}, callers, names


def table(options, plain, calls, memory):
    sent, cpu = plain
    mails = max(sent["msgs"], 1)
    yield f"{options.peer}, {options.payload}, {options.conns} connections, {options.sessions} sessions; per mail"
    yield ""
    yield "| what | per mail |"
    yield "|---|---|"
    yield f"| CPU, us ({mails} mails) | {cpu:.1f} |"
    yield f"| bytes to the relay, TLS included | {sent['wire_in'] / mails:.0f} |"
    yield f"| flights | {sent['flights'] / mails:.2f} |"
    mails, counts = max(calls[0], 1), calls[1]
    total = sum(n for n, _ in counts.values())
    yield f"| **system calls** ({mails} mails, slowed down by strace) | **{total / mails:.2f}** |"
    for name, (n, errors) in sorted(counts.items(), key=lambda item: -item[1][0]):
        if n / mails >= .005:
            vain = f" (in vain: {errors / mails:.2f})" if errors / mails >= .005 else ""
            yield f"| {name} | {n / mails:.2f}{vain} |"
    mails, counts, callers, names = max(memory[0], 1), *memory[1:]
    blocks = sum(counts[name] for name in ("malloc", "calloc", "realloc", "memalign"))
    yield f"| **allocations** ({mails} mails) | **{blocks / mails:.2f}** |"
    for name, n in counts.items():
        yield f"| {name.replace('_', ' ')} | {n / mails:.{0 if name == 'bytes' else 2}f} |"
    if options.callers:
        yield from caller_table(callers, names, mails)


def caller_table(callers, names, mails):
    yield ""
    yield "| who allocates | blocks per mail | bytes per mail |"
    yield "|---|---|---|"
    joined = {}
    for at, (calls, size) in callers.items():
        name = names.get(at, "?")
        had = joined.get(name, (0, 0))
        joined[name] = (had[0] + calls, had[1] + size)
    for name, (calls, size) in sorted(joined.items(), key=lambda item: -item[1][0]):
        if calls / mails >= .005:
            yield f"| {name} | {calls / mails:.2f} | {size / mails:.0f} |"


def main():
    options = arguments()
    rig.build()
    build_counter()
    bench, counting = Rig(options), CountingRig(options)
    bench.build_peer(options.peer)
    try:
        plain = with_peer(bench, options.peer, measure_time)
        calls = with_peer(bench, options.peer, measure_calls)
        pathlib.Path(counting.counts).write_text("", encoding="ascii")
        memory = with_peer(counting, options.peer, measure_memory)
        print("\n".join(table(options, plain, calls, memory)))
    finally:
        bench.processes.stop_all()
        counting.processes.stop_all()


if __name__ == "__main__":
    main()
