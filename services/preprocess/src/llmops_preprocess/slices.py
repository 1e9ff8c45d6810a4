"""Slices: what one worker reads at a time. Small files together, a large local file of JSON lines in several, everything else whole."""

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlsplit

from llmops_preprocess.config import JsonLines, PreprocessConfig
from llmops_preprocess.files_config import Files
from llmops_shared.store import Entry, store_for

LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Piece:
    """A file, or a stretch of whole lines of it."""

    uri: str
    """The file."""
    start: int = 0
    """First byte."""
    end: int | None = None
    """First byte after it; None: the end of the file."""
    first_line: int = 1
    """Number of its first line."""

    def open(self) -> BinaryIO:
        """Its bytes, front to back."""
        if self.end is None:
            return store_for(self.uri).open(self.uri)
        return Stretch(self.uri, self.start, self.end)  # type: ignore[return-value]


Slice = tuple[Piece, ...]
"""Pieces in the order of the source."""


class Stretch:
    """Some whole lines of a local file as a file of their own."""

    def __init__(self, uri: str, start: int, end: int) -> None:
        self.file, self.left = open(uri, "rb"), end - start  # noqa: SIM115 - closed by __exit__
        self.file.seek(start)

    def __enter__(self) -> "Stretch":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def readline(self, limit: int) -> bytes:
        """The next line, or its first `limit` bytes."""
        line = self.file.readline(min(limit, self.left))
        self.left -= len(line)
        return line


def plan_slices(config: PreprocessConfig) -> list[Slice]:
    """The slices of a source, in order; a source without files is one slice of none."""
    source = config.source
    if isinstance(source, JsonLines):
        from llmops_preprocess.jsonl import jsonl_files

        return list(gathered(jsonl_files(source.uri), config.slice_bytes, lines=True))
    if isinstance(source, Files):
        from llmops_preprocess.files import files_of

        return list(gathered(files_of(source), config.slice_bytes, lines=False))
    return [()]


def gathered(entries: Sequence[Entry], size: int, lines: bool) -> Iterator[Slice]:
    """Neighbours up to `size` bytes together; what is larger alone, or cut."""
    waiting, waiting_bytes = list[Piece](), 0
    for entry in entries:
        if waiting and waiting_bytes + entry.size_bytes > size:
            yield tuple(waiting)
            waiting, waiting_bytes = [], 0
        can_be_cut = (lines or entry.uri.lower().endswith(LINES)) and not urlsplit(entry.uri).scheme
        if entry.size_bytes > size and can_be_cut:
            yield from ((piece,) for piece in cut_lines(entry, size))
            continue
        waiting.append(Piece(entry.uri))
        waiting_bytes += entry.size_bytes
    if waiting:
        yield tuple(waiting)


def cut_lines(entry: Entry, size: int) -> Iterator[Piece]:
    """Stretches of about `size` bytes that end with a line."""
    with open(entry.uri, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start, line = 0, 1
        while start < len(content):
            found = content.find(b"\n", min(start + size, len(content)) - 1)
            end = len(content) if found < 0 else found + 1
            yield Piece(entry.uri, start, end, line)
            line += count_lines(content, start, end)
            content.madvise(mmap.MADV_DONTNEED)  # pages that were looked at are no memory of ours
            start = end


def count_lines(content: mmap.mmap, start: int, end: int) -> int:
    """Line ends between two places, looked at in steps that fit a cache."""
    step = 1 << 20
    return sum(content[place : min(place + step, end)].count(b"\n") for place in range(start, end, step))
