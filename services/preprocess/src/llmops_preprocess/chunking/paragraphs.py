"""Cuts a document at its paragraphs and examples; each chunk opens with the document's title."""

import re
from collections.abc import Iterator, Sequence

from llmops_preprocess.chunking.chunk import CountTokens, Piece, fill, shorten, split_title, titled
from llmops_shared.rows import TextRow

# Where a text is cut when it is too long, best place first; each pattern gives slices that join to the whole text
SENTENCES = re.compile(r".+?(?:[.!?:;](?=\s)\s+|\n\s*\n\s*|\Z)", re.DOTALL)
LINES = re.compile(r".*?\n+|.+\Z", re.DOTALL)
WORDS = re.compile(r"\s*\S+\s*")
LETTERS = re.compile(r".{1,8}", re.DOTALL)

# the first line of an indented block, of an interpreter session, or of a fenced block
EXAMPLE = re.compile(r"^(\s+\S|>>> |\.\.\. |```|~~~)")
FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)


def cut_paragraphs(row: TextRow, count: CountTokens, max_tokens: int, overlap_sentences: int) -> list[str]:
    """Whole paragraphs and examples while they fit together, else sentences, lines, words, letters."""
    title, body = split_title(row)
    title, budget = shorten(title, row, count, max_tokens)
    groups = fill(list(pieces(body, count, budget)), budget, overlap_sentences)
    return [titled(title, group) for group in groups] or [titled(title, [])]


def pieces(body: str, count: CountTokens, budget: int) -> Iterator[Piece]:
    """The body in pieces that fit: whole paragraphs and examples where possible, else sentences, lines, words, letters."""
    paragraphs = join_fences(re.findall(r".+?(?:\n\s*\n|\Z)", body.strip("\n"), re.DOTALL))
    blocks = join_examples(paragraphs, count, budget)
    for number, (block, num_tokens) in enumerate(blocks):
        patterns = (LINES, WORDS, LETTERS) if EXAMPLE.match(block) else (SENTENCES, LINES, WORDS, LETTERS)
        yield from (Piece(text, tokens, number) for text, tokens in cut(block, num_tokens, count, budget, patterns))


def join_fences(paragraphs: Sequence[str]) -> list[str]:
    """Paragraphs; those between an opening and a closing fence become one."""
    blocks: list[str] = []
    is_open = False
    for text in paragraphs:
        if is_open:
            blocks[-1] += text
        else:
            blocks.append(text)
        is_open ^= len(FENCE.findall(text)) % 2 == 1
    return blocks


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
