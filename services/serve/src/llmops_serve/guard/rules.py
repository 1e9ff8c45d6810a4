"""The guard's own rules: attacks, personal data, topics. They take microseconds and run in the server."""

import re
from collections.abc import Sequence

from llmops_serve.guard.config import GuardConfig
from llmops_shared.attack import injection, jailbreak
from llmops_shared.contracts.exchange import Message
from llmops_shared.pii import find, mask
from llmops_shared.words import Words


class Rules:
    """The rules that are on."""

    def __init__(self, config: GuardConfig) -> None:
        self._config = config
        self._topics = tuple(Topic(name, words) for name, words in config.blocked_topics.items() if words)

    def reason(self, messages: Sequence[Message]) -> str | None:
        """Why a conversation is refused; None: it is not. Looks at what the user says, the last turn first."""
        asked = [message.content for message in reversed(messages) if message.role == "user"]
        refuses_injection = self._config.injection == "refuse"
        for topic in self._topics:
            if any(topic.is_in(text) for text in asked):
                return f"topic:{topic.name}"
        for text in asked:
            if refuses_injection and self._attacks(text):
                return "injection"
        if self._config.pii == "refuse" and any(find(message.content, self._config.pii_kinds) for message in messages):
            return "pii"
        return None

    def _attacks(self, text: str) -> bool:
        words, threshold = Words(text), self._config.injection_threshold
        return injection(words) >= threshold or jailbreak(words) >= threshold

    def masked(self, messages: list[Message]) -> list[Message]:
        """The conversation as the model may see it; the same list where nothing changes."""
        if self._config.pii != "mask":
            return messages
        texts = [mask(message.content, self._config.pii_kinds) for message in messages]
        if texts == [message.content for message in messages]:
            return messages
        return [message.model_copy(update={"content": text}) for text, message in zip(texts, messages, strict=True)]

    def answer(self, text: str) -> str | None:
        """An answer as the client may see it; None: it is refused."""
        match self._config.pii_in_answers:
            case "mask":
                return mask(text, self._config.pii_kinds)
            case "refuse":
                return None if find(text, self._config.pii_kinds) else text
            case _:
                return text


class Topic:
    """A topic's words and phrases."""

    def __init__(self, name: str, words: Sequence[str]) -> None:
        self.name = name
        longest_first = sorted(words, key=len, reverse=True)
        self._pattern = re.compile(rf"(?i)(?<!\w)(?:{'|'.join(re.escape(word) for word in longest_first)})(?!\w)")
        self._lower = tuple(word.lower() for word in words) if all(word.isascii() for word in words) else None

    def is_in(self, text: str) -> bool:
        """Whether a text has one of them, as whole words in any case."""
        if self._lower is not None and text.isascii():  # most texts have none, which is seen ten times as fast without the pattern
            lower = text.lower()
            if not any(word in lower for word in self._lower):
                return False
        return self._pattern.search(text) is not None
