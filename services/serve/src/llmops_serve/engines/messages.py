"""What the server and the process of a model send each other."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from llmops_serve.engines.engine import Prompt, Sampling, Step
from llmops_shared.contracts.engine import Quantization


class Generate(NamedTuple):
    """To the worker: begin an answer."""

    number: int
    prompt: Prompt
    sampling: Sampling


class Cancel(NamedTuple):
    """To the worker: nobody wants this answer any more."""

    number: int


class Ready(NamedTuple):
    """From the worker: the model is loaded."""


class Unloadable(NamedTuple):
    """From the worker: the model cannot be loaded; the process ends."""

    reason: str


class Steps(NamedTuple):
    """From the worker: the next token of each answer, by its number."""

    steps: list[tuple[int, Step]]


class Failed(NamedTuple):
    """From the worker: these answers end without a result."""

    numbers: list[int]
    reason: str


class WorkerSettings(NamedTuple):
    """What a worker needs to know."""

    model: Path
    """Model directory."""
    adapter: Path | None
    """Directory of the package's own adapter."""
    threads: int
    """CPU threads."""
    max_batch_size: int
    """Rows stepped together."""
    max_total_tokens: int
    """Prompt and answer together."""
    adapters: Mapping[str, Path] = {}
    """Directories of the adapters that requests may name."""
    quantize: Quantization | None = None
    """Number format the weights are turned into."""
    tensor_parallel: int = 1
    """Processes the model is split over."""
    cache_bytes: int = 2**30
    """Memory for keys and values, of all adapters together."""
