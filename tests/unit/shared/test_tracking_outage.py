"""MLflow away for a while: nothing recorded is lost or doubled, and the job does not wait."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops_shared.config import Tracking
from llmops_shared.errors import LlmopsError
from llmops_shared.outbox import Outbox
from llmops_shared.tracking import tracked
from support.mlflow_server import Way, mlflow_server


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
    with mlflow_server(tmp_path_factory.mktemp("server")) as port:
        yield port


@pytest.fixture
def way(server: int) -> Iterator[Way]:
    way = Way(server)
    yield way
    way.close()


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
