"""The guard: what comes of a prompt and of an answer, by rules and, where it is set, by a guardrail of Bedrock."""

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from llmops_serve.guard.config import GuardConfig
from llmops_serve.guard.rules import Rules
from llmops_shared.contracts.exchange import Message

if TYPE_CHECKING:
    from llmops_serve.guard.bedrock import Guardrail


class Verdict(NamedTuple):
    """What comes of a prompt."""

    messages: list[Message]
    """The conversation for the model."""
    reason: str | None = None
    """Why it is refused; None: it is not."""
    refusal: str = ""
    """What is said instead."""


class Guard:
    """The guard of one server."""

    def __init__(self, config: GuardConfig, guardrail: "Guardrail | None" = None) -> None:
        self.config = config
        self._rules = Rules(config)
        self._guardrail = guardrail

    @property
    def reads_answers(self) -> bool:
        """Whether answers are held until they are whole."""
        return self.config.pii_in_answers != "off" or self._guardrail is not None

    @property
    def is_remote(self) -> bool:
        """Whether a service is asked."""
        return self._guardrail is not None

    def look(self, messages: list[Message]) -> Verdict:
        """What the rules make of a conversation, for requests that are handed on without being taken apart."""
        if (reason := self._rules.reason(messages)) is not None:
            return Verdict(messages, reason, self.config.refusal)
        return Verdict(self._rules.masked(messages))

    async def prompt(self, messages: list[Message]) -> Verdict:
        """What comes of a conversation. Raises LlmopsError when the guardrail does not answer."""
        verdict = self.look(messages)
        messages = verdict.messages
        if verdict.reason is not None or self._guardrail is None:
            return verdict
        last = next((index for index in range(len(messages) - 1, -1, -1) if messages[index].role == "user"), None)
        if last is None:
            return Verdict(messages)
        found = await asyncio.to_thread(self._guardrail.apply, messages[last].content, "INPUT")
        if found.blocked:
            return Verdict(messages, "bedrock", found.text or self.config.refusal)
        changed = messages[last].model_copy(update={"content": found.text})
        return Verdict([*messages[:last], changed, *messages[last + 1 :]])

    async def answer(self, text: str) -> tuple[str, str | None]:
        """An answer as the client may see it, and why it was refused. Raises LlmopsError when the guardrail does not answer."""
        allowed = self._rules.answer(text)
        if allowed is None:
            return self.config.refusal, "pii"
        if self._guardrail is None or not allowed:
            return allowed, None
        found = await asyncio.to_thread(self._guardrail.apply, allowed, "OUTPUT")
        return (found.text or self.config.refusal, "bedrock") if found.blocked else (found.text, None)


def open_guard(config: GuardConfig) -> Guard | None:
    """The guard; None when all of it is off."""
    if config == GuardConfig(refusal=config.refusal):
        return None
    if config.bedrock is None:
        return Guard(config)
    from llmops_serve.guard.bedrock import Guardrail

    return Guard(config, Guardrail(config.bedrock))
