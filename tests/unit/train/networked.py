"""A process of a job that has its network's log already, and looks whether it may go on."""

import json
import logging
import os
import sys
from pathlib import Path

from llmops_shared.errors import LlmopsError
from llmops_train.parallel.mesh import joined
from llmops_train.parallel.network import demand_efa
from llmops_train.parallel.world import world_of
from llmops_train.parallel_config import ParallelConfig


def main(words: list[str]) -> int:
    """`words` is a list of logs, one of each process."""
    logging.basicConfig(level=logging.INFO)
    world = world_of(os.environ)
    with joined(ParallelConfig(engine="ddp"), world) as mesh:
        try:
            demand_efa(Path(json.loads(words[0])[world.rank]), world, mesh.control)
        except LlmopsError as error:
            print(error, file=sys.stderr)  # noqa: T201 - as the command line does it
            return 2
        print("went on with", mesh.total([1.0]), file=sys.stderr)  # noqa: T201
    return 0
