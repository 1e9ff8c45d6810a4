"""`launcher: local`: torchrun's elastic agent starts the processes of a run here, as one node or as one of several."""

import json
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmops_shared.contracts import TrainingRun
from llmops_shared.documents import document_uri, read_document
from llmops_shared.errors import LlmopsError, VerdictNo
from llmops_shared.store import exists
from llmops_train.config import TrainConfig
from llmops_train.launch_config import LaunchConfig

logger = logging.getLogger(__name__)

USER_ERROR, VERDICT_NO = 2, 3
"""Exit codes that starting again cannot mend."""

SHUTDOWN_S = 20
"""Time the others get to end after one has failed; a checkpoint on SIGTERM takes at most 10 s."""


def launch(config: TrainConfig, launch: LaunchConfig, options: list[str]) -> TrainingRun | None:
    """Runs the same command in every process and returns the document the first one wrote.

    None on another node than the first's, and after an interruption. Raises LlmopsError when a process fails and starting again
    does not help.
    """
    processes = launch.processes or count_gpus() or 1
    logger.info("starting %d processes on node %d of %d", processes, launch.node + 1, launch.nodes)
    with tempfile.TemporaryDirectory(prefix="llmops-launch-") as scratch:
        settings = Path(scratch) / "settings.json"
        settings.write_text(config.model_copy(update={"launch": None}).model_dump_json(exclude={"launch"}))  # YAML reads JSON
        command = ["-u", "-m", "llmops_train.cli", "run", "--config", str(settings), *options]
        with passing_on_sigterm():
            run_elastic(command, launch, processes, scratch)
    place = document_uri(config.out, TrainingRun)
    return read_document(place, TrainingRun) if exists(place) else None


def run_elastic(command: list[str], launch: LaunchConfig, processes: int, scratch: str) -> None:
    """Starts the processes, again after a failure. One node decides by the exit code; several must all start again together."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    attempts = 1 + launch.max_restarts if launch.nodes == 1 else 1
    for attempt in range(1, attempts + 1):
        try:
            elastic_launch(settings_of(launch, processes, scratch), sys.executable)(*command)
            return
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            if failure.exitcode in (USER_ERROR, VERDICT_NO) or attempt == attempts:
                said = failure.message if Path(failure.error_file).is_file() else None
                raise explain(rank, failure.exitcode, attempt, said) from error
            logger.warning("process %d ended with %s; starting all again (%d of %d)", rank, named(failure.exitcode), attempt, attempts - 1)


def settings_of(launch: LaunchConfig, processes: int, scratch: str) -> Any:
    """torchrun's own settings."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.launcher.api import LaunchConfig as ElasticConfig

    alone = launch.nodes == 1
    return ElasticConfig(
        min_nodes=launch.nodes,
        max_nodes=launch.nodes,
        nproc_per_node=processes,
        run_id=launch.run_id or "llmops-train",
        rdzv_backend="c10d",
        rdzv_endpoint=launch.rendezvous or "127.0.0.1:0",
        rdzv_configs={"is_host": launch.node == 0, "join_timeout": int(launch.join_timeout_s), "timeout": int(launch.join_timeout_s)},
        max_restarts=0 if alone else launch.max_restarts,
        local_addr="127.0.0.1" if alone else launch.address,
        logs_specs=DefaultLogsSpecs(log_dir=scratch, redirects=Std.OUT),  # stdout is for the document, which this process prints
        signals_to_handle="SIGQUIT",  # SIGTERM is passed on, for the processes end by themselves, with a checkpoint
        shutdown_timeout=SHUTDOWN_S,
    )


@contextmanager
def passing_on_sigterm() -> Iterator[None]:
    """Within it, SIGTERM goes to the processes of the run, which complete a checkpoint and end."""
    import psutil

    def pass_on(number: int, frame: object) -> None:
        for child in psutil.Process().children():
            child.send_signal(number)

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def leave_reason(error: LlmopsError, environment: Mapping[str, str]) -> None:
    """Tells torchrun's agent, where one has started this process, why it ends."""
    if place := environment.get("TORCHELASTIC_ERROR_FILE"):
        Path(place).write_text(json.dumps({"message": str(error), "timestamp": int(time.time())}))


def explain(rank: int, code: int, attempts: int, said: str | None) -> LlmopsError:
    """The error of the process that failed first; `said`: its own last word."""
    if code == VERDICT_NO:
        return VerdictNo(f"process {rank} says no; its message is above")
    if code == USER_ERROR and said:
        return LlmopsError(f"process {rank}: {said}")
    if code == USER_ERROR:
        return LlmopsError(f"process {rank} cannot do what was asked; its message is above")
    tries = f"{attempts} time{'s' if attempts > 1 else ''}"
    if code == -signal.SIGKILL:
        return LlmopsError(f"process {rank} was killed {tries}, most often for memory; lower batch_sequences or split more (parallel.*)")
    return LlmopsError(f"process {rank} ended with {named(code)} {tries}; its traceback is above; the same command goes on")


def named(code: int) -> str:
    """An exit code in words; negative ones are signals."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def count_gpus() -> int:
    """NVIDIA devices of this machine, without loading torch."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def rehearse(config: TrainConfig, launch: LaunchConfig) -> dict[str, Any]:
    """What `--dry-run` shows."""
    settings = json.loads(launch.model_dump_json(exclude_none=True, exclude={"sagemaker"}))
    return {"launch": {**settings, "processes": launch.processes or count_gpus() or 1}, "command": f"llmops-train run {config.name}"}
