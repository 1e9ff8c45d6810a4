"""Each service alone: a fresh environment with nothing but its own wheel, shared's and what they declare."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.golden import SERVICES
from support.loop import REPOSITORY
from support.tools import lacking

pytestmark = [pytest.mark.slow, pytest.mark.loop, pytest.mark.timeout(900)]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for package in ("shared", *(f"services/{service}" for service in SERVICES)):
        # hatchling is in the environment already, so the build needs no index
        command = ["uv", "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(folder)]
        subprocess.run([*command, str(REPOSITORY / package)], check=True)
    return folder


@pytest.fixture
def installed(request: pytest.FixtureRequest, wheels: Path, tmp_path: Path) -> Path:
    """The `bin` folder of a fresh environment that holds one service."""
    service = request.node.callspec.params["service"]
    home = tmp_path / "environment"
    environment = {**os.environ, "UV_LINK_MODE": "hardlink"}
    if "PIP_FIND_LINKS" in os.environ:
        environment.setdefault("UV_FIND_LINKS", os.environ["PIP_FIND_LINKS"])
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(home)], check=True)
    wheel = next(wheels.glob(f"llmops_{service}-*.whl"))
    shared = next(wheels.glob("llmops_shared-*.whl"))
    command = [
        "uv",
        "pip",
        "install",
        "--quiet",
        "--python",
        str(home / "bin" / "python"),
        "--constraint",
        str(REPOSITORY / "constraints.txt"),
    ]
    done = subprocess.run([*command, str(wheel), str(shared)], env=environment, capture_output=True, text=True, check=False)
    if done.returncode and any(word in done.stderr for word in ("dns error", "Connection refused", "Could not connect", "tcp connect")):
        lacking("a package index", "connect to the network, or name a mirror in UV_DEFAULT_INDEX")
    assert done.returncode == 0, done.stderr
    return home / "bin"


SMALLEST = {
    "preprocess": "run name=tiny view=text source.kind=jsonl source.uri={work}/texts.jsonl source.licence=CC0 vocab_size=300 "
    "near_duplicates.threshold=null out={work}/tiny",
    "train": "run name=tiny method=pretrain dataset={loop}/text max_steps=2 out={work}/tiny architecture.hidden_size=16 architecture.num_heads=2 "
    "architecture.num_layers=1 architecture.intermediate_size=16",
    "serve": "deploy name=tiny package={loop}/package-tuned index={loop}/index out={work}/tiny",
    "monitor": "drift --config {configs}/drift-in-domain.yaml endpoint={loop}/endpoint-2 out={work}/tiny",
}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_installs_and_works_alone(service, installed, loop, tmp_path):
    write_texts(tmp_path / "texts.jsonl")
    shutil.copy(loop.work / "mlflow.db", tmp_path)  # serve points an alias at a registered package; the loop's own registry stays as it is
    others = [f"llmops_{other}" for other in SERVICES if other != service]
    program = installed / f"llmops-{service}"
    places = {"work": str(tmp_path), "loop": str(loop.work), "configs": str(REPOSITORY / "services" / "monitor" / "configs")}
    words = [word.format(**places) for word in SMALLEST[service].split()]
    environment = {
        "PATH": f"{installed}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }

    helped = subprocess.run([program, "--help"], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path)
    found = subprocess.run([installed / "python", "-c", lookup(others)], env=environment, capture_output=True, text=True, check=True)
    done = subprocess.run([program, *words], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert f"llmops-{service}" in helped.stdout
    assert found.stdout.split() == []
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema_version"] == 1
    shutil.rmtree(installed.parent)  # a gigabyte each


def lookup(modules: list[str]) -> str:
    """A program that prints which of these modules can be imported."""
    return f"from importlib.util import find_spec; print(*[name for name in {modules!r} if find_spec(name)])"


def write_texts(path: Path) -> None:
    """A hundred different English texts."""
    subjects = ["river", "engine", "market", "garden", "letter", "window", "teacher", "harbour", "machine", "winter"]
    verbs = ["changes", "follows", "carries", "answers", "repairs", "measures", "describes", "protects", "remembers", "explains"]
    rows = [
        {
            "text": f"The {subject} {verb} what the {other} has left behind, and nobody in the town would say that this {verb[:-1]} is easy work for a {subject}."
        }
        for subject in subjects
        for verb, other in zip(verbs, reversed(subjects), strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
