"""Who gets which arm and variant, and what is kept: decided by hashes, so that it stays the same and can be told afterwards."""

import hashlib
from collections.abc import Sequence
from typing import Protocol, TypeVar

from llmops_shared.contracts.exchange import Message


class Weighted(Protocol):
    """A variant or an arm."""

    @property
    def weight(self) -> float: ...


W = TypeVar("W", bound=Weighted)


def share(key: str, purpose: str) -> float:
    """A number in [0, 1), evenly spread over keys and independent between purposes."""
    digest = hashlib.blake2b(f"{purpose}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def choose(choices: Sequence[W], key: str, purpose: str = "variant") -> W:
    """One of the choices, each as often as its weight says, and always the same one for a key."""
    if len(choices) == 1:
        return choices[0]
    point = share(key, purpose) * sum(choice.weight for choice in choices)
    for choice in choices:
        point -= choice.weight
        if point < 0:
            return choice
    return next(choice for choice in reversed(choices) if choice.weight > 0)  # rounding at the upper end


def is_sampled(request_id: str, rate: float) -> bool:
    """Whether this request belongs to the sample."""
    return rate >= 1 or share(request_id, "sample") < rate


def sticky_key(user: str | None, session: str | None, messages: Sequence[Message], is_chat: bool, request_id: str) -> str:
    """What a request's arm, variant and server hang on: the user, else the session, else how the conversation began, else itself.

    A conversation keeps its first question as it grows, so all its turns go where the earlier ones are cached. A plain prompt has no
    earlier turn.
    """
    if user or session:
        return user or session or ""
    if is_chat:
        return next((message.content for message in messages if message.role == "user"), request_id)
    return request_id
