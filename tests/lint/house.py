"""The lints of the house: what the compiler cannot check and a reviewer should not have to.

house.py [ROOT]   prints each violation as "file:line: what", then "N passed, N failed": one check for each rule.
"""
import ast
import fnmatch
import os
import re
import sys

import ctext

ROOMS = ("smtp", "service", "api")
SKIPPED_DIRECTORIES = {".git", "build", "node_modules", "__pycache__", "corpus"}
TEXT_SUFFIXES = (".c", ".h", ".py", ".sh", ".mk", ".lua", ".go", ".mjs", ".md", ".yaml", ".yml", ".json", ".cf")
TEXT_NAMES = {"Makefile", "Dockerfile", "run", "control", "rules"}

# Plain data and plumbing of the lowest room that all rooms share, and the doors between rooms.
SHARED = {f"smtp/{name}.h" for name in ("bytes", "block", "mail", "outcome", "report", "loop", "work", "address",
                                       "address_list", "raw", "idn", "crypto", "file", "watch", "sandbox", "diagnose",
                                       "trace")}
MAY_INCLUDE = {
    "smtp": set(),
    "service": SHARED | {"smtp/engine.h", "smtp/mime.h"},
    "api": SHARED | {"service/service.h", "service/config.h", "service/last_error.h", "service/descriptors.h"},
}
COMPOSITION_ROOT = {"service/main.c", "service/cli.c", "service/cli_diagnose.c", "service/diagnose_text.c"}

# Which files may name which foreign headers. A header that matches several patterns goes by the first.
SOCKET_FILES = ("smtp/loop.c", "smtp/conn*.c", "smtp/dial.[ch]", "smtp/probe.c", "smtp/resolve.[ch]", "smtp/sandbox*.c",
                "smtp/diagnose_io.[ch]", "api/http*.c", "api/listen.c",
                "service/notify.c")
FOREIGN = (
    ("microhttpd.h", ("api/http*.[ch]",)),
    ("gnutls/*", ("api/http_tls.c",)),
    ("cjson/*", ("api/json_*.[ch]",)),
    ("zlib.h", ("api/inflate.c",)),
    ("yaml.h", ("service/config_yaml.c",)),
    ("openssl/*", ("smtp/tls*.c", "smtp/crypto.c", "smtp/cert.c")),
    ("idn2.h", ("smtp/idn.c",)),
    ("sys/socket.h", SOCKET_FILES), ("sys/epoll.h", SOCKET_FILES), ("sys/un.h", SOCKET_FILES),
    ("netdb.h", SOCKET_FILES),
    ("poll.h", SOCKET_FILES + ("service/log_writer.c", "smtp/file.c")),
    ("netinet/*", SOCKET_FILES), ("arpa/inet.h", SOCKET_FILES),
)
LIBC = set("""assert.h ctype.h endian.h errno.h fcntl.h float.h getopt.h inttypes.h limits.h locale.h malloc.h math.h
    pthread.h pwd.h grp.h signal.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h stdnoreturn.h
    string.h strings.h sys/eventfd.h sys/ioctl.h sys/mman.h sys/prctl.h sys/random.h sys/resource.h sys/signalfd.h
    sys/stat.h sys/sysmacros.h sys/time.h sys/timerfd.h sys/types.h sys/uio.h sys/utsname.h sys/wait.h syslog.h time.h
    unistd.h linux/sockios.h ifaddrs.h net/if.h""".split())

PURE = [f"smtp/{name}.{suffix}" for suffix in "ch" for name in
        ("bytes", "address", "address_list", "raw", "reply", "ehlo", "outcome", "classify", "sasl", "session*", "dot",
         "mime*", "idn", "invisible", "mail", "secrets", "trace")]
NOT_IN_PURE = ("sys/*", "netinet/*", "arpa/*", "net/*", "netdb.h", "poll.h", "time.h", "unistd.h", "pthread.h",
               "signal.h", "openssl/*")
PURE_CALLS = re.compile(r"(?<![\w.>])(fopen|printf|fprintf|puts|fputs|fwrite|perror|getenv|time|gettimeofday)\s*\(")

FUNCTION_LINES = 80
FILE_LINES = 900
COLUMNS = 120
BANNED_CALLS = re.compile(r"(?<![\w.>])(sprintf|vsprintf|strcpy|strcat|strtok|gets|atoi|atol|alloca|rand|system|popen)"
                          r"\s*\(")
NOT_AN_ENUM = "/* not an enum */"
# Written in two parts, or this file would find itself.
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK")) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:" + "|".join(("wo" "rk", "ho" "me/[a-z]", "Us" "ers/")) + r")[\w/]")

RULES = []


def rule(function):
    """Registers a rule: a generator of (file, line, what)."""
    RULES.append(function)
    return function


class Tree:
    """The files of a checkout, read once. Paths are relative to its root and use slashes."""

    def __init__(self, root):
        self.root = root
        self.paths = sorted(self._walk())
        self._texts = {}

    def _walk(self):
        for directory, subdirectories, names in os.walk(self.root):
            subdirectories[:] = [d for d in subdirectories if d not in SKIPPED_DIRECTORIES]
            for name in names:
                yield os.path.relpath(os.path.join(directory, name), self.root).replace(os.sep, "/")

    def text(self, path):
        if path not in self._texts:
            try:
                with open(os.path.join(self.root, path), encoding="utf-8") as file:
                    self._texts[path] = file.read()
            except (FileNotFoundError, UnicodeDecodeError):
                self._texts[path] = ""
        return self._texts[path]

    def ending(self, *suffixes):
        return [path for path in self.paths if path.endswith(suffixes)]

    def of_rooms(self, *suffixes):
        return [path for path in self.ending(*suffixes) if room_of(path)]

    def texts(self):
        return [path for path in self.paths
                if path.endswith(TEXT_SUFFIXES) or path.rsplit("/", 1)[-1] in TEXT_NAMES]


def room_of(path):
    room = path.split("/", 1)[0]
    return room if room in ROOMS and "/" in path else None


def matches(path, patterns):
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


@rule
def room_direction(tree):
    """A room includes its own headers, the door of the room below and the shared data: no door upward."""
    for path in tree.of_rooms(".c", ".h"):
        if path in COMPOSITION_ROOT:
            continue
        room = room_of(path)
        for line, is_system, name in ctext.includes(tree.text(path)):
            if is_system or name.startswith(room + "/") or name in MAY_INCLUDE[room]:
                continue
            yield path, line, f'{room}/ may not include "{name}"'


@rule
def foreign_libraries(tree):
    """Each foreign library is named in as few files as can be, and a new one is named in this table first."""
    for path in tree.of_rooms(".c", ".h"):
        for line, is_system, name in ctext.includes(tree.text(path)):
            if not is_system or name in LIBC:
                continue
            owners = next((files for header, files in FOREIGN if fnmatch.fnmatchcase(name, header)), None)
            if owners is None:
                yield path, line, f"<{name}> is a library that tests/lint/house.py does not know"
            elif not matches(path, owners) and path not in COMPOSITION_ROOT:
                yield path, line, f"<{name}> belongs in {', '.join(owners)}"


@rule
def pure_files(tree):
    """Protocol code does no I/O: bytes and the time come in, bytes, events and a deadline come out."""
    for path in tree.paths:
        if not matches(path, PURE):
            continue
        for line, is_system, name in ctext.includes(tree.text(path)):
            if is_system and matches(name, NOT_IN_PURE):
                yield path, line, f"a pure file may not include <{name}>"
        code = ctext.code_only(tree.text(path))
        for match in PURE_CALLS.finditer(code):
            if (path, match.group(1)) != ("smtp/bytes.c", "fprintf"):    # unreachable() says why before it aborts
                yield path, ctext.line_of(code, match.start()), f"a pure file may not call {match.group(1)}()"


@rule
def function_length(tree):
    for path in tree.ending(".c", ".h"):
        for line, lines in ctext.functions(tree.text(path)):
            if lines > FUNCTION_LINES:
                yield path, line, f"function of {lines} lines (at most {FUNCTION_LINES})"
    for path in tree.ending(".py"):
        for node in ast.walk(ast.parse(tree.text(path))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES:
                    yield path, node.lineno, f"function of {lines} lines (at most {FUNCTION_LINES})"


@rule
def file_length(tree):
    for path in tree.ending(".c", ".h", ".py", ".sh"):
        lines = tree.text(path).count("\n")
        if lines > FILE_LINES:
            yield path, lines, f"file of {lines} lines (at most {FILE_LINES})"


@rule
def line_width(tree):
    for path in tree.ending(".c", ".h", ".py", ".sh", ".mk"):
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            width = len(line.expandtabs(8))
            if width > COLUMNS:
                yield path, number, f"line of {width} columns (at most {COLUMNS})"


@rule
def banned_calls(tree):
    for path in tree.ending(".c", ".h"):
        code = ctext.code_only(tree.text(path))
        for match in BANNED_CALLS.finditer(code):
            yield path, ctext.line_of(code, match.start()), f"{match.group(1)}() is not used here"


@rule
def no_default_over_enum(tree):
    """Without a default, -Wswitch-enum names every place where a new value must be handled."""
    for path in tree.ending(".c", ".h"):
        raw = tree.text(path).splitlines()
        for number, line in enumerate(ctext.code_only(tree.text(path)).splitlines(), 1):
            if re.search(r"\bdefault\s*:", line) and NOT_AN_ENUM not in raw[number - 1]:
                yield path, number, f"default in a switch (over something else than an enum, add {NOT_AN_ENUM})"


@rule
def nothing_unfinished(tree):
    for path in tree.texts():
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            match = UNFINISHED.search(line)
            if match:
                yield path, number, f"the word {match.group(1)}"


@rule
def purpose_said_first(tree):
    """The first thing after the includes of a .c file is a sentence saying what the file is for."""
    for path in tree.of_rooms(".c"):
        rest = ctext.first_after_includes(tree.text(path))
        if not rest.startswith("/*"):
            yield path, ctext.line_of(tree.text(path), len(tree.text(path)) - len(rest)), \
                "no comment after the includes saying what the file is for"


def c_without_comments(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


@rule
def options_documented(tree):
    table = "service/config_table.h"
    rows = re.findall(r"\bX\(\s*([a-z][a-z0-9_]*)\s*,", c_without_comments(tree.text(table)))
    if not rows:
        yield table, 1, "no options found"
    for page in ("docs/configuration.md", "deploy/mailhatch.example.yaml"):
        missing = [option for option in rows if not re.search(rf"\b{option}\b", tree.text(page))]
        if missing:
            yield page, 1, f"options that are missing: {', '.join(missing)}"


def paths_of_contract(tree):
    section = tree.text("openapi.yaml").partition("\npaths:\n")[2].partition("\ncomponents:\n")[0]
    return set(re.findall(r"^  (/[^\s:]*):\s*$", section, re.M))


@rule
def routes_in_contract(tree):
    # A row that answers "not yet" is a promise of later versions: the contract says what exists.
    code = re.sub(r"^.*\bnot_yet\b.*$", "", c_without_comments(tree.text("api/routes.c")), flags=re.M)
    routes = {re.sub(r"\{[^}]*\}", "{}", path) for path in re.findall(r'"(/[A-Za-z0-9._{}/-]*)"', code)}
    paths = {re.sub(r"\{[^}]*\}", "{}", path) for path in paths_of_contract(tree)}
    if not routes:
        yield "api/routes.c", 1, "no routes found"
    if not paths:
        yield "openapi.yaml", 1, "no paths found"
    for path in sorted(routes - paths):
        yield "openapi.yaml", 1, f"route {path} is missing"
    for path in sorted(paths - routes):
        yield "api/routes.c", 1, f"path {path} of openapi.yaml is missing"


@rule
def codes_documented(tree):
    table = re.findall(r'\bX\((\w+), "(\w+)", \w+, \w+\)', tree.text("smtp/outcome.h"))
    rows = [row for row in table if row[1] != "sent"]
    if not rows:
        yield "smtp/outcome.h", 1, "no codes found"
    catalogue, page = tree.text("api/catalogue.c"), tree.text("docs/errors.md")
    uncatalogued = [code for symbol, code in rows if not re.search(rf"\b(OUTCOME_)?{symbol}\b", catalogue)]
    if uncatalogued:
        yield "api/catalogue.c", 1, f"codes that are missing: {', '.join(uncatalogued)}"
    undocumented = [code for _, code in rows if f"`{code}`" not in page]
    if undocumented:
        yield "docs/errors.md", 1, f"codes that are missing (docs/gen-errors.py writes it): {', '.join(undocumented)}"


@rule
def unit_tests_run(tree):
    for path in tree.paths:
        if fnmatch.fnmatchcase(path, "tests/unit/test_*.c"):
            if not re.search(r"^int main\(", ctext.code_only(tree.text(path)), re.M):
                yield path, 1, "no main(): this test is never run"


@rule
def threats_held(tree):
    """Each row of SECURITY.md names its tests, `tests/…/file` or `tests/…/file::test`, and they are there."""
    for number, line in enumerate(tree.text("SECURITY.md").splitlines(), 1):
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) < 5 or cells[1] == "threat" or set(cells[1]) == {"-"}:
            continue
        named = re.findall(r"`(tests/[^`:]+)(?:::(\w+))?`", cells[-2])
        if not named:
            yield "SECURITY.md", number, "a threat that no test holds"
        for path, test in named:
            if path not in tree.paths:
                yield "SECURITY.md", number, f"there is no {path}"
            elif test and not re.search(rf"\b(def |START_TEST\(){test}\b", tree.text(path)):
                yield "SECURITY.md", number, f"there is no test {test} in {path}"


@rule
def no_machine_paths(tree):
    """Nothing may depend on where somebody's checkout lay, nor on the registry it was fetched from."""
    for path in tree.texts():
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            if MACHINE_PATH.search(line):
                yield path, number, "an absolute path of somebody's machine"
            if path.endswith("package-lock.json") and '"resolved":' in line:
                yield path, number, "a registry's address (omit-lockfile-registry-resolved=true in .npmrc)"


def run(tree):
    """{rule's name: its violations}, in the order of the rules."""
    return {check.__name__: list(check(tree)) for check in RULES}


def main(arguments):
    root = arguments[0] if arguments else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    results = run(Tree(root))
    for name, violations in results.items():
        for path, line, what in violations:
            print(f"{path}:{line}: {what} [{name}]")
    failed = sum(1 for violations in results.values() if violations)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
