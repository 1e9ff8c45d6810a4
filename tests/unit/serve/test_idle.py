"""Idle endpoints, against a server that answers in the services' shapes."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from llmops_serve.cli import main

LONG_AGO = 1_700_000_000
TYPES = {"quiet": "ml.g5.2xlarge", "busy": "ml.g5.2xlarge", "new": "ml.m5.xlarge"}


@pytest.fixture
def aws(monkeypatch):
    """Endpoints `quiet`, `busy` and `new`; what was asked is kept by operation."""
    asked, deleted = [], []

    def answer(operation, body):
        match operation:
            case "ListEndpoints":
                rest = {"CreationTime": LONG_AGO, "EndpointStatus": "InService"}
                names = [name for name in TYPES if name not in deleted]
                return {
                    "Endpoints": [
                        {"EndpointName": name, "EndpointArn": "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/x",
                         "LastModifiedTime": time.time() if name == "new" else LONG_AGO, **rest}
                        for name in names
                    ]
                }  # fmt: skip
            case "DescribeEndpoint":
                return {
                    "EndpointName": body["EndpointName"], "EndpointConfigName": body["EndpointName"],
                    "ProductionVariants": [{"VariantName": "production", "CurrentInstanceCount": 2}],
                    "ShadowProductionVariants": [{"VariantName": "shadow", "CurrentInstanceCount": 1}],
                }  # fmt: skip
            case "DescribeEndpointConfig":
                kind = TYPES[body["EndpointConfigName"]]
                return {
                    "ProductionVariants": [{"VariantName": "production", "InstanceType": kind}],
                    "ShadowProductionVariants": [{"VariantName": "shadow", "InstanceType": kind}],
                }
            case "GetMetricData":
                dimension = body["MetricDataQueries"][0]["MetricStat"]["Metric"]["Dimensions"][0]["Value"]
                values = [3.0, 4.0] if dimension == "busy" else []
                return {"MetricDataResults": [{"Id": "invocations0", "Values": values, "Timestamps": [LONG_AGO] * len(values)}]}
            case "DeleteEndpoint":
                deleted.append(body["EndpointName"])
                return {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((operation, body))
            content = json.dumps(answer(operation, body)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            return None

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    yield asked
    server.shutdown()
    server.server_close()
    thread.join()


def idle(capsys, *words):
    assert main(["idle", "region=eu-west-1", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_an_endpoint_nobody_asks_is_listed_with_its_price(aws, capsys):
    report = idle(capsys)

    # two instances answer and one shadows; `busy` was asked 7 times, `new` may only have begun
    assert report["reasons"] == ["quiet: no request for 24 h, 3 x ml.g5.2xlarge, 4.54 USD an hour, 3318 a month; stop it with --yes"]
    assert {one["name"]: one["value"] for one in report["measurements"]} == {"quiet/usd_per_hour": 4.545, "usd_per_month": 3317.85}
    assert "DeleteEndpoint" not in [operation for operation, _ in aws]


def test_it_is_stopped_only_when_told_so(aws, capsys):
    report = idle(capsys, "--yes")

    assert report["reasons"][0].endswith("stopped")
    assert [body for operation, body in aws if operation == "DeleteEndpoint"] == [{"EndpointName": "quiet"}]


def test_one_that_is_kept_is_left_alone(aws, capsys):
    report = idle(capsys, "--yes", "keep=[quiet]")

    assert report["reasons"] == ["none of 1 endpoints was idle for 24 h"]
    assert "DeleteEndpoint" not in [operation for operation, _ in aws]


def test_a_dry_run_prints_the_requests_and_sends_none(aws, capsys):
    plan = idle(capsys, "--dry-run", "--yes", "prefix=assistant")["plan"]

    assert plan["ListEndpoints"] == {"StatusEquals": "InService", "NameContains": "assistant"}
    assert plan["GetMetricData"]["MetricDataQueries"][0]["MetricStat"]["Metric"]["MetricName"] == "Invocations"
    assert aws == []
