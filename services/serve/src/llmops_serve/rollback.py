"""`llmops-serve rollback`: the next generation has in production what an earlier one had."""

from collections.abc import Iterator

from llmops_serve.document_config import RollbackConfig
from llmops_serve.history import moved, next_generation, record
from llmops_shared.contracts import Endpoint, ModelPackage, Report
from llmops_shared.contracts.endpoint import Variant
from llmops_shared.documents import document_uri, follow, read_document, refer, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import digest_of, finished
from llmops_shared.store import folder_of
from llmops_shared.tracking import point_alias


def rollback(config: RollbackConfig) -> Endpoint:
    """Reads the present Endpoint and its history; writes the next generation and points `champion` at the package that is back.

    Retrieval and capture stay as they are now; a shadow of then or of now is not taken over. Raises LlmopsError when the history
    has no such generation.
    """
    place = document_uri(config.endpoint, Endpoint)
    inputs = {"endpoint": digest_of(place, Endpoint)}
    if config.report is not None:
        inputs["report"] = digest_of(config.report, Report)
    if kept := finished(config, Endpoint, inputs):
        return kept

    now = read_document(place, Endpoint)
    then_place, then = target(now, place, config.generation)
    folder = folder_of(document_uri(config.out, Endpoint))
    reason = f"rollback to generation {then.generation}" + (f": {config.reason}" if config.reason else "")
    back = moved(then, folder_of(then_place), folder).production()
    evidence = refer(config.report, Report, folder) if config.report is not None else None
    endpoint = next_generation(now, place, folder, reason).model_copy(update={"variants": back, "evidence": evidence})
    packages = {variant.name: follow(variant.package, folder, ModelPackage)[1] for variant in back}
    record(config.tracking, endpoint, packages)
    champion = packages[max(back, key=lambda variant: variant.weight).name]
    if champion.registered_model is not None:
        point_alias(config.tracking, champion.registered_model, "champion")
    write_document(config.out, endpoint)
    return endpoint


def target(now: Endpoint, place: str, generation: int | None) -> tuple[str, Endpoint]:
    """The generation to return to."""
    seen = []
    for then_place, then in history(now, place):
        seen.append(then.generation)
        if generation == then.generation or (generation is None and in_production(then) != in_production(now)):
            return then_place, then
    if generation is not None:
        known = ", ".join(map(str, seen)) or "none"
        raise LlmopsError(f"generation {generation}: is not in the history of {place} (has {known})")
    raise LlmopsError(f"{place}: no earlier generation had anything else in production, so there is nothing to return to")


def history(endpoint: Endpoint, place: str) -> Iterator[tuple[str, Endpoint]]:
    """The generations before, latest first. Raises LlmopsError when one was changed or is missing."""
    while endpoint.previous is not None:
        place, endpoint = follow(endpoint.previous, folder_of(place), Endpoint)
        yield place, endpoint


def in_production(endpoint: Endpoint) -> list[tuple[str, float, str, str]]:
    """What clients get: who answers, how often, and with what."""
    return [described(variant) for variant in endpoint.production()]


def described(variant: Variant) -> tuple[str, float, str, str]:
    """A variant without where its documents are."""
    adapters = [(adapter.name, adapter.package.sha256) for adapter in variant.adapters]
    return variant.name, variant.weight, variant.package.sha256, f"{variant.engine} {variant.urls} {variant.settings} {adapters}"
