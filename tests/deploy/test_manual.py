"""The manual pages and the completions: committed as the program writes them, without a complaint of their readers, and
with every setting."""
import os
import pathlib
import re
import subprocess
import unittest

import harness

ROOT = harness.ROOT
WRITTEN = {
    "deploy/man/mailhatch.8": ("man",),
    "deploy/man/mailhatch.conf.5": ("man5",),
    "deploy/completion/mailhatch.bash": ("completion", "bash"),
    "deploy/completion/_mailhatch": ("completion", "zsh"),
    "deploy/mailhatch.example.yaml": ("sample",),
    "docs/configuration.md": ("reference",),
}
# Stands in for zsh's completion system: what _mailhatch would offer, one a line.
ZSH_STUBS = r"""
compdef() { }
_arguments() { print -rl -- "$@" }
_describe() { print -rl -- ${(P)2} }
compadd() { print -rl -- "$@" }
"""


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, **more)
    return done.returncode, done.stdout + done.stderr


def settings():
    """The flag of each setting, and whether it takes a value."""
    status, text, _ = harness.run_program("help")
    found = re.findall(r"^  (--[a-z-]+)( VALUE| FILE)?   \[MAILHATCH_", text, re.M)
    assert status == 0 and len(found) > 40, text
    return [(flag, bool(value)) for flag, value in found]


def commands():
    """The words of the usage page, but those of help's topics."""
    return re.findall(r"^  mailhatch ((?!help )[a-z][a-z-]+) ", harness.run_program("help")[1], re.M) + ["help"]


class Written(unittest.TestCase):
    def test_committed_copies_are_up_to_date(self):
        for path, topic in WRITTEN.items():
            with self.subTest(path):
                status, text, _ = harness.run_program("help", *topic)
                self.assertEqual(status, 0)
                self.assertEqual(pathlib.Path(ROOT, path).read_text("utf-8"), text, "make generated")

    def test_no_such_topic(self):
        for topic in (("manual",), ("completion",), ("completion", "fish"), ("man", "8")):
            status, out, err = harness.run_program("help", *topic)
            self.assertEqual((status, out), (2, ""))
            self.assertIn(" ".join(topic), err)
            self.assertIn("completion bash|zsh", err)


class Man(unittest.TestCase):
    def test_lint(self):
        # mandoc looks for the pages that a page names beside it, too.
        status, text = run("sh", "-c", "cd deploy/man && exec mandoc -T lint mailhatch.8 mailhatch.conf.5")
        self.assertEqual((status, text), (0, ""))

    def test_every_setting_is_there(self):
        pages = {n: pathlib.Path(ROOT, "deploy/man", n).read_text("utf-8") for n in os.listdir(ROOT / "deploy/man")}
        for flag, _ in settings():
            for name, page in pages.items():
                self.assertRegex(page, r"Fl %s\b" % re.escape(flag[1:]), name)
        self.assertIn(".Ev MAILHATCH_RELAY_PASSWORD_FILE", pages["mailhatch.conf.5"])

    def test_every_command_is_there(self):
        page = pathlib.Path(ROOT, "deploy/man/mailhatch.8").read_text("utf-8")
        self.assertGreater(len(commands()), 4)
        for command in commands():
            self.assertIn(".It Cm %s" % command, page)

    def test_text_of_a_table_cannot_become_a_request(self):
        for name in os.listdir(ROOT / "deploy/man"):
            for line in pathlib.Path(ROOT, "deploy/man", name).read_text("utf-8").splitlines():
                self.assertRegex(line, r"^(\.[A-Z][a-z]\b|\.br$|[^.'])", name)
                self.assertLessEqual(len(line), 100)


class Bash(unittest.TestCase):
    def complete(self, *words):
        script = """. deploy/completion/mailhatch.bash
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mailhatch; printf '%s\\n' "${COMPREPLY[@]}" """
        status, text = run("bash", "-c", script, "bash", "mailhatch", *words)
        self.assertEqual(status, 0, text)
        return text.split()

    def test_completes(self):
        self.assertEqual(self.complete("he"), ["healthcheck", "help"])
        self.assertEqual(self.complete("--log-format", "j"), ["json"])
        self.assertEqual(self.complete("--relay-tls", "=", "im"), ["implicit"])
        self.assertEqual(self.complete("--relay-tls", "="), ["starttls", "implicit", "none"])
        self.assertEqual(self.complete("help", "completion", ""), ["bash", "zsh"])
        self.assertEqual(self.complete("--config", "LICEN"), ["LICENSE"])
        self.assertEqual(self.complete("send", "LICEN"), ["LICENSE"])
        self.assertEqual(self.complete("--max-body", ""), [])
        self.assertEqual(self.complete("nonsense", "x"), [])

    def test_every_setting_is_offered(self):
        offered = self.complete("--")
        self.assertEqual({f for f, _ in settings()} - set(offered), set())

    def test_shellcheck(self):
        self.assertEqual(run("shellcheck", "-s", "bash", "deploy/completion/mailhatch.bash"), (0, ""))


class Zsh(unittest.TestCase):
    def complete(self, *words):
        script = ZSH_STUBS + 'words=("$@"); CURRENT=$#; source deploy/completion/_mailhatch'
        status, text = run("zsh", "-f", "-c", script, "zsh", "mailhatch", *words)
        self.assertEqual(status, 0, text)
        return text.splitlines()

    def test_commands_and_topics(self):
        self.assertEqual({row.split(":")[0] for row in self.complete("")}, set(commands()))
        self.assertEqual([r.split(":")[0] for r in self.complete("help", "")][-1], "completion")
        self.assertEqual(self.complete("help", "completion", ""), ["bash", "zsh"])

    def test_every_setting_is_offered(self):
        offered = {row.split("[")[0]: row for row in self.complete("--") if row.startswith("--")}
        for flag, takes_value in settings():
            self.assertIn(flag + ("=" if takes_value else ""), offered)
        self.assertTrue(offered["--log-format="].endswith("]:word:(auto json text)"))
        self.assertTrue(offered["--relay-ca-file="].endswith("]:file:_files"))
        self.assertIn("'Authorization\\: Bearer KEY'", offered["--api-keys="])
