"""The lints' own test: every rule finds what it is for in a small bad tree, and nothing in a small good one."""
import os
import sys
import tempfile
import unittest

import ctext
import house

UNFINISHED_WORD = "TO" "DO"
MACHINE_PATH = "/ho" "me/ann/mailhatch"

# The smallest tree in which every rule is content.
GOOD = {
    "smtp/bytes.h": "#include <stddef.h>\n",
    "smtp/outcome.h": "#define OUTCOME_CODES(X) \\\n"
    '    X(SENT, "sent", NO, NOBODY) \\\n    X(TIMEOUT, "timeout", YES, SESSION)\n',
    "smtp/reply.c": '#include "smtp/bytes.h"\n\n#include <string.h>\n\n/* A reply. */\n\nint f(void)\n{\n}\n',
    "service/config_table.h": '#define CONFIG_TABLE(X) \\\n    X(listen, TEXT, "127.0.0.1:8587", "where")\n',
    "service/service.h": '#include "smtp/mail.h"\n',
    "api/catalogue.c": '#include "smtp/outcome.h"\n\n/* The catalogue. */\nROW(TIMEOUT, "It took too long")\n',
    "api/routes.c": '#include "service/service.h"\n\n/* The routes. */\nROW("/v1/errors/{code}", get)\n',
    "openapi.yaml": "openapi: 3.1.0\npaths:\n  /v1/errors/{code}:\n    get:\n\ncomponents:\n",
    "docs/configuration.md": "`listen`\n",
    "docs/errors.md": "## `timeout`\n",
    "deploy/mailhatch.example.yaml": "# listen: 127.0.0.1:8587\n",
    "SECURITY.md": "| threat | rule | held by |\n|---|---|---|\n| a | b | `tests/unit/test_reply.c::main` |\n",
    "tests/unit/test_reply.c": "START_TEST(main)\nint main(void)\n{\n    return 0;\n}\n",
}

LONG_FUNCTION = "int f(void)\n{\n" + "    step();\n" * 80 + "}\n"
SWITCH = "int f(int a)\n{\n    switch (a) {\n    case 1:\n        return 1;\n    default:%s\n    }\n}\n"
CALLS = ("sprintf", "strcpy", "strcat", "strtok", "gets", "atoi", "atol", "alloca", "rand", "system", "popen")

# rule: files that break it, each alone.
BAD = {
    "room_direction": [
        {"smtp/bytes.h": '#include "service/service.h"\n'},
        {"service/service.h": '#include "api/api.h"\n'},
        {"service/service.h": '#include "smtp/session.h"\n'},
        {"api/catalogue.c": '#include "smtp/engine.h"\n/* The catalogue. */\nTIMEOUT\n'},
        {"smtp/bytes.h": '#include "bytes_private.h"\n'},
    ],
    "foreign_libraries": [
        {"service/service.h": "#include <cjson/cJSON.h>\n"},
        {"smtp/session.h": "#include <openssl/ssl.h>\n"},
        {"service/message.c": "#include <sys/socket.h>\n/* A message. */\n"},
        {"service/message.c": "#include <newlib.h>\n/* A message. */\n"},
    ],
    "pure_files": [
        {"smtp/reply.c": "#include <time.h>\n/* A reply. */\n"},
        {"smtp/session.h": "#include <sys/socket.h>\n"},
        {"smtp/dot.c": "#include <pthread.h>\n/* Dots. */\n"},
        {"smtp/dot.c": '/* Dots. */\nvoid f(void)\n{\n    fprintf(stderr, "x");\n}\n'},
    ],
    "function_length": [
        {"smtp/reply.c": "/* A reply. */\n" + LONG_FUNCTION},
        {"tests/tool.py": "def f():\n" + "    step()\n" * 80},
    ],
    "file_length": [{"smtp/reply.c": "/* A reply. */\n" + "int a;\n" * 900}],
    "line_width": [
        {"smtp/reply.c": "/* A reply. */\nint a; /* " + "a" * 120 + " */\n"},
        {"tests/run.sh": "\t" * 15 + "x\n"},
    ],
    "banned_calls": [{"smtp/reply.c": f"/* A reply. */\nint f(void)\n{{\n    return {call}(x);\n}}\n"}
                     for call in CALLS],
    "no_default_over_enum": [{"smtp/reply.c": "/* A reply. */\n" + SWITCH % ""}],
    "nothing_unfinished": [
        {"smtp/reply.c": f"/* A reply. {UNFINISHED_WORD}: more */\n"},
        {"README.md": f"{UNFINISHED_WORD}\n"},
    ],
    "purpose_said_first": [{"smtp/reply.c": "#include <string.h>\n\nint a; /* A reply. */\n"}],
    "options_documented": [
        {"docs/configuration.md": "`listening`\n"},
        {"deploy/mailhatch.example.yaml": ""},
        {"service/config_table.h": ""},
    ],
    "routes_in_contract": [
        {"api/routes.c": '/* The routes. */\nROW("/v1/errors/{code}")\nROW("/new")\n'},
        {"openapi.yaml": "paths:\n  /v1/errors/{code}:\n  /gone:\n\ncomponents:\n"},
        {"api/routes.c": "/* The routes. */\n"},
        {"openapi.yaml": ""},
    ],
    "codes_documented": [
        {"api/catalogue.c": '#include "smtp/outcome.h"\n/* The catalogue. */\n'},
        {"docs/errors.md": ""},
        {"smtp/outcome.h": ""},
    ],
    "unit_tests_run": [{"tests/unit/test_reply.c": "/* int main(void) */\nint a;\n"}],
    "threats_held": [
        {"SECURITY.md": "| a threat | a rule | by construction |\n"},
        {"SECURITY.md": "| a threat | a rule | `tests/unit/test_nothing.c` |\n"},
        {"SECURITY.md": "| a threat | a rule | `tests/unit/test_reply.c::test_nothing` |\n"},
    ],
    "no_machine_paths": [
        {"README.md": f"cd {MACHINE_PATH}\n"},
        {"tests/package-lock.json": '{"resolved": "x"}\n'},
    ],
}


def lint(files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        return house.run(house.Tree(root))


class Rules(unittest.TestCase):
    def test_good_tree_is_good(self):
        self.assertEqual({name: v for name, v in lint(GOOD).items() if v}, {})

    def test_every_rule_has_a_bad_tree(self):
        self.assertEqual(set(BAD), {check.__name__ for check in house.RULES})

    def test_every_rule_fires(self):
        for name, trees in BAD.items():
            for change in trees:
                with self.subTest(rule=name, change={path: text[:60] for path, text in change.items()}):
                    self.assertNotEqual(lint({**GOOD, **change})[name], [])

    def test_composition_root_is_exempt(self):
        root = '#include "api/api.h"\n#include "service/service.h"\n#include "smtp/pool.h"\n/* Puts it together. */\n'
        self.assertEqual(lint({**GOOD, "service/main.c": root})["room_direction"], [])

    def test_default_with_its_reason_is_allowed(self):
        reply = "/* A reply. */\n" + SWITCH % " /* not an enum */"
        self.assertEqual(lint({**GOOD, "smtp/reply.c": reply})["no_default_over_enum"], [])

    def test_words_in_comments_and_strings_are_no_calls(self):
        reply = '/* Never strcpy(a, b). */\nconst char *f = "system(1)";\nint a = xstrcat(1) + s->rand(2);\n'
        self.assertEqual(lint({**GOOD, "smtp/reply.c": reply})["banned_calls"], [])

    def test_exit_status(self):
        with tempfile.TemporaryDirectory() as root, open(os.devnull, "w", encoding="utf-8") as quiet:
            stdout, sys.stdout = sys.stdout, quiet
            try:
                self.assertEqual(house.main([root]), 1)
            finally:
                sys.stdout = stdout


class CText(unittest.TestCase):
    def test_function_lines(self):
        text = "struct s {\n    int a;\n};\nstatic int t[] = {1, 2};\n\nint f(void)\n{\n    if (a) {\n    }\n}\n"
        self.assertEqual(ctext.functions(text), [(6, 5)])

    def test_braces_in_literals_and_macros(self):
        text = "#define OPEN() \\\n    {\n\nint f(void)\n{\n    g('{', \"}}\"); /* { */ // {\n}\n"
        self.assertEqual(ctext.functions(text), [(4, 4)])

    def test_includes(self):
        text = '#include "smtp/bytes.h"\n#  include <string.h>\n'
        self.assertEqual(ctext.includes(text), [(1, False, "smtp/bytes.h"), (2, True, "string.h")])

    def test_quotes_in_comments(self):
        self.assertEqual(ctext.code_only("/* don't */ a '\"' b").split(), ["a", "b"])


def main():
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    result = unittest.TextTestRunner(verbosity=0).run(suite)
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
