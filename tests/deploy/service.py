"""A mailhatch started as a service manager would: a whole environment, sockets from descriptor 3 on, nothing else. The
standard error is its log, in JSON."""
import contextlib
import json
import os
import subprocess
import threading

import harness

# The descriptors are moved to 3, 4 … and LISTEN_PID is the process that runs the program: exec keeps it.
HAND_OVER = """n=3
for fd in $FDS; do eval "exec $n<&$fd $fd<&-"; n=$((n + 1)); done
[ -z "$FDS" ] || [ -n "$LISTEN_PID" ] || export LISTEN_PID=$$
unset FDS
exec "$@"
"""


class Service:
    """`sockets`: [(name, listening socket)], which stay the caller's. `command`: the program and its arguments."""

    def __init__(self, command, env, sockets=(), wait=True):
        fds = [os.dup(s.fileno()) for _, s in sockets]
        high = []
        for fd in fds:
            high.append(self.above(fd))
        env = {"PATH": os.environ["PATH"], "MAILHATCH_LOG_FORMAT": "json", **env}
        if sockets:
            env.setdefault("LISTEN_FDS", str(len(sockets)))
            env.setdefault("LISTEN_FDNAMES", ":".join(name for name, _ in sockets))
            env["FDS"] = " ".join(map(str, high))
            command = ["bash", "-c", HAND_OVER, "hand-over", *command]
        self.lines, self.listening = [], None
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=high
        )
        for fd in high:
            os.close(fd)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        if wait:
            try:
                harness.wait_for(lambda: self.listening or self.process.poll() is not None, what="it listens")
                if not self.listening:
                    self.reader.join(5)
                    raise AssertionError("it did not start:\n" + "\n".join(self.lines))
            except BaseException:
                self.stop()
                raise

    @staticmethod
    def above(fd):
        """The same descriptor beyond those that are handed over."""
        import fcntl

        moved = fcntl.fcntl(fd, fcntl.F_DUPFD, 40)
        os.close(fd)
        return moved

    def read(self):
        for line in self.process.stderr:
            line = line.decode("utf-8", "replace").rstrip("\n")
            self.lines.append(line)
            with contextlib.suppress(ValueError, AttributeError):
                event = json.loads(line)
                if event.get("event") == "listening":
                    self.listening = event

    @property
    def api(self):
        return self.listening["api"]

    @property
    def admin(self):
        return self.listening["admin"]

    def wait(self):
        """To its own end: (exit status, log)."""
        status = self.process.wait(harness.PATIENCE)
        self.reader.join(harness.PATIENCE)
        return status, "\n".join(self.lines)

    def stop(self):
        status = harness.stop_process(self.process, 30)
        self.reader.join(harness.PATIENCE)
        self.process.stderr.close()
        return status

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
