"""The machine while a job runs: processor, memory, disk, network and GPUs in MLflow, by MLflow's own collectors."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llmops_shared.tracking import Run

SECONDS_BETWEEN_SAMPLES = 10.0


@contextmanager
def watch_system(tracking: Run, seconds: float = SECONDS_BETWEEN_SAMPLES) -> Iterator[None]:
    """Records samples of the machine until the body ends; nothing where nothing is tracked."""
    if tracking.run_id is None:
        yield
        return
    monitors, over, number = collectors(), threading.Event(), 0

    def sample() -> None:
        nonlocal number
        for monitor in monitors:
            monitor.collect_metrics()
            tracking.metrics({f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}, number)
            monitor.clear_metrics()
        number += 1

    def work() -> None:
        while not over.wait(seconds):
            sample()

    thread = threading.Thread(target=work, name="system metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        sample()


def collectors() -> list[Any]:
    """MLflow's collectors for what this machine has."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    found: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    try:
        return [*found, GPUMonitor()]
    except (ImportError, RuntimeError):  # no nvidia-ml-py, or no driver: a machine without GPUs
        return found
