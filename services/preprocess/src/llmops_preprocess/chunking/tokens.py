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
    places = [begin for begin, end in spans(body) if end > begin]
    # tokens of one letter in several bytes share its place, and a window never begins inside a letter
    begins = sorted({0, *places})
    step = max(1, budget - min(overlap_tokens, budget // 2))
    texts = []
    for start in range(0, max(1, len(begins)), step):
        end = begins[start + budget] if start + budget < len(begins) else len(body)
        texts.append(f"{title}\n{body[begins[start] : end].strip()}".strip("\n"))
        if start + budget >= len(begins):
            break
    return texts
