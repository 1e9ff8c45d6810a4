"""Both stacks of every environment through Terraform: validated, planned, applied, settled, changed, destroyed."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmops_offline import workspace
from llmops_offline.terraform import OfflineTerraform
from llmops_shared.contracts.endpoint import Endpoint
from llmops_shared.contracts.platform import Platform
from support.infrastructure import ENVIRONMENT_NAMES, Stacks, endpoint_document, synthesize, synthesized, variant
from support.stacks import needs_node

# what a secret looks like: AWS keys, private keys, tokens of GitHub and Hugging Face, passwords in URLs
SECRET = re.compile(r"(AKIA|ASIA)[A-Z0-9]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|gh[pousr]_\w{36}|hf_\w{30}|://[^/\s:\"]+:[^@/\s\"]+@")


@dataclass(frozen=True)
class Applied:
    """An environment on the simulated AWS."""

    name: str
    folder: Path
    stacks: Stacks
    endpoint: Endpoint
    plans: dict[str, str]
    """Each stack's first plan, as `terraform show -json` prints it."""


def succeed(done: subprocess.CompletedProcess[str]) -> str:
    """The output of a command that has to succeed."""
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def document_for(name: str) -> Endpoint:
    """One production and one shadow variant where every switch is on, else two by weight."""
    if name == "full":
        return endpoint_document(variant("base"), variant("tuned", shadow=True))
    return endpoint_document(variant("base", 9), variant("tuned", 1))


@pytest.fixture(scope="session", params=ENVIRONMENT_NAMES)
def applied(request: pytest.FixtureRequest, terraform: OfflineTerraform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    """An environment, applied once for all tests of this file."""
    needs_node()
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    endpoint = document_for(name)
    stacks, plans = synthesize(name, folder, endpoint), {}
    for stack, directory in stacks.items():
        succeed(terraform.run(directory, "init"))
        succeed(terraform.run(directory, "validate"))
        succeed(terraform.run(directory, "plan", f"-out={folder / stack}.plan"))
        plans[stack] = succeed(terraform.run(directory, "show", "-json", f"{folder / stack}.plan"))
        succeed(terraform.run(directory, "apply", f"{folder / stack}.plan"))
    yield Applied(name, folder, stacks, endpoint, plans)
    for directory in stacks.values():
        workspace.forget(directory)


def changes(plan: str) -> dict[str, list[str]]:
    """What a plan does to each resource, by address; those it leaves alone are not in it."""
    found = {change["address"]: change["change"]["actions"] for change in json.loads(plan)["resource_changes"]}
    return {address: actions for address, actions in found.items() if actions not in (["no-op"], ["read"])}


def plan_of(applied: Applied, terraform: OfflineTerraform, endpoint: Endpoint | None) -> dict[str, Any]:
    """The plan of the serving stack for another document."""
    directory = applied.stacks["serving"]
    kept = {path: path.read_bytes() for path in applied.folder.rglob("*.json")}
    synthesize(applied.name, applied.folder, endpoint)
    try:
        succeed(terraform.run(directory, "plan", f"-out={applied.folder}/next.plan"))
        found: dict[str, Any] = json.loads(succeed(terraform.run(directory, "show", "-json", f"{applied.folder}/next.plan")))
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    return found


def test_the_first_plan_makes_every_resource(applied: Applied) -> None:
    for stack, directory in applied.stacks.items():
        num = sum(len(named) for named in synthesized(directory)["resource"].values())
        actions = changes(applied.plans[stack])
        assert len(actions) >= num > 0
        assert set(map(tuple, actions.values())) == {("create",)}


def test_a_second_plan_changes_nothing(applied: Applied, terraform: OfflineTerraform) -> None:
    for directory in applied.stacks.values():
        done = terraform.run(directory, "plan", "-detailed-exitcode")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert "No changes." in done.stdout


def test_the_outputs_are_the_fields_of_platform(applied: Applied, terraform: OfflineTerraform) -> None:
    outputs = succeed(terraform.run(applied.stacks["platform"], "output", "-json"))

    platform = Platform.from_outputs(outputs)

    assert platform.environment == applied.name
    constant = {"kind", "schema_version"}
    declared = synthesized(applied.stacks["platform"])["output"].keys()
    expected = set(Platform.model_fields) - constant
    assert set(declared) - constant <= expected
    if applied.name == "full":
        assert set(json.loads(outputs)) - constant == expected
        assert all(value is not None for value in platform.model_dump().values())


def test_another_document_updates_the_endpoint_in_place(applied: Applied, terraform: OfflineTerraform) -> None:
    first, second = applied.endpoint.variants
    changed = [first, variant("next", shadow=True)] if second.shadow else [variant("base", 1), variant("tuned", 1)]

    plan = plan_of(applied, terraform, endpoint_document(*changed, generation=2))

    change = next(item["change"] for item in plan["resource_changes"] if item["type"] == "aws_sagemaker_endpoint")
    assert change["actions"] == ["update"]
    # only `name` would replace an endpoint, and a moved deployment_config, which Terraform has to ignore
    unlike = {key for key, value in change["before"].items() if value != change["after"].get(key) and key != "tags_all"}
    assert unlike <= {"endpoint_config_name"}
    configuration = next(item["change"] for item in plan["resource_changes"] if item["type"] == "aws_sagemaker_endpoint_configuration")
    assert configuration["before"]["name"] != configuration["after"]["name"], "a configuration cannot be changed: it is another one"


def test_no_document_leaves_nothing_that_costs(applied: Applied, terraform: OfflineTerraform) -> None:
    plan = plan_of(applied, terraform, None)

    actions = changes(json.dumps(plan))
    assert actions and set(map(tuple, actions.values())) == {("delete",)}
    assert "root_module" not in plan["planned_values"] or not plan["planned_values"]["root_module"].get("resources")


def test_no_secret_is_in_plan_state_or_outputs(applied: Applied, terraform: OfflineTerraform) -> None:
    for stack, directory in applied.stacks.items():
        shown = succeed(terraform.run(directory, "show", "-json"))
        outputs = succeed(terraform.run(directory, "output", "-json"))
        for text in (applied.plans[stack], shown, outputs, (directory / "cdk.tf.json").read_text()):
            assert not SECRET.search(text)
        assert not any(output["sensitive"] for output in json.loads(outputs).values())
        resources = json.loads(shown)["values"]["root_module"]["resources"]
        assert [
            (resource["address"], secret) for resource in resources for secret in secrets(resource["values"], resource["sensitive_values"])
        ] == []


def secrets(values: Any, marks: Any) -> list[Any]:
    """The values that the provider marks as secret."""
    if marks is True:
        return [] if values in (None, "", [], {}) else [values]
    if isinstance(marks, dict):
        return [secret for key, mark in marks.items() for secret in secrets(values.get(key), mark)]
    if isinstance(marks, list):
        return [secret for value, mark in zip(values, marks, strict=False) for secret in secrets(value, mark)]
    return []


def test_what_holds_data_goes_only_where_nothing_is_protected(applied: Applied) -> None:
    resources = synthesized(applied.stacks["platform"])["resource"]
    protected = applied.name in ("prod", "full")

    buckets = {bucket["force_destroy"] for bucket in resources["aws_s3_bucket"].values()}
    repositories = {repository["force_delete"] for repository in resources["aws_ecr_repository"].values()}
    databases = {
        (cluster["deletion_protection"], cluster["skip_final_snapshot"]) for cluster in resources.get("aws_rds_cluster", {}).values()
    }

    assert buckets == repositories == {not protected}
    assert databases <= {(protected, not protected)}


def test_destroy_leaves_an_empty_state(applied: Applied, terraform: OfflineTerraform) -> None:
    for directory in reversed(applied.stacks.values()):
        succeed(terraform.run(directory, "destroy", "-auto-approve"))
        assert succeed(terraform.run(directory, "state", "list")).split() == []
