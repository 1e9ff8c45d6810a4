"""What all chunkers have in common: a chunk opens with the title of its document and is never over a number of tokens."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmops_shared.errors import LlmopsError
from llmops_shared.rows import TextRow

CountTokens = Callable[[Sequence[str]], list[int]]
"""Tokens of each text."""

Cutter = Callable[[TextRow, CountTokens, int], list[str]]
"""The texts of one row's chunks, about so many tokens long at most."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document, as it is searched and read."""

    chunk_id: str
    document_id: str
    text: str
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A slice of a document that is kept whole."""

    text: str
    num_tokens: int
    block: int
    """Number of the paragraph or example it was cut from."""


def chunk_rows(rows: Sequence[TextRow], count: CountTokens, max_tokens: int, cut: Cutter) -> list[Chunk]:
    """The chunks of all rows, in order. Raises LlmopsError for a row that cannot be cut short enough."""
    chunks: list[Chunk] = []
    for row in rows:
        excess = 0
        while True:
            texts = cut(row, count, max_tokens - excess)
            lengths = count(texts)
            over = max(lengths, default=0) - max_tokens
            if over <= 0:
                break
            excess += over  # pieces can have more tokens together than one by one
            if excess > max_tokens // 2:
                raise LlmopsError(f"{row.source}: cannot be cut into chunks of {max_tokens} tokens; raise max_chunk_tokens")
        chunks.extend(Chunk(f"{row.id}:{number}", row.id, *pair) for number, pair in enumerate(zip(texts, lengths, strict=True)))
    return chunks


def split_title(row: TextRow) -> tuple[str, str]:
    """Title and the rest: a first paragraph of one line that is no sentence, or of one line and a rule below it; else the source's name."""
    first, _, rest = row.text.partition("\n\n")
    line, _, rule = first.partition("\n")
    if rest.strip() and (re.fullmatch(r"([^\w\s])\1*", rule) if rule else not re.search(r"[.!?]\s*$", line)):
        return line, rest
    return name_of(row), row.text


def name_of(row: TextRow) -> str:
    """What the source calls the document."""
    return row.metadata.get("qualified_name") or row.metadata.get("title", "")


def shorten(title: str, row: TextRow, count: CountTokens, max_tokens: int) -> tuple[str, int]:
    """The title, without its signature or without any where it would take the room of the text, and the tokens that are left."""
    for shorter in (title, title.partition("(")[0], name_of(row)):
        if count([shorter])[0] <= max_tokens // 2:
            return shorter, max_tokens - count([f"{shorter}\n"])[0] if shorter else max_tokens
    return "", max_tokens


def titled(title: str, group: Sequence[Piece]) -> str:
    """The text of a chunk."""
    body = "".join(piece.text for piece in group).strip("\n").rstrip()
    return f"{title}\n{body}".strip("\n")


def fill(parts: Sequence[Piece], budget: int, overlap_sentences: int) -> list[list[Piece]]:
    """Groups of neighbouring pieces within the budget; one that goes on in a paragraph opens with the last pieces before the cut."""
    groups: list[list[Piece]] = []
    group: list[Piece] = []
    size = 0
    for piece in parts:
        if group and size + piece.num_tokens > budget:
            groups.append(group)
            group = overlap(group, piece, budget, overlap_sentences)
            size = sum(part.num_tokens for part in group)
        group.append(piece)
        size += piece.num_tokens
    return [*groups, group] if group else groups


def overlap(group: Sequence[Piece], following: Piece, budget: int, num_pieces: int) -> list[Piece]:
    """The last pieces of a group that belong to the paragraph of the following one, as many as leave room for it."""
    repeated: list[Piece] = []
    room = budget // 2 - following.num_tokens
    for piece in list(reversed(group))[:num_pieces]:
        room -= piece.num_tokens
        if piece.block != following.block or room < 0:
            break
        repeated.insert(0, piece)
    return repeated
