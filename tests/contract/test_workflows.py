"""GitHub's workflows: the schema, pins, permissions, and every command in them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmops_shared.config import load_config
from support.golden import REPOSITORY, verbs

GITHUB = REPOSITORY / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTIONS = sorted(GITHUB.glob("actions/*/action.yml"))
BIN = Path(sys.executable).parent
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
# more than this a job may not have, and each says why in a comment beside it
MAY_WRITE = {
    "apply": {"id-token"}, "document": {"contents", "id-token", "pull-requests"}, "drift": {"id-token"}, "image": {"id-token"},
    "offline": {"security-events"}, "plan": {"id-token", "pull-requests"}, "run": {"id-token"}, "wheels": {"contents"},
}  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs() -> list[tuple[str, str, dict[str, Any]]]:
    return [(path.stem, name, job) for path in WORKFLOWS for name, job in read(path)["jobs"].items()]


def steps_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    return document["runs"]["steps"] if "runs" in document else [step for job in document["jobs"].values() for step in job["steps"]]


def scripts() -> list[tuple[str, str]]:
    return [(path.stem, step["run"]) for path in (*WORKFLOWS, *ACTIONS) for step in steps_of(read(path)) if "run" in step]


def commands(wanted: str) -> list[tuple[str, list[str]]]:
    """Every line of a script that begins with this command, the shell's variables as they stand."""
    found = []
    for place, script in scripts():
        for line in script.replace("\\\n", " ").splitlines():
            plain = re.sub(r"\d?>&?\s*\S+", "", re.sub(r"\$\(date[^)]*\)", "2026-11-25", line.strip()))  # without redirections
            matches = re.finditer(rf"(?:^|[;&|(!]|\bdo )\s*({wanted}\b[^;|&>)]*)", plain)
            found += [(place, shlex.split(match[1])) for match in matches]
    return found


@pytest.mark.parametrize(
    ("schema", "paths"), [("vendor.github-workflows", WORKFLOWS), ("vendor.github-actions", ACTIONS)], ids=["workflows", "actions"]
)
def test_the_schema_of_github_takes_them(schema, paths):
    done = subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", schema, *paths], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout


def test_an_audit_finds_nothing_of_weight():
    done = subprocess.run(
        [BIN / "zizmor", "--offline", "--no-progress", "--min-severity", "medium", GITHUB],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_actions_are_pinned_by_commit_and_say_their_version():
    for path in (*WORKFLOWS, *ACTIONS):
        for line in path.read_text(encoding="utf-8").splitlines():
            if used := re.search(r"uses: (\S+)(.*)", line):
                local = used[1].startswith("./.github/actions/")
                assert local or (PINNED.fullmatch(used[1]) and re.search(r"# v\d", used[2])), f"{path.name}: {line.strip()}"
                assert not local or (REPOSITORY / used[1] / "action.yml").exists()


def test_permissions_are_the_least_and_runs_do_not_cross():
    for path in WORKFLOWS:
        workflow = read(path)
        assert workflow["permissions"] == {"contents": "read"} and workflow["concurrency"]["group"], path.name
    for workflow, name, job in jobs():
        writes = {scope for scope, level in job.get("permissions", {}).items() if level == "write"}
        assert writes == MAY_WRITE.get(name, set()), f"{workflow}.{name} may write {writes}"
        assert job["timeout-minutes"] and job["runs-on"] == "ubuntu-24.04", f"{workflow}.{name}"
        assert all(step.get("with", {}).get("persist-credentials") is False for step in job["steps"] if "checkout@" in step.get("uses", ""))


def test_whoever_touches_an_account_has_its_role_by_token_and_its_environments_approval():
    for workflow, name, job in jobs():
        aws = any(step.get("uses") == "./.github/actions/aws" for step in job["steps"])
        assert aws == (job.get("permissions", {}).get("id-token") == "write"), f"{workflow}.{name}"
        assert not aws or "environment" in job or name == "plan", f"{workflow}.{name}"


def test_no_secret_is_stored_and_no_input_is_pasted_into_a_script():
    for path in (*WORKFLOWS, *ACTIONS):
        assert "secrets." not in path.read_text(encoding="utf-8"), path.name
    for place, script in scripts():
        assert "${{" not in script, f"{place}: {script}"
        assert not re.search(r"\b(?:echo|printf|cat|tee)\b.*TOKEN|set -x", script), f"{place}: {script}"


def test_every_make_target_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    used = {(place, word) for place, words in commands("make") for word in words[1:] if "=" not in word}
    assert {word for _, word in used} >= {"check", "plan", "run", "scan", "setup", "wheels"}
    assert not {item for item in used if item[1] not in targets}


@pytest.mark.parametrize("service", ["preprocess", "train", "serve", "monitor"])
def test_every_command_of_a_service_parses(service):
    for place, words in commands(f"llmops-{service}"):
        verb = next((verb for verb in verbs(service) if verb.name == words[1]), None)
        assert verb, f"{place}: {words}"
        settings = [word.replace("$ENVIRONMENT", "dev") for word in words[2:] if not word.startswith("-") and word not in ("report.json",)]
        settings = [word.replace("${day}", "2026-11-24") for word in settings]
        named = [word if "=" in word else f"{verb.subject}={word}" for word in settings]
        load_config(verb.config, None, named)


def test_every_infra_command_and_script_is_there():
    from llmops_infra.cli import make_parser

    for _, words in commands("llmops-infra"):
        words = [word.replace("$ENVIRONMENT", "dev") for word in words[1:] if word != "${parameters[@]}"]
        make_parser().parse_args(words)
    ran = {words[1] for _, words in commands(r"python3?") if words[1].endswith(".py")}
    assert ran == {f".github/scripts/{path.name}" for path in (GITHUB / "scripts").glob("*.py")}
