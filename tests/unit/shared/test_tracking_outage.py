"""MLflow away for a while: nothing recorded is lost or doubled, and the job does not wait."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llmops_shared.config import Tracking
from llmops_shared.errors import LlmopsError
from llmops_shared.outbox import Outbox
from llmops_shared.tracking import tracked


class AwayError(OSError):
    """A server that does not answer."""


def test_calls_wait_for_a_server_that_is_away_and_keep_their_order() -> None:
    taken, refusals = [], [3]
    outbox = Outbox("server", lambda error: isinstance(error, AwayError))

    def call(number: int) -> None:
        if number == 2 and refusals[0]:
            refusals[0] -= 1
            raise AwayError("no answer")
        taken.append(number)

    for number in range(5):
        outbox.put(lambda number=number: call(number))  # type: ignore[misc]
    outbox.close()

    assert taken == [0, 1, 2, 3, 4]


def test_a_refusal_and_an_endless_absence_end_the_job_with_a_message() -> None:
    def refuse() -> None:
        raise ValueError("no such run")

    def vanish() -> None:
        raise AwayError("no answer")

    strict = Outbox("server", lambda error: isinstance(error, AwayError))
    strict.put(refuse)
    with pytest.raises(LlmopsError, match=r"server: refuses what a job recorded \(no such run\)"):
        strict.close()
    patient = Outbox("server", lambda error: isinstance(error, AwayError), patience_s=0.3)
    patient.put(vanish)
    with pytest.raises(LlmopsError, match="did not answer for 0 s, and 1 calls are not recorded .*run the same command again"):
        patient.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of MLflow's own server over a database."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_it_answers(port, process)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_it_answers(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 500
    while time.monotonic() < deadline:
        assert process.poll() is None
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail("the server of MLflow does not start")


class Way:
    """The way to the server: open, closed, or one on which answers are lost."""

    def __init__(self, port: int) -> None:
        self.state = "open"
        self.lost = 0
        way = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if way.state == "closed":
                    self.close_connection = True
                    return
                onward = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
                onward.request(self.command, self.path, body, {**dict(self.headers), "host": f"127.0.0.1:{port}"})
                answer = onward.getresponse()
                content = answer.read()
                onward.close()
                if way.state == "lossy" and self.command == "POST":
                    way.lost += 1
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                self.send_header("content-type", answer.getheader("content-type", "application/json"))
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = forward  # noqa: N815 - names of the standard library

            def log_message(self, *arguments: object) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def way(server: int) -> Iterator[Way]:
    way = Way(server)
    yield way
    way.server.shutdown()
    way.server.server_close()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("trouble", ["closed", "lossy"])
def test_a_server_away_for_a_while_has_every_point_once(way: Way, server: int, trouble: str) -> None:
    from mlflow import MlflowClient

    longest = 0.0
    with tracked(Tracking(uri=way.uri), "train", trouble) as run:
        run.parameters({"seed": 1})
        for step in range(40):
            way.state = trouble if 10 <= step < 30 else "open"
            began = time.perf_counter()
            run.metrics({"loss": 1 / (step + 1), "rate": float(step)}, step)
            if step % 10 == 9:
                run.table("examples", ["step", "answer"], [[step, "text"]])
            longest = max(longest, time.perf_counter() - began)
            time.sleep(0.1)

    client = MlflowClient(f"http://127.0.0.1:{server}")
    assert run.run_id is not None and (trouble == "closed") == (way.lost == 0)
    for name in ("loss", "rate"):
        assert [point.step for point in client.get_metric_history(run.run_id, name)] == list(range(40))
    told = client.get_run(run.run_id)
    assert told.info.status == "FINISHED" and told.data.params == {"seed": "1"}
    table = json.loads(Path(client.download_artifacts(run.run_id, "examples.json")).read_text())
    assert table == {"columns": ["step", "answer"], "data": [[39, "text"]]}
    assert json.loads(told.data.tags["mlflow.loggedArtifacts"]) == [{"path": "examples.json", "type": "table"}]
    assert longest < 1.0  # the trouble takes two seconds, of which no step waits for any
