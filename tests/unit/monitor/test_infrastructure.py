import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from llmops_monitor.cli import main
from llmops_monitor.infrastructure import from_points, server_figures
from llmops_monitor.infrastructure_config import InfrastructureConfig
from llmops_monitor.prometheus import parse_samples, quantile, since
from llmops_serve.metrics import Metrics
from llmops_shared.contracts import Report
from llmops_shared.documents import read_document
from support.service_rules import complaints

MOMENT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def served(num_requests: int, seconds: float, num_failed: int = 0) -> str:
    """What our own server's /metrics says after such requests."""
    metrics = Metrics()
    for number in range(num_requests):
        metrics.count("tgi_request_count")
        metrics.answered(number >= num_failed, seconds, 10)
    return metrics.text({"tgi_queue_size": 3.0})


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A server whose /metrics gives one text after another, the last again and again."""
    texts: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = (texts.pop(0) if len(texts) > 1 else texts[0]).encode()
            self.send_response(200 if self.path == "/metrics" else 404)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", texts
    running.shutdown()
    thread.join()
    running.server_close()


def figures(report: Report) -> dict[str, float]:
    return {item.name: item.value for item in report.measurements}


def test_figures_of_our_servers_metrics(tmp_path: Path, server: tuple[str, list[str]]) -> None:
    url, texts = server
    texts.append(served(100, 0.2, num_failed=5))

    assert main(["infrastructure", f"url={url}", f"out={tmp_path / 'report'}"]) == 0

    report = read_document(str(tmp_path / "report"), Report)
    measured = figures(report)
    assert measured["requests"] == 100 and measured["error_rate"] == 0.05 and measured["tgi_queue_size"] == 3
    assert measured["latency_ms/p50"] == pytest.approx(200, rel=0.3) and measured["response_tokens/p50"] == pytest.approx(10, rel=0.5)
    assert report.reasons == ["The server has no observation of first_token_ms, queue_ms, prompt_tokens."]
    counted = {item.name: item.num_rows for item in report.measurements}
    assert (
        counted["requests"] == counted["error_rate"] == 100 and counted["latency_ms/p50"] == 95 and counted["tgi_queue_size"] == 1
    )  # those that failed have no latency
    page = (tmp_path / "report" / "report.html").read_text()
    assert "since its start" in page and "Interval" not in page  # of a server's own percentiles nothing is known


def test_two_readings_give_what_came_between_them(tmp_path: Path, server: tuple[str, list[str]]) -> None:
    url, texts = server
    texts += [served(100, 0.1), served(130, 0.1, num_failed=3)]

    main(["infrastructure", f"url={url}", "seconds=0.1", f"out={tmp_path / 'report'}"])

    measured = figures(read_document(str(tmp_path / "report"), Report))
    assert measured["requests"] == 30 and measured["requests_per_s"] == pytest.approx(300) and measured["error_rate"] == 0.1


def test_a_server_that_was_restarted_counts_from_zero() -> None:
    gained = since(parse_samples(served(100, 0.1)), parse_samples(served(20, 0.1)))

    assert server_figures(gained, 1.0)[0][0] and gained[("tgi_request_count", ())] == 20


def test_quantiles_are_prometheus_own() -> None:
    samples = parse_samples('h_bucket{le="1"} 50\nh_bucket{le="2"} 90\nh_bucket{le="+Inf"} 100\nh_sum 7\nh_count 100\n')

    assert [quantile(samples, "h", share) for share in (0.5, 0.7, 0.9, 0.99)] == [1.0, 1.5, 2.0, 2.0]
    assert quantile(samples, "other", 0.5) is None
    assert parse_samples('a{x="1",y="b"} 3\n# HELP a b\n\nb +Inf\n')[("a", (("x", "1"), ("y", "b")))] == 3


@pytest.mark.parametrize("text", ["<html>not metrics</html>", ""])
def test_what_is_no_metrics_is_named_or_empty(
    tmp_path: Path, server: tuple[str, list[str]], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url, texts = server
    texts.append(text)

    code = main(["infrastructure", f"url={url}", f"out={tmp_path / 'report'}"])

    assert code == (2 if text else 0)
    assert not text or "/metrics: no metrics there (a line is no sample" in capsys.readouterr().err


def test_settings_that_name_no_source_or_no_time_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = f"out={tmp_path / 'report'}"

    codes = [
        main(["infrastructure", out]),
        main(["infrastructure", out, "endpoint_name=assistant"]),
        main(["infrastructure", out, "url=http://127.0.0.1:9"]),
    ]

    told = capsys.readouterr().err
    assert codes == [2, 2, 2]
    assert "give either url=" in told and "needs since= before until=" in told and "no metrics there" in told


def test_a_dry_run_prints_the_request_to_cloudwatch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    window = [f"since={MOMENT - timedelta(hours=1)}", f"until={MOMENT}"]

    assert main(["infrastructure", f"out={tmp_path}", "endpoint_name=assistant", *window, "--dry-run"]) == 0

    (request,) = json.loads(capsys.readouterr().out)["plan"]["GetMetricData"]
    assert complaints("cloudwatch", "GetMetricData", {**request, "StartTime": MOMENT, "EndTime": MOMENT}) == []
    assert "MAX(ConcurrentRequestsPerModel)" in json.dumps(request)


def test_points_of_cloudwatch_become_figures() -> None:
    config = InfrastructureConfig(out="x", endpoint_name="assistant", since=MOMENT - timedelta(hours=1), until=MOMENT)
    minutes = [MOMENT - timedelta(minutes=60 - number) for number in range(60)]
    points = {
        "invocations": [(minute, 60.0) for minute in minutes], "server_errors": [(minutes[0], 36.0)], "concurrency": [(minutes[0], 2.0), (minutes[1], 9.0)],
        "latency_p95_us": [(minute, 250_000.0) for minute in minutes], "gpu_percent": [(minutes[0], 40.0), (minutes[1], 60.0)], "disk_percent": [],
    }  # fmt: skip

    measurements, reasons = from_points(points, config)

    measured = {item.name: item.value for item in measurements}
    assert measured == {
        "invocations": 3600, "server_errors": 36, "concurrency": 9, "latency_p95_ms": 250, "gpu_percent": 50, "error_rate": 0.01, "requests_per_s": 1,
    }  # fmt: skip
    assert reasons == ["CloudWatch has no points of disk_percent."]
