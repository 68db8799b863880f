#!/usr/bin/python3
"""The healthy relay's latency alone and beside a relay that is stuck at some stage, or dies: one mailhatch, two relays,
in turn A B A B; medians and their ratios. isolation.sh is how to call it."""
import argparse
import contextlib
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

import rig
from rig import BENCH, GATEWAY_CPU, HERE, RIG_CPU, Rig

sys.path.insert(0, os.path.join(HERE, "..", "e2e"))

import harness  # noqa: E402
import peer  # noqa: E402
from test_isolation import BIG_TEXT, BlackHole  # noqa: E402

STEPS = ("dns", "connect", "connect_total", "banner", "tls", "command", "write", "final_reply")
START_SECONDS = 10
CONTROL = "nowhere"     # no mail for it: what the ratios of the other rows are when nothing is the matter
STILL_SECONDS = .5
DYING = 4       # mails in flight to a relay that dies: the rig's own part in their failing takes time of its processor
STAGES = {      # what the stuck relay does, as peer.Peer has it; None: a port that takes no connection
    CONTROL: {},
    "connect": None,
    "banner": {"on": {"banner": peer.hang}},
    "EHLO": {"on": {"ehlo": peer.hang}},
    "TLS handshake": {"on": {"tls": peer.hang}},
    "AUTH": {"on": {"auth": peer.hang}, "auth": "PLAIN"},
    "MAIL": {"on": {"mail": peer.hang}, "caps": peer.BASIC},
    "RCPT": {"on": {"rcpt": peer.hang}, "caps": peer.BASIC},
    "DATA": {"on": {"data": peer.hang}, "caps": peer.PIPELINED},
    "BDAT": {"on": {"bdat": peer.hang}},
    "BDAT, body not read": {"on": {"bdat": peer.hang}, "rcvbuf": 4096},
    "final reply": {"on": {"body": peer.hang}},
    "dies at EHLO": {"on": {"ehlo": peer.reset}},
    "dies in the mail": {"on": {"bdat": peer.close}},
}


def arguments():
    parser = argparse.ArgumentParser(prog="isolation.sh", description=__doc__)
    parser.add_argument("stages", nargs="*", help="of: " + "; ".join(STAGES) + " (default: all)")
    parser.add_argument("--conns", type=int, default=16, help="HTTP connections to the healthy relay")
    parser.add_argument("--sessions", type=int, default=16, help="SMTP sessions of each relay")
    parser.add_argument("--stuck", type=int, default=32, help="mails that wait for the stuck relay")
    parser.add_argument("--secs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rtt", type=float, default=0)
    parser.add_argument("--pin", choices=["split", "none"], default="split")
    parser.add_argument("--sink-args", default="")
    parser.add_argument("--port", type=int, default=18080)
    parser.add_argument("--sink-port", type=int, default=2587)
    options = parser.parse_args()
    for stage in options.stages:
        if stage not in STAGES:
            parser.error(f"no stage {stage!r}")
    return options


# ---- mailhatch with two relays ----

def write_config(options, stuck_url):
    relays = {
        "healthy": [f"url: smtp://bench@127.0.0.1:{options.sink_port}", "password: secret",
                    f"ca_file: {BENCH}/tls/ca.pem"],
        "stuck": [f"url: {stuck_url}", f"ca_file: {harness.cert_path('ca.pem')}",
                  *(f"{step}_timeout: 600s" for step in STEPS)],
    }
    if "@" in stuck_url:
        relays["stuck"].append(f"password: {harness.PASSWORD}")
    lines = [f"listen: 127.0.0.1:{options.port}", f"admin_listen: 127.0.0.1:{options.port + 1000}",
             "request_timeout: 600s", "log_level: warn", "default_relay: healthy", "relays:"]
    for name, settings in relays.items():
        lines += [f"  {name}:", f"    max_sessions: {options.sessions}", *("    " + line for line in settings)]
    path = pathlib.Path(f"{BENCH}/isolation.yaml")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.chmod(0o600)
    return str(path)


def start_gateway(bench, stuck_url):
    config = write_config(bench.options, stuck_url)
    bench.require_free(bench.options.port)
    with open(f"{BENCH}/isolation.log", "ab") as log:
        gateway = bench.processes.start(bench.pinned(GATEWAY_CPU, [os.environ["OURS_BIN"], "--config", config]),
                                        stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and gateway.poll() is None:
        with contextlib.suppress(OSError):
            if bench.post("1k") == 200:
                return gateway
        time.sleep(.01)
    raise SystemExit(f"mailhatch did not start; see {BENCH}/isolation.log")


# ---- the mails that wait ----

class Stuck:
    """Mails to the stuck relay, each sent again a while after it was answered. Costs the machine nothing while they
    wait, and little when they fail."""

    PAUSE = .2

    def __init__(self, options, text, count):
        self.body = json.dumps(harness.mail(relay="stuck", text=text)).encode()
        self.over, self.where, self.open = threading.Event(), f"127.0.0.1:{options.port}", set()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.over.wait(self.PAUSE):
            with contextlib.suppress(OSError), contextlib.closing(harness.connect(self.where, 600)) as connection:
                self.open.add(connection)
                try:
                    self.exchange(connection)
                finally:
                    self.open.remove(connection)

    def exchange(self, connection):
        head = ("POST /v1/emails HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Connection: close\r\nContent-Length: {len(self.body)}\r\n\r\n")
        connection.sendall(head.encode() + self.body)
        while connection.recv(65536):
            pass

    def stop(self):
        self.over.set()
        while any(thread.is_alive() for thread in self.threads):
            for connection in list(self.open):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            time.sleep(.01)


# ---- the measurement ----

def waiting(bench):
    """How many sends run or wait, by mailhatch's own count."""
    with urllib.request.urlopen(f"http://127.0.0.1:{bench.options.port + 1000}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("mailhatch_waiting_requests "):
                return float(line.split()[1])
    return 0


def wait_until_stuck(bench, count, reached):
    """All mails wait, and no further session gets as far as the stage: opening them is not what is measured."""
    end = time.monotonic() + START_SECONDS
    while waiting(bench) < count and time.monotonic() < end:
        time.sleep(.02)
    sessions, since = reached(), time.monotonic()
    while time.monotonic() < min(since + STILL_SECONDS, end):
        time.sleep(.02)
        if reached() != sessions:
            sessions, since = reached(), time.monotonic()


def beside(bench, text, count, hangs, reached):
    stuck = Stuck(bench.options, text, count)
    try:
        if hangs:
            wait_until_stuck(bench, count, reached)
        return bench.wrk("1k", bench.options.conns, bench.options.secs)
    finally:
        stuck.stop()


def one_stage(bench, stuck_url, text, count, hangs, reached):
    """Loads alone and beside, in turn: the session of a mail that waits is given up in between."""
    gateway = start_gateway(bench, stuck_url)
    try:
        bench.wrk("1k", bench.options.conns, 1)
        pairs = []
        for _ in range(bench.options.rounds):
            alone = bench.wrk("1k", bench.options.conns, bench.options.secs)
            pairs.append((alone, beside(bench, text, count, hangs, reached)))
        return pairs
    finally:
        bench.processes.stop(gateway)


def print_row(name, pairs):
    def median(key, which):
        return statistics.median(pair[which][key] for pair in pairs)

    def ratio(key):
        return statistics.median(pair[1][key] / max(pair[0][key], 1e-6) for pair in pairs)

    failed = sum(load["non2xx"] for pair in pairs for load in pair)
    print(f"| {name} | {median('p50_ms', 0):.2f} | {median('p50_ms', 1):.2f} | {ratio('p50_ms'):.2f} | "
          f"{median('p99_ms', 0):.2f} | {median('p99_ms', 1):.2f} | {ratio('p99_ms'):.2f} | {failed} |", flush=True)


def measure(bench, name):
    how = STAGES[name]
    text = BIG_TEXT if "not read" in name else "Hello.\n"
    count = {CONTROL: 0, "dies at EHLO": DYING, "dies in the mail": DYING}.get(name, bench.options.stuck)
    if how is None:
        with BlackHole() as hole:
            return one_stage(bench, f"smtp://127.0.0.1:{hole.port}", text, count, True, lambda: 0)
    with peer.Peer(**{"auth": "", "tickets": True, **how}) as stuck:
        return one_stage(bench, stuck.url(), text, count, not name.startswith("dies"),
                         lambda: sum(stuck.counts.values()))


def main():
    options = arguments()
    bench = Rig(options)
    if options.pin == "split":
        os.sched_setaffinity(0, {RIG_CPU})      # all that this process starts pins itself again
    rig.build()
    print(f"{options.conns} connections, {options.sessions} sessions, {options.stuck} mails at the stuck relay, "
          f"{options.rounds} x {options.secs} s\n")
    headings = ("the other relay hangs at", "p50 alone, ms", "p50 beside", "ratio", "p99 alone, ms", "p99 beside",
                "ratio", "non-2xx")
    print("| " + " | ".join(headings) + " |")
    print("|" + "---|" * 8)
    sink = bench.start_sink()
    try:
        for name in options.stages or STAGES:
            print_row(name, measure(bench, name))
    finally:
        bench.processes.stop(sink)
        bench.processes.stop_all()


if __name__ == "__main__":
    main()
