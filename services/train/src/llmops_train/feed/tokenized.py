"""Text rows tokenized as they are asked for: a row a sequence, what is longer is cut. Work for the processors of hosts that feed GPUs."""

import json
import mmap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import fetch_part
from llmops_shared.errors import LlmopsError
from llmops_train.feed.order import Order
from llmops_train.feed.sequences import Arrangement, Packed, Rows
from llmops_train.source import fetch_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NEWLINE = 10


class TokenizedRows:
    """A split of a text dataset, read from its JSON lines."""

    def __init__(self, uri: str, manifest: DatasetManifest, split: str, arrangement: Arrangement, num_tokens: int) -> None:
        if manifest.view != "text":
            raise LlmopsError(f"{uri}: is a {manifest.view} dataset; feed.shards=rows tokenizes plain text only, so take its packed shards")
        self.arrangement = arrangement
        self.total_tokens = num_tokens
        self.length = manifest.sequence_length
        self.kind = np.uint16 if manifest.tokenizer.vocab_size <= 2**16 else np.uint32
        self.files = [Lines(fetch_part(uri, part)) for part in manifest.splits[split].rows]
        self.first_rows = np.concatenate([[0], np.cumsum([len(file) for file in self.files])])
        if self.first_rows[-1] != arrangement.num_rows():
            raise LlmopsError(f"{uri}: split {split!r} has {self.first_rows[-1]} rows, its manifest says {arrangement.num_rows()}")
        self.tokenizer, self.end = load_tokenizer(fetch_tokenizer(uri, manifest))

    def __len__(self) -> int:
        return self.arrangement.num_rows()

    def num_tokens(self) -> int:
        return self.total_tokens

    def expect(self, order: Order, step: int) -> None:
        """Rows are tokenized when they are taken; trainers ask some steps ahead."""

    def take(self, rows: Rows) -> Packed:
        files = self.first_rows.searchsorted(rows, side="right") - 1
        texts = [json.loads(self.files[file][int(row - self.first_rows[file])])["text"] for file, row in zip(files, rows, strict=True)]
        shape = (len(rows), self.length)
        input_ids, document_ids = np.zeros(shape, self.kind), np.zeros(shape, np.uint16)
        for place, encoding in enumerate(self.tokenizer.encode_batch(texts, add_special_tokens=False)):
            ids = [*encoding.ids, self.end][: self.length]
            input_ids[place, : len(ids)], document_ids[place, : len(ids)] = ids, 1
        return Packed(input_ids, document_ids, None)


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


def load_tokenizer(folder: Path) -> "tuple[Tokenizer, int]":
    """The tokenizer of a dataset, and its token for the end of a text. Raises LlmopsError where it names none."""
    from tokenizers import Tokenizer as Loaded

    tokenizer = Loaded.from_file(str(folder / "tokenizer.json"))
    settings = folder / "tokenizer_config.json"
    name = json.loads(settings.read_text()).get("eos_token") if settings.exists() else None
    end = tokenizer.token_to_id(name["content"] if isinstance(name, dict) else name) if name else None
    if end is None:
        raise LlmopsError(f"{folder}: names no eos_token, which ends every text; add it to tokenizer_config.json")
    return tokenizer, end
