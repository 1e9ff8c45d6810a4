"""From two windows of exchanges to two samples of independent texts."""

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

from llmops_monitor.descriptors import Text, signature_of
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.errors import LlmopsError

FEW_REPEATS = 0.01
"""Up to this share of repeats, what leaving them out does to the distribution is far below what a test can see."""


class Samples(NamedTuple):
    """Independent texts of both windows."""

    reference: list[Text]
    current: list[Text]
    remarks: list[str]
    """What was left out, in words."""


def independent(reference: Sequence[Exchange], current: Sequence[Exchange], text: Literal["prompt", "response"]) -> Samples:
    """Each prompt of a window once.

    The tests take rows for independent. A client that repeats itself (a retry, a health probe, a template with another number)
    is one piece of evidence, whatever the number of its requests, so only the first request of a prompt counts. A larger
    window repeats frequent prompts more often and would, once they are counted once, look richer in rare ones: with many
    repeats both windows are first cut to one size, by a hash of the request id. Raises LlmopsError when windows overlap.
    """
    shared = {exchange.request_id for exchange in reference} & {exchange.request_id for exchange in current}
    if shared:
        raise LlmopsError(
            f"reference and current share {len(shared)} of {len(reference)} and {len(current)} requests, so they cannot be compared; "
            f"select other times or metadata, or reference.half=first current.half=second"
        )
    windows = [[to_text(exchange, text) for exchange in window] for window in (reference, current)]
    remarks = []
    if max(repeated_share(window) for window in windows) > FEW_REPEATS and len(reference) != len(current):
        size = min(len(reference), len(current))
        windows = [[to_text(exchange, text) for exchange in cut(window, size)] for window in (reference, current)]
        remarks.append(f"Prompts repeat, so both windows were cut to {size} requests before repeats were left out.")
    once = [list({item.signature: item for item in reversed(window)}.values())[::-1] for window in windows]
    for name, window, kept in zip(("reference", "current"), windows, once, strict=True):
        if len(kept) < len(window):
            remarks.append(f"{len(window) - len(kept)} of {len(window)} requests of the {name} window repeat a prompt; each counts once.")
    return Samples(once[0], once[1], remarks)


def to_text(exchange: Exchange, text: Literal["prompt", "response"]) -> Text:
    """The described text of an exchange; of a conversation the last user message, for earlier turns repeat earlier requests."""
    prompt = next((message.content for message in reversed(exchange.messages) if message.role == "user"), "")
    if text == "prompt":
        return Text(prompt, exchange.num_prompt_tokens, signature_of(prompt))
    return Text(exchange.response, exchange.num_response_tokens, signature_of(prompt))


def repeated_share(window: Sequence[Text]) -> float:
    """Share of texts whose prompt came before."""
    return 1 - len({text.signature for text in window}) / len(window)


def cut(window: Sequence[Exchange], size: int) -> list[Exchange]:
    """`size` exchanges, drawn without looking at them, in their order."""
    drawn = sorted(window, key=lambda exchange: hashlib.sha256(exchange.request_id.encode()).digest())[:size]
    kept = {exchange.request_id for exchange in drawn}
    return [exchange for exchange in window if exchange.request_id in kept]
