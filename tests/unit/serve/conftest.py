"""Tiny packages and a server over them, made once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops_serve.config import RunConfig
from llmops_serve.deploy import deploy, shadow
from llmops_serve.document_config import DeployConfig, ShadowConfig


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages `first` and `second`."""
    from support.tiny_package import write_package

    folder = tmp_path_factory.mktemp("packages")
    write_package(folder / "first", seed=0, name="first")
    write_package(folder / "second", seed=1, name="second")
    return folder


@pytest.fixture(scope="session")
def endpoint(packages: Path) -> Path:
    """The folder of an Endpoint document with `first` in production and `second` as shadow."""
    deploy(
        DeployConfig(name="tiny", package=str(packages / "first"), capture=str(packages / "exchanges"), out=str(packages / "endpoint-1"))
    )
    shadow(ShadowConfig(endpoint=str(packages / "endpoint-1"), package=str(packages / "second"), out=str(packages / "endpoint-2")))
    return packages / "endpoint-2"


@pytest.fixture(scope="session")
def url(endpoint: Path) -> Iterator[str]:
    """A server for the endpoint."""
    from llmops_serve.server import realized
    from support.serving import serving

    config = RunConfig(endpoint=str(endpoint), port=0, drain_timeout_s=5)
    with serving(lambda: realized(config), config) as running:
        yield running
