"""plan, apply, destroy and bootstrap: which commands reach Terraform and AWS, in which order, and what is said."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from llmops_infra.cli import main
from support.loopback import loopback
from support.service_rules import complaints
from support.stacks import needs_node

STAGING = ["staging", "max_monthly_usd=5000"]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account without anything in it."""
    for key, value in {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "eu-west-1"}.items():
        monkeypatch.setenv(key, value)
    with mock_aws():
        yield


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A terraform on the PATH that writes down what it is told, and answers as one without a state."""
    needs_node()
    log, folder = tmp_path / "said", tmp_path / "bin"
    folder.mkdir()
    script = f'#!/bin/sh\necho "$@" >> {log}\ncase "$2" in output) echo "{{}}";; "$FAILS") exit 1;; esac\n'
    (folder / "terraform").write_text(script)
    (folder / "terraform").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return log


def commands(said: Path, out: Path) -> list[str]:
    """What Terraform was told, with the stacks' folders by their names."""
    return [line.replace(f"-chdir={out}/stacks/", "") for line in said.read_text().splitlines()]


def test_apply_takes_the_platform_first_and_says_the_price(
    said: Path, tmp_path: Path, aws: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    assert main(["apply", *STAGING, "--out", str(out)]) == 0

    init = "init -input=false -reconfigure -backend-config=bucket=llmops-state-123456789012-eu-west-1"
    assert commands(said, out) == [f"platform {init}", "platform apply", f"serving {init}", "serving apply"]
    assert "staging: USD a month" in capsys.readouterr().err


def test_destroy_takes_serving_first(said: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    assert main(["destroy", "dev", "--yes", "--out", str(out)]) == 0

    done = commands(said, out)
    assert [line.split()[:2] for line in done] == [
        ["serving", "init"],
        ["serving", "destroy"],
        ["platform", "init"],
        ["platform", "destroy"],
    ]
    assert done[1].endswith("-auto-approve")


def test_a_plan_before_the_first_apply_leaves_serving_for_later(
    said: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "dev", "--out", str(tmp_path / "out")]) == 0

    assert [line.split()[1] for line in commands(said, tmp_path / "out")] == ["init", "plan", "output"]
    assert "planned once the platform is applied" in capsys.readouterr().err


def test_a_failure_of_terraform_ends_it(
    said: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAILS", "apply")

    assert main(["apply", "dev", "--out", str(tmp_path / "out")]) == 2

    assert "terraform apply failed on the platform stack with exit code 1" in capsys.readouterr().err
    assert not any("serving" in line for line in commands(said, tmp_path / "out"))


def test_a_missing_terraform_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    needs_node()
    out = tmp_path / "out"
    assert main(["synth", "dev", "--out", str(out)]) == 0
    monkeypatch.setenv("PATH", "/nowhere")

    assert main(["plan", "dev", "--out", str(out)]) == 2

    assert "terraform is not on the PATH" in capsys.readouterr().err


def test_bootstrap_makes_a_private_versioned_encrypted_bucket_and_may_be_repeated(aws: None, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["bootstrap", "staging"]) == 0

    made = json.loads(capsys.readouterr().out.split("}\n")[0] + "}")
    assert made == {"bucket": "llmops-state-123456789012-eu-west-1", "region": "eu-west-1"}
    s3, bucket = boto3.client("s3"), made["bucket"]
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] == "eu-west-1"
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    statement = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"][0]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_bootstrap_tells_its_requests_and_makes_nothing(aws: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bootstrap", "staging", "--dry-run"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert all(complaints("s3", operation, parameters) == [] for one in told for operation, parameters in one.items())
    assert told[0]["CreateBucket"]["Bucket"] == "llmops-state-123456789012-eu-west-1" and len(told) == 6
    assert boto3.client("s3").list_buckets()["Buckets"] == []


def test_bootstrap_makes_the_bucket_where_s3_wants_no_constraint(aws: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bootstrap", "staging", "region=us-east-1", "state.bucket=llmops-own-name"]) == 0

    assert json.loads(capsys.readouterr().out) == {"bucket": "llmops-own-name", "region": "us-east-1"}
    assert [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]] == ["llmops-own-name"]


def test_bootstrap_refuses_a_local_state_and_another_account(aws: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bootstrap", "dev"]) == 2
    assert "set state.backend: s3" in capsys.readouterr().err

    assert main(["bootstrap", "staging", 'account_id="999999999999"']) == 2
    assert "the credentials belong to account 123456789012, and account_id is 999999999999" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("service", "command", "code", "said"),
    [
        ("STS", ["bootstrap", "staging"], "ExpiredToken", "the account of these credentials: ExpiredToken: no; the credentials are not valid"),
        ("S3", ["bootstrap", "staging", "state.bucket=llmops-own"], "AccessDenied", "llmops-own: CreateBucket: AccessDenied: no; these credentials"),
        ("S3", ["bootstrap", "staging", "state.bucket=llmops-own"], "BucketAlreadyExists", "the name is taken by another account"),
        ("PRICING", ["prices", "staging", "--refresh"], "AccessDeniedException", "the Pricing API: AccessDeniedException: no; these credentials"),
    ],
)  # fmt: skip
def test_what_aws_refuses_is_one_line_with_the_way_out(
    service: str, command: list[str], code: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(key, value)
    xml = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
    answers = {"S3": xml.encode(), "STS": f"<ErrorResponse>{xml}</ErrorResponse>".encode(), "PRICING": {"__type": code, "message": "no"}}
    with loopback(lambda request: (403, answers[service])) as url:
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", url)

        assert main(command) == 2

    assert said in capsys.readouterr().err
