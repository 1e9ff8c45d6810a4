"""Functions and classes of languages with braces (C, C++, C#, Go, Java, JavaScript, Kotlin, PHP, Rust, Swift, ...), by a scan.

Strings and comments are passed over, for braces in them are none. It is no parser: a unit ends at a line's end outside of all
brackets when braces were closed in it or there was a semicolon; and before an empty line when no brace was opened in it.
"""

import re
from collections.abc import Iterator

from llmops_preprocess.chunking.unit import Unit

# what can hide a bracket; a quote alone is Rust's lifetime or an apostrophe in a comment that was passed over already
TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?(?:\*/|\Z)|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])'|`(?:\\.|[^`\\])*`|r#+".*?(?:"#+|\Z)|[{}()\[\];\n]""", re.DOTALL
)
COMMENT = re.compile(r"\s*(?://|/\*|\*|#\[|#!\[|@\w)")
WORDS = "public private protected internal static final abstract async export default unsafe const open inline virtual override sealed data"
MODIFIERS = rf"""(?:(?:pub(?:\([^)]*\))?|{"|".join(WORDS.split())}|extern(?:\s+"C")?)\s+)*"""
KEYWORD = re.compile(
    MODIFIERS + r"(?:class|struct|enum|interface|trait|impl(?:<[^>]*>)?|module|mod|namespace|object|record|union|protocol|extension|"
    r"fn|func|fun|function\*?|type|macro_rules!)\s+(?:\([^)]*\)\s*)?([\w:~<>]+(?:\s+for\s+[\w:<>]+)?)"
)
CALLABLE = re.compile(MODIFIERS + r"(?:[\w:<>\[\],.?&*~]+\s+)*[*&]*([\w:~]+)\s*\([^;]*$", re.DOTALL)
VARIABLE = re.compile(MODIFIERS + r"(?:const|let|var|val)\s+(\w+)\s*(?::[^=]+)?=\s*(?:async\s*)?(?:function|\(|\w+\s*=>)")
CONTROL = frozenset("if for while switch catch return else do try match loop sizeof using when".split())  # noqa: SIM905


def brace_units(text: str) -> list[Unit]:
    """The units of the outermost level in order; together they are the whole text."""
    return [unit_of(text[begin:end], begin_of_body) for begin, end, begin_of_body in spans(text)]


def spans(text: str) -> Iterator[tuple[int, int, int | None]]:
    """Begin and end of each unit, and where its first brace opens, counted from its begin."""
    begin, depth, opened, is_closed = 0, 0, None, False
    for found in TOKEN.finditer(text):
        token = found[0]
        if token in ("{", "(", "["):
            opened = found.start() - begin if token == "{" and depth == 0 and opened is None else opened
            depth += 1
        elif token in ("}", ")", "]"):
            depth = max(0, depth - 1)
            is_closed |= token == "}" and depth == 0
        elif token == ";":
            is_closed |= depth == 0
        elif token == "\n" and depth == 0 and (is_closed or (opened is None and text.startswith("\n", found.end()))):
            yield begin, found.end(), opened
            begin, opened, is_closed = found.end(), None, False
    if begin < len(text):
        yield begin, len(text), opened


def unit_of(text: str, begin_of_body: int | None) -> Unit:
    """A unit with its name, if it defines something; its head ends with the brace."""
    if begin_of_body is None:
        return Unit("", text)
    head = text[: begin_of_body + 1]
    name = name_in(head)
    end = text.rstrip().rfind("}")
    return Unit(name, text, head, text[begin_of_body + 1 : end]) if name else Unit("", text)


def name_in(head: str) -> str:
    """What is defined by the lines before a brace, comments and annotations left out."""
    code = " ".join(line.strip() for line in re.sub(r"/\*.*?\*/", "", head, flags=re.DOTALL).splitlines() if not COMMENT.match(line))
    for pattern in (KEYWORD, VARIABLE, CALLABLE):
        found = pattern.match(code.strip())
        if found and found[1] not in CONTROL:
            return found[1]
    return ""
