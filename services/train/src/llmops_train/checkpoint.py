"""Checkpoints: everything a stopped run needs to go on as if it had not stopped, in one safetensors object."""

import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch  # noqa: TID253 - this module is imported late

from llmops_shared.errors import LlmopsError
from llmops_shared.store import exists, join, store_for

logger = logging.getLogger(__name__)


@dataclass
class Window:
    """What happened since the last point of the curves."""

    loss: float = 0.0
    num_tokens: int = 0
    num_steps: int = 0
    seconds: float = 0.0


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0
    """Steps taken."""
    num_tokens: int = 0
    """Tokens trained on, padding left out."""
    train_seconds: float = 0.0
    """Time spent in steps, over all interruptions."""
    window: Window = field(default_factory=Window)
    """Sums for the next point of the curves."""
    curve: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    """The points of the curves so far: step and figures."""


class Checkpoint:
    """The checkpoint of one run, at `<out>/checkpoint/state.safetensors`; writing it replaces the one before atomically."""

    def __init__(self, out: str, request: str) -> None:
        self.uri = join(out, "checkpoint", "state.safetensors")
        self.request = request

    def save(self, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer], progress: Progress) -> None:
        """Writes the state after `progress.step` steps."""
        from safetensors.torch import save_file

        tensors = {name: tensor.detach().contiguous() for name, tensor in state_tensors(model, optimizers)}
        tensors["random"] = torch.get_rng_state()
        metadata = {"request": self.request, "progress": json.dumps(asdict(progress))}
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "state.safetensors"
            save_file(tensors, path, metadata)
            store_for(self.uri).write(self.uri, path)

    def restore(self, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer]) -> Progress:
        """Puts the saved state into model and optimizers; a fresh Progress when there is no checkpoint.

        Raises LlmopsError when the checkpoint is damaged or of a run with other settings.
        """
        from safetensors import SafetensorError, safe_open

        if not exists(self.uri):
            return Progress()
        try:
            with safe_open(store_for(self.uri).fetch(self.uri), framework="pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (SafetensorError, OSError) as error:
            raise LlmopsError(f"{self.uri}: is damaged ({error}); delete it to start this run from its beginning") from error
        if metadata.get("request") != self.request:
            raise LlmopsError(f"{self.uri}: belongs to a run with other settings or inputs; delete it, or choose another out=")
        put_back(model, optimizers, tensors)
        torch.set_rng_state(tensors["random"])
        saved = json.loads(metadata["progress"])
        curve = [(step, figures) for step, figures in saved["curve"]]
        progress = Progress(**{**saved, "window": Window(**saved["window"]), "curve": curve})
        logger.info("going on from %s after step %d", self.uri, progress.step)
        return progress

    def remove(self) -> None:
        """Removes it, once the run is finished."""
        if exists(self.uri):
            store_for(self.uri).remove(self.uri)


def state_tensors(model: torch.nn.Module, optimizers: list[torch.optim.Optimizer]) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors: trainable weights, and each optimizer's state by the place of its parameter."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            yield f"model.{name}", parameter
    for number, optimizer in enumerate(optimizers):
        for place, parameter in enumerate(parameters_of(optimizer)):
            for key, value in optimizer.state[parameter].items():
                yield f"optimizer.{number}.{place}.{key}", value


def put_back(model: torch.nn.Module, optimizers: list[torch.optim.Optimizer], tensors: dict[str, torch.Tensor]) -> None:
    """The reverse of `state_tensors`."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(tensors[f"model.{name}"])
    for number, optimizer in enumerate(optimizers):
        parameters = parameters_of(optimizer)
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer" and rest.startswith(f"{number}."):
                _, place, key = rest.split(".")
                optimizer.state[parameters[int(place)]][key] = tensor


def parameters_of(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    """All parameters of an optimizer, in order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
