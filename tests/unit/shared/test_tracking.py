import json

import pytest
import requests

from llmops_shared import comparison
from llmops_shared.config import Tracking
from llmops_shared.contracts import DatasetManifest
from llmops_shared.contracts.dataset import Split, Tokenizer
from llmops_shared.errors import LlmopsError, Stopped
from llmops_shared.tracking import connect, point_alias, tracked

MANIFEST = DatasetManifest(
    name="stdlib-text",
    view="text",
    sources=[],
    counts=[],
    sequence_length=8,
    tokenizer=Tokenizer(files=[], vocab_size=3),
    splits={"train": Split(num_rows=2, num_tokens=5, rows=[], shards=[])},
    dead_letter=None,
)


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    folder = tmp_path_factory.mktemp("a folder")
    return Tracking(uri=f"sqlite:///{folder}/below/mlflow.db", experiment="loop")


def test_a_run_holds_what_the_job_recorded(tracking, tmp_path):
    page = tmp_path / "report.html"
    page.write_text("<p>figures</p>")

    with tracked(tracking, "train", "base", began=1_700_000_000.5) as run:
        run.parameters({"seed": 1, "optimizer": {"learning_rate": 0.1}, "empty": None})
        run.parameters({f"p{number}": number for number in range(150)})  # more than one request takes
        run.metrics({"train_loss": 3.0}, step=1)
        run.metrics({"train_loss": 2.0, "difference/rouge_l": 0.5}, step=2)
        run.dataset(MANIFEST, "build/text/dataset.json", "ab" * 32, "training")
        run.artifact(page, "reports")

    client = connect(tracking.uri)
    kept = client.get_run(run.run_id)
    assert kept.info.status == "FINISHED"
    assert kept.info.run_name == "base"
    assert kept.info.start_time == 1_700_000_000_500
    assert kept.data.tags["llmops.stage"] == "train"
    assert kept.data.params["optimizer.learning_rate"] == "0.1"
    assert len(kept.data.params) == 153
    assert [(item.step, item.value) for item in client.get_metric_history(run.run_id, "train_loss")] == [(1, 3.0), (2, 2.0)]
    assert kept.data.metrics["difference/rouge_l"] == 0.5
    source = kept.inputs.dataset_inputs[0]
    assert (source.dataset.name, source.dataset.digest, source.tags[0].value) == ("stdlib-text", ("ab" * 32)[:36], "training")
    assert [item.path for item in client.list_artifacts(run.run_id, "reports")] == ["reports/report.html"]


def test_the_stages_of_a_pipeline_nest_below_its_run(tracking):
    staged = tracking.model_copy(update={"pipeline": "2026-11-25"})
    with tracked(staged, "preprocess", "chat") as first:
        pass
    with tracked(staged, "train", "tuned") as second:
        pass

    client = connect(tracking.uri)
    (parent,) = {client.get_run(run.run_id).data.tags["mlflow.parentRunId"] for run in (first, second)}
    assert (client.get_run(parent).info.run_name, client.get_run(parent).info.status) == ("2026-11-25", "FINISHED")


def test_the_comparison_is_saved_with_the_experiment_and_its_charts_find_the_runs(tracking):
    with tracked(tracking, "monitor", "shadow") as run:
        run.nested("production (base)", {comparison.COST: 2.5, "latency_ms": 40.0})
        run.nested("production (base)", {comparison.COST: 2.5, "latency_ms": 40.0})  # sent again, it is the same run

    client = connect(tracking.uri)
    tags = client.get_experiment_by_name(tracking.experiment).tags
    view = json.loads(tags[comparison.TAG])
    found = client.search_runs([client.get_run(run.run_id).info.experiment_id], view["searchFilter"], order_by=[view["orderByKey"]])
    (arm,) = [one for one in found if one.data.tags.get("mlflow.parentRunId") == run.run_id]
    assert (arm.info.run_name, arm.info.status, arm.data.metrics[comparison.COST]) == ("production (base)", "FINISHED", 2.5)
    assert run.run_id not in {one.info.run_id for one in found}
    assert {chart["metricSectionId"] for chart in view["compareRunCharts"]} == {section["uuid"] for section in view["compareRunSections"]}
    assert len(tags[comparison.TAG]) < 5000  # what a tag may hold


def test_a_job_that_fails_leaves_a_failed_run(tracking):
    with pytest.raises(ZeroDivisionError), tracked(tracking, "train", "broken") as run:
        1 / 0  # noqa: B018

    assert connect(tracking.uri).get_run(run.run_id).info.status == "FAILED"


@pytest.mark.parametrize("stop", [Stopped(), KeyboardInterrupt()])
def test_a_job_that_is_stopped_leaves_a_killed_run(tracking, stop):
    with pytest.raises(type(stop)), tracked(tracking, "train", "stopped") as run:
        raise stop

    assert connect(tracking.uri).get_run(run.run_id).info.status == "KILLED"


def test_versions_of_a_model_carry_the_aliases(tracking):
    with tracked(tracking, "package", "one") as run:
        first = run.register("assistant", "build/package", {"weights": "aa"}, "challenger")
        second = run.register("assistant", "build/package-2", {"weights": "bb"}, "challenger")
    point_alias(tracking, first, "champion")

    client = connect(tracking.uri)
    assert (first.version, second.version) == ("1", "2")
    assert str(client.get_model_version_by_alias("assistant", "champion").version) == "1"
    assert client.get_model_version_by_alias("assistant", "challenger").tags == {"weights": "bb"}


@pytest.mark.parametrize(
    ("kind", "host", "service"),
    [
        ("mlflow-tracking-server/llmops", "eu-west-1.experiments.sagemaker.aws", "sagemaker-mlflow"),
        ("mlflow-app/app-ABCDEFGHIJKL", "mlflow.sagemaker.eu-west-1.app.aws", "sagemaker"),
    ],
)
def test_a_server_of_sagemaker_is_named_by_its_arn_and_asked_with_a_signature(kind, host, service, monkeypatch):
    asked = []

    def answer(session, request, **options):
        asked.append(request)
        response = requests.Response()
        response.status_code, response._content, response.request = 200, b"{}", request
        return response

    monkeypatch.setattr(requests.Session, "send", answer)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    arn = f"arn:aws:sagemaker:eu-west-1:123456789012:{kind}"

    connect(arn).search_experiments()

    assert asked[0].url.startswith(f"https://{host}/")
    assert f"/eu-west-1/{service}/aws4_request" in asked[0].headers["Authorization"]
    assert arn in asked[0].headers.values()


def test_nothing_is_tracked_without_a_uri():
    with tracked(Tracking(), "train", "base") as run:
        run.parameters({"seed": 1})
        assert run.register("assistant", "build/package", {}, "challenger") is None

    assert run.run_id is None


def test_a_tracking_uri_mlflow_cannot_use_is_named():
    with pytest.raises(LlmopsError, match=r"tracking.uri nonsense://x"), tracked(Tracking(uri="nonsense://x"), "train", "base"):
        pass
