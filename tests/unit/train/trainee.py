"""A training process that writes down each step's loss, and stops or kills itself where it is told to."""

import ctypes
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import read_document
from llmops_shared.errors import LlmopsError
from llmops_train.checkpoint import Checkpoint
from llmops_train.checkpoint.team import Team
from llmops_train.config import TrainConfig
from llmops_train.data import read_split
from llmops_train.interruption import Interrupted, Stop
from llmops_train.loop import train
from llmops_train.loss import summed_loss
from llmops_train.model import load_tokenizer, new_model
from llmops_train.parallel.engine import make_engine
from llmops_train.parallel.mesh import joined
from llmops_train.parallel.world import world_of
from unit.train.tiny import tiny_settings

LLAMA = {
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "tie_embeddings": False,
}

NO_MOUNT = 77


def main(words: list[str]) -> int:
    """`words` is one JSON object: text, folder, losses (a file), settings, and stop_at, kill_at or kill_after_s."""
    order = json.loads(words[0])
    if "room_bytes" in order and not small_disk(Path(order["folder"]), order["room_bytes"]):
        return NO_MOUNT
    start = {"architecture": LLAMA, "batch_sequences": 8, "max_steps": 12}
    settings = {**tiny_settings(method="pretrain", dataset=order["text"], out="unused"), **start, **order.get("settings", {})}
    config = TrainConfig.model_validate(settings)
    torch.set_num_threads(1)
    if config.parallel.engine == "smp":
        stand_in_for_smp()
    text = Path(order["text"])
    place, manifest = f"{text}/dataset.json", read_document(str(text), DatasetManifest)
    stop, world = Stop(), world_of(os.environ)

    def log(figures: dict[str, float], step: int) -> None:
        if world.is_first and "train_loss" in figures:
            write(Path(order["losses"]), step, figures["train_loss"])
        if step == order.get("stop_at"):
            stop.asked = True
        if step == order.get("kill_at"):
            die_soon(order["delay_ms"], Path(order["folder"]), bool(order.get("within_write")))

    with joined(config.parallel, world) as mesh:
        model = new_model(config.architecture, load_tokenizer(text / "tokenizer"), seed=0)  # type: ignore[arg-type]
        engine = make_engine(model, summed_loss, config, mesh)
        team = Team(world.rank, world.size, world.local_rank, world.local_size, mesh.control, mesh.background)
        part_bytes = config.checkpoint_part_mib * 2**20
        checkpoint = Checkpoint(order["folder"], "request", team, config.keep_checkpoints, order.get("scratch"), part_bytes)
        sets: Any = read_split(place, manifest, "train"), read_split(place, manifest, "validation")
        try:
            train(engine, *sets, config, checkpoint, log, stop)
        except Interrupted:
            return 0
        except LlmopsError as error:
            print(error, file=sys.stderr)  # noqa: T201 - as the command line does it
            print(json.dumps(sorted(path.name for path in Path(order["folder"]).iterdir())), file=sys.stderr)  # noqa: T201
            return 2
    return 0


def stand_in_for_smp() -> None:
    """What AWS's images have at `torch.sagemaker`, as far as we call it: it leaves the model as it is, so FSDP below is the real one."""
    library, norms = ModuleType("torch.sagemaker"), ModuleType("torch.sagemaker.grad_norm")
    library.init = lambda settings: None  # type: ignore[attr-defined]
    library.transform = lambda model: model  # type: ignore[attr-defined]
    norms.clip_grad_norm_ = lambda model, longest: model.clip_grad_norm_(longest)  # type: ignore[attr-defined]
    torch.sagemaker = library  # type: ignore[attr-defined]
    sys.modules |= {"torch.sagemaker": library, "torch.sagemaker.grad_norm": norms}


def small_disk(folder: Path, size_bytes: int) -> bool:
    """Puts a file system of this size at the folder, for this process alone; False where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir(parents=True, exist_ok=True)
    new_mounts, private = 0x00020000, (1 << 18) | (1 << 14)  # CLONE_NEWNS; MS_PRIVATE and MS_REC
    return bool(
        libc.unshare(new_mounts) == 0
        and libc.mount(b"none", b"/", None, private, None) == 0
        and libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, f"size={size_bytes}".encode()) == 0
    )


def write(path: Path, step: int, loss: float) -> None:
    """One line, at once: the process may not live long."""
    with path.open("a") as file:
        file.write(json.dumps([step, loss.hex()]) + "\n")


def die_soon(delay_ms: float, folder: Path, within_write: bool) -> None:
    """SIGKILL from another thread: after a delay, or as soon as a half-written file is there."""

    def kill() -> None:
        while within_write and not list(folder.glob(".step-*.partial")):
            pass
        time.sleep(delay_ms / 1000 * random.random())
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()


def losses_in(path: Path) -> dict[int, set[str]]:
    """All the losses that any process saw at each step, exact."""
    found: dict[int, set[str]] = {}
    for line in path.read_text().splitlines():
        step, loss = json.loads(line)
        found.setdefault(step, set()).add(loss)
    return found
