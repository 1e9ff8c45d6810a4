"""Time and memory of every command of the loop: the first run, the second with nothing changed, and `--help`.

make bench-loop                 # into a fresh folder, removed afterwards
WORK=folder make bench-loop     # into this folder, kept
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.golden import SERVICES, verbs
from support.loop import REPOSITORY, Step, steps


class Cost(NamedTuple):
    """What one process and its children took."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    exit_code: int


def measure(argv: list[str], environment: dict[str, str]) -> Cost:
    """Runs one command; the peak is that of the largest process of its tree, as the kernel reports it."""
    started = time.perf_counter()
    process = subprocess.Popen(argv, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    log = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    if code not in (0, 3):
        sys.stderr.write(log.decode())
    return Cost(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, code)


def run_loop(work: Path) -> list[tuple[Step, Cost]]:
    """Every step in order; stops where one does not exit as it should."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{work}/mlflow.db", "MLFLOW_EXPERIMENT_NAME": "bench"}
    found = []
    for step in steps(work):
        cost = measure(step.argv, environment)
        found.append((step, cost))
        if cost.exit_code != step.exit_code:
            sys.exit(f"{' '.join(step.argv)}: exit {cost.exit_code}, expected {step.exit_code}")
    return found


def show(title: str, costs: list[tuple[Step, Cost]]) -> None:
    """One line a command and the total."""
    print(f"\n{title:<22}{'wall s':>9}{'cpu s':>9}{'peak MiB':>10}")
    for step, cost in costs:
        print(f"{step.name:<22}{cost.wall_s:>9.1f}{cost.cpu_s:>9.1f}{cost.peak_mib:>10.0f}")
    wall, cpu = sum(cost.wall_s for _, cost in costs), sum(cost.cpu_s for _, cost in costs)
    print(f"{'total':<22}{wall:>9.1f}{cpu:>9.1f}{max(cost.peak_mib for _, cost in costs):>10.0f}")


def main() -> None:
    """Two runs and every `--help`."""
    with tempfile.TemporaryDirectory(prefix="bench-loop-") as fresh:
        work = Path(os.environ.get("WORK") or fresh).absolute()
        show("first run", run_loop(work))
        show("second run", run_loop(work))
        helps = []
        for service in SERVICES:
            for verb in verbs(service):
                argv = [f"llmops-{service}", verb.name, "--help"]
                best = min((measure(argv, dict(os.environ)) for _ in range(3)), key=lambda cost: cost.cpu_s)
                helps.append((Step([" ".join(argv[:2]).removeprefix("llmops-")], 0), best))
        show("--help", helps)


if __name__ == "__main__":
    main()
