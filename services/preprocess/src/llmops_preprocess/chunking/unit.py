"""A unit of source code, and how small neighbours are put together."""

from collections.abc import Sequence
from typing import NamedTuple

from llmops_preprocess.chunking.chunk import CountTokens


class Unit(NamedTuple):
    """A definition, or statements that are none."""

    name: str
    """What is defined; empty for other statements."""
    text: str
    head: str = ""
    """Signature and documentation of a definition."""
    body: str = ""
    """The rest of it."""


def join_plain(units: Sequence[Unit], count: CountTokens, max_tokens: int) -> list[Unit]:
    """Units; neighbours that define nothing become one while they fit."""
    joined: list[Unit] = []
    size = 0
    for unit, num_tokens in zip(units, count([unit.text for unit in units]), strict=True):
        if joined and not unit.name and not joined[-1].name and size + num_tokens <= max_tokens:
            joined[-1] = Unit("", joined[-1].text + unit.text)
            size += num_tokens
        else:
            joined.append(unit)
            size = num_tokens
    return joined
