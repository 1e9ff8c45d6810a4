"""The processes of a split run, forked from one that has its imports done: eight of them would import for a minute on two cores.

Each is a process of its own, with the variables torchrun would set, that calls the command line and ends with its exit code.
"""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ENTRY = "llmops_train.cli:main"

PRELOADED = (
    "boto3",
    "transformers.models.llama.modeling_llama",
    "llmops_train.cli",
    "llmops_train.run",
    "llmops_train.loop",
    "llmops_train.checkpoint",
    "llmops_train.parallel.copies",
    "llmops_train.parallel.pipeline",
)


class Started:
    """Processes that run."""

    def __init__(self, ranks: "Ranks", pids: list[int], logs: list[Path]) -> None:
        self.ranks = ranks
        self.pids = pids
        self.logs = logs

    def codes(self) -> list[int]:
        """Exit codes, a signal's negative, once all have ended."""
        return [int(code) for code in self.ranks.answer()["codes"]]

    def log(self) -> str:
        """What all of them wrote."""
        return "\n".join(path.read_text() for path in self.logs)


class Ranks:
    """The process that is forked."""

    def __init__(self, folder: Path, preloaded: Sequence[str] = ()) -> None:
        """`preloaded`: further modules that all processes need, imported once."""
        self.folder = folder
        self.count = 0
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "10000", "PYTHONPATH": str(Path(__file__).parents[1])}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.ranks", *preloaded], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def start(
        self, words: Sequence[str], size: int = 1, nodes: int = 1, environment: Mapping[str, str] | None = None, entry: str = ENTRY
    ) -> Started:
        """Starts `llmops-train` with these words, or another entry, on so many processes of so many nodes."""
        self.count += 1
        logs = [self.folder / f"{self.count:03d}-rank-{rank}.log" for rank in range(size)]
        order = {
            "words": list(words),
            "size": size,
            "nodes": nodes,
            "environment": dict(environment or {}),
            "logs": list(map(str, logs)),
            "entry": entry,
        }
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return Started(self, self.answer()["pids"], logs)

    def run(self, words: Sequence[str], size: int = 1, nodes: int = 1, environment: Mapping[str, str] | None = None) -> str:
        """Runs to the end, which must be a good one, and returns the log."""
        started = self.start(words, size, nodes, environment)
        codes = started.codes()
        assert codes == [0] * size, f"exit codes {codes}\n{started.log()[-6000:]}"
        return started.log()

    def answer(self) -> dict[str, list[int]]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the forked process has died"
        found: dict[str, list[int]] = json.loads(line)
        return found

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def variables(rank: int, size: int, nodes: int, port: int) -> dict[str, str]:
    """What torchrun sets."""
    local = size // nodes
    numbers = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank % local, "LOCAL_WORLD_SIZE": local, "GROUP_RANK": rank // local}
    return {**{name: str(value) for name, value in numbers.items()}, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def become(entry: str, words: list[str], log: str, environment: dict[str, str]) -> None:
    """The forked child: the entry in its own process, to its end."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.environ.update(environment)
    code = 1
    try:
        module, _, name = entry.partition(":")
        code = getattr(importlib.import_module(module), name)(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:  # noqa: BLE001 - the child must never go back into the parent's loop
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait_for_all(pids: list[int], seconds: float = 240.0) -> list[int]:
    """Exit codes; what has not ended by then is killed. When one dies the others have some seconds to notice."""
    codes: dict[int, int] = {}
    end = time.monotonic() + seconds
    while len(codes) < len(pids):
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            codes[pid] = os.waitstatus_to_exitcode(status)
            if codes[pid] != 0:
                end = min(end, time.monotonic() + 60.0)
        elif time.monotonic() > end:
            for left in set(pids) - set(codes):
                os.kill(left, signal.SIGKILL)
            end = time.monotonic() + seconds
        else:
            time.sleep(0.005)
    return [codes[pid] for pid in pids]


def answer(found: dict[str, list[int]]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def serve() -> None:
    """Forks as the lines on stdin say, until it is closed."""
    for name in (*PRELOADED, *sys.argv[1:]):
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        port, pids = free_port(), []
        for rank, log in enumerate(order["logs"]):
            pid = os.fork()
            if pid == 0:
                launched = variables(rank, order["size"], order["nodes"], port) if order["size"] > 1 else {}
                become(order["entry"], order["words"], log, {**order["environment"], **launched})
            pids.append(pid)
        answer({"pids": pids})
        answer({"codes": wait_for_all(pids)})


if __name__ == "__main__":
    serve()
