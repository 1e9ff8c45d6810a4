"""A step's rows dealt out: to data shares, and each share to micro batches. The whole is the same for every number of processes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # noqa: TID253 - this module is imported late
from numpy.typing import NDArray

from llmops_train.config import TrainConfig
from llmops_train.data import IGNORED, Batch, Sequences, make_batch
from llmops_train.parallel.mesh import Mesh

FILLING = -1


def micro_rows(num_rows: int, config: TrainConfig, mesh: Mesh) -> tuple[int, int]:
    """Rows in a micro batch, and micro batches in a step, of each process."""
    share = -(-num_rows // mesh.data)
    rows = min(share, config.micro_batch_sequences or -(-share // mesh.pipeline))
    return rows, -(-share // rows)


def my_batches(packed: Sequences, rows: NDArray[np.int64], config: TrainConfig, mesh: Mesh) -> list[Batch]:
    """This process's micro batches of a step, on its device. Where rows do not come out even, some are there for their shape only."""
    even = mesh.pipeline > 1  # a schedule has a fixed number of micro batches of one shape
    if even:
        rows = np.pad(rows, (0, config.batch_sequences - len(rows)), constant_values=FILLING)
    size, number = micro_rows(len(rows), config, mesh)
    share = -(-len(rows) // mesh.data)
    mine = np.full(size * number if even else share, FILLING)
    own = rows[mesh.data_rank * share : (mesh.data_rank + 1) * share]
    mine[: len(own)] = own
    return [on_device(batch_of(packed, mine[start : start + size], rows[0]), mesh.device) for start in range(0, len(mine), size)]


def batch_of(packed: Sequences, rows: NDArray[np.int64], any_row: int) -> Batch:
    """The batch of these rows; filling has the shape of a row, and nothing to learn."""
    real = rows[rows != FILLING]
    if len(real) == len(rows):
        return make_batch(packed, rows)
    batch = make_batch(packed, real if len(real) else np.array([any_row]))
    missing = len(rows) - len(batch.input_ids)
    batch = each_tensor(batch, lambda tensor: torch.cat([tensor, tensor[:1].expand(missing, *tensor.shape[1:])]))
    batch.labels[len(real) :] = IGNORED
    return batch if len(real) else batch._replace(num_tokens=0)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch where the model is."""
    if device.type == "cpu":
        return batch

    return each_tensor(batch, lambda tensor: tensor.pin_memory().to(device, non_blocking=True))


def each_tensor(batch: Batch, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
    """The batch with each of its tensors changed."""
    changed: dict[str, Any] = {name: change(value) for name, value in batch._asdict().items() if torch.is_tensor(value)}
    return batch._replace(**changed)
