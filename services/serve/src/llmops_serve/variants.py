"""A variant from a package: its reference, its engine, and the facts the engine is sized by."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llmops_shared.contracts import ModelPackage
from llmops_shared.contracts.endpoint import Variant
from llmops_shared.contracts.engine import Adapter, EngineName, EngineSettings, ServedModel
from llmops_shared.documents import document_uri, fetch_part, read_document, refer
from llmops_shared.errors import LlmopsError
from llmops_shared.hosting.facts import facts_of


def new_variant(
    name: str,
    package: str,
    folder: str,
    *,
    engine: EngineName,
    urls: Sequence[str] = (),
    settings: EngineSettings | None = None,
    adapters: Mapping[str, str] | None = None,
    shadow: bool = False,
    weight: float = 1.0,
) -> Variant:
    """The variant as a document in `folder` has it. Raises LlmopsError when an adapter package is none, or the package lacks facts."""
    named = dict(adapters or {})
    check_urls(name, engine, urls)
    return Variant(
        name=name,
        package=refer(package, ModelPackage, folder),
        engine=engine,
        urls=list(urls),
        settings=settings or EngineSettings(),
        model=served_model(package, list(named.values()), engine),
        adapters=[Adapter(name=key, package=refer(uri, ModelPackage, folder)) for key, uri in named.items()],
        shadow=shadow,
        weight=weight,
    )


def check_urls(name: str, engine: EngineName, urls: Sequence[str]) -> None:
    """Raises LlmopsError for URLs that the engine cannot have."""
    if engine == "in-process" and urls:
        raise LlmopsError(f"variant {name}: in-process runs in the server itself; leave urls out, or name the engine behind them")
    if wrong := [url for url in urls if not url.startswith(("http://", "https://", "sagemaker://"))]:
        raise LlmopsError(f"variant {name}: urls {wrong[0]}: must begin with http://, https:// or sagemaker://")


def served_model(package: str, adapters: Sequence[str], engine: EngineName) -> ServedModel | None:
    """The facts of a package; None for a bare in-process one without a config, which needs none."""
    place = document_uri(package, ModelPackage)
    document = read_document(place, ModelPackage)
    if engine != "in-process" and not document.mergeable:
        raise LlmopsError(
            f"{place}: holds an adapter of virtual tokens, which engine {engine} cannot load and nobody can merge; use engine=in-process, "
            f"or train with method lora"
        )
    config = json_part(document, place, "model/config.json")
    if config is None:
        if engine == "in-process":
            return None
        raise LlmopsError(f"{place}: has no model/config.json, by which engine {engine} is sized; package the run again")
    ranks = [rank for rank in map(adapter_rank, [package, *adapters]) if rank is not None]
    return facts_of(document, config, place, max(ranks, default=None))


def adapter_rank(package: str) -> int | None:
    """The rank of a package's LoRA adapter; None for one that holds no LoRA adapter."""
    place = document_uri(package, ModelPackage)
    config = json_part(read_document(place, ModelPackage), place, "adapter/adapter_config.json")
    if config is None or config.get("peft_type") != "LORA":
        return None
    return max([int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())])


def json_part(package: ModelPackage, place: str, path: str) -> dict[str, Any] | None:
    """A JSON file of a package; None when it has no such file."""
    part = next((part for part in package.files if part.path == path), None)
    if part is None:
        return None
    content: dict[str, Any] = json.loads(fetch_part(place, part).read_text(encoding="utf-8"))
    return content
