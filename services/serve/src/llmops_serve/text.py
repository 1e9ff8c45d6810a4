"""A package's tokenizer: prompts to tokens before the model, tokens to text after it. Needs no torch."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops_shared.contracts.exchange import Message
from llmops_shared.errors import LlmopsError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CONTEXT_TOKENS = 5  # tokens before a new one that decide its text, such as a leading space; TGI looks at as many


class ModelText:
    """The tokenizer and chat template of a model directory."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = load_tokenizer(folder)
        self.special_ids = frozenset(self.tokenizer.all_special_ids)

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as the model's prompt. Raises ValueError when the template refuses it."""
        from jinja2.exceptions import TemplateError

        if not self.tokenizer.chat_template:
            raise ValueError("this model has no chat template; send a plain prompt to /generate or /v1/completions")
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text: str = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise ValueError(f"the model's chat template refuses these messages: {error}") from error
        return text

    def encode(self, text: str, special: bool) -> list[int]:
        """Token ids; `special` adds what the model expects around a plain prompt, which a rendered conversation has already."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=special)
        return ids

    def spans(self, text: str, special: bool) -> list[tuple[int, int, int]]:
        """(token id, start, stop) of each token, in characters of the text."""
        encoding: Any = self.tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
        pairs = zip(encoding["input_ids"], encoding["offset_mapping"], strict=True)
        return [(token_id, start, stop) for token_id, (start, stop) in pairs]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, control tokens left out."""
        text: str = self.tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def token(self, token_id: int) -> str:
        """The text of one token, whether control token or not."""
        text: str = self.tokenizer.decode([token_id], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerFast":
    """The tokenizer of a model directory. Raises LlmopsError without a `tokenizer.json`."""
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer.json").is_file():
        raise LlmopsError(f"{folder}: has no tokenizer.json; package the model with a fast tokenizer")
    settings = folder / "tokenizer_config.json"
    if settings.is_file() and "auto_map" in json.loads(settings.read_text(encoding="utf-8")):
        raise LlmopsError(f"{folder}: its tokenizer wants to run code of its own (auto_map), which is never done")
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    tokenizer.model_max_length = 2**31  # the server has limits of its own; the tokenizer would only warn
    return tokenizer


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
