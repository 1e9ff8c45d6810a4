"""What the workflows run that is no command of ours: against a bare git repository, a loopback GitHub and moto."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from moto.server import ThreadedMotoServer

from llmops_shared.contracts import Report
from llmops_shared.contracts.endpoint import Endpoint
from llmops_shared.documents import write_document
from support.golden import REPOSITORY
from support.loopback import Request, loopback
from support.sagemaker_service import PROCESSING, executing, sagemaker_service, step
from support.service_rules import complaints
from support.traffic import exchange, good, questions, write_scene

SCRIPTS = REPOSITORY / ".github" / "scripts"
YAML = "name: staging\nserving:\n  endpoint: terraform/environments/endpoints/staging.json\n  endpoint_uri: s3://bucket/endpoints/old # where\n"


def script(name: str, *words: str, cwd: Path = REPOSITORY, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment}
    return subprocess.run(
        [sys.executable, SCRIPTS / name, *words], cwd=cwd, capture_output=True, text=True, check=False, env=env, timeout=120
    )


def git(cwd: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *identity, *words], cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of a bare repository with one environment."""
    git(tmp_path, "init", "--bare", "hub.git")
    git(tmp_path, "clone", "hub.git", "clone")
    place = tmp_path / "clone" / "terraform" / "environments"
    place.mkdir(parents=True)
    (place / "staging.yaml").write_text(YAML)
    git(tmp_path / "clone", "switch", "-c", "main")
    git(tmp_path / "clone", "add", ".")
    git(tmp_path / "clone", "commit", "-m", "first")
    git(tmp_path / "clone", "push", "origin", "main")
    return tmp_path / "clone"


def test_a_promotion_is_a_pull_request_that_changes_the_document_and_shows_the_report(clone: Path, tmp_path: Path) -> None:
    scene = write_scene(str(tmp_path / "scene"), [exchange(questions()[0], 0, good)])
    report = Report.model_validate(
        {
            "report": "shadow", "name": "shadow", "subjects": {}, "verdict": "promote", "reasons": ["Better by 0.1."], "parts": {}, "mlflow_run_id": None,
            "measurements": [{"name": "rouge_l", "value": 0.4, "low": 0.3, "high": 0.5, "confidence": 0.95, "num_rows": 90, "better": "higher"}],
        }
    )  # fmt: skip
    write_document(str(tmp_path / "report"), report)
    asked: list[Request] = []

    def github(request: Request) -> tuple[int, object]:
        asked.append(request)
        if request.method == "POST" and len(asked) > 1:
            return 422, {"message": "Validation Failed", "errors": [{"message": "A pull request already exists"}]}
        found = {"html_url": "https://github.example/acme/llm/pull/7"}
        return (201, found) if request.method == "POST" else (200, [found])

    with loopback(github) as url:
        environment = {
            "GITHUB_TOKEN": "ghs-of-this-test", "GITHUB_REPOSITORY": "acme/llm", "GITHUB_API_URL": url, "GIT_REMOTE": str(tmp_path / "hub.git"),
        }  # fmt: skip
        words = ["promotion.py", "open", "staging", scene.endpoint, str(tmp_path / "report")]
        first = script(*words, cwd=clone, **environment)
        (clone / "terraform/environments/staging.yaml").write_text(YAML)
        git(clone, "switch", "--force", "main")
        again = script(*words, cwd=clone, **environment)

    assert (first.returncode, first.stdout) == (0, "https://github.example/acme/llm/pull/7\n"), first.stderr
    assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr
    body = json.loads(asked[0].body)
    assert (body["head"], body["base"]) == ("promote/staging-assistant-2", "main")
    assert (
        "**shadow: promote**" in body["body"]
        and "- Better by 0.1." in body["body"]
        and "| rouge_l | 0.4 | 0.3 to 0.5 | 90 |" in body["body"]
    )
    assert asked[0].headers["authorization"] == "Bearer ghs-of-this-test" and asked[-1].target.endswith(
        "?head=acme:promote/staging-assistant-2&state=open"
    )
    branch = "promote/staging-assistant-2"
    hub = tmp_path / "hub.git"
    settings = yaml.safe_load(git(hub, "show", f"{branch}:terraform/environments/staging.yaml"))
    assert settings["serving"]["endpoint_uri"] == scene.endpoint
    assert Endpoint.model_validate_json(git(hub, "show", f"{branch}:terraform/environments/endpoints/staging.json")).generation == 2
    assert "ghs-of-this-test" not in "".join(
        [first.stdout, first.stderr, git(hub, "log", "-p", branch), (clone / ".git/config").read_text()]
    )
    assert git(hub, "diff", "--name-only", "main", branch).split() == [
        "terraform/environments/endpoints/staging.json", "terraform/environments/staging.yaml",
    ]  # fmt: skip


def test_an_environment_without_an_endpoint_is_named(clone: Path, tmp_path: Path) -> None:
    (clone / "terraform/environments/staging.yaml").write_text("name: staging\n")

    done = script("promotion.py", "write", "staging", str(tmp_path), cwd=clone)

    assert done.returncode == 1 and "has no serving.endpoint and serving.endpoint_uri" in done.stderr


@pytest.mark.parametrize(
    ("paths", "packages"),
    [
        (["services/train/src/x.py", "tests/unit/serve/test_x.py"], ["train", "serve"]),
        (["README.md", "services/train/README.md", ".github/workflows/drift.yml"], []),
        (["terraform/environments/dev.yaml"], ["infra"]),
        (["shared/src/llmops_shared/store.py"], ["shared", "preprocess", "train", "serve", "monitor", "infra"]),
        (["something/new.toml"], ["shared", "preprocess", "train", "serve", "monitor", "infra"]),
    ],
)
def test_what_changed_says_whose_tests_run(clone: Path, paths: list[str], packages: list[str]) -> None:
    for path in paths:
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        (clone / path).write_text("x")
    git(clone, "add", ".")
    git(clone, "commit", "-m", "second")

    assert json.loads(script("changed.py", "HEAD~1", "HEAD", cwd=clone).stdout) == packages


def test_a_release_needs_its_section_and_one_version_everywhere() -> None:
    assert "says version 0.1.0, the tag 9.9.9" in script("release_notes.py", "v9.9.9").stderr
    assert "CHANGELOG.md has no section of 0.1.0" in script("release_notes.py", "v0.1.0").stderr


def test_an_execution_is_told_with_its_cost_and_its_runs_side_by_side(tmp_path: Path) -> None:
    execution = {"pipeline": "llmops-dev", "execution_arn": "arn", "run": "github-7", "status": "Succeeded", "usd": 3.456}
    (tmp_path / "execution.json").write_text(json.dumps(execution))

    told = script("pipeline_summary.py", str(tmp_path / "execution.json"), MLFLOW_URL="https://mlflow.example/#/experiments/1").stdout
    nothing = script("pipeline_summary.py", str(tmp_path / "none.json")).stdout

    assert "`github-7`: Succeeded, 3.46 USD" in told
    assert "(https://mlflow.example/#/experiments/1?searchFilter=tags.%60llmops.pipeline_run%60%20%3D%20%27github-7%27)" in told
    assert "did not end well" in nothing


def workflow_step(workflow: str, command: str) -> str:
    """The script of the step that has this command."""
    document = yaml.safe_load((REPOSITORY / ".github" / "workflows" / workflow).read_text())
    return next(step["run"] for job in document["jobs"].values() for step in job["steps"] if command in step.get("run", ""))


@pytest.mark.parametrize(
    ("baseline", "rows"), [("s3://llmops-models/evaluation", ""), ("", "s3://llmops-reports/remedy/rows.jsonl")], ids=["by hand", "retrain"]
)
def test_the_pipeline_workflow_starts_follows_and_tells(tmp_path: Path, baseline: str, rows: str) -> None:
    values = {"Run": "github-7", "Model": "s3://llmops-models/base", "ImageTag": "7b00da1", "Baseline": baseline, "Source": rows}
    with sagemaker_service() as (service, environment):
        executing(service, "Succeeded", [step("Preprocess", "Succeeded", Metadata={"ProcessingJob": {"Arn": PROCESSING}})])
        variables = {
            **os.environ, **environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "AWS_DEFAULT_REGION": "eu-west-1",
            "ENVIRONMENT": str(REPOSITORY / "terraform" / "environments" / "staging.yaml"), "MODEL": values["Model"], "RUN": values["Run"],
            "BASELINE": baseline, "SOURCE": rows, "GITHUB_SHA": values["ImageTag"], "MLFLOW_URL": "https://mlflow.example/#/experiments/1",
        }  # fmt: skip
        # nothing is waited for: the second look finds the end
        script_text = workflow_step("pipeline.yml", "llmops-infra pipeline").replace("--follow", "--follow --every 0.01")
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script_text],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    (started,) = [body for operation, body in service.asked if operation == "StartPipelineExecution"]
    assert complaints("sagemaker", "StartPipelineExecution", started) == []
    given = {item["Name"]: item["Value"] for item in started["PipelineParameters"]}
    assert given == {name: value for name, value in values.items() if value}
    assert "Preprocess: Succeeded" in done.stderr
    told = script("pipeline_summary.py", str(tmp_path / "execution.json"), MLFLOW_URL=variables["MLFLOW_URL"]).stdout
    assert "`github-7`: Succeeded, 0.92 USD" in told and "The stages side by side in MLflow" in told


@pytest.mark.slow
def test_an_image_with_grave_findings_is_refused() -> None:
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        where = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "eu-west-1",
        }
        registry = boto3.client(
            "ecr", endpoint_url=where["AWS_ENDPOINT_URL"], region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        registry.create_repository(repositoryName="llmops-dev/serve")
        manifest = {
            "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": [],
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 2, "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
        }  # fmt: skip
        image = registry.put_image(repositoryName="llmops-dev/serve", imageManifest=json.dumps(manifest), imageTag="a")["image"]["imageId"]
        registry.start_image_scan(repositoryName="llmops-dev/serve", imageId={"imageDigest": image["imageDigest"]})

        done = script("image_scan.py", "llmops-dev/serve", image["imageDigest"], **where)
    finally:
        server.stop()

    assert done.returncode == 1 and "HIGH CVE-" in done.stdout, done.stdout + done.stderr
