"""Cuts a document at its headings: Markdown's, and the underlined ones of reStructuredText. A chunk opens with the way to its section."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from llmops_preprocess.chunking.chunk import CountTokens, fill, name_of, titled
from llmops_preprocess.chunking.paragraphs import FENCE, pieces
from llmops_shared.rows import TextRow

HASHES = re.compile(r" {0,3}(#{1,6})[ \t]+(.+?)[ \t#]*$")
RULE = re.compile(r"([=\-~^\"'`#*+:._])\1{2,}[ \t]*$")
STEP = " > "


class Section(NamedTuple):
    """Text below a heading."""

    headings: tuple[str, ...]
    """From the document's first heading to this one; none before the first."""
    body: str


def cut_headings(row: TextRow, count: CountTokens, max_tokens: int, overlap_sentences: int) -> list[str]:
    """Each section by itself, cut at its paragraphs when it is too long; a heading with nothing below it opens what follows."""
    texts = []
    sections = list(split_sections(row.text))
    for section in sections:
        if not section.body.strip() and len(sections) > 1:
            continue
        title = way(section.headings or (name_of(row),), count, max_tokens // 2)
        budget = max_tokens - count([f"{title}\n"])[0] if title else max_tokens
        groups = fill(list(pieces(section.body, count, budget)), budget, overlap_sentences)
        texts += [titled(title, group) for group in groups] or [titled(title, [])]
    return [text for text in texts if text] or [titled(way(sections[-1].headings, count, max_tokens), [])]


def way(headings: Sequence[str], count: CountTokens, max_tokens: int) -> str:
    """The headings in a row; the outer ones are left out while there is no room for all."""
    for start in range(len(headings)):
        title = STEP.join(headings[start:])
        if count([title])[0] <= max_tokens:
            return title
    return ""


def split_sections(text: str) -> Iterator[Section]:
    """The sections in order; the first one may have no heading."""
    headings: list[tuple[int, str]] = []
    rules: list[str] = []
    body: list[str] = []
    lines, place, is_fenced = text.splitlines(), 0, False
    while place < len(lines):
        is_fenced ^= FENCE.match(lines[place]) is not None
        found = None if is_fenced else heading(lines, place, rules)
        if found is None:
            body.append(lines[place])
            place += 1
            continue
        level, title, num_lines = found
        if body or headings:
            yield Section(tuple(name for _, name in headings), "\n".join(body))
        headings = [(outer, name) for outer, name in headings if outer < level] + [(level, title)]
        body, place = [], place + num_lines
    yield Section(tuple(name for _, name in headings), "\n".join(body))


def heading(lines: Sequence[str], place: int, rules: list[str]) -> tuple[int, str, int] | None:
    """Level, title and number of lines of the heading that begins here.

    The levels of underlined headings are in the order in which their signs first come; a line above the title makes another sign of it.
    """
    if found := HASHES.match(lines[place]):
        return len(found[1]), found[2], 1
    rest = [line.rstrip() for line in lines[place : place + 3]]
    if len(rest) == 3 and RULE.match(rest[0]) and rest[1].strip() and rest[2] == rest[0] and not RULE.match(rest[1]):
        return level_of(rest[0][0] * 2, rules), rest[1].strip(), 3
    is_first = place == 0 or not lines[place - 1].strip()
    if len(rest) >= 2 and is_first and RULE.match(rest[1]) and re.match(r"\S", rest[0]) and len(rest[1]) >= min(len(rest[0]), 3):
        # a table's rule is as long as its columns, and a heading's as its title
        return (level_of(rest[1][0], rules), rest[0].strip(), 2) if len(rest[1]) >= len(rest[0]) - 2 else None
    return None


def level_of(sign: str, rules: list[str]) -> int:
    """The level of a sign, from 1."""
    if sign not in rules:
        rules.append(sign)
    return rules.index(sign) + 1
