"""Processes killed without warning: the run goes on as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from llmops_shared.contracts import TrainingRun
from support.ranks import Ranks, free_port
from unit.train.tiny import tiny_settings
from unit.train.trainee import LLAMA, losses_in

STEPS, KILLS = 80, 25


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_run_killed_at_25_random_steps_has_the_losses_of_an_unbroken_one_to_the_last_bit(ranks: Ranks, text: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("LLMOPS_CHAOS_SEED") or random.randrange(2**32))
    print(f"seed {seed} (LLMOPS_CHAOS_SEED)")  # noqa: T201 - to run the same again
    generator = random.Random(seed)
    settings = {"max_steps": STEPS, "checkpoint_every_steps": 2, "batch_sequences": 4}

    def go(folder: str, **order: object) -> int:
        full = {"text": text, "folder": str(tmp_path / folder), "losses": str(tmp_path / f"{folder}.losses"), "settings": settings, **order}
        started = ranks.start([json.dumps(full)], entry="unit.train.trainee:main")
        (code,) = started.codes()
        assert code in (0, -signal.SIGKILL), started.log()[-3000:]
        return code

    assert go("unbroken") == 0
    killed, half_written = 0, 0
    for number, step in enumerate(sorted(generator.sample(range(3, STEPS - 3), KILLS))):
        code = go("killed", kill_at=step, delay_ms=8.0, within_write=number % 2 == 0)
        killed += code == -signal.SIGKILL
        half_written += bool(list((tmp_path / "killed").glob(".step-*.partial")))
    assert go("killed") == 0

    assert killed == KILLS and half_written > 0
    assert losses_in(tmp_path / "killed.losses") == losses_in(tmp_path / "unbroken.losses")
    assert sorted(losses_in(tmp_path / "killed.losses")) == list(range(1, STEPS + 1))
    assert all(len(losses) == 1 for losses in losses_in(tmp_path / "killed.losses").values())


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_killed_process_of_two_is_back_within_thirty_seconds(text: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    more = {"architecture": LLAMA, "max_steps": 100_000, "checkpoint_every_steps": 50, "parallel": {"engine": "ddp"}}
    settings = {**tiny_settings(method="pretrain", dataset=text, out=str(out)), **more}
    words = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "2", "--monitor-interval", "0.2"]
    place = ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    log = tmp_path / "log"

    began = time.monotonic()
    with log.open("w") as file:
        agent = subprocess.Popen([*torchrun, *place, "-m", "llmops_train.cli", "run", *words], stdout=file, stderr=file)
    try:
        before = wait_for_step(out / "checkpoint", 0, 150.0)
        # thirty seconds, of which a start's imports take ten; a machine whose first start took longer is busy with other things
        limit = max(30.0, 1.5 * (time.monotonic() - began))
        victim = next(child for child in psutil.Process(agent.pid).children() if child.environ().get("RANK") == "1")
        victim.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        wait_for(lambda: "going on from" in log.read_text(), limit)
        after = wait_for_step(out / "checkpoint", before, limit - (time.monotonic() - killed))
        back_s = time.monotonic() - killed
        os.kill(next(child.pid for child in psutil.Process(agent.pid).children() if child.environ().get("RANK") == "0"), signal.SIGTERM)
        assert agent.wait(120) == 0, log.read_text()[-4000:]
    finally:
        if agent.poll() is None:
            for process in [*psutil.Process(agent.pid).children(recursive=True), psutil.Process(agent.pid)]:
                os.kill(process.pid, signal.SIGKILL)
            agent.wait()

    print(f"back after {back_s:.1f} s")  # noqa: T201 - the figure to compare
    assert after > before > 0 and back_s < limit
    assert "interrupted after step" in log.read_text() and not (out / TrainingRun.file_name).exists()


def wait_for(condition: object, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, f"not within {seconds:.0f} s"
        time.sleep(0.05)


def wait_for_step(folder: Path, above: int, seconds: float) -> int:
    """The step of the newest complete checkpoint, once it is above a number."""

    def newest() -> int:
        return max((int(path.name[5:13]) for path in folder.glob("step-????????-*.safetensors")), default=0)

    wait_for(lambda: newest() > above, seconds)
    return newest()
