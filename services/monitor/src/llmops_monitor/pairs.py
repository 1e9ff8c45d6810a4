"""Pairs: what production and shadow answered to one request, with the reference answer where there is one."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmops_shared.contracts.dataset import DatasetManifest
from llmops_shared.contracts.endpoint import Endpoint, Variant
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.documents import document_uri, fetch_part, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.store import folder_of


@dataclass(frozen=True)
class Pair:
    """Two answers to one request."""

    production: Exchange
    shadow: Exchange
    reference: str | None

    @property
    def prompt(self) -> str:
        """The last message, as the client sent it."""
        messages = self.production.messages
        return messages[-1].content if messages else ""

    @property
    def subject(self) -> str:
        """Pairs of one subject ask the same thing, so they are no independent evidence."""
        return "\n".join(f"{message.role}: {message.content}" for message in self.production.messages)

    @property
    def answered(self) -> bool:
        """Whether both models gave an answer."""
        return not failed(self.production) and not failed(self.shadow)


class Pairing(NamedTuple):
    """Pairs, and the requests that made none."""

    pairs: list[Pair]
    num_unpaired: int


def failed(exchange: Exchange) -> bool:
    """Whether the request ended in an error."""
    return exchange.error is not None or exchange.finish_reason == "error"


def variants_of(endpoint: Endpoint, uri: str) -> tuple[Variant, Variant]:
    """The production and the shadow variant. Raises LlmopsError when there is no shadow."""
    shadow = endpoint.shadow()
    if shadow is None:
        names = ", ".join(variant.name for variant in endpoint.variants)
        raise LlmopsError(f"{uri}: has no shadow variant (variants: {names}); add one with llmops-serve shadow endpoint={uri} package=...")
    return endpoint.production()[0], shadow


def as_served(exchanges: Sequence[Exchange], endpoint: Endpoint) -> list[Exchange]:
    """Exchanges of SageMaker's captures with what a capture does not say: its variant's package, and whether that is a shadow."""
    variants = {variant.name: variant for variant in endpoint.variants}
    known = {name: {"shadow": variant.shadow, "package_sha256": variant.package.sha256} for name, variant in variants.items()}
    return [
        exchange if exchange.package_sha256 or exchange.variant not in known else exchange.model_copy(update=known[exchange.variant])
        for exchange in exchanges
    ]


def of_packages(exchanges: Sequence[Exchange], production: Variant, shadow: Variant, uri: str) -> list[Exchange]:
    """The exchanges of the two packages; a log may hold answers of an earlier model under the same variant name.

    Raises LlmopsError when one of the two has none.
    """
    kept = [exchange for exchange in exchanges if exchange.package_sha256 == (shadow if exchange.shadow else production).package.sha256]
    for variant in (production, shadow):
        if not any(exchange.shadow == variant.shadow for exchange in kept):
            there = Counter(f"{exchange.variant} with package {exchange.package_sha256[:12]}" for exchange in exchanges)
            raise LlmopsError(
                f"{uri}: no exchange was answered by {variant.name} with package {variant.package.sha256[:12]}; the log has "
                f"{', '.join(f'{count} of {name}' for name, count in sorted(there.items()))}: serve this endpoint and send it requests"
            )
    return kept


def arm_name(variant: Variant) -> str:
    """What a variant's figures are called in MLflow: its name, and the folder of its package, which says what was tried."""
    return f"{variant.name} ({folder_of(variant.package.uri).rpartition('/')[2]})"


def pair_up(exchanges: Sequence[Exchange], references: Mapping[str, str]) -> Pairing:
    """Joins the answers to one request, in order of time."""
    shadows = {exchange.request_id: exchange for exchange in exchanges if exchange.shadow}
    production = [exchange for exchange in exchanges if not exchange.shadow]
    pairs = [
        Pair(exchange, shadows[exchange.request_id], references.get(exchange.metadata.get("row_id", "")))
        for exchange in production
        if exchange.request_id in shadows
    ]
    return Pairing(pairs, len(production) + len(shadows) - 2 * len(pairs))


def read_references(uri: str, splits: Sequence[str], row_ids: Iterable[str]) -> dict[str, str]:
    """The reference answers of chat rows by id, from the named splits.

    Raises LlmopsError when the dataset has none of the splits, holds no chats, or knows none of the ids.
    """
    place = document_uri(uri, DatasetManifest)
    manifest = read_document(place, DatasetManifest)
    if manifest.view != "chat":
        raise LlmopsError(f"{place}: is a {manifest.view} dataset, which has no answers; name a chat dataset")
    present = [name for name in splits if name in manifest.splits]
    if not present:
        raise LlmopsError(f"{place}: has no split {' or '.join(splits)} (has {', '.join(manifest.splits)}); correct splits=")
    wanted = set(row_ids)
    if not wanted:
        raise LlmopsError(f"no request has a `row_id` in its metadata, so none has a reference in {place}; send it, or leave dataset= out")
    found: dict[str, str] = {}
    for part in [part for name in present for part in manifest.splits[name].rows]:
        with fetch_part(place, part).open(encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                if row["id"] in wanted:
                    found[row["id"]] = row["messages"][-1]["content"]
    if not found:
        raise LlmopsError(
            f"{place}: knows none of the {len(wanted)} row ids of the requests (such as {min(wanted)}) in {', '.join(present)}; "
            f"name the dataset whose prompts were sent"
        )
    return found
