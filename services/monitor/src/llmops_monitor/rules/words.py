"""Exchanges as the rules see them: alone, and as columns of texts."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from llmops_monitor.rules.texts import Bools, Text, Texts
from llmops_monitor.rules.vocabulary import vocabulary
from llmops_shared.statistics import Floats


class Exchanged:
    """One exchange."""

    __slots__ = ("context", "num_prompt_tokens", "num_response_tokens", "prompt", "response")

    def __init__(
        self, prompt: str, response: str, context: str | None = None, num_prompt_tokens: int = 0, num_response_tokens: int = 0
    ) -> None:
        self.prompt = Text(prompt)
        self.response = Text(response)
        self.context = None if context is None else Text(context)
        """The retrieved chunks, best first; None where nothing was retrieved."""
        self.num_prompt_tokens = num_prompt_tokens
        self.num_response_tokens = num_response_tokens


class Block:
    """Exchanges that are measured together, one at least; a column is read when the first rule asks for it."""

    def __init__(self, exchanges: Sequence[Exchanged]) -> None:
        self.exchanges = exchanges
        self._vocabulary = vocabulary()

    @cached_property
    def prompts(self) -> Texts:
        """[num_exchanges]"""
        return Texts([exchange.prompt.content for exchange in self.exchanges], self._vocabulary)

    @cached_property
    def responses(self) -> Texts:
        """[num_exchanges]"""
        return Texts([exchange.response.content for exchange in self.exchanges], self._vocabulary)

    @cached_property
    def contexts(self) -> Texts:
        """[num_exchanges], empty texts where nothing was retrieved."""
        return Texts(["" if exchange.context is None else exchange.context.content for exchange in self.exchanges], self._vocabulary)

    @cached_property
    def retrieved(self) -> Bools:
        """For which exchanges something was retrieved [num_exchanges]."""
        return np.array([exchange.context is not None for exchange in self.exchanges], np.bool_)

    @property
    def num_prompt_tokens(self) -> Floats:
        """[num_exchanges]"""
        return np.array([exchange.num_prompt_tokens for exchange in self.exchanges], np.float64)

    @property
    def num_response_tokens(self) -> Floats:
        """[num_exchanges]"""
        return np.array([exchange.num_response_tokens for exchange in self.exchanges], np.float64)
