"""Cuts a document every so many tokens, whatever they say: the plainest chunker, for text without any structure."""

from collections.abc import Callable, Sequence

from llmops_preprocess.chunking.chunk import CountTokens, shorten, split_title
from llmops_shared.rows import TextRow

Spans = Callable[[str], Sequence[tuple[int, int]]]
"""Begin and end of each token of a text, in characters."""


def cut_tokens(row: TextRow, count: CountTokens, max_tokens: int, spans: Spans, overlap_tokens: int) -> list[str]:
    """Windows of the room that the title leaves; each repeats the last `overlap_tokens` of the window before, half of it at most."""
    title, body = split_title(row)
    title, budget = shorten(title, row, count, max_tokens)
    begins = [begin for begin, end in spans(body) if end > begin]
    step = max(1, budget - min(overlap_tokens, budget // 2))
    texts, start = [], 0
    while True:
        end = whole_letter(begins, start + budget, start + 1)
        begin_of, end_of = (begins[place] if place < len(begins) else len(body) for place in (start, end))
        texts.append(f"{title}\n{body[begin_of if start else 0 : end_of].strip()}".strip("\n"))
        if end >= len(begins):
            return texts
        start = whole_letter(begins, min(end, start + step), start + 1)


def whole_letter(begins: Sequence[int], place: int, least: int) -> int:
    """The token at or before a place with which a letter begins; letters of several bytes may be several tokens."""
    while least < place < len(begins) and begins[place] == begins[place - 1]:
        place -= 1
    return place
