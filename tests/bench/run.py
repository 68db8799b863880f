#!/usr/bin/python3
"""Benchmark driver: same sink, payload and sessions for each peer, interleaved rounds, medians, one markdown table."""
import argparse
import base64
import email
import email.policy
import json
import re
import statistics
import sys
import time

import rig
from rig import BENCH, PAYLOADS, Meter, Rig, forget_memory_peak, memory_mb

COLUMNS = (    # heading, key, how the rounds are joined, format
    ("msgs/s", "mps", statistics.median, "{:.0f}"),
    ("p50 ms", "p50", statistics.median, "{:.2f}"),
    ("p99 ms", "p99", statistics.median, "{:.2f}"),
    ("non-2xx", "non2xx", max, "{}"),
    ("sock err", "sockerr", max, "{}"),
    ("gw CPU s/1000", "cpu_us", lambda values: statistics.median(values) / 1000, "{:.3f}"),
    ("gw CPU util", "gw_util", statistics.median, "{:.2f}"),
    ("peak RSS MB", "hwm", max, "{:.0f}"),
    ("idle RSS MB", "idle", statistics.median, "{:.0f}"),
    ("cold ms", "cold", statistics.median, "{:.0f}"),
    ("RTTs/msg", "flights", statistics.median, "{:.2f}"),
    ("cmds/msg", "cmds", statistics.median, "{:.1f}"),
    ("TLS hs", "tls", max, "{}"),
    ("SMTP sess", "active", max, "{}"),
    ("sink us", "sink_us", statistics.median, "{:.0f}"),
    ("load us", "load_us", statistics.median, "{:.0f}"),
    ("noise cpu", "noise", statistics.median, "{:.2f}"),
)


LOADS_MAX = 60


def arguments():
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__)
    parser.add_argument("peers", nargs="+", help="names of peers/*.sh")
    parser.add_argument("--payload", default="1k", help="1k,20k,1m (comma list)")
    parser.add_argument("--conns", default="16", help="HTTP connections, comma list (1,16,64,256,1000)")
    parser.add_argument("--sessions", type=int, default=16, help="SMTP sessions in the pool")
    parser.add_argument("--secs", type=int, default=10)
    parser.add_argument("--warm", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1, help="A B A B ... rounds; medians are printed")
    parser.add_argument("--rtt", type=float, default=0, help="simulated SMTP round trip, ms")
    parser.add_argument("--pin", choices=["split", "none"], default="split", help="split: gateway cpu0, sink+load cpu1")
    parser.add_argument("--count", type=int, default=5000, help="messages per run for smtp peers (smtp-source)")
    parser.add_argument("--mails", type=int, default=0, help="http peers: load again and again until as many were sent")
    parser.add_argument("--strict", action="store_true", help="exit 1 when any answer was not 2xx, or missing")
    parser.add_argument("--sink-args", default="", help="extra sink options, e.g. '-x 100' or '-K'")
    parser.add_argument("--json", help="append every run as a JSON line to this file")
    parser.add_argument("--base", help="also print each peer's ratios to this peer (medians of the per-round ratios)")
    parser.add_argument("--cold", type=int, default=0, metavar="N",
                        help="only measure N cold starts (ms to the first 200 or 220) and the RSS 1 s later")
    parser.add_argument("--verify", action="store_true", help="send each payload once, check what the sink got")
    parser.add_argument("--port", type=int, default=18080)
    parser.add_argument("--sink-port", type=int, default=2587)
    return parser.parse_args()


# ---- one measurement ----

def load_until(bench, payload, connections):
    """One load, or with --mails as many as it takes, joined: sums, the median of the p50s, the worst p99."""
    loads, delivered = [], bench.stats()["msgs"]
    while len(loads) < LOADS_MAX:
        loads.append(bench.wrk(payload, connections, bench.options.secs))
        if bench.stats()["msgs"] - delivered >= bench.options.mails:
            break
    joined = {name: sum(load[name] for load in loads) for name in loads[0]}
    joined.update(p50_ms=statistics.median(load["p50_ms"] for load in loads),
                  p99_ms=max(load["p99_ms"] for load in loads))
    return joined


def socket_errors(load):
    return sum(load["e_" + kind] for kind in ("connect", "read", "write", "timeout"))


def measure_http(bench, peer, payload, connections):
    early = bench.wrk(payload, connections, bench.options.warm)
    forget_memory_peak(peer.pid)
    meter = Meter(bench, peer.pid)
    load = load_until(bench, payload, connections)
    result = meter.read(load["wrk_cpu"])
    result.update(mps=result["msgs"] / load["secs"], p50=load["p50_ms"], p99=load["p99_ms"], non2xx=load["non2xx"],
                  sockerr=socket_errors(load), all_answers=early["requests"] + load["requests"],
                  all_failed=early["non2xx"] + load["non2xx"], all_missing=socket_errors(early) + socket_errors(load))
    return result


def measure_smtp(bench, peer, payload, connections):
    count = bench.options.count
    bench.smtp_source(payload, connections, max(count // 10, 50), 30)
    forget_memory_peak(peer.pid)
    meter = Meter(bench, peer.pid)
    accepted, delivered = bench.smtp_source(payload, connections, count, 120)
    result = meter.read(0)
    result.update(mps=result["msgs"] / delivered, accept_mps=count / accepted, p50=0, p99=0, non2xx=0,
                  sockerr=count - result["msgs"], all_answers=count, all_failed=0,
                  all_missing=count - result["msgs"])
    return result


def measure_round(bench, name, kind, payload, results, number):
    """One peer, freshly started, at each number of connections."""
    options = bench.options
    sink = bench.start_sink()
    try:
        peer, cold = bench.start_peer(name, kind)
        try:
            time.sleep(1)               # part of the measurement: what it holds when it has nothing to do
            idle = memory_mb(peer.pid)
            for connections in map(int, options.conns.split(",")):
                measure = measure_http if kind == "http" else measure_smtp
                result = measure(bench, peer, payload, connections)
                result.update(cold=cold, idle=idle)
                results.setdefault((payload, connections, name), []).append(result)
                print(f"# round {number + 1} {payload} c={connections} {name}: {result['mps']:.0f}/s "
                      f"{result['cpu_us']:.0f} us/msg noise {result['noise']:.2f}", file=sys.stderr)
                if options.json:
                    with open(options.json, "a", encoding="utf-8") as file:
                        file.write(json.dumps(dict(result, peer=name, payload=payload, conns=connections, round=number,
                                                   pin=options.pin, rtt=options.rtt, pool=options.sessions,
                                                   sink_args=options.sink_args)) + "\n")
        finally:
            bench.processes.stop(peer)
    finally:
        bench.processes.stop(sink)


# ---- what is printed ----

def row(cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def print_table(options, results, keys):
    print(f"\npin={options.pin} sessions={options.sessions} rtt={options.rtt:g}ms secs={options.secs} "
          f"rounds={options.rounds} sink_args={options.sink_args!r}\n")
    print(row(["payload", "conns", "peer"] + [heading for heading, *_ in COLUMNS]))
    print("|" + "---|" * (3 + len(COLUMNS)))
    for key in keys:
        cells = [pattern.format(join([result[name] for result in results[key]]))
                 for _, name, join, pattern in COLUMNS]
        print(row([*key, *cells]))


def print_ratios(base, results, keys):
    print(f"\nRatios to {base}: medians of the ratios of each round\n")
    print(row(["payload", "conns", "peer", "msgs/s: times more", "CPU/msg: times less", "p99: times lower"]))
    print("|" + "---|" * 6)
    for payload, connections, name in keys:
        if name == base:
            continue
        pairs = list(zip(results[payload, connections, name], results[payload, connections, base]))
        ratios = ([mine["mps"] / other["mps"] for mine, other in pairs],
                  [other["cpu_us"] / mine["cpu_us"] for mine, other in pairs],
                  [other["p99"] / mine["p99"] if mine["p99"] else 0 for mine, other in pairs])
        print(row([payload, connections, name] + [f"{statistics.median(values):.2f}" for values in ratios]))


def print_failures(results, keys):
    """How many there were in all, those of the warm-up included: a limit is met for the first time there."""
    print()
    total = 0
    for key in keys:
        failed, answers, missing = (sum(result["all_" + name] for result in results[key])
                                    for name in ("failed", "answers", "missing"))
        print(f"{key[2]}, {key[0]}, {key[1]} connections: {failed} of {answers} answers were not 2xx, "
              f"{missing} missing")
        total += failed + missing
    return total


# ---- the three things that can be asked for ----

def compare(bench, kinds):
    options, results = bench.options, {}
    for number in range(options.rounds):
        for payload in options.payload.split(","):
            for name in options.peers:
                measure_round(bench, name, kinds[name], payload, results, number)
    keys = sorted(results, key=lambda key: (list(PAYLOADS).index(key[0]), key[1], options.peers.index(key[2])))
    print_table(options, results, keys)
    if options.base in options.peers:
        print_ratios(options.base, results, keys)
    return print_failures(results, keys) if options.strict else 0


def cold_starts(bench, kinds):
    starts = {name: [] for name in bench.options.peers}
    for _ in range(bench.options.cold):
        for name in bench.options.peers:
            sink = bench.start_sink()
            peer, ms = bench.start_peer(name, kinds[name])
            time.sleep(1)
            starts[name].append((ms, memory_mb(peer.pid)))
            bench.processes.stop(peer)
            bench.processes.stop(sink)
    print(row(["peer", "cold start ms (median)", "min", "max", "RSS MB after the first message"]))
    print("|" + "---|" * 5)
    for name, values in starts.items():
        times = [ms for ms, _ in values]
        memory = statistics.median(mb for _, mb in values)
        print(row([name, f"{statistics.median(times):.0f}", f"{min(times):.0f}", f"{max(times):.0f}", f"{memory:.1f}"]))


def same_text(one, other):
    return one.replace("\r\n", "\n").strip() == other.replace("\r\n", "\n").strip()


def part_text(mail, kind):
    part = mail.get_body((kind,))
    return part.get_content() if part else ""


def differences(sent, raw):
    """What of the request is not in the mail that arrived."""
    if raw.endswith(b"\r\n.\r\n"):      # it came by DATA: undo the dots
        raw = re.sub(rb"(?m)^\.\.", b".", raw[:-3])
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    if str(mail["subject"]) != sent["subject"]:
        yield "subject"
    if not same_text(part_text(mail, "plain"), sent["text"]):
        yield "text"
    if "html" in sent and not same_text(part_text(mail, "html"), sent["html"]):
        yield "html"
    files = [base64.b64decode(attachment["content"]) for attachment in sent.get("attachments", ())]
    if [part.get_content() for part in mail.iter_attachments()] != files:
        yield "attachments"


def verify(bench, kinds):
    bad = 0
    for name in bench.options.peers:
        sink = bench.start_sink("-L")
        peer, _ = bench.start_peer(name, kinds[name])
        for payload in bench.options.payload.split(","):
            with open(f"{BENCH}/payloads/{payload}.json", encoding="utf-8") as file:
                sent = json.load(file)
            bench.post(payload)
            raw = bench.sink_get("/last")
            wrong = list(differences(sent, raw))
            bad += bool(wrong)
            print(f"verify {name} {payload}: {'BAD ' + ', '.join(wrong) if wrong else 'ok'} ({len(raw)} bytes)")
        bench.processes.stop(peer)
        bench.processes.stop(sink)
    return bad


def main():
    options = arguments()
    bench = Rig(options)
    rig.build()
    kinds = {name: bench.build_peer(name) for name in options.peers}
    try:
        if options.verify:
            return 1 if verify(bench, kinds) else 0
        if options.cold:
            cold_starts(bench, kinds)
            return 0
        return 1 if compare(bench, kinds) else 0
    finally:
        bench.processes.stop_all()


if __name__ == "__main__":
    sys.exit(main())
