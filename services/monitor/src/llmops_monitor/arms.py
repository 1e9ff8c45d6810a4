"""The two arms of an A/B test: which variant answered whom, and one value a unit for every metric."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from llmops_monitor.metrics import Metric
from llmops_monitor.pairs import failed
from llmops_shared.contracts.endpoint import Endpoint, Variant
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.errors import LlmopsError
from llmops_shared.statistics import Floats


class Arms(NamedTuple):
    """Exchanges by unit."""

    control: dict[str, list[Exchange]]
    treatment: dict[str, list[Exchange]]
    remarks: list[str]
    """What was left out, in words."""


def arms_of(endpoint: Endpoint, uri: str, control: str | None, treatment: str | None) -> tuple[Variant, Variant]:
    """The two variants. Raises LlmopsError unless they can be told."""
    variants = {variant.name: variant for variant in sides_of(endpoint)}
    known = ", ".join(variants)
    if len(variants) < 2:
        raise LlmopsError(f"{uri}: has one production variant ({known}); an A/B test needs two, each with a weight")
    for role, name in (("control", control), ("treatment", treatment)):
        if name is not None and name not in variants:
            raise LlmopsError(f"{role}={name}: is no production variant of {uri} (has {known})")
    before = control or next(name for name in variants if name != treatment)
    others = [name for name in variants if name != before]
    if treatment is None and len(others) > 1:
        raise LlmopsError(f"{uri}: has production variants {known}; say which is on trial with treatment=NAME")
    after = treatment or others[0]
    if after == before:
        raise LlmopsError(f"control and treatment are both {before}; name two variants of {uri} (has {known})")
    return variants[before], variants[after]


def sides_of(endpoint: Endpoint) -> list[Variant]:
    """The arms, each as a variant of its name with the package that answers in it; without arms the production variants."""
    production = {variant.name: variant for variant in endpoint.production()}
    first = next(iter(production.values()))
    return [
        production.get(arm.variant or "", first).model_copy(update={"name": arm.name, "weight": arm.weight}) for arm in endpoint.arms
    ] or list(production.values())


def split(exchanges: Sequence[Exchange], control: Variant, treatment: Variant, unit: str | None) -> Arms:
    """Exchanges of the two packages by variant and unit.

    A unit that both variants answered tells nothing of either and is left out. Raises LlmopsError when `unit` is in no metadata.
    """
    sides: tuple[dict[str, list[Exchange]], dict[str, list[Exchange]]] = ({}, {})
    remarks, num_other, num_nameless = [], 0, 0
    for exchange in exchanges:
        side = next((side for side, variant in enumerate((control, treatment)) if answered_by(exchange, variant)), None)
        key = exchange.request_id if unit is None else exchange.metadata.get(unit)
        if side is None:
            num_other += 1
        elif key is None:
            num_nameless += 1
        else:
            sides[side].setdefault(key, []).append(exchange)
    if unit is not None and num_nameless and not any(sides):
        raise LlmopsError(f"unit={unit}: none of {num_nameless} exchanges has {unit} in its metadata; correct unit=, or leave it out")
    crossed = sides[0].keys() & sides[1].keys()
    kept = [{key: group for key, group in side.items() if key not in crossed} for side in sides]
    if num_other:
        remarks.append(f"{num_other} exchanges of other variants or earlier packages were left out.")
    if num_nameless:
        remarks.append(f"{num_nameless} exchanges without {unit} in their metadata were left out.")
    if crossed:
        remarks.append(f"{len(crossed)} units were answered by both variants and left out.")
    return Arms(kept[0], kept[1], remarks)


def answered_by(exchange: Exchange, variant: Variant) -> bool:
    """Whether it is an answer of this variant with this package that went to a client."""
    name = exchange.arm or exchange.variant
    return not exchange.shadow and name == variant.name and exchange.package_sha256 == variant.package.sha256


def unit_values(side: Mapping[str, list[Exchange]], metric: Metric, references: Mapping[str, str]) -> Floats:
    """The mean of a metric in each unit that has it, shape [num_units]; latency in logarithms, for a ratio is what is judged."""
    found = []
    for group in side.values():
        values = [
            value
            for exchange in group
            if not (metric.of_answers and failed(exchange))
            and (value := metric.value(exchange, references.get(exchange.metadata.get("row_id", "")))) is not None
        ]
        if metric.unit == "ms":
            values = [math.log(value) for value in values if value > 0]  # 0: a clock that jumped, or a capture that holds no latency
        if values:
            found.append(sum(values) / len(values))
    return np.array(found, dtype=np.float64)


def num_failed(side: Mapping[str, list[Exchange]]) -> int:
    """Units with a failed request."""
    return sum(any(failed(exchange) for exchange in group) for group in side.values())
