"""What a host is like: its clock and GPUs, disks and mounts."""

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from llmops_shared.errors import LlmopsError
from llmops_train.doctor.finding import Finding
from llmops_train.feed.plan import file_system

UNSYNCHRONISED = 0x0040  # STA_UNSYNC of <linux/timex.h>

PIECE = 8 * 2**20
PIECES = 16


def check_clock() -> list[Finding]:
    """Whether the kernel takes the clock for synchronised: signatures of AWS's requests fail five minutes off."""
    buffer = ctypes.create_string_buffer(1024)  # struct timex, whose first field (modes) is 0: only read
    if ctypes.CDLL(None, use_errno=True).adjtimex(buffer) < 0:
        return [Finding("clock", f"adjtimex: {os.strerror(ctypes.get_errno())}", "allow the container to read the kernel's clock state")]
    # modes, padding, offset, freq, maxerror, esterror, status
    status = int.from_bytes(buffer.raw[40:44], "little")
    fix = "start chrony with the server 169.254.169.123"
    return [Finding("clock", "the kernel says that its clock is not synchronised", fix)] if status & UNSYNCHRONISED else []


def check_gpus() -> list[Finding]:
    """Whether a GPU is slowed down by heat or power."""
    if not shutil.which("nvidia-smi"):
        return []
    query = "--query-gpu=index,clocks_event_reasons.hw_slowdown,clocks_event_reasons.hw_thermal_slowdown"
    ran = subprocess.run(["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True, timeout=60, check=False)
    if ran.returncode:
        return [
            Finding(
                "gpu_clocks", f"nvidia-smi: {ran.stderr.strip() or ran.stdout.strip()}", "replace the instance: its driver does not answer"
            )
        ]
    slow = [line.split(",")[0] for line in ran.stdout.splitlines() if " Active" in line]
    return [Finding("gpu_clocks", f"GPU {', '.join(slow)} is slowed down by its hardware", "replace the instance")] if slow else []


def check_disk(folder: str, free_gb: float, mb_per_s: float) -> tuple[list[Finding], float]:
    """Findings about a disk, and its speed of writing in MB/s. Raises LlmopsError when it cannot be written to."""
    try:
        free = shutil.disk_usage(folder).free / 1e9
        with tempfile.TemporaryFile(dir=folder) as file:
            piece, began = os.urandom(PIECE), time.monotonic()
            for _ in range(PIECES):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            speed = PIECE * PIECES / (time.monotonic() - began) / 1e6
    except OSError as error:
        raise LlmopsError(f"disk {folder}: cannot be written to ({error.strerror or error}); name a folder on the job's disk") from error
    findings = []
    if free < free_gb:
        findings.append(
            Finding("disk_space", f"{folder}: {free:.1f} GB free, less than {free_gb:g}", "give launch.sagemaker.volume_gb more")
        )
    if speed < mb_per_s:
        findings.append(
            Finding(
                "disk_speed",
                f"{folder}: {speed:.0f} MB/s, less than {mb_per_s:g}",
                "write to a local NVMe disk, or give the volume more throughput",
            )
        )
    return findings, speed


def check_fsx(folder: str) -> list[Finding]:
    """Findings about a mount of FSx for Lustre."""
    if not Path(folder).is_dir():
        return [Finding("fsx", f"{folder}: there is no such folder", "mount the file system there, ports 988 and 1018-1023 open")]
    kind = file_system(folder)
    if kind != "lustre":
        return [Finding("fsx", f"{folder}: is on {kind}, not on Lustre", "mount the file system; reading would go to the container's disk")]
    if not os.listdir(folder):
        return [Finding("fsx", f"{folder}: is empty", "check the data repository association and datasets_path of the platform")]
    return []
