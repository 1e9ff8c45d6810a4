"""The prompt of a conversation, with context in front of the question as far as the budget of tokens allows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from llmops_serve.engines.engine import Prompt
from llmops_serve.retrieve import Context
from llmops_serve.text import ModelText
from llmops_shared.contracts.exchange import Message
from llmops_shared.contracts.retrieval import RetrievalSettings

if TYPE_CHECKING:
    from llmops_shared.retrieval.store import FoundChunk

SEPARATOR = "\n\n"


class UsedChunk(NamedTuple):
    """A chunk that is part of a prompt."""

    chunk: "FoundChunk"
    num_tokens: int
    """Of its text alone."""
    shown: str
    """As it stands in the prompt."""


def render(text: ModelText, messages: Sequence[Message]) -> Prompt:
    """The conversation without context. Raises ValueError when the model's template refuses it."""
    rendered = text.render(messages)
    return Prompt(rendered, text.encode(rendered, special=False))


def render_with_context(
    text: ModelText, messages: Sequence[Message], context: Context, max_prompt_tokens: int
) -> tuple[Prompt, list[UsedChunk]]:
    """The conversation with chunks in front of its last question, best first, each whole or not at all.

    A chunk that would make the prompt longer than `max_prompt_tokens`, or the context longer than its own budget, is left out; without
    any the prompt is the plain one.
    """
    prompt, used, num_left = render(text, messages), list[UsedChunk](), context.settings.max_context_tokens
    for chunk in context.chunks:
        shown = show(context.settings, chunk, len(used) + 1)
        if num_left is not None and (num_shown := len(text.encode(shown, special=False))) > num_left:
            continue
        longer = render(text, with_context(messages, context.settings, [*(one.shown for one in used), shown]))
        if len(longer.token_ids) <= max_prompt_tokens:
            prompt = longer
            used.append(UsedChunk(chunk, len(text.encode(chunk.text, special=False)), shown))
            num_left = None if num_left is None else num_left - num_shown
    return prompt, used


def show(settings: RetrievalSettings, chunk: "FoundChunk", number: int) -> str:
    """A chunk by the template."""
    places = {"text": chunk.text, "document_id": chunk.document_id, "source": chunk.source, "title": chunk.title}
    return settings.chunk_template.format(number=number, **places)


def with_context(messages: Sequence[Message], settings: RetrievalSettings, shown: Sequence[str]) -> list[Message]:
    """The conversation with the chunks in its last question."""
    last = max(index for index, message in enumerate(messages) if message.role == "user")
    question = settings.template.format(context=SEPARATOR.join(shown), question=messages[last].content)
    return [*messages[:last], Message(role="user", content=question), *messages[last + 1 :]]


def question_of(messages: Sequence[Message]) -> str:
    """What to search for: the last thing the user said. Raises ValueError when the user said nothing."""
    for message in reversed(messages):
        if message.role == "user":
            return message.content
    raise ValueError("`retrieval` needs a message of the user to search for")
