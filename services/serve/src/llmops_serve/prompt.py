"""The prompt of a conversation, with context in front of the question as far as the model's window allows."""

from collections.abc import Sequence
from typing import NamedTuple

from llmops_serve.engines.engine import Prompt
from llmops_serve.retrieve import Chunk
from llmops_serve.text import ModelText
from llmops_shared.contracts.exchange import Message

CONTEXT = "Context:\n{context}\n\nQuestion: {question}"
SEPARATOR = "\n\n"


class UsedChunk(NamedTuple):
    """A chunk that is part of a prompt."""

    chunk: Chunk
    num_tokens: int


def render(text: ModelText, messages: Sequence[Message]) -> Prompt:
    """The conversation without context. Raises ValueError when the model's template refuses it."""
    rendered = text.render(messages)
    return Prompt(rendered, text.encode(rendered, special=False))


def render_with_context(
    text: ModelText, messages: Sequence[Message], chunks: Sequence[Chunk], max_prompt_tokens: int
) -> tuple[Prompt, list[UsedChunk]]:
    """The conversation with chunks in front of its last question, best first, each whole or not at all.

    A chunk that would make the prompt longer than `max_prompt_tokens` is left out; without any the prompt is the plain one.
    """
    prompt, used = render(text, messages), list[UsedChunk]()
    for chunk in chunks:
        candidate = [*(one.chunk for one in used), chunk]
        longer = render(text, with_context(messages, candidate))
        if len(longer.token_ids) <= max_prompt_tokens:
            prompt = longer
            used.append(UsedChunk(chunk, len(text.encode(chunk.text, special=False))))
    return prompt, used


def with_context(messages: Sequence[Message], chunks: Sequence[Chunk]) -> list[Message]:
    """The conversation with the chunks' text in its last question."""
    last = max(index for index, message in enumerate(messages) if message.role == "user")
    question = CONTEXT.format(context=SEPARATOR.join(chunk.text for chunk in chunks), question=messages[last].content)
    return [*messages[:last], Message(role="user", content=question), *messages[last + 1 :]]


def question_of(messages: Sequence[Message]) -> str:
    """What to search for: the last thing the user said. Raises ValueError when the user said nothing."""
    for message in reversed(messages):
        if message.role == "user":
            return message.content
    raise ValueError("`retrieval` needs a message of the user to search for")
