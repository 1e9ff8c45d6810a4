"""Which variant answers, and whether an exchange is kept: both by the request's id, so that they can be told afterwards."""

import hashlib
from collections.abc import Sequence

from llmops_shared.contracts.endpoint import Variant


def share(request_id: str, purpose: str) -> float:
    """A number in [0, 1), evenly spread over ids and independent between purposes."""
    digest = hashlib.sha256(f"{purpose}\0{request_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def choose(variants: Sequence[Variant], request_id: str) -> Variant:
    """One of the production variants, each as often as its weight says."""
    total = sum(variant.weight for variant in variants)
    point = share(request_id, "variant") * total
    for variant in variants:
        point -= variant.weight
        if point < 0:
            return variant
    return next(variant for variant in reversed(variants) if variant.weight > 0)  # rounding at the upper end


def is_sampled(request_id: str, rate: float) -> bool:
    """Whether this request belongs to the sample."""
    return share(request_id, "sample") < rate
