"""`llmops-train doctor`: looks at an image or a host before money is spent on it, and says what to mend."""

import os
from collections.abc import Mapping
from pathlib import Path

from llmops_shared.contracts import Report
from llmops_shared.contracts.report import Measurement
from llmops_shared.errors import LlmopsError
from llmops_train.doctor import all_reduce, efa, host, image
from llmops_train.doctor.finding import Finding
from llmops_train.doctor_config import DoctorConfig


def doctor(config: DoctorConfig, environment: Mapping[str, str] = os.environ) -> Report:
    """Does the checks of the config. Raises LlmopsError when one cannot be done."""
    findings: list[Finding] = []
    figures: list[Measurement] = []
    if config.dockerfile:
        findings += image.lint_dockerfile(config.dockerfile)
    if config.image_root:
        findings += image.lint_inside(config.image_root, environment)
    if config.efa_devices:
        findings += efa.check_devices(Path("/sys/class/infiniband"), config.efa_devices)
    if config.nccl_log:
        findings += efa.check_log(read(config.nccl_log), config.nccl_log)
    if config.clock:
        findings += [*host.check_clock(), *host.check_gpus()]
    if config.disk:
        found, speed = host.check_disk(config.disk, config.disk_free_gb, config.disk_at_least_mb_per_s)
        findings += found
        figures.append(figure("disk_write", speed, "MB/s"))
    if config.fsx:
        findings += host.check_fsx(config.fsx)
    if config.all_reduce and not findings:  # what is found already would only be measured
        measured = all_reduce.measure(config.all_reduce)
        if measured is not None:
            findings += all_reduce.check(config.all_reduce, measured)
            figures.append(figure("all_reduce_bus", measured["bus_gb_per_s"], "GB/s", backend=measured["backend"]))
            figures.append(figure("clock_offset", measured["clock_offset_s"], "s"))
    return Report(
        report="doctor",
        name=config.name,
        subjects={},
        measurements=figures,
        verdict="fail" if findings else "pass",
        reasons=[f"{finding.check}: {finding.problem}; {finding.fix}" for finding in findings],
        parts={},
        mlflow_run_id=None,
    )


def figure(name: str, value: float, unit: str, **details: str) -> Measurement:
    """A figure without an interval."""
    better = "lower" if unit == "s" else "higher"
    return Measurement(name=name, value=value, low=None, high=None, confidence=None, num_rows=1, better=better, unit=unit, details=details)


def read(path: str) -> str:
    """A log. Raises LlmopsError when it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise LlmopsError(f"nccl_log {path}: cannot be read ({error.strerror or error})") from error
