"""Instruction tuning beside TRL's SFTTrainer on the same rows of mixed lengths: useful tokens (no padding) a CPU-second.

LLMOPS_TEST_DATA=folder TRL=folder python tests/benchmarks/bench_train_sft.py [ROWS] [ROUNDS]

TRL is a folder with trl 1.16 and what it needs beside our environment (`pip install --no-deps --target`), whose pins clash with ours.
Every round trains once over the same rows from the same weights, in a process of its own, in turn: ours packed; SFTTrainer as it comes
(prompt and completion, padded batches); and SFTTrainer with its packing. Time is that of training alone, without imports and tokenizing.
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

LENGTH, PACKED_ROWS, PADDED_ROWS = 512, 4, 8
SIDES = ("ours", "trl", "trl packed")


def rows(count: int) -> list[tuple[str, str]]:
    """Questions and answers of a public instruction set."""
    path = Path(os.environ["LLMOPS_TEST_DATA"], "instruct-llamafactory", "alpaca_en_demo.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    return [(f"{record['instruction']}\n{record['input']}".strip(), record["output"]) for record in records[:count]]


def tokenizer_in(folder: Path, texts: list[str]) -> Any:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from transformers import AutoTokenizer

    from unit.train.tiny import train_tokenizer

    if not (folder / "tokenizer.json").exists():
        train_tokenizer(texts, folder, vocab_size=4096)
    return AutoTokenizer.from_pretrained(folder)


def fresh_model(tokenizer: Any) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {
        "hidden_size": 192,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "max_position_embeddings": LENGTH,
    }
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, attn_implementation="sdpa", **shape, **ids))


def encoded(tokenizer: Any, chats: list[tuple[str, str]]) -> list[tuple[list[int], int]]:
    """Ids of each row, cut to the length, and how many of them are the question."""
    found = []
    for question, answer in chats:
        prompt = tokenizer.encode(question, add_special_tokens=False)
        ids = [*prompt, *tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
        found.append((ids[:LENGTH], min(len(prompt), LENGTH)))
    return found


def ours(tokenizer: Any, chats: list[tuple[str, str]]) -> dict[str, float]:
    import numpy as np
    import torch

    from llmops_preprocess.pack import pack
    from llmops_train.checkpoint import Checkpoint
    from llmops_train.config import TrainConfig
    from llmops_train.data import Packed
    from llmops_train.loop import train
    from llmops_train.loss import summed_loss
    from llmops_train.parallel.engine import make_engine
    from llmops_train.parallel.mesh import Mesh
    from llmops_train.parallel.world import World

    documents = encoded(tokenizer, chats)
    bins = pack(np.array([len(ids) for ids, _ in documents]), LENGTH)
    table = {name: np.zeros((len(bins), LENGTH), np.uint16) for name in ("input_ids", "document_ids", "loss_mask")}
    for row, members in enumerate(bins):
        place = 0
        for number, member in enumerate(members, start=1):
            ids, asked = documents[member]
            span = slice(place, place + len(ids))
            table["input_ids"][row, span], table["document_ids"][row, span] = ids, number
            table["loss_mask"][row, place + asked : place + len(ids)] = 1
            place += len(ids)
    packed = Packed(table["input_ids"], table["document_ids"], table["loss_mask"])
    start = {"name": "bench", "method": "full", "model": "none", "dataset": "none", "out": "none", "batch_sequences": PACKED_ROWS}
    config = TrainConfig.model_validate({**start, "num_epochs": 1, "optimizer": {"learning_rate": 2e-5, "weight_decay": 0.0}})
    engine = make_engine(fresh_model(tokenizer), summed_loss, config, Mesh(World(), torch.device("cpu")))
    validation = Packed(table["input_ids"][:1], table["document_ids"][:1], table["loss_mask"][:1])
    with tempfile.TemporaryDirectory() as scratch:
        began = time.process_time()
        progress = train(engine, packed, validation, config, Checkpoint(scratch, "bench"), lambda figures, step: None)
        return {"cpu_s": time.process_time() - began, "tokens": progress.num_tokens}


def trl(tokenizer: Any, chats: list[tuple[str, str]], packing: bool) -> dict[str, float]:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    documents = encoded(tokenizer, chats)
    records = [{"input_ids": ids, "completion_mask": [0] * asked + [1] * (len(ids) - asked)} for ids, asked in documents]
    with tempfile.TemporaryDirectory() as scratch:
        arguments = SFTConfig(
            output_dir=scratch,
            num_train_epochs=1,
            per_device_train_batch_size=PACKED_ROWS if packing else PADDED_ROWS,
            max_length=LENGTH,
            packing=packing,
            learning_rate=2e-5,
            weight_decay=0.0,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_steps=10,
        )
        trainer = SFTTrainer(fresh_model(tokenizer), args=arguments, train_dataset=Dataset.from_list(records), processing_class=tokenizer)
        began = time.process_time()
        trainer.train()
        return {"cpu_s": time.process_time() - began, "tokens": sum(len(ids) for ids, _ in documents)}


def one_side(side: str, count: int, folder: Path) -> None:
    """One round in this process: its JSON line."""
    import torch

    torch.set_num_threads(1)
    chats = rows(count)
    tokenizer = tokenizer_in(folder, [text for chat in chats for text in chat])
    found = ours(tokenizer, chats) if side == "ours" else trl(tokenizer, chats, packing=side == "trl packed")
    print(json.dumps(found))


def main(count: int, rounds: int) -> None:
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for side in SIDES:
                path = os.pathsep.join(filter(None, ["" if side == "ours" else os.environ["TRL"], os.environ.get("PYTHONPATH")]))
                environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
                command = [sys.executable, __file__, side, str(count), folder]
                done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
                if done.returncode:
                    sys.exit(done.stderr[-3000:])
                found = json.loads(done.stdout.strip().splitlines()[-1])
                rates[side].append(found["tokens"] / found["cpu_s"])
    for side, values in rates.items():
        print(json.dumps({"what": side, "useful_tokens_per_cpu_s": round(median(values))}))
    for side in SIDES[1:]:
        pairs = [mine / theirs for mine, theirs in zip(rates["ours"], rates[side], strict=True)]
        print(json.dumps({"ratio": f"ours of {side}", "median": round(median(pairs), 2), "lowest": round(min(pairs), 2)}))


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in SIDES:
        one_side(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 160, int(sys.argv[2]) if len(sys.argv) > 2 else 3)
