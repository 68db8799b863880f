"""The program under test as a context: certificates, a started gateway, its log, and small HTTP helpers. Standard
library only; loopback only; nothing sleeps to wait for a thing that may take shorter: wait_for polls a condition
until a deadline."""
import base64
import contextlib
import functools
import atexit
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import certs as certificates

ROOT = pathlib.Path(__file__).resolve().parents[2]
PASSWORD = "s3cret-Passw0rd-of-the-relay"
PATIENCE = float(os.environ.get("MAILHATCH_E2E_PATIENCE", "15"))  # seconds; the limit of every wait here


def secret_forms(user="ann"):
    """As the password would stand in an output: plainly, and as AUTH LOGIN and AUTH PLAIN carry it."""
    plain = base64.b64encode(b"\0" + user.encode() + b"\0" + PASSWORD.encode()).decode()
    return PASSWORD, base64.b64encode(PASSWORD.encode()).decode(), plain


def binary():
    return os.environ.get("MAILHATCH_BIN") or str(ROOT / "build" / "mailhatch")


@functools.cache
def run_dir():
    """The directory of this run: run.py makes one for all its processes; a test file run alone makes its own."""
    given = os.environ.get("MAILHATCH_E2E_DIR")
    if given:
        return given
    made = tempfile.mkdtemp(prefix="mailhatch-e2e-")
    atexit.register(shutil.rmtree, made, True)
    return made


@functools.cache
def certs():
    """The directory with the certificates (see certs.py)."""
    directory = os.path.join(run_dir(), "certs")
    if not os.path.exists(os.path.join(directory, "ca.crl")):
        certificates.make(directory)
    return directory


def cert_path(name):
    return os.path.join(certs(), name)


def wait_for(condition, seconds=None, what="the condition"):
    """Polls until condition() is true and returns its value."""
    end = time.monotonic() + (seconds or PATIENCE)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %.0f s in vain: %s" % (seconds or PATIENCE, what))
        time.sleep(0.01)


def stop_process(process, patience=10):
    """Terminates one process by its id, kills it when it does not listen, and collects it. Returns its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def record_code(code):
    """Remembers in the run's directory that this error code was seen on a socket; run.py checks them against GET
    /v1/errors."""
    with open(os.path.join(run_dir(), "codes"), "a", encoding="ascii") as f:
        f.write(code + "\n")


def keep_answer(problem):
    """MAILHATCH_E2E_ANSWERS names a directory: it gets the answers with each code, for tests/openapi/examples.py."""
    directory = os.environ.get("MAILHATCH_E2E_ANSWERS")
    if directory:
        with open(os.path.join(directory, "%s.jsonl" % problem.get("code")), "a", encoding="utf-8") as f:
            f.write(json.dumps(problem) + "\n")


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.json = None
        if "json" in (headers.get("Content-Type") or ""):
            self.json = json.loads(body.decode("utf-8")) if body else None
        if isinstance(self.json, dict) and headers.get("Content-Type", "").startswith("application/problem+json"):
            record_code(self.json.get("code", "?"))
            keep_answer(self.json)

    @property
    def code(self):
        return self.json.get("code") if isinstance(self.json, dict) else None

    def __repr__(self):
        return "<%s %s %s>" % (self.status, dict(self.headers.items()), self.body[:3000].decode("utf-8", "replace"))


def settings_of_this_run():
    """What run.py --set NAME=VALUE wants in the environment of every gateway; a test's own settings win."""
    return dict(pair.split("=", 1) for pair in os.environ.get("MAILHATCH_E2E_SETTINGS", "").split("\n") if pair)


def connect(where, timeout=None):
    """A connected socket to "127.0.0.1:PORT" or "unix:/path"."""
    if where.startswith("unix:"):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(timeout or PATIENCE * 4)
        s.connect(where[5:])
        return s
    host, port = where.rsplit(":", 1)
    return socket.create_connection((host.strip("[]"), int(port)), timeout or PATIENCE * 4)


class HttpConnection(http.client.HTTPConnection):
    def __init__(self, where):
        super().__init__("localhost")
        self.where = where

    def connect(self):
        self.sock = connect(self.where)
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def http_request(where, method, path, body=None, headers=None, connection=None):
    """One request. `body`: None, bytes, or anything that json can write."""
    headers = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    if body is not None and not any(h.lower() == "content-type" for h in headers):
        headers["Content-Type"] = "application/json"
    c = connection or HttpConnection(where)
    try:
        c.request(method, path, body, headers)
        r = c.getresponse()
        return Answer(r.status, r.headers, r.read())
    finally:
        if connection is None:
            c.close()


def raw_exchange(where, data, shut=False, timeout=None):
    """Sends bytes on a connection of its own and returns all that comes back until the server closes (or `timeout`)."""
    got = b""
    with contextlib.closing(connect(where, timeout)) as s:
        try:
            s.sendall(data)
            if shut:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused early; the answer is read all the same
        with contextlib.suppress(TimeoutError, ConnectionError):
            while chunk := s.recv(65536):
                got += chunk
    return got


def read_response(stream):
    """One HTTP response from a buffered stream (socket.makefile), so that pipelined answers can be told apart."""
    line = stream.readline()
    if not line:
        return None
    status = int(line.split()[1])
    headers = http.client.parse_headers(stream)
    length = int(headers.get("Content-Length") or 0)
    return Answer(status, headers, stream.read(length))


def split_responses(data):
    import io

    stream, found = io.BytesIO(data), []
    while True:
        answer = read_response(stream)
        if answer is None:
            return found
        found.append(answer)


MAIL = {"from": "ann@example.org", "to": "bob@example.net", "subject": "Hello", "text": "Hello Bob.\n"}


def mail(**changes):
    return {**MAIL, **changes}


class Gateway:
    """A running mailhatch. `env` adds to (or with None takes from) its environment; nothing of ours is inherited by
    it but PATH and the sanitizers' options. `launcher`: a command that ends by executing what stands behind it. Use as
    a context; stop() returns the exit status. Anything a sanitizer reports is a failure."""

    def __init__(self, env=None, args=(), relay=None, wait=True, cwd=None, launcher=()):
        self.env = {
            k: v
            for k, v in os.environ.items()
            if k in ("PATH", "LANG", "TSAN_OPTIONS", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS")
        }
        self.env.update(
            MAILHATCH_LOG_FORMAT="json", MAILHATCH_LISTEN="127.0.0.1:0", MAILHATCH_ADMIN_LISTEN="127.0.0.1:0"
        )
        self.env.update(settings_of_this_run())
        if relay:
            self.env["MAILHATCH_RELAY_URL"] = relay
            self.env["MAILHATCH_RELAY_CA_FILE"] = cert_path("ca.pem")
            if "@" in relay:
                self.env["MAILHATCH_RELAY_PASSWORD"] = PASSWORD
        for key, value in (env or {}).items():
            if value is None:
                self.env.pop(key, None)
            else:
                self.env[key] = str(value)
        self.lines, self.api, self.admin_at = [], None, None
        self.process = subprocess.Popen(
            [*launcher, os.path.abspath(binary()), *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.env,
            cwd=cwd,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        if wait:
            try:
                wait_for(lambda: self.api or self.process.poll() is not None, what="the gateway listens")
                if not self.api:
                    raise AssertionError("the gateway did not start:\n" + self.log())
            except BaseException:
                self.stop()
                raise

    def _read(self):
        for line in self.process.stdout:
            line = line.decode("utf-8", "replace").rstrip("\n")
            self.lines.append(line)
            with contextlib.suppress(ValueError, AttributeError):
                event = json.loads(line)
                if event.get("msg") == "listening" or event.get("event") == "listening":
                    self.admin_at = event["admin"].split("//")[-1]
                    self.api = (
                        "unix:" + self.env["MAILHATCH_LISTEN"][5:]
                        if "unix" in event["api"]
                        else event["api"].split("//")[-1]
                    )

    def log(self):
        return "\n".join(self.lines)

    def events(self, name):
        found = []
        for line in list(self.lines):
            with contextlib.suppress(ValueError):
                e = json.loads(line)
                if isinstance(e, dict) and e.get("event") == name:
                    found.append(e)
        return found

    def request(self, method, path, body=None, headers=None, connection=None):
        return http_request(self.api, method, path, body, headers, connection)

    def post(self, body, headers=None, connection=None):
        return self.request("POST", "/v1/emails", body, headers, connection)

    def get(self, path, headers=None):
        return self.request("GET", path, None, headers)

    def admin(self, path, method="GET"):
        return http_request(self.admin_at, method, path)

    def connection(self):
        return HttpConnection(self.api)

    def metric(self, name):
        """The sum of all samples of one metric."""
        total = 0.0
        for line in self.admin("/metrics").body.decode().splitlines():
            if line.startswith(name + "{") or line.startswith(name + " "):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=None):
        status = self.process.wait(seconds or PATIENCE)
        self.reader.join(PATIENCE)
        return status

    def stop(self):
        status = stop_process(self.process)
        self.reader.join(PATIENCE)
        self.process.stdout.close()
        for line in self.lines:
            if "Sanitizer" in line or "runtime error:" in line:
                raise AssertionError("a sanitizer complains:\n" + self.log())
        if status in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGILL):
            raise AssertionError("the gateway crashed (%d):\n%s" % (status, self.log()))
        return status

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


def run_program(*args, env=None, stdin=b"", timeout=30):
    """Runs the program to its end: (exit status, stdout, stderr) with text."""
    full = {
        k: v
        for k, v in os.environ.items()
        if k in ("PATH", "LANG", "TSAN_OPTIONS", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS")
    }
    full.update({k: str(v) for k, v in (env or {}).items()})
    done = subprocess.run([binary(), *args], input=stdin, capture_output=True, env=full, timeout=timeout)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
