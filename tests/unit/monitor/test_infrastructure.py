import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
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

    assert main(["infrastructure", f"out={tmp_path}", "endpoint_name=assistant", *window, "past_days=28", "--dry-run"]) == 0

    _, past = json.loads(capsys.readouterr().out)["plan"]["GetMetricData"]
    assert past["StartTime"] == (MOMENT - timedelta(days=28)).isoformat() and past["EndTime"] == MOMENT.isoformat()


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


@pytest.fixture
def in_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[float]], None]]:
    """Puts an endpoint's CPU load, five minutes apart until MOMENT, into an account that moto plays."""
    import boto3
    from moto import mock_aws

    from llmops_monitor.cloudwatch import cloudwatch

    for name, value in {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    cloudwatch.cache_clear()

    def put(values: list[float]) -> None:
        dimensions = [{"Name": "EndpointName", "Value": "assistant"}, {"Name": "VariantName", "Value": "production"}]
        data = [
            {"MetricName": "CPUUtilization", "Dimensions": dimensions, "Timestamp": MOMENT - timedelta(minutes=5 * back), "Value": value}
            for back, value in enumerate(reversed(values), 1)
        ]
        client = boto3.client("cloudwatch")
        for start in range(0, len(data), 1000):
            client.put_metric_data(Namespace="/aws/sagemaker/Endpoints", MetricData=data[start : start + 1000])

    with mock_aws():
        yield put
    cloudwatch.cache_clear()


def days_of_load(days: int, last_hour: float = 0.0) -> list[float]:
    """A daily cycle with noise; the last hour is off by so much."""
    draw = np.random.default_rng(0)
    points = np.arange(288 * days)
    values = 50 + 20 * np.sin(points * np.pi / 144) + draw.normal(0, 2, len(points))
    values[-12:] += last_hour
    return [float(value) for value in values]


@pytest.mark.parametrize(("last_hour", "days", "verdict"), [(30.0, 4, "alarm"), (0.0, 4, None), (30.0, 1, "not_enough_data")])
def test_an_endpoint_is_held_against_its_weeks(
    tmp_path: Path, in_account: Callable[[list[float]], None], last_hour: float, days: int, verdict: str | None
) -> None:
    in_account(days_of_load(days, last_hour))
    window = [f"since={MOMENT - timedelta(hours=1)}", f"until={MOMENT}", "past_days=8"]

    code = main(["infrastructure", f"out={tmp_path / 'report'}", "endpoint_name=assistant", *window])

    report = read_document(str(tmp_path / "report"), Report)
    assert report.verdict == verdict and code == (3 if verdict == "alarm" else 0)
    assert ("alarm/cpu_percent" in figures(report)) == (verdict == "alarm")
    told = " ".join(report.reasons)
    assert ("Alarm: cpu_percent at 2026-11-23 11:" in told) == (verdict == "alarm")
    assert "there are too few of invocations (0)" in told and ("cpu_percent (288)" in told) == (days == 1)
    page = (tmp_path / "report" / "report.html").read_text()
    assert ('data-metric="cpu_percent, alarms"' in page) == (verdict == "alarm")
