"""Prometheus' text format, as the server's `/metrics` writes it: samples, and quantiles of histograms."""

import math
import re
import urllib.error
import urllib.request
from collections.abc import Mapping

from llmops_shared.errors import LlmopsError

SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]
"""(name, labels) to value."""


def read_samples(url: str) -> Samples:
    """The samples of a server. Raises LlmopsError when it does not answer with such text."""
    place = f"{url.rstrip('/')}/metrics"
    try:
        with urllib.request.urlopen(place, timeout=30) as response:
            return parse_samples(response.read().decode(errors="replace"))
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise LlmopsError(f"{place}: no metrics there ({error}); name a running server") from error


def parse_samples(text: str) -> Samples:
    """The samples of a text. Raises ValueError for a line that is none."""
    found = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = SAMPLE.match(line.strip())
        if match is None:
            raise ValueError("a line is no sample of Prometheus' text format")
        found[match[1], tuple(sorted(LABEL.findall(match[2] or "")))] = float(match[3].replace("Inf", "inf"))
    return found


def since(before: Samples, now: Samples) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What counters and histograms gained; a counter that fell was restarted and counts in full. Gauges stay as they are now."""
    counts = ("_count", "_sum", "_bucket", "_total", "_success", "_failure")
    gained = {}
    for key, value in now.items():
        earlier = before.get(key, 0.0)
        counts_up = key[0].endswith(counts) or "dropped" in key[0]
        gained[key] = value - earlier if counts_up and value >= earlier else value
    return gained


def total(samples: Samples, name: str) -> float:
    """Sum over all labels; 0 where there is no such sample."""
    return sum(value for (sample, _), value in samples.items() if sample == name)


def quantile(samples: Samples, name: str, share: float) -> float | None:
    """A quantile of a histogram, linear within its bucket, as Prometheus' `histogram_quantile`; None without observations."""
    buckets: dict[float, float] = {}
    for (sample, labels), value in samples.items():
        if sample == f"{name}_bucket":
            bound = float(dict(labels)["le"].replace("Inf", "inf"))
            buckets[bound] = buckets.get(bound, 0.0) + value
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] == 0:
        return None
    wanted, below, seen = share * buckets[bounds[-1]], 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= wanted:
            if math.isinf(bound):
                return below
            inside = buckets[bound] - seen
            return below + (bound - below) * ((wanted - seen) / inside if inside else 1.0)
        below, seen = bound, buckets[bound]
    return below
