"""A network of its own for a process and all that it starts, so that the ports of a manifest are free in it."""
import ctypes
import os
import subprocess

CLONE_NEWNET = 0x40000000


class Netns:
    """As a context, on the thread that enters it and the threads and processes that it starts meanwhile. Where it is
    not allowed (not root) the machine's own ports serve."""

    def __enter__(self):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.entered = os.geteuid() == 0 and self.libc.unshare(CLONE_NEWNET) == 0
        if self.entered:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return self

    def __exit__(self, *exc):
        if self.entered and self.libc.setns(self.before, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "cannot return to the network of before")
        os.close(self.before)
