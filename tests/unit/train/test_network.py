"""A job that must talk by EFA ends at its start when NCCL took another network, on every host and with the reason."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from llmops_shared.errors import LlmopsError
from llmops_train.container import demanding_efa
from llmops_train.container_config import InContainer
from llmops_train.doctor.efa import network_lines, provider_problem
from llmops_train.opt_ml import Settings
from llmops_train.parallel.mesh import joined
from llmops_train.parallel.world import World
from llmops_train.parallel_config import ParallelConfig
from support.ranks import Ranks
from unit.train.test_doctor import OVER_EFA, OVER_TCP

# what NCCL 2.26 and later write: the plugin is there and cannot start, so NCCL takes sockets and goes on
FALLEN = """algo-2:152:386 [0] NCCL INFO NCCL version 2.27.7+cuda12.8
algo-2:152:386 [0] NCCL INFO NET/Plugin: Loaded net plugin Libfabric (v11)
algo-2:152:386 [0] NCCL INFO NET/OFI Initializing aws-ofi-nccl 1.16.3
algo-2:152:386 nccl_net_ofi_init_v6(ncclDebugLogger_t):166 NCCL WARN NET/OFI Initializing plugin failed
algo-2:152:386 [0] NCCL INFO NET/IB : No device found.
algo-2:152:386 [0] NCCL INFO NET/Socket : Using [0]eth0:10.0.0.2<0>
algo-2:152:386 [0] NCCL INFO Initialized NET plugin Socket
algo-2:152:386 [0] NCCL INFO Assigned NET plugin Socket to comm
algo-2:152:386 [0] NCCL INFO Using network Socket
"""
NEWER = """algo-1:172:172 [0] NCCL INFO NET/Plugin: Loaded net plugin Libfabric (v11)
algo-1:172:172 [0] NCCL INFO Using network Libfabric
algo-1:172:172 [0] NCCL INFO NET/OFI Selected provider is efa, fabric is efa (found 3 nics)
algo-1:172:172 [0] NCCL INFO NET/OFI Using Libfabric version 2.4
"""
OLDER = """algo-1:21:21 [0] NCCL INFO NET/OFI Using aws-ofi-nccl 1.5.0aws
algo-1:21:21 [0] NCCL INFO NET/OFI Selected Provider is efa (found 1 nics)
algo-1:21:21 [0] NCCL INFO Using network AWS Libfabric
"""


@pytest.mark.parametrize(
    ("log", "taken"),
    [
        (OVER_EFA, None),
        (NEWER, None),
        (OLDER, None),
        (OVER_TCP, "Socket"),
        (FALLEN, "Socket"),
        (NEWER.replace("provider is efa, fabric is efa", "provider is tcp;ofi_rxm, fabric is TCP"), "Libfabric, tcp;ofi_rxm"),
        (NEWER + FALLEN, "Socket, efa"),  # one communicator over EFA, the next one over TCP
        ("", "none named in its log"),
    ],
)
def test_what_nccl_took_is_read_from_its_own_words(log: str, taken: str | None) -> None:
    problem = provider_problem(log, "algo-2")

    if taken is None:
        assert problem is None and any("efa" in line for line in network_lines(log))
    else:
        assert problem is not None and set(taken.split(", ")) <= set(problem.partition(" by ")[2].partition(", not by")[0].split(", "))


@pytest.mark.slow
@pytest.mark.parametrize(("second", "code"), [(NEWER, 0), (FALLEN, 2), (None, 2)])
def test_one_host_on_tcp_ends_the_job_on_all_of_them(ranks: Ranks, tmp_path: Path, second: str | None, code: int) -> None:
    logs = [tmp_path / "first", tmp_path / "second"]
    for path, text in zip(logs, (NEWER, second), strict=True):
        if text is not None:
            path.write_text(text)

    started = ranks.start([json.dumps(list(map(str, logs)))], 2, nodes=2, entry="unit.train.networked:main")

    assert started.codes() == [code, code]
    told = [path.read_text() for path in started.logs]
    assert "NET/OFI Selected provider is efa" in told[0]  # what was taken is in the job's own log
    if code:
        taken = "Socket" if second else "none named in its log"
        assert all(f"process 1: NCCL talks by {taken}, not by EFA" in text and "FI_PROVIDER=efa" in text for text in told)
    else:
        assert all("went on with [2.0]" in text for text in told)


def test_what_does_not_talk_by_nccl_cannot_be_held_to_efa() -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    with pytest.raises(ValidationError, match="require_efa reads NCCL's log, which backend gloo does not write"):
        ParallelConfig(engine="ddp", backend="gloo", require_efa=True)
    asked = ParallelConfig(engine="ddp", require_efa=True)
    with pytest.raises(LlmopsError, match="there is no GPU here"), joined(asked, World(0, 2, 0, 1, "127.0.0.1:1")):
        pass


def test_a_job_that_must_have_efa_holds_its_processes_to_it() -> None:
    from llmops_train.config import TrainConfig
    from unit.train.tiny import tiny_settings

    def config(**parallel: object) -> TrainConfig:
        return TrainConfig.model_validate(tiny_settings(method="pretrain", dataset="d", out="o", max_steps=1, parallel=parallel))

    for required, parallel, held in (
        (True, {"engine": "fsdp2"}, True),
        (False, {"engine": "fsdp2"}, False),
        (True, {"engine": "ddp", "backend": "smddp"}, False),
    ):
        settings = Settings(config(**parallel), InContainer(require_efa=required))
        assert demanding_efa(settings).parallel.require_efa is held
