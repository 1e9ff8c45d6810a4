"""Versions of the network stack that are known not to work together, and settings that EFA needs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from llmops_train.doctor.finding import Finding

Version = tuple[int, ...]

EFA_SINCE_SYNC_MEMOPS = (1, 29)
"""https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-start-nccl.html: NCCL 2.19 and newer needs this installer."""
NCCL_SYNC_MEMOPS = (2, 19)

OFI_FOR_NCCL = (((2, 19), (1, 7, 4)), ((2, 12), (1, 5, 0)))
"""From this NCCL on at least this aws-ofi-nccl (https://github.com/aws/aws-ofi-nccl/releases)."""

EFA_WITH_PLUGIN = (1, 38)
"""From this installer on it brings aws-ofi-nccl (https://github.com/aws/aws-ofi-nccl/issues/803)."""


@dataclass(frozen=True)
class Stack:
    """What an image has; None where it has none, or one that cannot be told."""

    efa: Version | None
    nccl: Version | None
    ofi: Version | None
    environment: Mapping[str, str]
    """Variables it sets."""


def version_of(text: str | None) -> Version | None:
    """`v2.27.7-1` as (2, 27, 7)."""
    match = re.search(r"(\d+(?:\.\d+)+)", text or "")
    return tuple(map(int, match[1].split("."))) if match else None


def words(version: Version | None) -> str:
    """A version as text."""
    return ".".join(map(str, version)) if version else "unknown"


def check_stack(stack: Stack, where: str) -> list[Finding]:
    """Findings about an image that is to talk over EFA."""
    return [*check_versions(stack, where), *check_environment(stack.environment, where)]


def check_versions(stack: Stack, where: str) -> list[Finding]:
    """Findings about pairs of versions."""
    findings = []
    if stack.efa is None:
        findings.append(
            Finding("efa_installer", f"{where}: has no EFA installer of a named version", "install one of EFA_INSTALLER_VERSION 1.43.2")
        )
    bad = stack.nccl and stack.efa and stack.nccl >= NCCL_SYNC_MEMOPS and stack.efa < EFA_SINCE_SYNC_MEMOPS
    if bad and stack.environment.get("FI_EFA_SET_CUDA_SYNC_MEMOPS") != "0":
        findings.append(
            Finding(
                "nccl_efa_pair",
                f"{where}: NCCL {words(stack.nccl)} with EFA installer {words(stack.efa)} fails to register memory",
                "take EFA installer 1.29 or newer, or set FI_EFA_SET_CUDA_SYNC_MEMOPS=0",
            )
        )
    if stack.ofi is None and (stack.efa is None or stack.efa < EFA_WITH_PLUGIN):
        findings.append(
            Finding(
                "ofi_plugin",
                f"{where}: has no aws-ofi-nccl, so NCCL would talk by TCP",
                "install aws-ofi-nccl, or EFA installer 1.38 or newer",
            )
        )
    for nccl, ofi in OFI_FOR_NCCL:
        if stack.nccl and stack.ofi and stack.nccl >= nccl and stack.ofi < ofi:
            findings.append(
                Finding(
                    "nccl_ofi_pair",
                    f"{where}: aws-ofi-nccl {words(stack.ofi)} is older than NCCL {words(stack.nccl)} takes",
                    f"take {words(ofi)} or newer",
                )
            )
            break
    return findings


def check_environment(environment: Mapping[str, str], where: str) -> list[Finding]:
    """Findings about variables."""
    findings = []
    if environment.get("FI_PROVIDER") != "efa":
        found = environment.get("FI_PROVIDER", "not set")
        findings.append(
            Finding("fi_provider", f"{where}: FI_PROVIDER is {found}: libfabric may take TCP in silence", "set FI_PROVIDER=efa")
        )
    if environment.get("FI_EFA_USE_DEVICE_RDMA") != "1":
        found = environment.get("FI_EFA_USE_DEVICE_RDMA", "not set")
        findings.append(
            Finding("gpudirect", f"{where}: FI_EFA_USE_DEVICE_RDMA is {found}: no GPUDirect RDMA", "set FI_EFA_USE_DEVICE_RDMA=1")
        )
    if "tcp" in environment.get("NCCL_NET", "").lower() or environment.get("NCCL_NET") == "Socket":
        findings.append(Finding("nccl_net", f"{where}: NCCL_NET={environment['NCCL_NET']} keeps NCCL from EFA", "remove NCCL_NET"))
    if environment.get("NCCL_IB_DISABLE") == "1" and environment.get("FI_PROVIDER") != "efa":
        findings.append(Finding("nccl_ib", f"{where}: NCCL_IB_DISABLE=1 without EFA leaves TCP", "remove it, or set FI_PROVIDER=efa"))
    return findings
