"""Where a container finds the files of a variant: SageMaker puts the packages there, uncompressed."""

from typing import NamedTuple

from llmops_shared.contracts.document import Reference
from llmops_shared.contracts.endpoint import Variant

ROOT = "/opt/ml/model"
# docs.aws.amazon.com/sagemaker/latest/APIReference/API_AdditionalModelDataSource.html
FURTHER = "/opt/ml/additional-model-data-sources"
OWN = "adapter"  # the name by which requests may ask for the package's own adapter


class Places(NamedTuple):
    """Folders in the container."""

    model: str
    """The model directory."""
    adapters: dict[str, str]
    """Adapter directories by the name that requests say."""
    further: dict[str, Reference]
    """Packages beside the variant's own, by the channel that SageMaker puts them under."""


def places_of(variant: Variant) -> Places:
    """The folders of a variant."""
    own = {OWN: f"{ROOT}/adapter"} if variant.model is not None and variant.model.layout == "adapter" else {}
    named = {adapter.name: f"{FURTHER}/{adapter.name}/adapter" for adapter in variant.adapters}
    return Places(f"{ROOT}/model", {**own, **named}, {adapter.name: adapter.package for adapter in variant.adapters})
