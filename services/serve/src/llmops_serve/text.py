"""A package's tokenizer: prompts to tokens before the model, tokens to text after it. Needs no torch."""

import asyncio
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from llmops_serve.tokenizer import open_tokenizer, tokenizer_settings
from llmops_shared.contracts.exchange import Message

if TYPE_CHECKING:
    from jinja2 import Template
    from tokenizers import Tokenizer

CONTEXT_TOKENS = 5  # tokens before a new one that decide its text, such as a leading space; TGI looks at as many


class ModelText:
    """The tokenizer and chat template of a model directory. The tokenizer is loaded when it is needed: a server that hands requests on
    as they are may never need it."""

    def __init__(self, folder: Path) -> None:
        self._settings = tokenizer_settings(folder)
        self._source, self._names = self._settings.template, self._settings.names

    async def ready(self) -> None:
        """Loads the tokenizer, beside other work, if it is not there yet."""
        if "_tokenizer" not in self.__dict__:
            await asyncio.to_thread(getattr, self, "special_ids")

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        return open_tokenizer(self._settings)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Control tokens."""
        added = self._tokenizer.get_added_tokens_decoder()
        return frozenset(number for number, token in added.items() if token.special)

    @property
    def first_token(self) -> str | None:
        """What the model expects at the beginning of every prompt, as text; None: nothing, or the settings do not say."""
        name: str | None = self._names.get("bos_token")
        return name

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as the model's prompt. Raises ValueError when the template refuses it."""
        from llmops_serve.template import render_chat

        if not self._source:
            raise ValueError("this model has no chat template; send a plain prompt to /generate or /v1/completions")
        return render_chat(self._template, messages, self._names)

    @cached_property
    def _template(self) -> "Template":
        from llmops_serve.template import compile_template

        return compile_template(self._source or "")

    def encode(self, text: str, special: bool) -> list[int]:
        """Token ids; `special` adds what the model expects around a plain prompt, which a rendered conversation has already."""
        return self._tokenizer.encode(text, add_special_tokens=special).ids

    def spans(self, text: str, special: bool) -> list[tuple[int, int, int]]:
        """(token id, start, stop) of each token, in characters of the text."""
        encoding = self._tokenizer.encode(text, add_special_tokens=special)
        return [(token_id, start, stop) for token_id, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True)]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, control tokens left out."""
        return self._tokenizer.decode(list(token_ids), skip_special_tokens=True)

    def token(self, token_id: int) -> str:
        """The text of one token, whether control token or not."""
        return self._tokenizer.decode([token_id], skip_special_tokens=False)


class Decoder:
    """Turns the tokens of one answer into text as they come, and ends it at a stop sequence."""

    def __init__(self, text: ModelText, prompt_ids: Sequence[int], stop: Sequence[str], keep_stop: bool) -> None:
        self._text = text
        self._ids = list(prompt_ids[-CONTEXT_TOKENS:])
        self._begin, self._read = 0, len(self._ids)
        self._stop, self._keep_stop = tuple(stop), keep_stop
        self._recent = ""  # the end of the answer, as far back as a stop sequence can reach
        self._held = ""  # text that may be the beginning of a stop sequence that is to be left out
        self.stopped = False

    def add(self, token_id: int) -> str:
        """The text the answer grows by with a token."""
        self._ids.append(token_id)
        before, now = self._pending()
        if len(now) <= len(before) or now.endswith("\ufffd"):
            return ""  # bytes of one character can lie in several tokens
        self._begin, self._read = self._read, len(self._ids)
        return self._until_stop(now[len(before) :])

    def finish(self) -> str:
        """What was held back, when no token follows and no stop sequence was found."""
        before, now = self._pending()
        text = self._until_stop(now[len(before) :])
        if self.stopped:
            return text
        text, self._held = text + self._held, ""
        return text

    def _pending(self) -> tuple[str, str]:
        """The text of the tokens that were turned into text last, and the same with the tokens after them."""
        return self._text.decode(self._ids[self._begin : self._read]), self._text.decode(self._ids[self._begin :])

    def _until_stop(self, new: str) -> str:
        """The part of new text that is sure to belong to the answer."""
        if not self._stop:
            return new
        known = len(self._recent)
        window = self._recent + new
        ends = [(window.find(stop) + len(stop), len(stop)) for stop in self._stop if stop in window]
        if ends:
            self.stopped = True
            end, length = min(ends)
            return window[known:end] if self._keep_stop else (self._held + new)[: len(self._held) + end - length - known]
        reach = max(map(len, self._stop)) - 1
        self._recent = window[-reach:] if reach else ""
        if self._keep_stop:
            return new
        text = self._held + new
        keep = longest_beginning(text, self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def longest_beginning(text: str, stops: Sequence[str]) -> int:
    """Length of the longest end of the text that a stop sequence begins with."""
    lengths = (length for stop in stops for length in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:length]))
    return max(lengths, default=0)
