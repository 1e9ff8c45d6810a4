"""Reading no more than memory allows: lines and whole documents up to a limit."""

from collections.abc import Iterator
from typing import BinaryIO

PIECE = 1 << 20


class TooLongError(ValueError):
    """A line or document beyond the limit."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"{what} is longer than {limit} bytes (source.max_document_bytes)")


def bounded_lines(stream: BinaryIO, limit: int, first: int = 1) -> Iterator[tuple[int, bytes | TooLongError]]:
    """(number from `first`, line with its end) of each line; a longer line is skipped in pieces and told as TooLongError."""
    number = first - 1
    while line := stream.readline(limit + 1):
        number += 1
        if len(line) <= limit or line.endswith(b"\n"):
            yield number, line
            continue
        del line
        yield number, TooLongError("line", limit)
        while (piece := stream.readline(PIECE)) and not piece.endswith(b"\n"):
            pass


def whole(stream: BinaryIO, limit: int) -> bytes:
    """All of it. Raises TooLongError, and ValueError when there is nothing."""
    pieces, size = [], 0
    while piece := stream.read(min(PIECE, limit + 1 - size)):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise TooLongError("document", limit)
    if not size:
        raise ValueError("empty file")
    return b"".join(pieces)
