"""The controls of AWS Foundational Security Best Practices hold where they bear on the stacks."""

from typing import Any

import pytest

from llmops_infra.rules.every import RULES, problems
from support.fsbp import broken, rows
from support.infrastructure import everything
from support.stacks import needs_node

TABLE = rows()


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All resources of both stacks with every switch on."""
    needs_node()
    return everything(tmp_path_factory.mktemp("full"))


def test_every_row_says_what_it_asserts_and_bears_on_a_resource(resources: dict[str, Any]) -> None:
    assert len({row["control"] for row in TABLE}) == len(TABLE)
    for row in TABLE:
        assert resources.get(row["type"]), row
        assert row.keys() & {"require", "rules", "waived"}, row
        assert ("unless" in row) == ("because" in row), row


@pytest.mark.parametrize("row", [row for row in TABLE if "waived" not in row], ids=lambda row: row["control"])
def test_a_control_holds(row: dict[str, Any], resources: dict[str, Any]) -> None:
    assert broken(row, resources) == []
    ours = {rule.id for rule in RULES} & set(row.get("rules", []))
    failing = [
        (name, rule.id, problem)
        for name, resource in resources[row["type"]].items()
        for rule, problem in problems(row["type"], resource)
        if rule.id in ours
    ]
    assert failing == []
