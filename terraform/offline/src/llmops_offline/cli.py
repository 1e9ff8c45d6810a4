"""`offline-terraform [-chdir=DIR] COMMAND ...`: Terraform's own command line, run with the simulated provider."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from llmops_offline import workspace
from llmops_offline.terraform import executable, offline_terraform
from llmops_shared.errors import LlmopsError
from llmops_shared.log import configure

USAGE = """usage: offline-terraform [-chdir=DIR] COMMAND [options]

Runs the real terraform on the configuration in DIR without a network and without an AWS account. COMMAND is any of
Terraform's, or `forget`, which drops the simulated state. terraform/offline/README.md says what this proves and what not."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; Terraform's own exit code, or 2 when it could not be started."""
    configure(as_json=False, rank=0)
    arguments = list(sys.argv[1:] if argv is None else argv)
    options, command, rest = split(arguments)
    directory = Path(options.get("-chdir", "."))
    try:
        if command is None and "-version" not in options:
            print(USAGE)
            return 0 if {"-help", "-h"} & options.keys() else 2
        if command is None:
            return subprocess.call([executable(), *arguments])
        if command == "forget":
            workspace.forget(directory)
            return 0
        with offline_terraform() as terraform:
            return terraform.call(directory, command, *rest)
    except LlmopsError as error:
        print(f"offline-terraform: {error}", file=sys.stderr)
        return 2


def split(arguments: list[str]) -> tuple[dict[str, str], str | None, list[str]]:
    """Global options by name, the command, and what follows it."""
    options: dict[str, str] = {}
    for index, argument in enumerate(arguments):
        if not argument.startswith("-"):
            return options, argument, arguments[index + 1 :]
        name, _, value = argument.replace("--", "-", 1).partition("=")
        options[name] = value
    return options, None, []


if __name__ == "__main__":
    sys.exit(main())
