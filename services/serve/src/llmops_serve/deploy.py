"""`llmops-serve deploy` and `shadow`: the first Endpoint document of an endpoint, and the next one with a shadow variant."""

import logging

from llmops_serve.document_config import DeployConfig, ShadowConfig
from llmops_serve.history import next_generation, record
from llmops_serve.variants import new_variant
from llmops_shared.contracts import Endpoint, ModelPackage, RetrievalIndex
from llmops_shared.contracts.endpoint import Capture, Retrieval
from llmops_shared.documents import document_uri, read_document, refer, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import digest_of, finished
from llmops_shared.store import folder_of, relative
from llmops_shared.tracking import point_alias

logger = logging.getLogger(__name__)


def deploy(config: DeployConfig) -> Endpoint:
    """Reads a ModelPackage and, if given, a RetrievalIndex; writes generation 1 and points the alias `champion` at the package."""
    inputs = {"package": digest_of(config.package, ModelPackage)}
    inputs |= {f"adapters.{name}": digest_of(uri, ModelPackage) for name, uri in config.adapters.items()}
    if config.index is not None:
        inputs["index"] = digest_of(config.index, RetrievalIndex)
    if kept := finished(config, Endpoint, inputs):
        return kept

    folder = folder_of(document_uri(config.out, Endpoint))
    package = read_document(config.package, ModelPackage)
    retrieval = None
    if config.index is not None:
        read_document(config.index, RetrievalIndex)
        retrieval = Retrieval(index=refer(config.index, RetrievalIndex, folder), **config.retrieval.model_dump())
    capture = None
    if config.capture is not None:
        capture = Capture(uri=relative(config.capture, folder), sample_rate=config.capture_sample_rate)
    variant = new_variant(
        "production",
        config.package,
        folder,
        engine=config.engine,
        urls=config.urls,
        settings=config.settings,
        adapters=config.adapters,
    )
    endpoint = Endpoint(
        name=config.name,
        generation=1,
        previous=None,
        reason=f"deploy {package.name}",
        evidence=None,
        variants=[variant],
        retrieval=retrieval,
        capture=capture,
    )
    record(config.tracking, endpoint, {"production": package})
    if package.registered_model is not None:
        point_alias(config.tracking, package.registered_model, "champion")
    write_document(config.out, endpoint)
    return endpoint


def shadow(config: ShadowConfig) -> Endpoint:
    """Reads an Endpoint and a ModelPackage; writes the next generation, in which the package gets a copy of the traffic."""
    inputs = {"endpoint": digest_of(config.endpoint, Endpoint), "package": digest_of(config.package, ModelPackage)}
    if kept := finished(config, Endpoint, inputs):
        return kept

    place = document_uri(config.endpoint, Endpoint)
    before = read_document(place, Endpoint)
    check_room_for_a_shadow(before, place, config.name)
    package = read_document(config.package, ModelPackage)
    folder = folder_of(document_uri(config.out, Endpoint))
    after = next_generation(before, place, folder, f"shadow {package.name}")
    engine = config.engine or before.production()[0].engine
    variant = new_variant(config.name, config.package, folder, engine=engine, urls=config.urls, shadow=True)
    endpoint = after.model_copy(update={"variants": [*after.variants, variant]})
    record(config.tracking, endpoint, {config.name: package})
    write_document(config.out, endpoint)
    return endpoint


def check_room_for_a_shadow(endpoint: Endpoint, place: str, name: str) -> None:
    """Raises LlmopsError when the endpoint cannot take a shadow variant of this name."""
    shadow = endpoint.shadow()
    if shadow is not None:
        raise LlmopsError(f"{place}: has the shadow variant {shadow.name} already; promote it, or start from the generation before")
    if len(endpoint.production()) > 1:
        names = ", ".join(variant.name for variant in endpoint.production())
        raise LlmopsError(f"{place}: has several production variants ({names}); a shadow needs exactly one beside it")
    if name in {variant.name for variant in endpoint.variants}:
        raise LlmopsError(f"{place}: has a variant {name} already; give the shadow another name=")
