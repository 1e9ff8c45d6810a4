"""Tokens a CPU-second of the loader beside litdata's, and what going on in the middle of an epoch takes.

    PYTHONPATH=FOLDER python tests/benchmarks/bench_train_loader.py [--tokens N] [--rounds N]

FOLDER holds litdata: `uv pip install --target FOLDER --no-deps litdata lightning-utilities tifffile obstore` (with its dependencies it would
bring a torchvision that does not fit torch). Both read the same packed sequences from the same disk, shuffled, in batches of 8, in this process;
rounds alternate. litdata gives token ids; ours is measured doing the same (`ids`), and giving what the trainer takes from it besides, document
ids of the packed sequences (`ids + documents`).
"""

import argparse
import gc
import importlib.metadata
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from llmops_shared.contracts import DatasetManifest
from llmops_shared.contracts.dataset import Shard, Split, Tokenizer
from llmops_shared.documents import describe, write_document
from llmops_train.feed.open import open_split
from llmops_train.feed.order import Order
from llmops_train.feed.sequences import Sequences
from llmops_train.feed_config import FeedConfig

LENGTH, BATCH, VOCAB = 2048, 8, 50_000


def write_ours(folder: Path, sequences: np.ndarray) -> Sequences:
    """Token shards as preprocess writes them, opened as the trainer opens them."""
    shards = []
    for number, rows in enumerate(np.array_split(sequences, 4)):
        path = folder / f"train-{number:05d}.safetensors"
        save_file({"input_ids": rows, "document_ids": np.ones_like(rows)}, path)
        shards.append(Shard(**describe(path, path.name).model_dump(), num_sequences=len(rows), num_tokens=rows.size))
    split = Split(num_rows=len(sequences), num_tokens=sequences.size, rows=[], shards=shards)
    tokenizer = Tokenizer(files=[], vocab_size=VOCAB)
    manifest = DatasetManifest(
        name="bench",
        view="text",
        sources=[],
        counts=[],
        sequence_length=LENGTH,
        tokenizer=tokenizer,
        splits={"train": split},
        dead_letter=None,
    )
    write_document(str(folder), manifest)
    return open_split(f"{folder}/dataset.json", manifest, "train", FeedConfig(input_mode="file"))


def epoch_of_ours(sequences: Sequences, documents: bool, start: int = 0) -> int:
    """One shuffled epoch; the number of tokens."""
    order, seen = Order(sequences, BATCH, 0), 0
    for step in range(start, len(sequences) // BATCH):
        taken = sequences.take(order.rows(step))
        seen += torch.from_numpy(taken.input_ids.astype(np.int64)).numel()
        if documents:
            torch.from_numpy(taken.document_ids.astype(np.int64))
    return seen


def write_litdata(folder: Path, sequences: np.ndarray) -> None:
    """litdata's own chunks of the same sequences."""
    from litdata import TokensLoader
    from litdata.streaming.cache import Cache

    cache = Cache(str(folder), chunk_size=LENGTH * 8192, item_loader=TokensLoader(block_size=LENGTH))
    for index, row in enumerate(sequences):
        cache._add_item(index, torch.from_numpy(row.astype(np.int32)))
    cache.done()
    cache.merge()


def litdata_loader(folder: Path) -> object:
    """Its loader, shuffled, without worker processes."""
    from litdata import StreamingDataLoader, StreamingDataset, TokensLoader

    dataset = StreamingDataset(str(folder), shuffle=True, seed=0, item_loader=TokensLoader(block_size=LENGTH))
    return StreamingDataLoader(dataset, batch_size=BATCH, num_workers=0)


def cpu_seconds(work: Callable[[], int]) -> float:
    """Tokens a CPU-second."""
    gc.collect()
    began = time.process_time()
    tokens = work()
    return tokens / (time.process_time() - began)


def resume_ms(sequences: Sequences) -> float:
    """Median of going on in the middle of an epoch: a new order, its step's rows, and their tokens."""
    taken = []
    for step in range(1, 30):
        began = time.perf_counter()
        order = Order(sequences, BATCH, step)
        sequences.take(order.rows(len(sequences) // BATCH // 2))
        taken.append((time.perf_counter() - began) * 1e3)
    return statistics.median(taken)


def resume_litdata_ms(folder: Path) -> float:
    """The same with its saved state."""
    loader = litdata_loader(folder)
    state, middle = None, 0
    for middle, _ in enumerate(loader):  # type: ignore[arg-type]
        if middle == 100:
            state = loader.state_dict()  # type: ignore[attr-defined]
            break
    began = time.perf_counter()
    again = litdata_loader(folder)
    again.load_state_dict(state)  # type: ignore[attr-defined]
    next(iter(again))  # type: ignore[call-overload]
    return (time.perf_counter() - began) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sequences = (np.random.default_rng(0).zipf(1.3, chosen.tokens // LENGTH * LENGTH) % VOCAB).astype(np.uint16).reshape(-1, LENGTH)
    with tempfile.TemporaryDirectory(prefix="bench-loader-") as scratch:
        (Path(scratch) / "ours").mkdir()
        ours = write_ours(Path(scratch) / "ours", sequences)
        theirs = Path(scratch) / "litdata"
        theirs.mkdir()
        write_litdata(theirs, sequences)
        figures: dict[str, list[float]] = {"litdata": [], "ours, ids": [], "ours, ids + documents": []}
        for _ in range(chosen.rounds):
            figures["litdata"].append(cpu_seconds(lambda: sum(batch.numel() for batch in litdata_loader(theirs))))  # type: ignore[attr-defined]
            figures["ours, ids"].append(cpu_seconds(lambda: epoch_of_ours(ours, documents=False)))
            figures["ours, ids + documents"].append(cpu_seconds(lambda: epoch_of_ours(ours, documents=True)))
        base = statistics.median(figures["litdata"])
        print(f"{chosen.tokens:,} tokens, sequences of {LENGTH}, {chosen.rounds} rounds; litdata {importlib.metadata.version('litdata')}")
        for name, values in figures.items():
            print(f"{name:24s} {statistics.median(values) / 1e6:8.1f} Mtok/cpu-s  {statistics.median(values) / base:5.2f}x litdata")
        print(f"going on in the middle   {resume_ms(ours):8.2f} ms           litdata {resume_litdata_ms(theirs):.0f} ms")


if __name__ == "__main__":
    main()
