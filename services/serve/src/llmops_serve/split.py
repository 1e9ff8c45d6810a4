"""`llmops-serve split`: two variants share the live traffic, for an A/B test or a gradual change."""

from llmops_serve.document_config import SplitConfig
from llmops_serve.history import next_generation, record
from llmops_serve.variants import new_variant
from llmops_shared.contracts import Endpoint, ModelPackage
from llmops_shared.contracts.endpoint import Variant
from llmops_shared.documents import document_uri, follow, read_document, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import digest_of, finished
from llmops_shared.store import folder_of


def split(config: SplitConfig) -> Endpoint:
    """Reads an Endpoint and, for a new variant, a ModelPackage; writes the next generation with the shares changed."""
    inputs = {"endpoint": digest_of(config.endpoint, Endpoint)}
    if config.package is not None:
        inputs["package"] = digest_of(config.package, ModelPackage)
    if kept := finished(config, Endpoint, inputs):
        return kept

    place = document_uri(config.endpoint, Endpoint)
    before = read_document(place, Endpoint)
    if before.shadow() is not None:
        raise LlmopsError(f"{place}: has a shadow variant, and SageMaker takes no second production variant beside one; promote or drop it")
    folder = folder_of(document_uri(config.out, Endpoint))
    after = next_generation(before, place, folder, "")
    control = the_other(after, config.name, place)
    treatment = next((variant for variant in after.variants if variant.name == config.name), None)
    if config.package is not None:
        if treatment is not None:
            raise LlmopsError(f"{place}: has a variant {config.name} already; give the new one another name=, or leave package out")
        engine = config.engine or control.engine
        treatment = new_variant(config.name, config.package, folder, engine=engine, urls=config.urls)
    if treatment is None:
        raise LlmopsError(f"{place}: has no variant {config.name}; give its package=")
    _, package = follow(treatment.package, folder, ModelPackage)
    variants = [
        control.model_copy(update={"weight": round(1 - config.share, 9)}),
        treatment.model_copy(update={"weight": config.share}),
    ]
    endpoint = after.model_copy(update={"variants": variants, "reason": f"split {config.share:g} to {package.name}"})
    record(config.tracking, endpoint, {config.name: package})
    write_document(config.out, endpoint)
    return endpoint


def the_other(endpoint: Endpoint, name: str, place: str) -> Variant:
    """The production variant that is not on trial. Raises LlmopsError when there are several."""
    others = [variant for variant in endpoint.production() if variant.name != name]
    if len(others) != 1:
        names = ", ".join(variant.name for variant in endpoint.production())
        raise LlmopsError(f"{place}: needs one production variant beside {name} (has {names}); roll back to a generation that has it")
    return others[0]
