"""What a run is made of: processes that are stopped again, the sink, the load, and what they cost."""
import glob
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.environ.get("BENCH", "/tmp/mailhatch-bench")
TICKS = os.sysconf("SC_CLK_TCK")
PEER_START_SECONDS = 30
SINK_START_SECONDS = 4
PAYLOADS = {"1k": 1024, "20k": 20480, "1m": 1400000, "1m-form": 1400000}     # rough sizes, for peers fed by SMTP
GATEWAY_CPU, RIG_CPU = 0, 1


# ---- processes ----

class Processes:
    """Whatever was started and still runs."""

    def __init__(self):
        self.running = []

    def start(self, command, **options):
        process = subprocess.Popen(command, **options)
        self.running.append(process)
        return process

    def stop(self, process, patience=5):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.forget(process)

    def forget(self, process):
        if process in self.running:
            self.running.remove(process)

    def stop_all(self):
        for process in list(self.running):
            self.stop(process)


def tree(pid):
    """A process and all below it."""
    children = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="utf-8") as file:
                fields = file.read().rpartition(") ")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(path.split("/")[2]))
    found, queue = [], [pid]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += children.get(pid, [])
    return found


def cpu_seconds(pid):
    """User and system time of the tree, its reaped children included."""
    ticks = 0
    for member in tree(pid):
        try:
            with open(f"/proc/{member}/stat", encoding="utf-8") as file:
                ticks += sum(map(int, file.read().rpartition(") ")[2].split()[11:15]))
        except OSError:
            continue
    return ticks / TICKS


def machine_cpu_seconds():
    """Time in which any core did anything."""
    with open("/proc/stat", encoding="utf-8") as file:
        fields = list(map(int, file.readline().split()[1:9]))
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def memory_mb(pid, field="VmRSS"):
    """Resident memory; of a tree its proportional share, so that shared pages count once."""
    members = tree(pid)
    name, pattern = ("status", field) if len(members) == 1 else ("smaps_rollup", "Pss")
    total = 0
    for member in members:
        try:
            with open(f"/proc/{member}/{name}", encoding="utf-8") as file:
                total += int(re.search(rf"^{pattern}:\s+(\d+)", file.read(), re.M)[1])
        except (OSError, TypeError):
            continue
    return total / 1024


def forget_memory_peak(pid):
    for member in tree(pid):
        try:
            with open(f"/proc/{member}/clear_refs", "w", encoding="utf-8") as file:
                file.write("5")
        except OSError:
            continue


# ---- building ----

def newer(target, *sources):
    return os.path.exists(target) and all(os.path.getmtime(target) >= os.path.getmtime(source) for source in sources)


def build():
    os.makedirs(f"{BENCH}/bin", exist_ok=True)
    subprocess.run([f"{HERE}/mkcert.sh", f"{BENCH}/tls"], check=True)
    sources = [f"{HERE}/sink/sink.c", f"{HERE}/sink/smtp.c"]
    if not newer(f"{BENCH}/bin/sink", *sources, f"{HERE}/sink/sink.h", f"{HERE}/tlsmem.h"):
        subprocess.run(["gcc", "-D_GNU_SOURCE", "-O2", "-Wall", "-o", f"{BENCH}/bin/sink", *sources,
                        "-lssl", "-lcrypto", "-lpthread"], check=True)
    if not newer(f"{BENCH}/payloads/1m-form.json", f"{HERE}/load/gen_payloads.py"):
        subprocess.run([sys.executable, f"{HERE}/load/gen_payloads.py", f"{BENCH}/payloads"], check=True)


# ---- the rig ----

class Rig:
    """The sink, one peer and the load, with the options of one invocation."""

    def __init__(self, options):
        self.options = options
        self.processes = Processes()
        self.stats_url = f"http://127.0.0.1:{options.sink_port + 1}"

    def pinned(self, cpu, command):
        return (["taskset", "-c", str(cpu)] if self.options.pin == "split" else []) + command

    def peer_environment(self):
        return dict(os.environ, HERE=HERE, BENCH=BENCH, PORT=str(self.options.port), SMTP_HOST="127.0.0.1",
                    SMTP_PORT=str(self.options.sink_port), SMTP_USER="bench", SMTP_PASS="secret",
                    SMTP_CA=f"{BENCH}/tls/ca.pem", SMTP_SESSIONS=str(self.options.sessions))

    # the sink

    def sink_get(self, path):
        with urllib.request.urlopen(self.stats_url + path, timeout=10) as answer:
            return answer.read()

    def stats(self):
        return json.loads(self.sink_get("/stats"))

    def start_sink(self, *extra):
        command = [f"{BENCH}/bin/sink", "-p", str(self.options.sink_port), "-s", str(self.options.sink_port + 1),
                   "-c", f"{BENCH}/tls/cert.pem", "-k", f"{BENCH}/tls/key.pem", "-T", "900",
                   "-D", str(self.options.rtt), *self.options.sink_args.split(), *extra]
        self.require_free(self.options.sink_port)
        sink = self.processes.start(self.pinned(RIG_CPU, command), stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + SINK_START_SECONDS
        while time.monotonic() < deadline:
            try:
                self.stats()
                return sink
            except OSError:
                time.sleep(.01)
        raise SystemExit("the sink did not start")

    # the peer

    def build_peer(self, name):
        """Runs its peer_build and tells its kind, http or smtp."""
        script = (f". {HERE}/peers/{name}.sh && declare -F peer_build >/dev/null && {{ peer_build >&2 || exit 1; }}; "
                  "echo KIND=$peer_kind")
        done = subprocess.run(["bash", "-c", script], env=self.peer_environment(), stdout=subprocess.PIPE, text=True,
                              check=False)
        if done.returncode:
            raise SystemExit(f"{name}: build failed")
        return re.search(r"KIND=(\w+)", done.stdout)[1]

    def start_peer(self, name, kind):
        """The process, and how many ms it took to its first 200 or 220."""
        self.require_free(self.options.port)
        begin = time.monotonic()
        with open(f"{BENCH}/{name}.log", "ab") as log:
            command = ["bash", "-c", f". {HERE}/peers/{name}.sh; peer_exec"]
            peer = self.processes.start(self.pinned(GATEWAY_CPU, command), env=self.peer_environment(), stdout=log,
                                        stderr=log)
        while time.monotonic() - begin < PEER_START_SECONDS:
            if peer.poll() is not None:
                raise SystemExit(f"{name} ended at its start; see {BENCH}/{name}.log")
            try:
                if self._answers(kind):
                    return peer, (time.monotonic() - begin) * 1000
            except OSError:
                pass
            time.sleep(.002)
        raise SystemExit(f"{name}: no answer in {PEER_START_SECONDS} s; see {BENCH}/{name}.log")

    @staticmethod
    def require_free(port):
        """Else somebody else would answer, and be measured."""
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                raise SystemExit(f"port {port} is in use; see --port and --sink-port") from None

    def _answers(self, kind):
        with socket.create_connection(("127.0.0.1", self.options.port), .5) as connection:
            if kind == "smtp":
                connection.settimeout(10)
                return connection.recv(200)[:3] == b"220"
        return self.post("1k") == 200

    def post(self, payload):
        headers = {"Content-Type": "application/json"}
        if os.environ.get("TOKEN"):
            headers["Authorization"] = "Bearer " + os.environ["TOKEN"]
        with open(f"{BENCH}/payloads/{payload}.json", "rb") as file:
            request = urllib.request.Request(f"http://127.0.0.1:{self.options.port}/v1/emails", file.read(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status

    # the load

    def wrk(self, payload, connections, seconds):
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s",
                   "-s", f"{HERE}/load/post.lua", f"http://127.0.0.1:{self.options.port}"]
        load = self.processes.start(self.pinned(RIG_CPU, command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                    text=True, env=dict(os.environ, BODY=f"{BENCH}/payloads/{payload}.json"))
        output = load.stdout.read()
        _, _, usage = os.wait4(load.pid, 0)
        load.returncode = 0
        load.stdout.close()
        self.processes.forget(load)
        result = re.search(r"RESULT (\{.*\})", output)
        if not result:
            raise SystemExit("wrk failed:\n" + output)
        return dict(json.loads(result[1]), wrk_cpu=usage.ru_utime + usage.ru_stime)

    def smtp_source(self, payload, connections, count, cap):
        """Feeds a peer by SMTP. Seconds until it had taken them all, and until the sink had."""
        before, begin, accepted = self.stats()["msgs"], time.monotonic(), None
        command = ["smtp-source", "-d", "-s", str(connections), "-m", str(count), "-l", str(PAYLOADS[payload]),
                   "-f", "a@example.com", "-t", "b@example.net", f"inet:127.0.0.1:{self.options.port}"]
        source = self.processes.start(self.pinned(RIG_CPU, command), stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
        while time.monotonic() - begin < cap and self.stats()["msgs"] - before < count:
            if accepted is None and source.poll() is not None:
                accepted = time.monotonic() - begin
            time.sleep(.02)
        self.processes.stop(source)
        delivered = time.monotonic() - begin
        return accepted or delivered, delivered


class Meter:
    """What was used between its making and read()."""

    def __init__(self, rig, pid):
        self.rig, self.pid = rig, pid
        self.before, self.cpu, self.machine, self.begin = self._now()

    def _now(self):
        return self.rig.stats(), cpu_seconds(self.pid), machine_cpu_seconds(), time.monotonic()

    def read(self, load_cpu):
        after, cpu, machine, end = self._now()
        seconds, cpu = end - self.begin, cpu - self.cpu
        change = {name: after[name] - self.before[name] for name in after}
        messages = max(change["msgs"], 1)
        return {
            "msgs": change["msgs"],
            "cpu_us": cpu * 1e6 / messages,
            "gw_util": cpu / seconds,
            "hwm": memory_mb(self.pid, "VmHWM"),
            "sink_us": change["cpu"] * 1e6 / messages,
            "load_us": load_cpu * 1e6 / messages,
            "flights": change["flights"] / messages,
            "cmds": change["cmds"] / messages,
            "tls": change["tls_full"] + change["tls_resumed"],
            "active": after["active"],
            "noise": (machine - self.machine - cpu - change["cpu"] - load_cpu) / seconds,
        }
