"""Cuts documents into chunks that stand alone: each opens with the title of its document and is never over a number of tokens."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llmops_shared.errors import LlmopsError
from llmops_shared.rows import TextRow

CountTokens = Callable[[Sequence[str]], list[int]]
"""Tokens of each text."""

# Where a text is cut when it is too long, best place first; each pattern gives slices that join to the whole text
SENTENCES = re.compile(r".+?(?:[.!?:;](?=\s)\s+|\n\s*\n\s*|\Z)", re.DOTALL)
LINES = re.compile(r".*?\n+|.+\Z", re.DOTALL)
WORDS = re.compile(r"\s*\S+\s*")
LETTERS = re.compile(r".{1,8}", re.DOTALL)

EXAMPLE = re.compile(r"^(\s+\S|>>> |\.\.\. )")  # the first line of an indented block or of an interpreter session


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


def chunk_rows(rows: Sequence[TextRow], count: CountTokens, max_tokens: int, overlap_sentences: int) -> list[Chunk]:
    """The chunks of all rows, in order. Raises LlmopsError for a row that cannot be cut short enough."""
    chunks: list[Chunk] = []
    for row in rows:
        excess = 0
        while True:
            texts = chunk_text(row, count, max_tokens - excess, overlap_sentences)
            lengths = count(texts)
            over = max(lengths, default=0) - max_tokens
            if over <= 0:
                break
            excess += over  # pieces can have more tokens together than one by one
            if excess > max_tokens // 2:
                raise LlmopsError(f"{row.source}: cannot be cut into chunks of {max_tokens} tokens; raise max_chunk_tokens")
        chunks.extend(Chunk(f"{row.id}:{number}", row.id, *pair) for number, pair in enumerate(zip(texts, lengths, strict=True)))
    return chunks


def chunk_text(row: TextRow, count: CountTokens, max_tokens: int, overlap_sentences: int) -> list[str]:
    """The texts of one row's chunks."""
    title, body = split_title(row)
    title = shorten(title, row, count, max_tokens // 2)
    budget = max_tokens - count([f"{title}\n"])[0] if title else max_tokens
    groups = fill(list(pieces(body, count, budget)), budget, overlap_sentences)
    bodies = ["".join(piece.text for piece in group).strip("\n").rstrip() for group in groups] or [""]
    return [f"{title}\n{body}".strip("\n") for body in bodies]


def split_title(row: TextRow) -> tuple[str, str]:
    """Title and the rest: a first paragraph of one line, or of one line and a rule below it; else the name the source gives."""
    first, _, rest = row.text.partition("\n\n")
    line, _, rule = first.partition("\n")
    if rest.strip() and re.fullmatch(r"([^\w\s])\1*", rule or "="):
        return line, rest
    return row.metadata.get("qualified_name", ""), row.text


def shorten(title: str, row: TextRow, count: CountTokens, max_tokens: int) -> str:
    """The title; without its signature, or without any, where it would take the room of the text."""
    for shorter in (title, title.partition("(")[0], row.metadata.get("qualified_name", "")):
        if count([shorter])[0] <= max_tokens:
            return shorter
    return ""


def pieces(body: str, count: CountTokens, budget: int) -> Iterator[Piece]:
    """The body in pieces that fit: whole paragraphs and examples where possible, else sentences, lines, words, letters."""
    blocks = join_examples(re.findall(r".+?(?:\n\s*\n|\Z)", body.strip("\n"), re.DOTALL), count, budget)
    for number, (block, num_tokens) in enumerate(blocks):
        patterns = (LINES, WORDS, LETTERS) if EXAMPLE.match(block) else (SENTENCES, LINES, WORDS, LETTERS)
        yield from (Piece(text, tokens, number) for text, tokens in cut(block, num_tokens, count, budget, patterns))


def join_examples(paragraphs: list[str], count: CountTokens, budget: int) -> list[tuple[str, int]]:
    """Paragraphs with their tokens; an example with empty lines in it, and the line that announces it, become one if that fits."""
    blocks: list[tuple[str, int]] = []
    goes_on = False  # whether an example may belong to the last block
    for text, num_tokens in zip(paragraphs, count(paragraphs), strict=True):
        is_example = EXAMPLE.match(text) is not None
        if is_example and goes_on and blocks[-1][1] + num_tokens <= budget:
            blocks[-1] = (blocks[-1][0] + text, blocks[-1][1] + num_tokens)
        else:
            blocks.append((text, num_tokens))
        goes_on = is_example or text.rstrip().endswith(":")
    return blocks


def cut(text: str, num_tokens: int, count: CountTokens, budget: int, patterns: Sequence[re.Pattern[str]]) -> Iterator[tuple[str, int]]:
    """The text, or its slices by the first pattern, each cut again by the next if it does not fit."""
    if num_tokens <= budget or not patterns:
        yield text, num_tokens
        return
    slices = patterns[0].findall(text)
    for part, tokens in zip(slices, count(slices), strict=True):
        yield from cut(part, tokens, count, budget, patterns[1:])


def fill(parts: Sequence[Piece], budget: int, overlap_sentences: int) -> list[list[Piece]]:
    """Groups of neighbouring pieces within the budget; one that goes on in a paragraph opens with the last pieces before the cut."""
    groups: list[list[Piece]] = []
    group: list[Piece] = []
    for piece in parts:
        if group and sum(part.num_tokens for part in group) + piece.num_tokens > budget:
            groups.append(group)
            group = overlap(group, piece, budget, overlap_sentences)
        group.append(piece)
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
