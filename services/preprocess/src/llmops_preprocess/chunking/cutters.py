"""Chooses the chunker by one word."""

from functools import partial
from typing import Literal

from llmops_preprocess.chunking.chunk import CountTokens, Cutter
from llmops_preprocess.chunking.code import EXTENSIONS, cut_code, extension_of
from llmops_preprocess.chunking.headings import cut_headings
from llmops_preprocess.chunking.paragraphs import cut_paragraphs
from llmops_preprocess.chunking.sentences import cut_sentences
from llmops_preprocess.chunking.tokens import Spans, cut_tokens
from llmops_shared.rows import TextRow

Chunker = Literal["auto", "paragraphs", "sentences", "tokens", "headings", "code"]

MARKUP = frozenset({"md", "markdown", "rst", "mdx"})


def cutter(chunker: Chunker, spans: Spans, overlap_sentences: int, overlap_tokens: int) -> Cutter:
    """How rows are cut."""
    match chunker:
        case "paragraphs":
            return partial(cut_paragraphs, overlap_sentences=overlap_sentences)
        case "sentences":
            return partial(cut_sentences, overlap_sentences=overlap_sentences)
        case "tokens":
            return partial(cut_tokens, spans=spans, overlap_tokens=overlap_tokens)
        case "headings":
            return partial(cut_headings, overlap_sentences=overlap_sentences)
        case "code":
            return cut_code
        case "auto":
            return partial(cut_by_name, overlap_sentences=overlap_sentences)


def cut_by_name(row: TextRow, count: CountTokens, max_tokens: int, overlap_sentences: int) -> list[str]:
    """Code by its functions and marked-up text by its headings, as the names of their files tell; all else by paragraphs."""
    extension = extension_of(row)
    if extension in EXTENSIONS:
        return cut_code(row, count, max_tokens)
    cut = cut_headings if extension in MARKUP else cut_paragraphs
    return cut(row, count, max_tokens, overlap_sentences=overlap_sentences)
