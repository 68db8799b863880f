"""Just enough reading of C source for the lints: comments and literals blanked, includes, functions."""
import re

_TOKEN = re.compile(
    r"//[^\n]*"
    r"|/\*.*?\*/"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'(?:\\.|[^'\\\n])*'",
    re.S)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.M)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.M)


def _blank(match):
    return "".join(c if c == "\n" else " " for c in match.group())


def code_only(text):
    """The text with comments, strings and character constants replaced by blanks of the same shape."""
    return _TOKEN.sub(_blank, text)


def without_directives(code):
    """What code_only gave, with preprocessor lines blanked: a macro's body is not a function's."""
    return _DIRECTIVE.sub(_blank, code)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def includes(text):
    """(line, is_system, name) of each #include."""
    return [(line_of(text, m.start()), m.group(1) == "<", m.group(2)) for m in _INCLUDE.finditer(text)]


def functions(text):
    """(first line, number of lines) of each function: a brace at the outermost level behind a parenthesis."""
    code = without_directives(code_only(text))
    found, depth, start, last = [], 0, None, ""
    for offset, char in enumerate(code):
        if char == "{":
            if depth == 0 and last == ")":
                start = offset
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0 and start is not None:
                first, end = line_of(code, start), line_of(code, offset)
                # The brace stands on a line of its own below the signature, which belongs to the function.
                found.append((first - 1, end - first + 2))
                start = None
        if not char.isspace():
            last = char
    return found


def first_after_includes(text):
    """The text behind the last leading #include or #define _X line; blanks skipped."""
    rest, offset = text, 0
    for match in re.finditer(r"(?:[ \t]*#[ \t]*(?:include|define[ \t]+_)[^\n]*\n|[ \t]*\n)", text):
        if match.start() != offset:
            break
        offset = match.end()
        rest = text[offset:]
    return rest
