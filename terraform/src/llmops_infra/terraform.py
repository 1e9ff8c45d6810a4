"""Terraform on both stacks, in order: the platform below, serving on top of it."""

import json
import logging
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from llmops_infra.config import Environment
from llmops_shared.errors import LlmopsError

logger = logging.getLogger(__name__)

Verb = Literal["plan", "apply", "destroy"]


class Terraform(Protocol):
    """The CLI, on AWS or on a simulated one."""

    def call(self, directory: Path, *arguments: str) -> int:
        """One command at the terminal; the exit code."""

    def run(self, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command whose output is read."""


@dataclass(frozen=True)
class RealTerraform:
    """The terraform on the PATH."""

    binary: str
    """Path of the CLI."""

    def call(self, directory: Path, *arguments: str) -> int:
        """One command at the terminal; the exit code."""
        return subprocess.run([self.binary, f"-chdir={directory}", *arguments], check=False).returncode

    def run(self, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command whose output is read."""
        return subprocess.run([self.binary, f"-chdir={directory}", *arguments], capture_output=True, text=True, check=False)


def run(verb: Verb, environment: Environment, stacks: dict[str, Path], *, offline: bool, ask: bool) -> None:
    """Runs the verb on each stack. Raises LlmopsError when Terraform is missing or fails; its own words stand above.

    A plan of serving reads the platform's outputs. Before the first apply there are none: then serving is left for later, but on a
    simulated AWS, where it costs nothing, the platform is applied for it.
    """
    with ExitStack() as stack:
        terraform = offline_terraform(stack) if offline else real_terraform()
        backend = [] if offline else backend_options(environment)
        for name in reversed(stacks) if verb == "destroy" else stacks:
            folder = stacks[name]
            check(terraform.call(folder, "init", "-input=false", *backend), "init", name)
            logger.info("%s: terraform %s", name, verb)
            check(terraform.call(folder, verb, *([] if verb == "plan" or ask else ["-auto-approve"])), verb, name)
            if verb == "plan" and name == "platform" and not outputs(terraform, folder):
                if not offline:
                    logger.info("serving: planned once the platform is applied, whose outputs it reads")
                    return
                logger.info("platform: applied to the simulated AWS, for serving reads its outputs")
                check(terraform.run(folder, "apply", "-auto-approve").returncode, "apply", name)


def check(code: int, verb: str, stack: str) -> None:
    """Raises LlmopsError for an exit code that is not 0."""
    if code:
        raise LlmopsError(f"terraform {verb} failed on the {stack} stack with exit code {code}; its words are above")


def outputs(terraform: Terraform, folder: Path) -> dict[str, object]:
    """What the stack's state gives out; nothing before the first apply."""
    done = terraform.run(folder, "output", "-json")
    found: dict[str, object] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found


def backend_options(environment: Environment) -> list[str]:
    """What completes the backend in the synthesized stacks: the bucket's name, which holds the account's id."""
    if environment.state.backend == "local" or environment.state.bucket:
        return ["-reconfigure"]
    from llmops_infra.s3 import state_bucket

    return ["-reconfigure", f"-backend-config=bucket={state_bucket(environment)}"]


def real_terraform() -> RealTerraform:
    """The terraform on the PATH. Raises LlmopsError when there is none."""
    if binary := shutil.which("terraform"):
        return RealTerraform(binary)
    raise LlmopsError("terraform is not on the PATH: install Terraform 1.11 or newer (developer.hashicorp.com/terraform/install)")


def offline_terraform(stack: ExitStack) -> Terraform:
    """The same on a simulated AWS. Raises LlmopsError when terraform or the simulation is not installed."""
    from llmops_offline.terraform import offline_terraform as started

    return stack.enter_context(started())
