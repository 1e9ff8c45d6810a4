"""`llmops-serve render`: what the container of each variant would get, from the derivation that Terraform uses."""

import json

from llmops_serve.document_config import RenderConfig
from llmops_shared.contracts import Endpoint
from llmops_shared.contracts.endpoint import Variant
from llmops_shared.documents import read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.hosting.container import Container, container_of


def render(config: RenderConfig) -> str:
    """The text for stdout. Raises LlmopsError when a package does not suit the engine or the instance."""
    endpoint = read_document(config.endpoint, Endpoint)
    variants = [variant for variant in endpoint.variants if config.variant in (None, variant.name)]
    if not variants:
        known = ", ".join(variant.name for variant in endpoint.variants)
        raise LlmopsError(f"variant={config.variant}: {config.endpoint} has no such variant (it has {known})")
    shown = {variant.name: container(variant, config) for variant in variants}
    if config.form == "json":
        return json.dumps({name: as_tree(one) for name, one in shown.items()}, indent=2) + "\n"
    if len(shown) > 1:
        raise LlmopsError(f"form={config.form} shows one container; choose a variant= of {', '.join(shown)}")
    (one,) = shown.values()
    if config.form == "environment":
        return "".join(f"{name}={value}\n" for name, value in one.environment.items())
    if one.properties is None:
        raise LlmopsError("form=properties: only DJL's LMI reads serving.properties; choose engine=lmi-vllm or another lmi engine")
    return one.properties


def container(variant: Variant, config: RenderConfig) -> Container:
    """The container of a variant."""
    return container_of(variant, config.engine or variant.engine, config.instance_type, config.startup_timeout_s)


def as_tree(container: Container) -> dict[str, object]:
    """As JSON: what there is to know."""
    tree: dict[str, object] = {"image": container.image, "environment": container.environment}
    if container.properties is not None:
        tree["serving.properties"] = container.properties
    if container.places.further:
        tree["packages"] = {name: reference.uri for name, reference in container.places.further.items()}
    return tree
