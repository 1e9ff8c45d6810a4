"""Each rule of our own passes what is right and fails what is wrong, also as a check of checkov."""

import json
from pathlib import Path

import pytest

from llmops_infra.rules.every import RULES, problems
from support import scan
from support.rule_fixtures import CASES
from support.tools import lacking


def test_every_rule_has_a_passing_and_a_failing_fixture() -> None:
    assert {rule.id for rule in RULES} == CASES.keys()
    assert all(failing for _, _, failing in CASES.values())


@pytest.mark.parametrize("rule_id", CASES)
def test_a_rule_tells_right_from_wrong(rule_id: str) -> None:
    type_name, passing, failing = CASES[rule_id]

    assert rule_id not in [rule.id for rule, _ in problems(type_name, passing)]
    for resource in failing:
        assert rule_id in [rule.id for rule, _ in problems(type_name, resource)], resource


def test_checkov_runs_the_rules(tmp_path: Path) -> None:
    if not scan.CHECKOV.exists():
        lacking("checkov in .venv-scan", "make scan")
    expected = set()
    for rule_id, (type_name, passing, failing) in CASES.items():
        named = {"right": passing, **{f"wrong{number}": resource for number, resource in enumerate(failing)}}
        (tmp_path / rule_id).mkdir()
        (tmp_path / rule_id / "main.tf.json").write_text(json.dumps({"resource": {type_name: named}}))
        expected |= {(rule_id, f"{rule_id}/{name}") for name in named if name != "right"}

    found = scan.findings(scan.run_checkov(tmp_path))

    assert {
        (check, where.replace("resource.", "").replace(f"{CASES[check][0]}.", ""))
        for check, where, _ in found
        if check in CASES and where.startswith(f"{check}/")
    } == expected
