"""The serving container of a variant, as its document and the environment's hosting ask for it."""

from llmops_infra.serving_settings import Hosting
from llmops_shared.contracts.endpoint import Variant
from llmops_shared.contracts.engine import EngineName
from llmops_shared.errors import LlmopsError
from llmops_shared.hosting.container import IMAGES, Container, container_of


def engine_of(hosting: Hosting, variant: Variant) -> EngineName:
    """The environment's word where it has one, else the document's. Raises LlmopsError when both leave it to the laptop."""
    engine = hosting.container or variant.engine
    if engine == "in-process":
        raise LlmopsError(
            f"variant {variant.name}: engine in-process runs on the laptop; deploy it with engine=lmi-vllm or another container, "
            "or set serving.hosting.container"
        )
    return engine


def serving_container(hosting: Hosting, variant: Variant) -> Container:
    """What SageMaker starts; variables that the settings name win. Raises LlmopsError when the package does not suit it."""
    container = container_of(variant, engine_of(hosting, variant), hosting.instance_type, hosting.startup_timeout_s)
    return container._replace(environment={**container.environment, **hosting.environment})


def image_uri(hosting: Hosting, variant: Variant, registry: str) -> str:
    """The image; `registry` is the host of AWS's own images in the region."""
    return hosting.image or f"{registry}/{IMAGES[engine_of(hosting, variant)]}"
