"""Conversations in tokens, as preprocess puts them into shards: through the tokenizer's chat template, the last answer known."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from llmops_shared.contracts.exchange import Message


class Encoded(NamedTuple):
    """A conversation in tokens."""

    ids: list[int]
    num_answer: int
    """Tokens of the answer, which are the last."""


def encode(conversations: Sequence[Sequence["Message"]], tokenizer: "PreTrainedTokenizerBase") -> list[Encoded | None]:
    """Conversations through the chat template as preprocess puts them, up to their end token; None where question and answer merge."""
    written = [[message.model_dump() for message in messages] for messages in conversations]
    prompts = [str(tokenizer.apply_chat_template(turns[:-1], tokenize=False, add_generation_prompt=True)) for turns in written]
    wholes = [up_to(str(tokenizer.apply_chat_template(turns, tokenize=False)), str(tokenizer.eos_token)) for turns in written]
    if not written:
        return []
    prompt_ids, whole_ids = (tokenizer(texts, add_special_tokens=False)["input_ids"] for texts in (prompts, wholes))
    found: list[Encoded | None] = []
    for prompt, whole in zip(prompt_ids, whole_ids, strict=True):
        ids = whole if whole[-1:] == [tokenizer.eos_token_id] else [*whole, tokenizer.eos_token_id]
        found.append(Encoded(ids, len(ids) - len(prompt)) if ids[: len(prompt)] == prompt else None)
    return found


def up_to(text: str, end: str) -> str:
    """The text up to its last end token: what a template writes after it is not the model's to say."""
    found = text.rfind(end)
    return text if found < 0 else text[: found + len(end)]
