"""What all tests share: no network beyond loopback, no AWS account, and a `root` that is a folder or an S3 prefix."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as llmops-train sets it, which here comes after torch's import
os.environ.update(
    HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="1", TOKENIZERS_PARALLELISM="false"
)
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "AWS_PROFILE"):
    os.environ.pop(name, None)


# Folders whose tests share something dear (a loop, stacks, a simulated AWS): each is run by one process, and begins first.
SHARED = ("tests/e2e", "tests/infra", "tests/unit/infra")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What runs side by side (`pytest -n 2 --dist loadgroup`): files, but those of some folders together; the longest first."""
    for item in items:
        place = item.path.relative_to(config.rootpath)
        group = str(place.parent) if str(place.parent) in SHARED else str(place)
        item.add_marker(pytest.mark.xdist_group(group))
    if config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: (str(item.path.relative_to(config.rootpath).parent) not in SHARED, item.path not in slow))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes do not name a test: an archive holds its time, and every process has to give a test the same name."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def loopback_only(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"tests are offline, and this one connects to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", loopback_only)


@pytest.fixture(autouse=True)
def own_aws_session() -> Iterator[None]:
    """boto3 keeps a session with the credentials of whoever asked first; each test has credentials of its own."""
    forget_aws_session()
    yield
    forget_aws_session()


@pytest.fixture(autouse=True)
def own_tracking_server() -> Iterator[None]:
    """What MLflow is told in a test it also writes into the environment; the next test, in whatever order, is told nothing."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    if mlflow := sys.modules.get("mlflow"):
        mlflow.set_tracking_uri(None)
    if before is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = before


def forget_aws_session() -> None:
    """Lets boto3 read the credentials anew."""
    if boto3 := sys.modules.get("boto3"):
        boto3.DEFAULT_SESSION = None


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 bucket of moto, as `s3://name`."""
    import boto3
    from moto import mock_aws

    from llmops_shared import s3

    for key, value in {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(key, value)
    with mock_aws():
        s3.client.cache_clear()
        s3.scratch.cache_clear()
        boto3.client("s3").create_bucket(Bucket="llmops-test")
        yield "s3://llmops-test"
        s3.client.cache_clear()
        s3.scratch.cache_clear()


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place to write to: the same test runs on a disk and on S3."""
    if request.param == "local":
        return str(tmp_path / "a folder")
    bucket: str = request.getfixturevalue("bucket")
    return f"{bucket}/a folder"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real inputs that are not part of the repository."""
    folder = os.environ.get("LLMOPS_TEST_DATA")
    if not folder:
        pytest.skip("needs LLMOPS_TEST_DATA, the folder of real test inputs")
    return Path(folder)
