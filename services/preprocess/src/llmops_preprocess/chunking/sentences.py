"""Cuts a document between sentences, wherever its paragraphs end."""

from collections.abc import Iterator

from llmops_preprocess.chunking.chunk import CountTokens, Piece, fill, shorten, split_title, titled
from llmops_preprocess.chunking.paragraphs import LETTERS, LINES, SENTENCES, WORDS, cut
from llmops_shared.rows import TextRow


def cut_sentences(row: TextRow, count: CountTokens, max_tokens: int, overlap_sentences: int) -> list[str]:
    """As many whole sentences as fit; each chunk repeats the last ones of the chunk before."""
    title, body = split_title(row)
    title, budget = shorten(title, row, count, max_tokens)
    groups = fill(list(sentences(body, count, budget)), budget, overlap_sentences)
    return [titled(title, group) for group in groups] or [titled(title, [])]


def sentences(body: str, count: CountTokens, budget: int) -> Iterator[Piece]:
    """The sentences; one that does not fit is cut between lines, words, letters."""
    found = SENTENCES.findall(body)
    for text, num_tokens in zip(found, count(found), strict=True):
        yield from (Piece(part, tokens, 0) for part, tokens in cut(text, num_tokens, count, budget, (LINES, WORDS, LETTERS)))
