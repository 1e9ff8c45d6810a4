"""The whole loop through its own commands: what it learns, what it decides, what it leaves behind."""

import json
from pathlib import Path

import pytest

from llmops_shared.contracts import DatasetManifest, Endpoint, Exchange, ModelPackage, Report
from llmops_shared.documents import follow, read_document
from llmops_shared.tracking import connect
from support.loop import main_of, steps
from support.small_loop import run as run_step

pytestmark = [pytest.mark.slow, pytest.mark.loop, pytest.mark.timeout(900)]


def figures(loop, name):
    return {item.name: item for item in read_document(f"{loop.work}/{name}", Report).measurements}


def test_tuning_beats_the_base_model_on_held_out_chats(loop):
    base, tuned = figures(loop, "evaluation-base"), figures(loop, "evaluation-tuned")

    assert tuned["perplexity"].value < 0.8 * base["perplexity"].value
    assert tuned["perplexity"].high < base["perplexity"].low
    assert tuned["rouge_l"].value > base["rouge_l"].value


def test_the_shadow_is_promoted_with_the_report_as_evidence(loop):
    report = read_document(f"{loop.work}/shadow-report", Report)
    before, after = (read_document(f"{loop.work}/endpoint-{number}", Endpoint) for number in (2, 3))

    assert report.verdict == "promote"
    assert [variant.shadow for variant in after.variants] == [False]
    shadow = before.shadow()
    assert shadow is not None
    assert after.variants[0].package.sha256 == shadow.package.sha256
    assert after.generation == 3
    assert after.evidence is not None
    assert follow(after.evidence, f"{loop.work}/endpoint-3", Report)[1] == report


def test_drift_is_seen_where_it_is_and_not_where_it_is_not(loop):
    assert read_document(f"{loop.work}/drift-in-domain", Report).verdict == "no_drift"
    assert read_document(f"{loop.work}/drift-shifted", Report).verdict == "drift"


def test_every_dropped_row_is_counted(loop):
    for name in ("text", "chat", "shifted"):
        manifest = read_document(f"{loop.work}/{name}", DatasetManifest)
        for count in manifest.counts:
            assert count.rows_in == count.rows_out + sum(count.dropped.values()), count
        assert manifest.counts[0].rows_in == sum(source.num_records for source in manifest.sources)
        assert sum(split.num_rows for split in manifest.splits.values()) == manifest.counts[-1].rows_out


def test_no_document_of_a_dataset_names_the_machine(loop):
    for name in ("text", "chat", "shifted"):
        content = Path(f"{loop.work}/{name}/dataset.json").read_text()
        assert str(loop.work) not in content
        assert str(Path.home()) + "/" not in content


@pytest.mark.usefixtures("quiet")
def test_one_command_traces_an_answer_back_to_its_text(loop, capsys):
    exchange = next(item for item in exchanges(loop) if item.shadow and item.error is None and item.retrieval is not None)

    code = main_of("llmops-monitor")(["why", exchange.request_id, f"endpoint={loop.work}/endpoint-3"])

    lineage = json.loads(capsys.readouterr().out)
    links = [(link["kind"], link["facts"].get("method")) for link in lineage["links"]]
    assert (code, lineage["gaps"]) == (0, [])
    assert [link["facts"]["shadow"] for link in lineage["links"] if link["kind"] == "exchange"] == ["false", "true"]
    for wanted in (("package", None), ("run", "lora"), ("run", "pretrain"), ("dataset", None), ("index", None), ("chunk", None)):
        assert wanted in links
    sources = [link["name"] for link in lineage["links"] if link["kind"] == "source"]
    assert sources and all(name.startswith("python:") for name in sources)
    assert all(link["uri"].startswith("python:") for link in lineage["links"] if link["kind"] == "chunk")


def test_questions_with_context_name_their_chunks(loop):
    windows = {True: 0, False: 0}
    for exchange in exchanges(loop):
        wanted = exchange.metadata["window"] == "in_domain_with_context"
        assert (exchange.retrieval is not None) == wanted
        assert not wanted or exchange.retrieval.chunks
        windows[wanted] += 1
    assert windows == {True: 2 * 10, False: 2 * 280}


def test_mlflow_has_every_stage_with_its_inputs_and_the_registry_its_aliases(loop):
    client = connect(loop.tracking_uri)
    experiment = client.get_experiment_by_name("loop")
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    stages = {run.data.tags["llmops.stage"] for run in runs}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {"preprocess", "index", "train", "evaluate", "package", "serve", "replay", "monitor"} <= stages

    for run in runs:
        if run.data.tags["llmops.stage"] in ("train", "evaluate"):
            assert run.inputs.dataset_inputs, run.info.run_name
            assert run.data.params, run.info.run_name
            assert run.data.metrics, run.info.run_name
    tuned = read_document(f"{loop.work}/package-tuned", ModelPackage).registered_model
    assert tuned is not None
    for alias in ("champion", "challenger"):
        assert str(client.get_model_version_by_alias("stdlib-assistant", alias).version) == tuned.version


def test_the_table_says_what_was_measured_and_where_to_look(loop):
    tuned = figures(loop, "evaluation-tuned")["perplexity"].value
    assert f"{tuned:.4g}" in loop.table
    for words in ("perplexity", "Promote", "No drift", "Drift", "generation 3", "report.html"):
        assert words in loop.table


@pytest.mark.usefixtures("quiet")
def test_run_again_everything_finished_is_kept(loop, capsys):
    documents = {path: path.read_bytes() for path in loop.work.rglob("*.json")}
    for step in steps(loop.work):
        assert run_step(step) == step.exit_code
    capsys.readouterr()

    assert {path: path.read_bytes() for path in loop.work.rglob("*.json")} == documents
    assert len(exchanges(loop)) == 2 * 290


def exchanges(loop):
    lines = [line for path in sorted((loop.work / "exchanges").rglob("*.jsonl")) for line in path.read_text().splitlines()]
    return [Exchange.model_validate(json.loads(line)) for line in lines]
