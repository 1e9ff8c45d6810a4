"""Counters and histograms in Prometheus' text format; the names are TGI's where TGI has the thing."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable

SECONDS = tuple(0.0005 * 1.5**power for power in range(30))  # 0.5 ms to 64 s
TOKENS = tuple(float(2**power) for power in range(16))

COUNTERS = {
    "tgi_request_count": "Requests that reached a model",
    "tgi_request_success": "Requests answered",
    "tgi_request_failure": "Requests that failed, by kind",
    "llmops_shadow_dropped": "Shadow copies dropped",
    "llmops_retries": "Requests that another server of the variant took over before their first token",
    "llmops_refused": "Requests refused before a model was asked, by reason",
}
HISTOGRAMS = {
    "tgi_request_duration": ("Seconds from arrival to the last token", SECONDS),
    "tgi_request_first_token_duration": ("Seconds from arrival to the first token", SECONDS),
    "tgi_request_mean_time_per_token_duration": ("Seconds for a token, over a whole answer", SECONDS),
    "tgi_request_input_length": ("Tokens of the prompt", TOKENS),
    "tgi_request_generated_tokens": ("Tokens of the answer", TOKENS),
    "tgi_request_max_new_tokens": ("Tokens asked for", TOKENS),
}


class Histogram:
    """Observations in buckets."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.total += value


class Metrics:
    """What `/metrics` shows of one server."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], float] = defaultdict(float)
        self._histograms = {name: Histogram(bounds) for name, (_, bounds) in HISTOGRAMS.items()}
        for name in COUNTERS.keys() - {"tgi_request_failure", "llmops_refused"}:
            self._counts[name, ""] = 0
        self.listeners: list[Callable[[float, float | None, int], None]] = []
        """Called at the end of every answer with its duration and time to the first token in seconds, and its tokens."""

    def count(self, name: str, by: float = 1, error: str = "") -> None:
        """Raises a counter, of failures by kind of error."""
        self._counts[name, f'{{err="{error}"}}' if error else ""] += by

    def total(self, name: str) -> float:
        """A counter, over all kinds."""
        return sum(value for (counter, _), value in self._counts.items() if counter == name)

    def observe(self, name: str, value: float) -> None:
        """Adds an observation."""
        self._histograms[name].observe(value)

    def answered(self, well: bool, duration_s: float, num_tokens: int, first_token_s: float | None = None) -> None:
        """Records the end of a live answer."""
        if not well:
            self.count("tgi_request_failure", error="generation")
            return
        for listener in self.listeners:
            listener(duration_s, first_token_s, num_tokens)
        if first_token_s is not None:
            self.observe("tgi_request_first_token_duration", first_token_s)
        self.count("tgi_request_success")
        self.observe("tgi_request_duration", duration_s)
        self.observe("tgi_request_generated_tokens", num_tokens)
        self.observe("tgi_request_mean_time_per_token_duration", duration_s / max(1, num_tokens))

    def text(self, gauges: dict[str, float]) -> str:
        """Everything, with figures of this very moment."""
        lines = []
        for name, value in gauges.items():
            lines += [f"# TYPE {name} gauge", f"{name} {value:g}"]
        for name, help_text in COUNTERS.items():
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} counter"]
            lines += [f"{name}{labels} {value:g}" for (counter, labels), value in sorted(self._counts.items()) if counter == name]
        for name, histogram in self._histograms.items():
            lines += [f"# HELP {name} {HISTOGRAMS[name][0]}", f"# TYPE {name} histogram"]
            seen = 0
            for bound, number in zip((*histogram.bounds, float("inf")), histogram.buckets, strict=True):
                seen += number
                lines.append(f'{name}_bucket{{le="{"+Inf" if bound == float("inf") else f"{bound:g}"}"}} {seen}')
            lines += [f"{name}_sum {histogram.total:g}", f"{name}_count {seen}"]
        return "\n".join(lines) + "\n"
