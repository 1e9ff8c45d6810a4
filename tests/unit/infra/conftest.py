"""The stacks with every switch on, synthesized once."""

import pytest

from support.infrastructure import Stacks, endpoint_document, synthesize, synthesized, variant
from support.stacks import Resources, needs_node


@pytest.fixture(scope="session")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Stacks:
    """Folders of both stacks, with one production and one shadow variant."""
    needs_node()
    return synthesize("full", tmp_path_factory.mktemp("full"), endpoint_document(variant("base"), variant("tuned", shadow=True)))


@pytest.fixture(scope="session")
def platform(stacks: Stacks) -> Resources:
    """The platform's resources, by type and name."""
    found: Resources = synthesized(stacks["platform"])["resource"]
    return found


@pytest.fixture(scope="session")
def serving(stacks: Stacks) -> Resources:
    """The serving stack's resources, by type and name."""
    found: Resources = synthesized(stacks["serving"])["resource"]
    return found
