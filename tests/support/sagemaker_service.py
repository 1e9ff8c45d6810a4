"""A server that answers in SageMaker's shapes: executions of a pipeline, their steps, jobs and logs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:pipeline/llmops-full/execution/abcdefghijkl"
TRAINING = "arn:aws:sagemaker:eu-west-1:123456789012:training-job/train-1"
PROCESSING = "arn:aws:sagemaker:eu-west-1:123456789012:processing-job/read-1"

Answers = dict[str, list[tuple[int, dict[str, Any]]]]


class Service:
    """Answers by operation, the last one again and again; keeps what was asked."""

    def __init__(self) -> None:
        self.answers: Answers = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def answer(self, operation: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.asked.append((operation, body))
        known = self.answers[operation]
        return known.pop(0) if len(known) > 1 else known[0]


@contextmanager
def sagemaker_service() -> Iterator[tuple[Service, dict[str, str]]]:
    """The server, and the environment in which an SDK asks it."""
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            status, answer = service.answer(operation, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            return None

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_MAX_ATTEMPTS": "1",
    }  # fmt: skip
    yield service, environment
    server.shutdown()
    server.server_close()
    thread.join()


def step(name: str, status: str, **more: Any) -> dict[str, Any]:
    return {"StepName": name, "StepStatus": status, **more}


def executing(service: Service, final: str, steps: list[dict[str, Any]]) -> None:
    """A service whose execution ends at the second look."""
    job = {"ProcessingResources": {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.4xlarge", "VolumeSizeInGB": 100}}}
    service.answers = {
        "StartPipelineExecution": [(200, {"PipelineExecutionArn": ARN})],
        "DescribePipelineExecution": [
            (200, {"PipelineExecutionStatus": "Executing"}),
            (200, {"PipelineExecutionStatus": final, "FailureReason": "it says so"}),
        ],
        "ListPipelineExecutionSteps": [
            (200, {"PipelineExecutionSteps": [step("Preprocess", "Executing", Metadata={"ProcessingJob": {"Arn": PROCESSING}})]}),
            (200, {"PipelineExecutionSteps": steps}),
        ],
        "DescribeProcessingJob": [(200, {**job, "ProcessingStartTime": 1_000, "ProcessingEndTime": 4_600})],
        "DescribeTrainingJob": [
            (200, {"ResourceConfig": {"InstanceCount": 2, "InstanceType": "ml.g5.2xlarge"}, "BillableTimeInSeconds": 1_800})
        ],
        "DescribeLogStreams": [(200, {"logStreams": [{"logStreamName": "read-1/algo-1"}]})],
        "GetLogEvents": [
            (200, {"events": [{"message": "read: 80 rows in, 80 out", "timestamp": 1}], "nextForwardToken": "f/1"}),
            (200, {"events": [], "nextForwardToken": "f/1"}),
        ],
    }
