"""The commands that the documentation shows, to be run as they are written."""
import pathlib
import re
import subprocess

import harness

FILES = ("README.md", "docs/operations.md", "docs/keys.md", "docs/input.md", "docs/diagnose.md", "docs/migrating.md")


class Block:
    """A fenced block. `first`: its first line, which names it."""

    def __init__(self, file, line, language, text):
        self.file, self.line, self.language, self.text = file, line, language, text
        self.first = text.split("\n", 1)[0]

    def __repr__(self):
        return "%s:%d: %s" % (self.file, self.line, self.first)


def blocks(file):
    """All of a page, in their order."""
    text = (harness.ROOT / file).read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M)
    return [Block(file, text.count("\n", 0, m.start()) + 2, m[1], m[2]) for m in found]


def block(file, beginning):
    """The one block of the page that begins so."""
    found = [b for b in blocks(file) if b.text.startswith(beginning)]
    if len(found) != 1:
        raise AssertionError("%s: %d blocks begin with %r" % (file, len(found), beginning))
    return found[0]


def adapt(text, changes):
    """`text` with names of documentation in the place of which the test has its own; each must occur."""
    for old, new in changes.items():
        if old not in text:
            raise AssertionError("%r is not in the text any more:\n%s" % (old, text))
        text = text.replace(old, new)
    return text


def shell(text, cwd, env, status=0):
    """The standard output of the commands. They stop at the first that fails, as a reader would."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=cwd,
        env=env,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    if done.returncode != status:
        out = (done.stdout + done.stderr).decode("utf-8", "replace")
        raise AssertionError("status %d:\n%s\n%s" % (done.returncode, text, out[-4000:]))
    return done.stdout.decode("utf-8")


def one_by_one(text):
    """A block's commands: they are parted by empty lines, and by line ends outside of quotes and continued lines."""
    commands, now = [], ""
    for line in text.splitlines(keepends=True):
        if not now and line.startswith("#"):
            continue
        now += line
        body = re.sub(r"\s#.*", "", now)
        is_open = body.count("'") % 2 or now.rstrip().endswith(("\\", "|"))
        if not is_open and now.strip():
            commands.append(now.strip())
            now = ""
    if now.strip():
        raise AssertionError("a command has no end: %s" % now)
    return commands


def shape(value):
    """What a JSON value is made of, without the values: members by name, a list as its first element is."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(v) for v in value[:1]]
    return type(value).__name__ if not isinstance(value, (int, float)) or isinstance(value, bool) else "number"


def copy_tree(to):
    """The sources as a clone has them: what is built or installed stays behind."""
    import shutil

    def ignored(directory, names):
        top = pathlib.Path(directory) == harness.ROOT
        return {n for n in names if n in ("node_modules", "__pycache__") or (top and n in ("build", ".git"))}

    shutil.copytree(harness.ROOT, to, ignore=ignored, symlinks=True)
