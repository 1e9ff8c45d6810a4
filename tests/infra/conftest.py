"""One simulated AWS for all tests of the infrastructure."""

import shutil
from collections.abc import Iterator

import pytest

from llmops_offline.terraform import OfflineTerraform, offline_terraform
from support.tools import lacking


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfflineTerraform]:
    """The real terraform, attached to the simulated provider."""
    if not shutil.which("terraform"):
        lacking("terraform", "install Terraform 1.11 or newer")
    with offline_terraform() as started:
        yield started
