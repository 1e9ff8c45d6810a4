"""What an arm of an A/B test changes of a conversation: its registered prompt."""

import re
from collections.abc import Sequence

from llmops_shared.contracts.endpoint import Arm, PromptVersion
from llmops_shared.contracts.exchange import Message
from llmops_shared.contracts.retrieval import RetrievalSettings

PLACE = re.compile(r"\{\{\s*(question|context)\s*\}\}")


def prompted(arm: Arm | None, messages: list[Message], has_context: bool = False) -> list[Message]:
    """The conversation with the arm's prompt: in place of the last question where it has `{{question}}`, else said before everything.

    With context, a prompt that has a place for it is the template of retrieval instead, and nothing is done here.
    """
    if arm is None or arm.prompt is None:
        return messages
    prompt = arm.prompt
    if "question" not in prompt.places:
        return [Message(role="system", content=prompt.text), *messages]
    if has_context and "context" in prompt.places:
        return messages
    last = last_question(messages)
    if last is None:
        return messages
    asked = filled(prompt, messages[last].content)
    return [*messages[:last], Message(role="user", content=asked), *messages[last + 1 :]]


def filled(prompt: PromptVersion, question: str) -> str:
    """The prompt with the question in its place, and nothing where context would be."""
    return PLACE.sub(lambda place: question if place[1] == "question" else "", prompt.text)


def last_question(messages: Sequence[Message]) -> int | None:
    """Where the user spoke last."""
    return next((index for index in range(len(messages) - 1, -1, -1) if messages[index].role == "user"), None)


def retrieval_template(prompt: PromptVersion, settings: RetrievalSettings) -> RetrievalSettings:
    """The settings of retrieval with a prompt that has a place for context as their template."""
    if "context" not in prompt.places:
        return settings
    doubled = prompt.text.replace("{", "{{").replace("}", "}}")
    template = re.sub(r"\{\{\{\{\s*(question|context)\s*\}\}\}\}", r"{\1}", doubled)
    return settings.model_copy(update={"template": template})
