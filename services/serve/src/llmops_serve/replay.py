"""`llmops-serve replay`: traffic for an endpoint, of datasets or of a recording, by the client that users have."""

import importlib.util
import json
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from llmops_serve.client import Request, Result, send_all
from llmops_serve.config import Prompts, ReplayConfig
from llmops_serve.server_process import running_server
from llmops_serve.traffic import Came, make, read_traffic
from llmops_shared.contracts import DatasetManifest, Endpoint, Report
from llmops_shared.contracts.report import Measurement
from llmops_shared.documents import document_uri, fetch_part, read_document, refer, sha256, store_part, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.page import Table, render
from llmops_shared.resume import digest_of, finished
from llmops_shared.rows import ChatRow
from llmops_shared.store import folder_of, store_for
from llmops_shared.tracking import tracked

logger = logging.getLogger(__name__)

NUM_SHOWN = 12  # answers on the page
TRAFFIC = "traffic"  # the window of a recording


class Traffic(NamedTuple):
    """What was sent and what came back."""

    results: list[Result]
    seconds: float
    num_cut: int = 0
    """Requests of a recording that were longer than the server takes."""


def replay(config: ReplayConfig) -> Report:
    """Reads prompts of datasets, sends them to the endpoint's server or to `url`, and writes a Report about speed and errors.

    When it returns, the exchange log of a server it started is complete. Raises LlmopsError when no request was answered.
    """
    began = time.time()
    inputs = {f"prompts.{window}": digest_of(prompts.dataset, DatasetManifest) for window, prompts in config.prompts.items()}
    if config.traffic is not None:
        inputs["traffic"] = sha256(store_for(config.traffic).read(config.traffic))
    if config.endpoint is not None:
        inputs["endpoint"] = digest_of(config.endpoint, Endpoint)
    if kept := finished(config, Report, inputs):
        return kept

    if importlib.util.find_spec("openai") is None:
        raise LlmopsError("replay sends requests with the openai client, which is not installed; install llmops-serve[replay]")
    traffic = send(config)
    requests = [result.request for result in traffic.results]
    failed = [result for result in traffic.results if result.error is not None]
    for result in failed[:3]:
        logger.warning("%s failed: %s", result.request.request_id, result.error)
    if len(failed) == len(requests):
        raise LlmopsError(f"none of {len(requests)} requests was answered; the first error: {failed[0].error}")

    folder = folder_of(document_uri(config.out, Report))
    measurements = measure(config, traffic)
    rows = store_part(folder, "rows.jsonl", b"".join(json.dumps(as_row(result)).encode() + b"\n" for result in traffic.results))
    html = store_part(folder, "report.html", make_page(config, traffic, measurements).encode())
    subjects = {f"dataset.{window}": refer(prompts.dataset, DatasetManifest, folder) for window, prompts in config.prompts.items()}
    if config.endpoint is not None:
        subjects["endpoint"] = refer(config.endpoint, Endpoint, folder)
    with tracked(config.tracking, "replay", config.name, began) as run:
        run.parameters(config.model_dump(mode="json", exclude={"out", "tracking"}))
        run.metrics({item.name: item.value for item in measurements})
        for dataset in {prompts.dataset for prompts in config.prompts.values()}:
            run.dataset(read_document(dataset, DatasetManifest), dataset, digest_of(dataset, DatasetManifest), "replay")
        with tempfile.TemporaryDirectory() as scratch:
            page = Path(scratch) / "report.html"
            page.write_bytes(fetch_part(document_uri(config.out, Report), html).read_bytes())
            run.artifact(page)
    report = Report(
        report="replay",
        name=config.name,
        subjects=subjects,
        measurements=measurements,
        verdict=None,
        reasons=[
            f"{len(failed)} of {len(requests)} requests failed." if failed else f"All {len(requests)} requests were answered.",
            *([f"{traffic.num_cut} requests were longer than the server takes, and were cut."] if traffic.num_cut else []),
        ],
        parts={"html": html, "rows": rows},
        mlflow_run_id=run.run_id,
    )
    write_document(config.out, report)
    return report


def read_prompts(window: str, prompts: Prompts) -> list[Request]:
    """The requests of one window: rows in the order of their ids, which are digests and so a fair draw."""
    place = document_uri(prompts.dataset, DatasetManifest)
    manifest = read_document(place, DatasetManifest)
    if manifest.view != "chat":
        raise LlmopsError(f"prompts.{window}.dataset {place}: is a {manifest.view} dataset; replay needs the view chat")
    split = manifest.splits.get(prompts.split)
    if split is None:
        raise LlmopsError(f"{place}: split {prompts.split!r} is missing (has {', '.join(manifest.splits)}); set prompts.{window}.split")
    rows = [
        ChatRow.model_validate_json(line)
        for part in split.rows
        for line in fetch_part(place, part).read_text(encoding="utf-8").split("\n")
        if line
    ]
    if not rows:
        raise LlmopsError(f"{place}: split {prompts.split!r} has no rows to send; set prompts.{window}.split")
    chosen = sorted(rows, key=lambda row: row.id)[: prompts.limit]
    if len(chosen) < prompts.limit:
        logger.info("window %s: split %s has %d rows, limit is %d", window, prompts.split, len(chosen), prompts.limit)
    return [
        Request(
            request_id=f"{window}-{row.id}",
            window=window,
            row_id=row.id,
            messages=row.messages[:-1],
            expected=row.messages[-1].content,
            max_tokens=prompts.max_tokens,
            retrieval=prompts.retrieval,
        )
        for row in chosen
    ]


def send(config: ReplayConfig) -> Traffic:
    """Sends the requests to the running server, or to one that is started and stopped here."""
    requests = [request for window, prompts in config.prompts.items() for request in read_prompts(window, prompts)]
    came = read_traffic(config) if config.traffic is not None else []
    if config.url is not None:
        return timed(config, config.url.rstrip("/"), requests, came)
    assert config.endpoint is not None
    with running_server(config.endpoint, config.server_threads) as url:
        return timed(config, url, requests, came)


def timed(config: ReplayConfig, url: str, requests: list[Request], came: list[Came]) -> Traffic:
    """Sends the requests and takes the time."""
    due_s, num_cut = None, 0
    if config.traffic is not None:
        requests, due_s, num_cut = make(TRAFFIC, came, config.speed, url)
        logger.info("sending %d requests over %.0f s, as they came", len(requests), due_s[-1])
    else:
        logger.info("sending %d requests, %d at a time", len(requests), config.concurrency)
    started = time.perf_counter()
    results = send_all(url, requests, config.concurrency, config.timeout_s, due_s)
    seconds = time.perf_counter() - started
    logger.info("%d requests in %.1f s", len(requests), seconds)
    return Traffic(results, seconds, num_cut)


def measure(config: ReplayConfig, traffic: Traffic) -> list[Measurement]:
    """The figures of each window, and the rate over all."""
    import numpy as np

    from llmops_shared.statistics import Floats, bootstrap

    def quantile(name: str, values: list[float], point: float) -> Measurement:
        def statistic(rows: Floats) -> Floats:
            result: Floats = np.quantile(rows, point, axis=-1)
            return result

        estimate = bootstrap(values, statistic)
        return Measurement(
            name=name, value=estimate.value, low=estimate.low, high=estimate.high, num_rows=len(values), better="lower", unit="ms"
        )

    measurements = []
    for window in [*config.prompts, *([TRAFFIC] if config.traffic else [])]:
        results = [result for result in traffic.results if result.request.window == window]
        answered = [result for result in results if result.error is None]
        measurements += [count(f"{window}.requests", len(results), len(results), "neither")]
        measurements += [count(f"{window}.errors", len(results) - len(answered), len(results), "lower")]
        if answered:
            latencies = [result.latency_ms for result in answered]
            first = [result.first_token_ms for result in answered if result.first_token_ms is not None]
            measurements += [quantile(f"{window}.latency_p50", latencies, 0.5), quantile(f"{window}.latency_p95", latencies, 0.95)]
            measurements += [quantile(f"{window}.first_token_p50", first, 0.5)]
        if window == TRAFFIC and answered:
            measurements += [quantile(f"{window}.latency_p99", latencies, 0.99), quantile(f"{window}.first_token_p99", first, 0.99)]
            late = [result.late_ms for result in results]  # of this program, not of the server: what it measured is worth less for it
            measurements += [quantile(f"{window}.late_p50", late, 0.5), quantile(f"{window}.late_p99", late, 0.99)]
            measurements.append(count(f"{window}.cut", traffic.num_cut, len(results), "neither"))
            for name, number in (
                ("prompt_tokens", sum(result.num_prompt_tokens for result in answered)),
                ("answer_tokens", sum(result.num_tokens for result in answered)),
            ):
                measurements.append(count(f"{window}.{name}", number, len(answered), "neither", "tokens"))
    answered = [result for result in traffic.results if result.error is None]
    for name, number, unit in (
        ("answers_per_second", len(answered), "answers/s"),
        ("tokens_per_second", sum(result.num_tokens for result in answered), "tokens/s"),
    ):
        measurements.append(count(name, number / traffic.seconds, len(answered), "higher", unit))
    return measurements


def count(name: str, value: float, num_rows: int, better: str, unit: str = "") -> Measurement:
    """A figure that was counted, not estimated."""
    return Measurement.model_validate(
        {"name": name, "value": value, "low": None, "high": None, "confidence": None, "num_rows": num_rows, "better": better, "unit": unit}
    )


def as_row(result: Result) -> dict[str, object]:
    """One line of `rows.jsonl`."""
    request = result.request
    return {
        "request_id": request.request_id,
        "window": request.window,
        "row_id": request.row_id,
        "messages": [message.model_dump() for message in request.messages],
        "expected": request.expected,
        "response": result.response,
        "finish_reason": result.finish_reason,
        "num_tokens": result.num_tokens,
        "latency_ms": result.latency_ms,
        "first_token_ms": result.first_token_ms,
        "num_prompt_tokens": result.num_prompt_tokens,
        "late_ms": result.late_ms,
        "chunk_ids": result.chunk_ids,
        "error": result.error,
    }


def make_page(config: ReplayConfig, traffic: Traffic, measurements: Sequence[Measurement]) -> str:
    """The HTML page: figures, the same questions with and without context, failed requests."""
    plain = {result.request.row_id: result for result in traffic.results if not result.request.retrieval and result.error is None}
    pairs = [
        (plain[result.request.row_id], result)
        for result in traffic.results
        if result.request.retrieval and result.error is None and result.request.row_id in plain
    ]
    tables = []
    if pairs:
        rows = [
            [without.request.messages[-1].content, without.request.expected, without.response, found.response, "\n".join(found.chunk_ids)]
            for without, found in pairs[:NUM_SHOWN]
        ]
        tables.append(Table("With and without context", ["Question", "Expected", "Without context", "With context", "Chunks"], rows))
    else:
        answered = [result for result in traffic.results if result.error is None][:NUM_SHOWN]
        rows = [[result.request.messages[-1].content, result.request.expected, result.response] for result in answered]
        tables.append(Table("Answers", ["Question", "Expected", "Answer"], rows))
    if failed := [result for result in traffic.results if result.error is not None]:
        rows = [[result.request.request_id, str(result.error)] for result in failed[:NUM_SHOWN]]
        tables.append(Table(f"Failed requests ({len(failed)})", ["Request", "Error"], rows))
    how = f"{config.concurrency} at a time" if config.traffic is None else f"{config.speed:g} times as fast as they came"
    summary = f"{len(traffic.results)} requests, {how}, to {config.endpoint or config.url}"
    return render(config.name, summary, measurements, tables=tables)
