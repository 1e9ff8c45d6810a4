"""A judge's reply, read strictly: the JSON object that was asked for, or no verdict at all."""

import json
from typing import Any, Literal, NamedTuple

Winner = Literal["A", "B", "tie"]


class NoVerdictError(ValueError):
    """A reply that is not what was asked for."""


class Choice(NamedTuple):
    """Reply to a pair."""

    winner: Winner
    reason: str


class Score(NamedTuple):
    """Reply to a rubric."""

    score: int
    reason: str


def read_choice(text: str) -> Choice:
    """The winner of a pair. Raises NoVerdictError."""
    reply = read_object(text, {"winner", "reason"})
    if reply["winner"] not in ("A", "B", "tie"):
        raise NoVerdictError(f"winner is {reply['winner']!r}, not A, B or tie")
    return Choice(reply["winner"], reply["reason"])


def read_score(text: str) -> Score:
    """The score of an answer. Raises NoVerdictError."""
    reply = read_object(text, {"score", "reason"})
    if type(reply["score"]) is not int or not 1 <= reply["score"] <= 5:
        raise NoVerdictError(f"score is {reply['score']!r}, not a whole number from 1 to 5")
    return Score(reply["score"], reply["reason"])


def read_object(text: str, keys: set[str]) -> dict[str, Any]:
    """One JSON object with exactly these keys; nothing before it, nothing behind it, no key twice."""
    try:
        reply = json.loads(text.strip(), object_pairs_hook=once)
    except ValueError as error:
        raise NoVerdictError(f"no JSON object: {error}") from error
    if not isinstance(reply, dict) or set(reply) != keys:
        raise NoVerdictError(f"needs exactly the keys {', '.join(sorted(keys))}")
    if not isinstance(reply["reason"], str):
        raise NoVerdictError("reason is no text")
    return reply


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping whose keys differ."""
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)
