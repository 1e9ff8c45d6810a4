"""Most bytes that torch has allocated during a few steps of the real loop: each line of stdin is a case as JSON, each line of stdout a figure."""

import gc
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmops_train.config import ArchitectureConfig, TrainConfig
from llmops_train.feed.sequences import Packed
from llmops_train.loop import train
from llmops_train.methods.adapters import add_adapter
from llmops_train.methods.objective import objective_of
from llmops_train.model import new_model
from llmops_train.parallel.engine import make_engine
from llmops_train.parallel.mesh import joined
from llmops_train.parallel.world import World
from llmops_train.run import open_checkpoint


class Vocabulary:
    """What `new_model` asks of a tokenizer."""

    bos_token_id, eos_token_id, pad_token_id = None, 0, 1

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


def sequences(case: dict[str, Any]) -> Packed:
    """Packed sequences of two documents of equal length each; `target_share` of the tokens is learnt."""
    random, shape = np.random.default_rng(0), (case["rows"] * 2, case["length"])
    documents = np.ones(shape, np.uint16)
    documents[:, case["length"] // 2 :] = 2
    learnt = (random.random(shape) < case.get("target_share", 1.0)).astype(np.uint8)
    return Packed(random.integers(2, case["vocab_size"], shape).astype(np.uint16), documents, learnt)


def steps(case: dict[str, Any], folder: str) -> None:
    """Three steps and a validation."""
    start = {"out": folder, "name": "memory", "dataset": "none", "max_steps": 3, "batch_sequences": case["rows"], "num_threads": 1}
    config = TrainConfig.model_validate({**start, **case["config"]})
    architecture = ArchitectureConfig.model_validate(case["architecture"])
    model = add_adapter(new_model(architecture, Vocabulary(case["vocab_size"]), 0), config, Path(folder))  # type: ignore[arg-type]
    objective, packed = objective_of(config, model), sequences(case)
    with joined(config.parallel, World()) as mesh:
        engine = make_engine(model, objective.loss, config, mesh)
        checkpoint = open_checkpoint(config, "memory", mesh)
        train(engine, packed, packed.take(np.arange(case["rows"])), config, checkpoint, lambda figures, step: None, None, objective)


def peak(case: dict[str, Any]) -> int:
    """Bytes allocated at the highest point, over those from before."""
    gc.collect()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            marker = torch.empty(1)
            steps(case, folder)
        profile.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    totals = [
        event["args"]["Total Allocated"]
        for event in sorted(events, key=lambda event: event.get("ts", 0))
        if event.get("name") == "[memory]"
    ]
    del marker
    return int(max(totals) - totals[0])


if __name__ == "__main__":
    logging.disable()
    torch.set_num_threads(1)
    for line in sys.stdin:
        sys.stdout.write(f"{peak(json.loads(line))}\n")
        sys.stdout.flush()
