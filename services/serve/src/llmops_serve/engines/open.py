"""Chooses the engine of a variant by its word and its URLs, and fetches what the gateway needs of the package."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from llmops_serve.engines.engine import Engine
from llmops_serve.text import ModelText
from llmops_shared.contracts import ModelPackage, Part
from llmops_shared.contracts.endpoint import Variant
from llmops_shared.documents import fetch_part, follow
from llmops_shared.errors import LlmopsError

if TYPE_CHECKING:
    from llmops_serve.config import RunConfig

CODE = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py")


class Opened(NamedTuple):
    """A variant, ready to be started."""

    package: ModelPackage
    place: str
    """URI of the package's document."""
    text: ModelText
    engines: list[Engine]
    """One for each URL; one for a model in this server."""


def open_variant(variant: Variant, folder: str, config: "RunConfig") -> Opened:
    """The package of a variant, checked file by file as far as it is fetched, and its engines.

    Raises LlmopsError when a file is damaged or not safe to load, or when nothing here can run the engine.
    """
    place, package = follow(variant.package, folder, ModelPackage)
    if variant.engine == "in-process":
        return in_process(variant, package, place, folder, config)
    if not variant.urls:
        raise LlmopsError(
            f"variant {variant.name}: engine {variant.engine} runs in a container and the document names none that is up; "
            "deploy with urls=[http://...], with engine=in-process, or apply the serving stack"
        )
    # the weights are the servers' affair
    paths = fetched(package, place, [part for part in package.files if not part.path.endswith(".safetensors")])
    text = ModelText(directory(paths, "model/config.json", place))
    return Opened(package, place, text, [remote(variant, url, text, config) for url in variant.urls])


def remote(variant: Variant, url: str, text: ModelText, config: "RunConfig") -> Engine:
    """The engine behind a URL."""
    from llmops_serve.engines.dialect import dialect_of

    dialect = dialect_of(variant.engine, text)
    if url.startswith("sagemaker://"):
        from llmops_serve.engines.sagemaker_runtime import SageMakerEngine

        return SageMakerEngine(url.removeprefix("sagemaker://"), dialect, config.max_concurrent_requests)
    from llmops_serve.engines.remote import RemoteEngine
    from llmops_serve.upstream import Upstream

    return RemoteEngine(Upstream(url.rstrip("/")), dialect, config.max_concurrent_requests, config.start_timeout_s)


def in_process(variant: Variant, package: ModelPackage, place: str, folder: str, config: "RunConfig") -> Opened:
    """A child of this server that runs the model."""
    from llmops_serve.engines.in_process import InProcessEngine
    from llmops_serve.engines.messages import WorkerSettings

    if variant.settings.quantize == "fp8":
        raise LlmopsError(f"variant {variant.name}: quantize=fp8 needs a GPU that has it; in-process takes int8 and nf4")
    paths = fetched(package, place, package.files)
    model = directory(paths, "model/config.json", place)
    settings = WorkerSettings(
        model=model,
        adapter=directory(paths, "adapter/adapter_config.json", place) if package.layout == "adapter" else None,
        threads=config.threads,
        max_batch_size=config.max_batch_size,
        max_total_tokens=min(variant.settings.max_context_tokens or package.max_context_tokens, package.max_context_tokens),
        adapters=named_adapters(variant, package, folder),
        quantize=variant.settings.quantize,
        tensor_parallel=variant.settings.tensor_parallel or 1,
    )
    most = variant.settings.max_concurrent_requests or config.max_concurrent_requests
    engine = InProcessEngine(variant.name, settings, config.max_batch_size if variant.shadow else most, config.start_timeout_s)
    return Opened(package, place, ModelText(model), [engine])


def named_adapters(variant: Variant, package: ModelPackage, folder: str) -> dict[str, Path]:
    """Local folders of the adapters. Raises LlmopsError for one over another base model."""
    folders = {}
    for adapter in variant.adapters:
        place, other = follow(adapter.package, folder, ModelPackage)
        if other.layout != "adapter":
            raise LlmopsError(f"adapter {adapter.name}: {place} has no adapter apart; package its run with layout=adapter")
        if weights(other) != weights(package):
            raise LlmopsError(f"adapter {adapter.name}: {place} is over another base model than variant {variant.name} serves")
        parts = [part for part in other.files if part.path.startswith("adapter/")]
        folders[adapter.name] = directory(fetched(other, place, parts), "adapter/adapter_config.json", place)
    return folders


def weights(package: ModelPackage) -> set[str]:
    """Digests of the base model's weights."""
    return {part.sha256 for part in package.files if part.path.startswith("model/") and part.path.endswith(".safetensors")}


def fetched(package: ModelPackage, place: str, parts: list[Part]) -> dict[str, Path]:
    """Local paths of parts by their names. Raises LlmopsError when one is damaged or can run code when it is loaded."""
    for part in package.files:
        if part.path.endswith(CODE):
            raise LlmopsError(f"{place}: holds {part.path}, which can run code when loaded; package the model as safetensors")
    return {part.path: fetch_part(place, part) for part in parts}


def directory(paths: dict[str, Path], name: str, place: str) -> Path:
    """The local folder of a package's file."""
    if name not in paths:
        raise LlmopsError(f"{place}: has no {name}; package the run again")
    return paths[name].parent
