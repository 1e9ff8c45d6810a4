"""CloudWatch's embedded metric format: lines of a log that CloudWatch Logs turns into metrics, with no call to CloudWatch.

docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import asyncio
import json
import logging
import random
import time
from pathlib import Path
from typing import Any

from llmops_serve.metrics import Metrics

logger = logging.getLogger(__name__)

NAMESPACE = "LLMOps/Serve"
MOST_VALUES = 100  # of one metric in one line
UNITS = {
    "Requests": "Count",
    "Failures": "Count",
    "Refused": "Count",
    "ShadowDropped": "Count",
    "Latency": "Milliseconds",
    "FirstToken": "Milliseconds",
    "Tokens": "Count",
}
COUNTERS = {
    "Requests": "tgi_request_count",
    "Failures": "tgi_request_failure",
    "Refused": "llmops_refused",
    "ShadowDropped": "llmops_shadow_dropped",
}


class Sample:
    """A fair sample of values, of bounded size (Vitter 1985, algorithm R)."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.num_seen = 0

    def add(self, value: float) -> None:
        """Takes a value."""
        self.num_seen += 1
        if len(self.values) < MOST_VALUES:
            self.values.append(value)
        elif (place := int(random.random() * self.num_seen)) < MOST_VALUES:
            self.values[place] = value


class MetricsLog:
    """Writes a line every so often."""

    def __init__(self, path: str, endpoint: str, metrics: Metrics) -> None:
        self._path = Path(path)
        self._endpoint = endpoint
        self._metrics = metrics
        self._before: dict[str, float] = {}
        self._samples = self._new_samples()
        metrics.listeners.append(self.observe)

    def _new_samples(self) -> dict[str, Sample]:
        return {"Latency": Sample(), "FirstToken": Sample(), "Tokens": Sample()}

    def observe(self, duration_s: float, first_token_s: float | None, num_tokens: int) -> None:
        """Takes the figures of an answer."""
        self._samples["Latency"].add(duration_s * 1000)
        self._samples["Tokens"].add(num_tokens)
        if first_token_s is not None:
            self._samples["FirstToken"].add(first_token_s * 1000)

    def line(self) -> str:
        """The figures since the last line."""
        now = {name: self._metrics.total(counter) for name, counter in COUNTERS.items()}
        values: dict[str, Any] = {name: value - self._before.get(name, 0) for name, value in now.items()}
        values |= {name: [round(value, 3) for value in sample.values] for name, sample in self._samples.items() if sample.values}
        self._before, self._samples = now, self._new_samples()
        metrics = [{"Name": name, "Unit": UNITS[name]} for name in values]
        directive = {"Namespace": NAMESPACE, "Dimensions": [["Endpoint"]], "Metrics": metrics}
        head = {"_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}, "Endpoint": self._endpoint}
        return json.dumps({**head, **values}, separators=(",", ":"))

    async def run(self, every_s: float) -> None:
        """Writes until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.write)

    def write(self) -> None:
        """Adds a line to the file."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(self.line() + "\n")
        except OSError as error:
            logger.warning("%s: figures were not written (%s)", self._path, error.strerror)
