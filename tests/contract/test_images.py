"""The services' images: rules for their files, locks that cover what is imported, and their steps in a clean environment."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.golden import REPOSITORY

FILES = sorted(REPOSITORY.glob("services/*/Dockerfile"))
SERVICES = ("preprocess", "serve", "monitor")
BIN = Path(sys.executable).parent
EXTRAS = {"serve": ["adapters"], "train": ["deepspeed", "qlora", "sagemaker"]}
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[.*\])?==([^\s;\\]+)", re.MULTILINE)


def instructions(path: Path) -> list[tuple[str, str]]:
    """Name and words of each, continued lines joined."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [
        (name, rest.strip()) for name, _, rest in (line.partition(" ") for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines())
    ]


def pins(path: Path) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in PIN.findall(path.read_text(encoding="utf-8"))}


def test_hadolint_finds_nothing() -> None:
    assert {path.parent.name for path in FILES} >= set(SERVICES)
    done = subprocess.run([BIN / "hadolint", *FILES], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_pinned_small_healthy_nobodys_and_without_secrets(service: str) -> None:
    found = instructions(REPOSITORY / "services" / service / "Dockerfile")

    bases = [words for name, words in found if name == "FROM"]
    assert len(bases) == 2 and all(re.search(r"@sha256:[0-9a-f]{64}(?: AS build)?$", base) for base in bases)
    last = found[max(place for place, (name, _) in enumerate(found) if name == "FROM") :]
    names = [name for name, _ in last]
    assert ("USER", "10001") in last and "HEALTHCHECK" in names and names.index("USER") < names.index("ENTRYPOINT")
    assert [words.split()[0] for name, words in last if name == "COPY"] == ["--from=build"]  # no source, no cache, no compiler
    assert not any(
        name in ("ARG", "ADD") or re.search(r"TOKEN|SECRET|PASSWORD|KEY=|http", words) for name, words in found if name != "HEALTHCHECK"
    )
    assert any("--require-hashes --no-deps --only-binary :all:" in words for name, words in found if name == "RUN")


def test_the_training_image_is_pinned_and_without_secrets() -> None:
    """Not small and nobody's: SageMaker runs it as root, and what DeepSpeed compiles at first use needs a compiler."""
    found = instructions(REPOSITORY / "services" / "train" / "Dockerfile")

    image, *stages = [words for name, words in found if name == "FROM"]
    assert re.search(r":[\d.]+-base-ubuntu24\.04@sha256:[0-9a-f]{64} AS cuda$", image)
    assert {words.partition(" ")[0] for words in stages} == {"cuda"}
    installs = [step for name, words in found if name == "RUN" for step in words.split(" && ") if "/pip install" in step]
    assert len(installs) == 3 and all("--require-hashes --no-deps" in step or "--no-index" in step for step in installs)
    assert not any(name == "ADD" or re.search(r"TOKEN|SECRET|PASSWORD", words) for name, words in found)


@pytest.mark.parametrize("service", [*SERVICES, "train"])
def test_a_lock_has_every_requirement_at_the_version_that_is_tested(service: str) -> None:
    locks = sorted((REPOSITORY / "services" / service).glob("requirements*.lock"))
    locked, tested = {name: pin for lock in locks for name, pin in pins(lock).items()}, pins(REPOSITORY / "constraints.txt")

    other = {
        name: (version, tested[name]) for name, version in locked.items() if name in tested and version.partition("+")[0] != tested[name]
    }
    needed = requirements(f"llmops-{service}", frozenset(EXTRAS.get(service, [])))
    text = "".join(lock.read_text(encoding="utf-8") for lock in locks)
    assert not other, "write the lock anew, as its first lines say"
    assert not needed - set(locked) - {"llmops-shared"}
    assert text.count(" --hash=sha256:") + text.count("    --hash=sha256:") >= len(locked) and "://" not in text


def requirements(name: str, extras: frozenset[str]) -> set[str]:
    """Everything an installed distribution needs, and what that needs."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(canonicalize_name(name), extras)]
    while waiting:
        item = waiting.pop()
        if item in seen:
            continue
        seen.add(item)
        for text in importlib.metadata.requires(item[0]) or []:
            wanted = Requirement(text)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *item[1])):
                waiting.append((canonicalize_name(wanted.name), frozenset(wanted.extras)))
    return {found for found, _ in seen} - {canonicalize_name(name)}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two kinds of wheels that a Dockerfile copies, as `make wheels` builds them, without the network."""
    dist = tmp_path_factory.mktemp("dist")
    for package in ("shared", *(f"services/{service}" for service in SERVICES)):
        subprocess.run(
            [BIN / "uv", "build", "--quiet", "--wheel", "--no-sources", "--offline", "--no-build-isolation", "--python", sys.executable,
             "--out-dir", dist, REPOSITORY / package],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    return dist


@pytest.mark.slow
def test_the_same_steps_in_a_clean_environment_give_commands_that_run(wheels: Path, tmp_path: Path) -> None:
    venv = tmp_path / "opt"
    for service in SERVICES:
        found = instructions(REPOSITORY / "services" / service / "Dockerfile")
        folder = tmp_path / service
        folder.mkdir()
        for pattern in next(words for name, words in found if name == "COPY" and "dist/" in words).split()[:-1]:
            for wheel in wheels.glob(Path(pattern).name):
                shutil.copy(wheel, folder)
        make, install = [words.partition(" && ")[0] for name, words in found if name == "RUN"][:2]
        if not venv.exists():
            run(make.replace("python", sys.executable, 1).replace("/opt/llmops", str(venv)))
            # the locked packages come from the index; those of this environment, at the same versions, stand in for them
            next(venv.glob("lib/python*/site-packages")).joinpath("locked.pth").write_text(sysconfig.get_path("purelib"))
        run(install.replace("/opt/llmops", str(venv)).replace("/wheels", str(folder)))

        entry = next(words for name, words in found if name == "ENTRYPOINT").strip('[]"')
        where = run(f"{venv}/bin/python -c 'import llmops_shared, llmops_{service} as s; print(s.__file__, llmops_shared.__file__)'")
        assert run(f"{venv}/bin/{entry} --help").startswith(f"usage: {entry}") and where.count(str(venv)) == 2


def run(command: str) -> str:
    """What a command of the image prints."""
    return subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True, timeout=200).stdout
