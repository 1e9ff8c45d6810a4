"""Whatever security-relevant attribute is flipped, a rule of ours, a best practice or checkov finds it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from llmops_infra.rules.every import problems
from support.fsbp import broken, rows
from support.infrastructure import everything
from support.mutations import Mutant, Resources, mutants
from support.scan import CHECKOV, findings, run_checkov
from support.stacks import needs_node
from support.tools import lacking

LEAST_CAUGHT = 0.95
TABLE = [row for row in rows() if "waived" not in row]


def caught_here(mutant: Mutant, resources: Resources) -> bool:
    """Whether a rule of ours or a row of the table finds it."""
    before = resources[mutant.type][mutant.name]
    if mutant.resource is not None:
        known = {rule.id for rule, _ in problems(mutant.type, before)}
        if any(rule.id not in known for rule, _ in problems(mutant.type, mutant.resource)):
            return True
    concerned = [row for row in TABLE if mutant.type in (row["type"], row.get("beside"))]
    changed = with_mutant(resources, mutant)
    return any(broken(row, changed) != broken(row, resources) for row in concerned)


def with_mutant(resources: Resources, mutant: Mutant) -> Resources:
    """The resources with one of them replaced or gone."""
    named = {name: resource for name, resource in resources[mutant.type].items() if name != mutant.name}
    if mutant.resource is not None:
        named[mutant.name] = mutant.resource
    return {**resources, mutant.type: named}


def caught_by_checkov(left: list[Mutant], resources: Resources, folder: Path) -> set[int]:
    """The numbers of those that checkov finds, each beside what it refers to and what refers to it, with and without the mutation."""
    for number, mutant in enumerate(left):
        around = neighbours(mutant, resources)
        for kind, found in (("before", around), ("after", with_mutant(around, mutant))):
            place = folder / f"{number}-{kind}"
            place.mkdir()
            (place / "main.tf.json").write_text(json.dumps({"resource": {key: value for key, value in found.items() if value}}))
    seen: dict[str, set[tuple[str, str]]] = {}
    for finding in findings(run_checkov(folder)):
        folder_name, _, resource = finding.where.partition("/")
        seen.setdefault(folder_name, set()).add((finding.check, resource))
    return {number for number in range(len(left)) if seen.get(f"{number}-after", set()) - seen.get(f"{number}-before", set())}


def neighbours(mutant: Mutant, resources: Resources) -> Resources:
    """A resource, what it refers to and what refers to it."""
    own = json.dumps(resources[mutant.type][mutant.name])
    found: dict[str, dict[str, Any]] = {mutant.type: {mutant.name: resources[mutant.type][mutant.name]}}
    for type_name, named in resources.items():
        for name, resource in named.items():
            if f"${{{type_name}.{name}." in own or f"${{{mutant.type}.{mutant.name}." in json.dumps(resource):
                found.setdefault(type_name, {})[name] = resource
    return found


@pytest.mark.slow
def test_what_is_flipped_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not CHECKOV.exists():
        lacking("checkov in .venv-scan", "make scan")
    needs_node()
    resources = everything(tmp_path / "full")
    (tmp_path / "left").mkdir()
    all_mutants = list(mutants(resources))

    left = [mutant for mutant in all_mutants if not caught_here(mutant, resources)]
    by_checkov = caught_by_checkov(left, resources, tmp_path / "left")

    survivors = [mutant.label() for number, mutant in enumerate(left) if number not in by_checkov]
    share = 1 - len(survivors) / len(all_mutants)
    report = (
        f"{len(all_mutants)} mutants: {len(all_mutants) - len(left)} found by rules of ours and best practices, "
        f"{len(by_checkov)} more by checkov, {len(survivors)} survive: {share:.1%} found\n"
    )
    with capsys.disabled():
        sys.stdout.write("\n" + report + "".join(f"  survives: {survivor}\n" for survivor in survivors))
    assert len(all_mutants) > 300
    assert share >= LEAST_CAUGHT, report
