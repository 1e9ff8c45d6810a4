"""The terraform CLI, attached to one simulated provider."""

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmops_offline import cache, workspace
from llmops_shared.errors import LlmopsError

logger = logging.getLogger(__name__)

# commands that neither read a configuration nor need a provider
_PLAIN = {"fmt", "version", "login", "logout"}
_PATH_OPTIONS = ("-out", "-var-file", "-state", "-state-out", "-backup", "-generate-config-out")


def executable() -> str:
    """The terraform on the PATH, or `$TERRAFORM`. Raises LlmopsError when there is none."""
    wanted = os.environ.get("TERRAFORM", "terraform")
    if found := shutil.which(wanted):
        return found
    raise LlmopsError(f"{wanted} is not on the PATH: install Terraform 1.11 or newer, or name it in TERRAFORM")


@dataclass(frozen=True)
class OfflineTerraform:
    """Terraform with a provider at work; any number of commands, also at the same time."""

    binary: str
    """Path of the CLI."""
    attachment: str
    """What TF_REATTACH_PROVIDERS takes."""
    version: str
    """Version of the AWS provider whose schema is served."""

    def run(self, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command on the configuration in `directory`, without colour; its output as text."""
        line = [*self._line(directory, list(arguments)), "-no-color"]
        return subprocess.run(line, env=self._environment(), capture_output=True, text=True, check=False)

    def call(self, directory: Path, *arguments: str) -> int:
        """The same at the terminal; the exit code."""
        child = subprocess.Popen(self._line(directory, list(arguments)), env=self._environment())
        # an interrupt goes to Terraform too, which winds down by itself
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        return child.wait()

    def _line(self, directory: Path, arguments: list[str]) -> list[str]:
        if not directory.is_dir():
            raise LlmopsError(f"{directory}: no such folder; give one with *.tf or *.tf.json files to -chdir")
        command, *rest = arguments
        if command in _PLAIN or "-help" in rest:
            return [self.binary, *arguments]
        for pin in workspace.provider_pins(directory):
            wanted = pin.removeprefix("=").strip()
            if wanted[:1].isdigit() and wanted != self.version:
                logger.warning("the configuration pins AWS provider %s, the bindings' schema is that of %s", wanted, self.version)
        work = workspace.prepare(directory)
        return [self.binary, f"-chdir={work}", command, *_absolute(command, rest, directory)]

    def _environment(self) -> dict[str, str]:
        """Terraform's environment: the provider attached, and no way out to AWS or to a registry."""
        withheld = ("TF_DATA_DIR", "TF_PLUGIN_CACHE_DIR", "TF_CLI_CONFIG_FILE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_") and name not in withheld}
        mirror = cache.folder() / "mirror"
        mirror.mkdir(parents=True, exist_ok=True)
        settings = cache.folder() / "terraform.rc"
        installation = f"provider_installation {{\n  filesystem_mirror {{\n    path = {json.dumps(str(mirror))}\n  }}\n}}\n"
        settings.write_text(f"disable_checkpoint = true\n{installation}")
        return {
            **kept,
            "AWS_EC2_METADATA_DISABLED": "true",
            "CHECKPOINT_DISABLE": "1",
            "TF_CLI_CONFIG_FILE": str(settings),
            "TF_REATTACH_PROVIDERS": self.attachment,
        }


@contextlib.contextmanager
def offline_terraform() -> Iterator[OfflineTerraform]:
    """Starts the simulated provider and ends it. Raises LlmopsError when terraform or the bindings are missing."""
    binary, schema = executable(), cache.schema()
    with zipfile.ZipFile(schema) as stored:
        version = stored.read("version").decode()
    process = subprocess.Popen(
        [sys.executable, "-m", "llmops_offline.provider", str(schema)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin and process.stdout
    try:
        port = process.stdout.readline().strip()
        if not port:
            raise LlmopsError(f"the simulated provider did not start (exit code {process.wait()}); its words are above")
        address = {"Network": "tcp", "String": f"127.0.0.1:{port}"}
        served = {"Protocol": "grpc", "ProtocolVersion": 5, "Pid": process.pid, "Test": True, "Addr": address}
        yield OfflineTerraform(binary, json.dumps({"hashicorp/aws": served}), version)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.terminate()
        process.wait()


def _absolute(command: str, rest: list[str], directory: Path) -> list[str]:
    """Terraform runs in the private folder: anchors relative paths at the configuration's."""
    anchored = []
    for position, argument in enumerate(rest):
        name, equals, value = argument.partition("=")
        follows = rest[position - 1] if position else ""
        if "-backend-config" in (name, follows) and command == "init":
            continue
        if equals and name in _PATH_OPTIONS:
            anchored.append(f"{name}={(directory / value).resolve()}")
        elif follows in _PATH_OPTIONS or (command in ("apply", "show") and (directory / argument).is_file()):
            anchored.append(str((directory / argument).resolve()))
        else:
            anchored.append(argument)
    return anchored
