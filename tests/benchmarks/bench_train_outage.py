"""Training while MLflow is away: is every point recorded once, and what does a step take meanwhile beside before and after?

python tests/benchmarks/bench_train_outage.py [SECONDS_AWAY] [SECONDS_THERE]

MLflow's own server, behind a way that is open, closed for a minute and open again, while `llmops_train.loop.train` trains a small Llama and
records a point of four figures at every step, as `llmops-train run` does.
"""

import json
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from bench_train_step import config_of, data, fresh_model

from llmops_shared.config import Tracking
from llmops_shared.tracking import tracked
from llmops_train.checkpoint import Checkpoint
from llmops_train.interruption import Interrupted, Stop
from llmops_train.loop import train
from llmops_train.loss import summed_loss
from llmops_train.parallel.engine import make_engine
from llmops_train.parallel.mesh import Mesh
from llmops_train.parallel.world import World
from support.mlflow_server import Way, mlflow_server


def main(away_s: float, there_s: float) -> None:
    torch.set_num_threads(1)
    config = config_of(1_000_000).model_copy(update={"batch_sequences": 1, "log_every_steps": 1, "checkpoint_every_steps": 1_000_000})
    with tempfile.TemporaryDirectory() as scratch, mlflow_server(Path(scratch)) as port:
        way, stop = Way(port), Stop()
        began: list[float] = []
        steps: list[tuple[str, float, float]] = []

        def log(figures: dict[str, float], step: int) -> None:
            began.append(time.monotonic())
            since = began[-1] - began[0]
            way.state = "closed" if there_s <= since < there_s + away_s else "open"
            steps.append((way.state, time.process_time(), time.thread_time()))
            run.metrics(figures, step)
            stop.asked = since >= 2 * there_s + away_s

        with tracked(Tracking(uri=way.uri), "train", "outage") as run:
            engine = make_engine(fresh_model(), summed_loss, config, Mesh(World(), torch.device("cpu")))
            train_until(stop, lambda: train(engine, data(), data().take(range(1)), config, Checkpoint(scratch, "bench"), log, stop))
        report(steps, run.run_id or "", port)
        way.close()


def train_until(stop: Stop, training: object) -> None:
    """Trains until it is asked to stop."""
    try:
        training()  # type: ignore[operator]
    except Interrupted:
        assert stop.asked


def report(steps: list[tuple[str, float, float]], run_id: str, port: int) -> None:
    """What the steps took, and whether MLflow has each of them once."""
    from mlflow import MlflowClient

    taken: dict[str, list[tuple[float, float]]] = {"open": [], "closed": []}
    for (before, process, thread), (after, process_then, thread_then) in pairwise(steps):
        if before == after:
            taken[before].append((process_then - process, thread_then - thread))
    for state, pairs in taken.items():
        whole, main_thread = (round(1e3 * median(column), 2) for column in zip(*pairs, strict=True))
        print(
            json.dumps({"mlflow": state, "steps": len(pairs), "cpu_ms_a_step": whole, "cpu_ms_a_step_of_the_training_thread": main_thread})
        )
    for name, column in (("process", 0), ("training thread", 1)):
        ratio = median(pair[column] for pair in taken["closed"]) / median(pair[column] for pair in taken["open"])
        print(json.dumps({"ratio": f"a step without MLflow of one with it, {name}", "value": round(ratio, 4)}))
    client = MlflowClient(f"http://127.0.0.1:{port}")
    found = [point.step for point in client.get_metric_history(run_id, "train_loss")]
    print(json.dumps({"points recorded": len(found), "steps": len(steps), "each once": sorted(found) == list(range(1, len(steps) + 1))}))


if __name__ == "__main__":
    given = [float(word) for word in sys.argv[1:]]
    main(*[*given, *(60.0, 30.0)[len(given) :]])
