"""Rows tokenized as they are asked for: a row a sequence, what is longer is cut. Work for the processors of hosts that feed GPUs."""

import json
import mmap
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import fetch_part
from llmops_shared.errors import LlmopsError
from llmops_shared.rows import ChatRow
from llmops_train.feed.order import Order
from llmops_train.feed.sequences import Arrangement, Packed, Rows
from llmops_train.source import fetch_tokenizer

NEWLINE = 10

Tokenized = tuple[list[int], int]
"""The tokens of a row, and how many of them, the last ones, are learnt."""


class TokenizedRows:
    """A split of a dataset, read from its JSON lines."""

    def __init__(self, uri: str, manifest: DatasetManifest, split: str, arrangement: Arrangement, num_tokens: int) -> None:
        self.arrangement = arrangement
        self.total_tokens = num_tokens
        self.length = manifest.sequence_length
        self.kind = np.uint16 if manifest.tokenizer.vocab_size <= 2**16 else np.uint32
        self.files = [Lines(fetch_part(uri, part)) for part in manifest.splits[split].rows]
        self.first_rows = np.concatenate([[0], np.cumsum([len(file) for file in self.files])])
        if self.first_rows[-1] != arrangement.num_rows():
            raise LlmopsError(f"{uri}: split {split!r} has {self.first_rows[-1]} rows, its manifest says {arrangement.num_rows()}")
        self.chats = manifest.view == "chat"
        self.tokenize = (chats if self.chats else texts)(fetch_tokenizer(uri, manifest))

    def __len__(self) -> int:
        return self.arrangement.num_rows()

    def num_tokens(self) -> int:
        return self.total_tokens

    def expect(self, order: Order, step: int) -> None:
        """Rows are tokenized when they are taken; trainers ask some steps ahead."""

    def take(self, rows: Rows) -> Packed:
        files = self.first_rows.searchsorted(rows, side="right") - 1
        lines = [self.files[file][int(row - self.first_rows[file])] for file, row in zip(files, rows, strict=True)]
        shape = (len(rows), self.length)
        input_ids, document_ids, learnt = np.zeros(shape, self.kind), np.zeros(shape, np.uint16), np.zeros(shape, np.uint8)
        for place, (ids, num_learnt) in enumerate(self.tokenize(lines)):
            cut = ids[: self.length]
            input_ids[place, : len(cut)], document_ids[place, : len(cut)] = cut, 1
            learnt[place, len(ids) - num_learnt : len(cut)] = 1
        return Packed(input_ids, document_ids, learnt if self.chats else None)


def texts(folder: Path) -> Callable[[Sequence[bytes]], list[Tokenized]]:
    """Tokenizes text rows, of which all is learnt. Raises LlmopsError where the tokenizer names no end of a text."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    settings = folder / "tokenizer_config.json"
    name = json.loads(settings.read_text()).get("eos_token") if settings.exists() else None
    end = tokenizer.token_to_id(name["content"] if isinstance(name, dict) else name) if name else None
    if end is None:
        raise LlmopsError(f"{folder}: names no eos_token, which ends every text; add it to tokenizer_config.json")

    def tokenize(lines: Sequence[bytes]) -> list[Tokenized]:
        found = tokenizer.encode_batch([json.loads(line)["text"] for line in lines], add_special_tokens=False)
        return [([*one.ids, end], len(one.ids) + 1) for one in found]

    return tokenize


def chats(folder: Path) -> Callable[[Sequence[bytes]], list[Tokenized]]:
    """Tokenizes chat rows by the chat template; their last answers are learnt."""
    from llmops_train.conversations import encode
    from llmops_train.model import load_tokenizer

    tokenizer = load_tokenizer(folder)

    def tokenize(lines: Sequence[bytes]) -> list[Tokenized]:
        rows = [ChatRow.model_validate_json(line) for line in lines]
        found = encode([row.messages for row in rows], tokenizer)
        for row, one in zip(rows, found, strict=True):
            if one is None:
                raise LlmopsError(
                    f"row {row.id}: the chat template of {folder} renders its question differently with and without the answer, so that "
                    f"cannot be told apart; preprocess the dataset with another tokenizer"
                )
        return [(one.ids, one.num_answer) for one in found if one is not None]

    return tokenize


class Lines:
    """The lines of a file by number, mapped into memory."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.ends = np.flatnonzero(np.frombuffer(self.content, np.uint8) == NEWLINE)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> bytes:
        begin = int(self.ends[number - 1]) + 1 if number else 0
        return self.content[begin : int(self.ends[number])]
