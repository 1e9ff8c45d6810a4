"""Lineage: the chain of documents behind an answer, every link checked by its digest."""

import json
from collections.abc import Callable, Collection, Iterator
from typing import Any, ClassVar, Literal, TypeVar

from llmops_monitor.sagemaker_capture import SOURCE
from llmops_shared.contracts.dataset import DatasetManifest
from llmops_shared.contracts.document import Contract, Part, Reference, Value
from llmops_shared.contracts.endpoint import Endpoint
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.contracts.index import RetrievalIndex
from llmops_shared.contracts.package import ModelPackage
from llmops_shared.contracts.report import Report
from llmops_shared.contracts.run import TrainingRun
from llmops_shared.documents import document_uri, fetch_part, follow, read_document, sha256
from llmops_shared.errors import LlmopsError
from llmops_shared.store import folder_of, store_for

D = TypeVar("D", bound=Contract)

MAX_ROWS_SHOWN = 20


class Link(Value):
    """One document of the chain."""

    kind: str
    """`exchange`, `endpoint`, `package`, `evaluation`, `run`, `dataset`, `source`, `index` or `chunk`."""
    of: str
    """The kind and name of what it stands behind; empty for the exchange."""
    name: str
    """Its name or id."""
    uri: str
    """Where it is."""
    sha256: str
    """Its digest, checked where it could be read."""
    facts: dict[str, str]
    """What it says: variant, method, licence, ..."""


class Lineage(Contract):
    """Where an answer came from. Prompts and answers are not in it."""

    file_name: ClassVar[str] = "lineage.json"

    kind: Literal["lineage"] = "lineage"
    """What this document is."""
    request_id: str
    """The request."""
    links: list[Link]
    """From the answer back to raw documents; a shadow's answer has a chain of its own."""
    gaps: list[str]
    """Where the chain breaks, in words; empty when it is whole."""


class Walk:
    """Collects links and gaps; each document is walked once, however many ways lead to it."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.gaps: list[str] = []
        self._walked: dict[str, Link] = {}

    def exchange(self, exchange: Exchange, endpoint_uri: str) -> None:
        """Everything behind one answer."""
        facts = {
            "time": exchange.time.isoformat(),
            "variant": exchange.variant,
            "shadow": str(exchange.shadow).lower(),
            "route": exchange.route,
        }
        if "row_id" in exchange.metadata:
            facts["row_id"] = exchange.metadata["row_id"]
        name = f"{exchange.request_id} ({exchange.variant})"
        self.links.append(Link(kind="exchange", of="", name=name, uri="", sha256=sha256(exchange.model_dump_json().encode()), facts=facts))
        captured = exchange.metadata.get("source") == SOURCE["source"]
        found = self.captured(exchange, endpoint_uri) if captured else self.endpoint(exchange, endpoint_uri)
        if found is None:
            return
        place, endpoint = found
        variant = next((item for item in endpoint.variants if item.name == exchange.variant), None)
        if variant is None or (not captured and variant.package.sha256 != exchange.package_sha256):
            self.gaps.append(
                f"{place}: has no variant {exchange.variant}"
                + (f" with package {exchange.package_sha256[:12]}" if exchange.package_sha256 else "")
                + ", which gave the answer"
            )
            return
        self.package(variant.package, place, f"endpoint {endpoint.name}")
        if exchange.retrieval is not None and endpoint.retrieval is not None:
            self.index(endpoint.retrieval.index, place, exchange)

    def captured(self, exchange: Exchange, uri: str) -> tuple[str, Endpoint]:
        """The document given, for SageMaker's capture names a variant and nothing else: what it cannot prove is a gap."""
        place = document_uri(uri, Endpoint)
        document = read_document(place, Endpoint)
        self.gaps.append(
            f"{place}: SageMaker's capture names the variant {exchange.variant}, and neither the generation nor the package nor the chunks "
            f"of the answer; what follows is behind generation {document.generation}, so give endpoint= the one that was live at "
            f"{exchange.time.isoformat()}"
        )
        facts = {"generation": str(document.generation), "reason": document.reason}
        of, digest = f"exchange {exchange.request_id} ({exchange.variant})", sha256(store_for(place).read(place))
        self.links.append(Link(kind="endpoint", of=of, name=document.name, uri=place, sha256=digest, facts=facts))
        return place, document

    def endpoint(self, exchange: Exchange, uri: str) -> tuple[str, Endpoint] | None:
        """The generation that answered, at or before the one given."""
        place, tried = document_uri(uri, Endpoint), []
        document = read_document(place, Endpoint)
        while (digest := sha256(store_for(place).read(place))) != exchange.endpoint_sha256:
            tried.append(f"generation {document.generation}")
            if document.previous is None:
                self.gaps.append(
                    f"{uri}: neither it nor an earlier generation ({', '.join(tried)}) has the digest {exchange.endpoint_sha256[:12]} "
                    f"that the answer names; give endpoint= a later generation"
                )
                return None
            found = self.follow(document.previous, place, Endpoint)
            if found is None:
                return None
            place, document = found
        facts = {"generation": str(document.generation), "reason": document.reason}
        of = f"exchange {exchange.request_id} ({exchange.variant})"
        self.links.append(Link(kind="endpoint", of=of, name=document.name, uri=place, sha256=digest, facts=facts))
        return place, document

    def package(self, reference: Reference, place: str, of: str) -> None:
        """A package, its evaluation and its run."""
        found = self.link(
            "package", reference, place, ModelPackage, of, lambda package: {"layout": package.layout, "architecture": package.architecture}
        )
        if found is None:
            return
        place, package = found
        if package.evaluation is not None:
            self.link("evaluation", package.evaluation, place, Report, f"package {package.name}", evaluation_facts)
        self.run(package.run, place, f"package {package.name}")

    def run(self, reference: Reference, place: str, of: str) -> None:
        """A training run, its dataset, and the run or model it started from."""
        found = self.link("run", reference, place, TrainingRun, of, run_facts)
        if found is None:
            return
        place, run = found
        self.dataset(run.dataset, place, f"run {run.name}")
        if run.parent is not None:
            self.run(run.parent, place, f"run {run.name}")
        if run.base_model is not None:
            base = run.base_model
            self.links.append(
                Link(kind="source", of=f"run {run.name}", name=base.uri, uri=base.uri, sha256=base.sha256, facts={"what": "base model"})
            )

    def dataset(self, reference: Reference, place: str, of: str) -> tuple[str, DatasetManifest] | None:
        """A dataset and the raw inputs its rows came from."""
        found = self.link("dataset", reference, place, DatasetManifest, of, lambda manifest: {"view": manifest.view})
        if found is None:
            return None
        for source in found[1].sources:
            facts = {"what": source.kind, "records": str(source.num_records), "licence": source.licence}
            behind = f"dataset {found[1].name}"
            self.links.append(Link(kind="source", of=behind, name=source.uri, uri=source.uri, sha256=source.sha256, facts=facts))
        return found

    def index(self, reference: Reference, place: str, exchange: Exchange) -> None:
        """The index that was searched, its dataset, and the raw documents of the chunks put in front of the question."""
        of = f"exchange {exchange.request_id} ({exchange.variant})"
        found = self.link("index", reference, place, RetrievalIndex, of, lambda index: {"chunks": str(index.num_chunks)})
        if found is None or exchange.retrieval is None:
            return
        index_place, index = found
        wanted = {chunk.chunk_id: chunk.score for chunk in exchange.retrieval.chunks}
        dataset = self.dataset(index.dataset, index_place, f"index {index.name}") or self.follow(
            index.dataset, index_place, DatasetManifest
        )
        try:
            documents = {row["chunk_id"]: row["document_id"] for row in lines_of(index_place, index.chunks) if row["chunk_id"] in wanted}
            sources = {} if dataset is None else sources_of(*dataset, set(documents.values()))
        except LlmopsError as error:
            self.gaps.append(str(error))
            return
        for chunk_id, score in list(wanted.items())[:MAX_ROWS_SHOWN]:
            row_id = documents.get(chunk_id)
            if row_id is None:
                self.gaps.append(f"{index_place}: has no chunk {chunk_id}, which the answer names")
                continue
            facts = {"score": f"{score:.3f}", "row_id": row_id}
            uri = sources.get(row_id, "")
            self.links.append(Link(kind="chunk", of=f"index {index.name}", name=chunk_id, uri=uri, sha256=reference.sha256, facts=facts))

    def link(
        self, kind: str, reference: Reference, place: str, contract: type[D], of: str, facts: Callable[[D], dict[str, str]]
    ) -> tuple[str, D] | None:
        """Follows a reference and records it; None where it was walked before or cannot be."""
        if (before := self._walked.get(reference.sha256)) is not None:
            self.links.append(before.model_copy(update={"of": of, "facts": {"walked": "above"}}))
            return None
        found = self.follow(reference, place, contract)
        if found is None:
            return None
        uri, document = found
        name: str = getattr(document, "name", kind)
        self._walked[reference.sha256] = Link(kind=kind, of=of, name=name, uri=uri, sha256=reference.sha256, facts=facts(document))
        self.links.append(self._walked[reference.sha256])
        return found

    def follow(self, reference: Reference, place: str, contract: type[D]) -> tuple[str, D] | None:
        """The document behind a reference; a gap where it is missing or has changed."""
        try:
            return follow(reference, folder_of(place), contract)
        except LlmopsError as error:
            self.gaps.append(str(error))
            return None


def run_facts(run: TrainingRun) -> dict[str, str]:
    """How the weights were made."""
    return {"method": run.method, "steps": str(run.num_steps), "tokens": str(run.num_tokens), "mlflow_run_id": run.mlflow_run_id or ""}


def evaluation_facts(report: Report) -> dict[str, str]:
    """What the evaluation found."""
    return {item.name: f"{item.value:.4g}" for item in report.measurements}


def sources_of(place: str, manifest: DatasetManifest, row_ids: Collection[str]) -> dict[str, str]:
    """The raw documents of rows, by row id."""
    found = {}
    for part in [part for split in manifest.splits.values() for part in split.rows]:
        for row in lines_of(place, part):
            if row["id"] in row_ids:
                found[row["id"]] = row["source"]
    return found


def lines_of(place: str, part: Part) -> Iterator[dict[str, Any]]:
    """The JSON lines of a part."""
    with fetch_part(place, part).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)
