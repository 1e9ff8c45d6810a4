"""Cuts source code at its functions and classes: Python by its syntax tree, languages with braces by a scan, others by indentation."""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from llmops_preprocess.chunking.braces import brace_units
from llmops_preprocess.chunking.chunk import CountTokens, Piece, fill, titled
from llmops_preprocess.chunking.paragraphs import LETTERS, LINES, WORDS, cut
from llmops_preprocess.chunking.unit import Unit, join_plain
from llmops_shared.rows import TextRow

BRACES = frozenset("c cc cpp cxx h hh hpp cs dart go java js jsx kt kts m mjs php rs scala swift ts tsx".split())  # noqa: SIM905
INDENTED = frozenset("ex exs jl lua pl pm r rb sh sql".split())  # noqa: SIM905
PYTHON = frozenset({"py", "pyi", "pyw"})
EXTENSIONS = BRACES | INDENTED | PYTHON
NESTED = 2
"""Units inside a unit that does not fit: the methods of a class, the functions inside a function."""


class Part(NamedTuple):
    """A unit with the names of those around it."""

    names: tuple[str, ...]
    text: str


def extension_of(row: TextRow) -> str:
    """What the file of a row is named by, in lower case; empty where the source is no file."""
    found = re.search(r"\.([A-Za-z0-9]{1,8})(?:[#:?].*)?$", row.source)
    return found[1].lower() if found else ""


def cut_code(row: TextRow, count: CountTokens, max_tokens: int) -> list[str]:
    """A chunk for each function or class that fits; of one that does not, its members, then its lines.

    A chunk opens with the file and the names around it, so that a method is found by its class. Neighbouring statements that are no
    definition stay together.
    """
    extension = extension_of(row)
    file = PurePosixPath(re.sub(r"[#:?].*$", "", row.source.rpartition("://")[2])).name or row.source
    texts = []
    for part in parts(row.text, extension, (), count, max_tokens, NESTED):
        title = title_of(file, part.names, count, max_tokens // 2)
        budget = max_tokens - count([f"{title}\n"])[0] if title else max_tokens
        lines = cut(part.text, count([part.text])[0], count, budget, (LINES, WORDS, LETTERS))
        groups = fill([Piece(text, tokens, 0) for text, tokens in lines], budget, 0)
        texts += [titled(title, group) for group in groups]
    return texts or [file]


def title_of(file: str, names: Sequence[str], count: CountTokens, max_tokens: int) -> str:
    """File and names, or as much of them as there is room for."""
    for title in (": ".join((file, ".".join(names))) if names else file, ".".join(names)):
        if title and count([title])[0] <= max_tokens:
            return title
    return ""


def parts(text: str, extension: str, names: tuple[str, ...], count: CountTokens, max_tokens: int, depth: int) -> Iterator[Part]:
    """The units of a text; one that is too long gives its members where it has some."""
    for unit in join_plain(units(text, extension), count, max_tokens):
        inside = (*names, unit.name) if unit.name else names
        if not unit.text.strip():
            continue
        if depth and unit.name and unit.body and count([unit.text])[0] > max_tokens:
            if unit.head.strip():
                yield Part(inside, unit.head)
            yield from parts(unit.body, extension, inside, count, max_tokens, depth - 1)
        else:
            yield Part(inside, unit.text)


def units(text: str, extension: str) -> list[Unit]:
    """The functions, classes and other statements at the outermost level, in order; together they are the whole text."""
    if extension in PYTHON:
        return python_units(text)
    return brace_units(text) if extension in BRACES else indented_units(text)


def python_units(text: str) -> list[Unit]:
    """By the syntax tree; by indentation where there is none, as in a file for another Python."""
    indent = re.match(r"[ \t]*", next((line for line in text.splitlines() if line.strip()), ""))
    margin = indent[0] if indent else ""
    lines = text.splitlines(keepends=True)
    try:
        tree = ast.parse("".join(line.removeprefix(margin) for line in lines))
    except (SyntaxError, ValueError, RecursionError):
        return indented_units(text)
    found, done = [], 0
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        begin = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
        begin = with_comments(lines, begin, done)
        found += [Unit("", "".join(lines[done:begin]))] if done < begin else []
        first, end = node.body[0].lineno - 1, node.end_lineno or node.lineno
        is_documented = ast.get_docstring(node, clean=False) is not None
        if is_documented:
            first = node.body[0].end_lineno or first
        found.append(Unit(node.name, *("".join(lines[slice(*span)]) for span in ((begin, end), (begin, first), (first, end)))))
        done = end
    return [*found, Unit("", "".join(lines[done:]))] if done < len(lines) else found


def with_comments(lines: Sequence[str], begin: int, done: int) -> int:
    """The first of the comment lines right above a definition."""
    while begin > done and lines[begin - 1].lstrip().startswith("#"):
        begin -= 1
    return begin


def indented_units(text: str) -> list[Unit]:
    """A line at the margin and what is indented below it; lines such as `end` or `}` belong to the one before."""
    blocks: list[list[str]] = []
    for line in text.splitlines(keepends=True):
        is_new = re.match(r"[^\s})\]]", line) is not None and not re.match(r"(?:end|fi|done|esac|else|elif|rescue|ensure|then|do)\b", line)
        if blocks and not is_new:
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return [Unit(defined(block[0]), "".join(block), block[0], "".join(block[1:])) for block in blocks]


def defined(line: str) -> str:
    """The name that a line defines, if it defines one."""
    found = re.match(r"(?:local\s+)?(?:def|class|module|function|sub|defmodule|defp)\s+([\w.:?!]+)", line)
    return found[1] if found else ""
