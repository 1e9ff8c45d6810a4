"""Small real inputs of train's tests: datasets as preprocess writes them, and models of a few thousand parameters."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors.numpy import save

from llmops_shared.contracts import DatasetManifest, Part
from llmops_shared.contracts.dataset import Shard, Source, Split, Tokenizer
from llmops_shared.contracts.exchange import Message
from llmops_shared.documents import store_part, write_document
from llmops_shared.rows import ChatRow, TextRow

SPECIAL = ["<|endoftext|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% if message.role == 'assistant' %}<|endoftext|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NOUNS = ["chain", "copytree", "dumps", "sleep", "path", "search", "partial", "deque", "mean", "quote", "split", "shuffle"]


def train_tokenizer(texts: Sequence[str], folder: Path, vocab_size: int = 320) -> Path:
    """A byte-level BPE tokenizer directory as AutoTokenizer loads it."""
    from tokenizers import Tokenizer as Trained
    from tokenizers import decoders, models, pre_tokenizers, trainers

    trained = Trained(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    folder.mkdir(parents=True, exist_ok=True)
    trained.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SPECIAL[0], "pad_token": SPECIAL[1], "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def questions(count: int, start: int = 0) -> list[ChatRow]:
    """Chats about made-up functions; every third asks for a signature."""
    rows = []
    for number in range(start, start + count):
        name = f"{NOUNS[number % len(NOUNS)]}_{number}"
        kind, question, answer = (
            ("signature", f"What is the signature of {name}?", f"{name}(value, count=0)"),
            ("purpose", f"What does {name} do?", f"It makes a {NOUNS[number % len(NOUNS)]}."),
            ("raises", f"What does {name} raise?", "It raises ValueError."),
        )[number % 3]
        messages = [Message(role="user", content=question), Message(role="assistant", content=answer)]
        rows.append(ChatRow(id=f"row-{number}", messages=messages, source="test", metadata={"question": kind}, licence="CC0-1.0"))
    return rows


def pairs(count: int, start: int = 0) -> list[ChatRow]:
    """Questions with a right and a rude answer."""
    rows = []
    for row in questions(count, start):
        rude = [*row.messages[:-1], Message(role="assistant", content="No idea.")]
        rows.append(row.model_copy(update={"rejected": rude}))
    return rows


def sentences(count: int, start: int = 0) -> list[TextRow]:
    """Texts about made-up functions."""
    return [
        TextRow(
            id=f"text-{number}",
            text=f"The function {NOUNS[number % len(NOUNS)]} takes {number} values and returns a {NOUNS[number * 5 % len(NOUNS)]}.",
            source="test",
            metadata={},
            licence="CC0-1.0",
        )
        for number in range(start, start + count)
    ]


def encode(row: TextRow | ChatRow, tokenizer: object) -> tuple[list[int], list[int]]:
    """Token ids of a row and which of them are answer."""
    if isinstance(row, TextRow):
        ids = [*tokenizer.encode(row.text, add_special_tokens=False), tokenizer.eos_token_id]  # type: ignore[attr-defined]
        return ids, [1] * len(ids)
    messages = [message.model_dump() for message in row.messages]
    template = tokenizer.apply_chat_template  # type: ignore[attr-defined]
    ids = template(messages, return_dict=False)
    prompt = template(messages[:-1], add_generation_prompt=True, return_dict=False)
    return ids, [0] * len(prompt) + [1] * (len(ids) - len(prompt))


def pack(encoded: Sequence[tuple[list[int], list[int]]], length: int, pad: int) -> dict[str, np.ndarray]:
    """First-come packing; what is longer than a sequence is cut to it."""
    sequences: list[list[tuple[list[int], list[int]]]] = [[]]
    for ids, learnt in encoded:
        if sum(len(other) for other, _ in sequences[-1]) + min(len(ids), length) > length:
            sequences.append([])
        sequences[-1].append((ids[:length], learnt[:length]))
    shape = (len(sequences), length)
    table = {
        "input_ids": np.full(shape, pad, np.uint16),
        "document_ids": np.zeros(shape, np.uint16),
        "loss_mask": np.zeros(shape, np.uint8),
    }
    for row, documents in enumerate(sequences):
        place = 0
        for number, (ids, learnt) in enumerate(documents, start=1):
            span = slice(place, place + len(ids))
            table["input_ids"][row, span], table["document_ids"][row, span], table["loss_mask"][row, span] = ids, number, learnt
            place += len(ids)
    return table


def write_dataset(
    uri: str,
    view: Literal["text", "chat"],
    splits: dict[str, list[TextRow]] | dict[str, list[ChatRow]],
    tokenizer_folder: Path,
    sequence_length: int = 64,
) -> str:
    """Writes a DatasetManifest with rows, shards and tokenizer; returns its folder."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    files = [store_part(uri, f"tokenizer/{path.name}", path.read_bytes()) for path in sorted(tokenizer_folder.iterdir()) if path.is_file()]
    manifest = DatasetManifest(
        name=f"tiny-{view}",
        view=view,
        sources=[Source(uri="test", kind="jsonl", num_records=1, sha256="0" * 64, licence="CC0-1.0")],
        counts=[],
        sequence_length=sequence_length,
        tokenizer=Tokenizer(files=files, vocab_size=len(tokenizer)),
        splits={name: write_split(uri, name, rows, view, tokenizer, pad, sequence_length) for name, rows in splits.items()},
        dead_letter=None,
    )
    write_document(uri, manifest)
    return uri


def write_split(
    uri: str, name: str, rows: Sequence[TextRow | ChatRow], view: str, tokenizer: object, pad: int, sequence_length: int
) -> Split:
    """Rows and one shard of a split."""
    lines = store_part(uri, f"rows/{name}.jsonl", b"".join(row.model_dump_json().encode() + b"\n" for row in rows))
    table = pack([encode(row, tokenizer) for row in rows], sequence_length, pad)
    if view == "text":
        del table["loss_mask"]
    shards: list[Shard] = []
    num_tokens = int(np.count_nonzero(table["document_ids"]))
    if rows:
        part: Part = store_part(uri, f"shards/{name}-00000.safetensors", save(table))
        shards = [Shard(**part.model_dump(), num_sequences=len(table["input_ids"]), num_tokens=num_tokens)]
    return Split(num_rows=len(rows), num_tokens=num_tokens, rows=[lines], shards=shards)


def write_text(uri: str, scratch: Path) -> str:
    """A text dataset, its tokenizer trained on it."""
    tokenizer = train_tokenizer([row.text for row in sentences(200)], scratch / "tokenizer")
    splits = {"train": sentences(120), "validation": sentences(20, 120), "test": sentences(20, 140)}
    return write_dataset(uri, "text", splits, tokenizer)


def write_chat(uri: str, tokenizer_folder: Path) -> str:
    """A chat dataset over a given tokenizer."""
    return write_dataset(
        uri, "chat", {"train": questions(120), "validation": questions(20, 120), "test": questions(30, 140)}, tokenizer_folder
    )


def write_pairs(uri: str, tokenizer_folder: Path) -> str:
    """A chat dataset of preference pairs."""
    splits = {"train": pairs(60), "validation": pairs(20, 60), "test": pairs(10, 80)}
    return write_dataset(uri, "chat", splits, tokenizer_folder, sequence_length=128)


def train_tiny(out: str, **settings: object) -> str:
    """Trains a model of some 60,000 parameters; returns its folder."""
    from llmops_train.config import TrainConfig
    from llmops_train.run import run

    run(TrainConfig.model_validate(tiny_settings(out=out, **settings)))
    return out


def tiny_settings(**settings: object) -> dict[str, object]:
    """Settings of a small run, on one thread so that figures repeat everywhere."""
    start: dict[str, object] = {"name": "tiny", "num_threads": 1, "batch_sequences": 4, "log_every_steps": 1}
    if settings.get("method") == "pretrain" and "model" not in settings:
        start["architecture"] = {
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 128,
        }
    return {**start, "optimizer": {"learning_rate": 0.01}, **settings}
