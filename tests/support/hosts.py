"""Hosts on one machine: network namespaces joined by a bridge, each with its own name, and the folder SageMaker gives a container."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support.tools import lacking

BRIDGE = "lltest-br"


def ip(*words: str) -> None:
    """Runs `ip`."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def hosts(names: Sequence[str]) -> Iterator[None]:
    """Makes a namespace for each name; they reach each other by it, and nothing else. Skips where that takes a right this user lacks."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        lacking("root and iproute2", "run the tests as root in a container with CAP_NET_ADMIN, apt-get install iproute2")
    remove(names)  # what a killed test has left
    names_file = "127.0.0.1 localhost\n" + "".join(f"10.213.7.{number} {name}\n" for number, name in enumerate(names, start=1))
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
    except subprocess.CalledProcessError as error:
        lacking("network namespaces", f"run the tests with CAP_NET_ADMIN ({error.stderr.decode().strip()})")
    try:
        ip("link", "set", BRIDGE, "up")
        for number, name in enumerate(names, start=1):
            space, outside = f"lltest-{name}", f"lltest{number}"
            ip("netns", "add", space)
            ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", outside, "master", BRIDGE, "up")
            ip("-n", space, "addr", "add", f"10.213.7.{number}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")
            folder = Path("/etc/netns", space)  # `ip netns exec` lays it over /etc
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "hosts").write_text(names_file)
        yield
    finally:
        remove(names)


def remove(names: Sequence[str]) -> None:
    """Removes the namespaces, what still runs in them, and the links between them."""
    for number, name in enumerate(names, start=1):
        listed = subprocess.run(["ip", "netns", "pids", f"lltest-{name}"], check=False, capture_output=True, text=True).stdout
        for process in map(int, listed.split()):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        subprocess.run(["ip", "link", "del", f"lltest{number}"], check=False, capture_output=True)  # its other end goes with it
        subprocess.run(["ip", "netns", "del", f"lltest-{name}"], check=False, capture_output=True)
        shutil.rmtree(Path("/etc/netns", f"lltest-{name}"), ignore_errors=True)
    subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True)


def opt_ml(
    root: Path, host: str, groups: Mapping[str, Sequence[str]], settings: Mapping[str, Any], channels: Mapping[str, Any] | None = None
) -> Path:
    """The folder /opt/ml of one host, as SageMaker fills it before a container starts."""
    config = root / "input" / "config"
    for folder in (config, root / "input" / "data", root / "model", root / "checkpoints", root / "output" / "data"):
        folder.mkdir(parents=True, exist_ok=True)
    current = next(name for name, members in groups.items() if host in members)
    resource = {
        "current_group_name": current,
        "current_host": host,
        "current_instance_type": "ml.p4d.24xlarge",
        "hosts": [member for members in groups.values() for member in members],
        "instance_groups": [
            {"hosts": list(members), "instance_group_name": name, "instance_type": "ml.p4d.24xlarge"} for name, members in groups.items()
        ],
        "network_interface_name": "eth0",
    }
    hyperparameters = {key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()}
    for name, content in {"resourceconfig": resource, "hyperparameters": hyperparameters, "inputdataconfig": channels or {}}.items():
        (config / f"{name}.json").write_text(json.dumps(content))
    return root


def start_container(root: Path, host: str | None = None) -> "subprocess.Popen[str]":
    """What `docker run IMAGE train` does on a host, its /opt/ml being elsewhere."""
    before = ["ip", "netns", "exec", f"lltest-{host}"] if host else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [*before, sys.executable, "-m", "llmops_train.cli", "train", f"root={root}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
