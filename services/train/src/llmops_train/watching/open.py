"""Opens the watch over a run."""

import tempfile
from pathlib import Path
from typing import Any

from llmops_shared.contracts import DatasetManifest
from llmops_shared.errors import LlmopsError
from llmops_shared.tracking import Run
from llmops_train.config import TrainConfig
from llmops_train.model import load_tokenizer
from llmops_train.plan.arithmetic import flops_a_token
from llmops_train.plan.shape import shape_of
from llmops_train.watching.code import code_digest
from llmops_train.watching.examples import watch_examples
from llmops_train.watching.run_watch import RunWatch


def open_watch(
    config: TrainConfig,
    model: Any,
    place: str,
    manifest: DatasetManifest,
    tokenizer_folder: Path,
    tracking: Run,
    size: int,
) -> RunWatch:
    """The watch of the first of `size` processes, which records what is told once: the settings in full, and the code."""
    tracking.parameters({"code_sha256": code_digest()})
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "config.json"
        path.write_text(config.model_dump_json(indent=2) + "\n")
        tracking.artifact(path)
    examples = None
    # the bare model answers where every process has a whole one
    if config.examples and tracking.run_id is not None and config.parallel.engine in ("none", "ddp"):
        examples = watch_examples(config, model, load_tokenizer(tokenizer_folder), place, manifest, tracking)
    return RunWatch(config, manifest.sequence_length, arithmetic_of(config, model, manifest), size, examples)


def arithmetic_of(config: TrainConfig, model: Any, manifest: DatasetManifest) -> float | None:
    """Operations a token; None for a family that the formula does not know."""
    try:
        shape = shape_of(model.config.to_dict(), "model")
    except LlmopsError:
        return None
    return flops_a_token(shape, config, manifest.sequence_length)
