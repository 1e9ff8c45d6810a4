"""Elastic Fabric Adapter: its devices, and whether NCCL really took it."""

import re
from pathlib import Path

from llmops_train.doctor.finding import Finding

# the lines that AWS's own test of EFA looks for (aws-ofi-nccl's log at NCCL_DEBUG=INFO)
PROVIDER = re.compile(r"NET/OFI Selected [Pp]rovider is (?P<name>[\w;-]+)")
PLUGIN = re.compile(r"NET/OFI (?:Initializing|Using) aws-ofi-nccl (?P<version>[\w.-]+)")
NETWORK = re.compile(r"Using network (?P<name>[\w /.-]+?)\s*$", re.M)
DIRECT = re.compile(r"via NET/(?:AWS )?Libfabric/\d+/GDRDMA")


MEND = "set FI_PROVIDER=efa, pass /dev/infiniband into the container, and open the security group to its own members"
"""What to do where NCCL did not take EFA."""


def devices(folder: Path) -> list[str]:
    """Names of the EFA devices of a host."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def check_devices(folder: Path, wanted: int) -> list[Finding]:
    """Findings about the devices a host should have."""
    found = devices(folder)
    if len(found) >= wanted:
        return []
    return [
        Finding(
            "efa_devices",
            f"{folder} has {len(found)} EFA devices ({', '.join(found) or 'none'}), expected {wanted}",
            "use an instance type with EFA, and on EC2 attach every interface as `efa`; in a container pass /dev/infiniband through",
        )
    ]


def took_efa(text: str) -> bool:
    """Whether NCCL's log says that it talks by EFA, and by nothing else."""
    providers = {match["name"].split(";")[0] for match in PROVIDER.finditer(text)}
    return "efa" in providers and "Socket" not in networks_in(text)


def networks_in(text: str) -> set[str]:
    """The networks that NCCL's log says were taken."""
    return {match["name"].strip() for match in NETWORK.finditer(text)}


def provider_problem(text: str, where: str) -> str | None:
    """What NCCL talks by in place of EFA; None where it took EFA."""
    if took_efa(text):
        return None
    taken = ", ".join(sorted({match["name"] for match in PROVIDER.finditer(text)} | networks_in(text))) or "none named in its log"
    return f"{where}: NCCL talks by {taken}, not by EFA: ten times slower between hosts"


def network_lines(text: str) -> list[str]:
    """The lines of NCCL's log that name a network, each once."""
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if any(one.search(line) for one in (PROVIDER, PLUGIN, NETWORK))))


def check_log(text: str, where: str) -> list[Finding]:
    """Findings about an NCCL log written with NCCL_DEBUG=INFO: whether it ran over EFA with GPUDirect."""
    findings = []
    if not re.search(r"NCCL (INFO|WARN|version)", text):
        return [Finding("nccl_log", f"{where}: holds no line of NCCL", "set NCCL_DEBUG=INFO and NCCL_DEBUG_SUBSYS=INIT,NET, and run again")]
    if not PLUGIN.search(text):
        findings.append(
            Finding(
                "ofi_plugin",
                f"{where}: NCCL did not load aws-ofi-nccl (network: {', '.join(sorted(networks_in(text))) or 'not named'})",
                "install aws-ofi-nccl and put its lib folder on LD_LIBRARY_PATH before /usr/local/lib, as libnccl-net.so",
            )
        )
    if problem := provider_problem(text, where):
        findings.append(Finding("efa_provider", problem, MEND))
    elif not DIRECT.search(text):
        findings.append(
            Finding(
                "gpudirect",
                f"{where}: no GPUDirect RDMA: every byte goes through the host's memory",
                "set FI_EFA_USE_DEVICE_RDMA=1 on p4d and newer types, and keep the nvidia-peermem or dma-buf support of the driver",
            )
        )
    return findings
