"""Lines of a stream whose pieces begin and end anywhere."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from llmops_serve.engines.engine import EngineError

LONGEST_LINE = 16 * 2**20


class Lines:
    """Puts pieces together to lines."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that a piece completes. Raises EngineError for a line without end."""
        self._rest += piece
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest
        if len(rest) > LONGEST_LINE:
            raise EngineError(f"the server sent a line of more than {LONGEST_LINE} bytes")
        return [bytes(line) for line in lines]

    def last(self) -> bytes:
        """What came after the last end of a line."""
        return bytes(self._rest)


async def events(pieces: AsyncIterator[bytes]) -> AsyncGenerator[Any, None]:
    """The JSON values of server-sent events or of JSON lines, until the stream ends or says `[DONE]`."""
    lines = Lines()
    async for piece in pieces:
        for line in lines.feed(piece):
            if (payload := payload_of(line)) == b"[DONE]":
                return
            if payload:
                yield parse(payload)
    if payload := payload_of(lines.last()):
        yield parse(payload)


def payload_of(line: bytes) -> bytes:
    """The value in a line: after `data:`, or the line itself; comments and other fields of an event hold none."""
    line = line.strip()
    if line.startswith(b"data:"):
        return line[5:].strip()
    return b"" if line.startswith((b":", b"event:", b"id:", b"retry:")) else line


def parse(payload: bytes) -> Any:
    """The value. Raises EngineError when it is none."""
    try:
        return json.loads(payload)
    except ValueError as error:
        raise EngineError(f"the server's stream holds what is no JSON: {payload[:80]!r}") from error
