"""Token ids of rows, one flat array a split."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.given_tokenizer import copy_files
from llmops_preprocess.record import Record, count
from llmops_preprocess.tokenizer import DatasetTokenizer, open_tokenizer, train_tokenizer
from llmops_shared.contracts.dataset import StageCount

BATCH = 4096


@dataclass(frozen=True, slots=True)
class Tokens:
    """Documents as token ids, one after another."""

    ids: NDArray[np.uint32]
    """All ids."""
    lengths: NDArray[np.int64]
    """Tokens of each document."""
    answers: NDArray[np.uint8] | None
    """1 for each id that belongs to an answer; None for plain text."""


def make_tokenizer(given: dict[str, Path] | None, train: Iterable[Record], config: PreprocessConfig, folder: Path) -> DatasetTokenizer:
    """The given tokenizer, or one trained on the train split and nothing else."""
    folder.mkdir()
    if given is not None:
        copy_files(given, folder)
    else:
        texts = (text for record in train for text in ([item.content for item in record.messages] or [record.text]))
        train_tokenizer(texts, config.vocab_size, folder)
    return open_tokenizer(folder, config.tokenizer or "trained here")


def tokenize(rows: Sequence[Record], tokenizer: DatasetTokenizer, config: PreprocessConfig) -> tuple[list[Record], Tokens, StageCount]:
    """The rows that can be learned from, their tokens, and the count of those that cannot."""
    if config.view == "text":
        return list(rows), tokenize_texts(rows, tokenizer), count("tokenize", len(rows), len(rows), Counter())
    tokens, reasons = tokenize_chats(rows, tokenizer, config.sequence_length)
    kept = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
    return kept, tokens, count("tokenize", len(rows), len(kept), Counter(reason for reason in reasons if reason is not None))


def tokenize_texts(records: Sequence[Record], tokenizer: DatasetTokenizer) -> Tokens:
    """Every text, with the tokens the tokenizer itself puts around a text, and the end-of-document token after it."""
    documents = []
    for start in range(0, len(records), BATCH):
        batch = [record.text for record in records[start : start + BATCH]]
        documents += [ended(ids, tokenizer.eos_id) for ids in tokenizer.encode(batch, add_special_tokens=True)]
    return flat(documents, None)


def ended(ids: list[int], eos_id: int) -> list[int]:
    """The ids with one end-of-document token at their end."""
    return ids if ids[-1:] == [eos_id] else [*ids, eos_id]


def tokenize_chats(records: Sequence[Record], tokenizer: DatasetTokenizer, longest: int) -> tuple[Tokens, list[str | None]]:
    """The conversations that can be learned from, and for every one given the reason why it was dropped, or None.

    `too_long`: more tokens than a sequence has. `token_boundary`: the tokenizer joins the end of the question with the start
    of the answer, so that a model asked that question never stands where the answer begins.
    """
    documents, answers, reasons = list[list[int]](), list[int](), list[str | None]()
    for start in range(0, len(records), BATCH):
        parts = [tokenizer.template.split(record.messages) for record in records[start : start + BATCH]]
        prompts = tokenizer.encode([prompt for prompt, _ in parts], add_special_tokens=False)
        wholes = tokenizer.encode([prompt + up_to(answer, tokenizer.eos_token) for prompt, answer in parts], add_special_tokens=False)
        for prompt, whole in zip(prompts, wholes, strict=True):
            ids = ended(whole, tokenizer.eos_id)
            if ids[: len(prompt)] != prompt:
                reasons.append("token_boundary")
            elif len(ids) > longest:
                reasons.append("too_long")
            else:
                reasons.append(None)
                documents.append(ids)
                answers.append(len(ids) - len(prompt))
    return flat(documents, answers), reasons


def up_to(answer: str, eos_token: str) -> str:
    """The answer up to its end-of-answer token: what a template writes after it (a line end) is not the model's to say."""
    found = answer.rfind(eos_token)
    return answer if found < 0 else answer[: found + len(eos_token)]


def flat(documents: Sequence[Sequence[int]], answers: Sequence[int] | None) -> Tokens:
    """One array of all ids; of each document the last `answers` ids are the answer."""
    lengths = np.array([len(ids) for ids in documents], dtype=np.int64)
    ids = np.fromiter(itertools.chain.from_iterable(documents), dtype=np.uint32, count=int(lengths.sum()))
    if answers is None:
        return Tokens(ids, lengths, None)
    return Tokens(ids, lengths, answer_mask(lengths, np.array(answers, dtype=np.int64)))


def answer_mask(lengths: NDArray[np.int64], answers: NDArray[np.int64]) -> NDArray[np.uint8]:
    """1 for the last `answers` ids of each document."""
    remaining = np.repeat(np.cumsum(lengths), lengths) - np.arange(int(lengths.sum()))
    return (remaining <= np.repeat(answers, lengths)).astype(np.uint8)
