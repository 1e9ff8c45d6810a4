"""Benchmarks by the harness: from local files, the same through an endpoint, and published results scored as published."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops_shared.contracts import Report
from llmops_shared.documents import read_document
from llmops_train.cli import main

pytestmark = pytest.mark.slow

TASKS = "[arc_easy, lambada_openai, gsm8k]"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.tiny_package import write_package

    folder = tmp_path_factory.mktemp("benchmarks") / "package"
    write_package(folder, context=1024)
    return folder


@pytest.fixture(scope="module")
def url(package: Path) -> Iterator[str]:
    from llmops_serve.config import RunConfig
    from llmops_serve.deploy import deploy
    from llmops_serve.document_config import DeployConfig
    from llmops_serve.server import realized
    from support.serving import serving

    deploy(DeployConfig(name="tiny", package=str(package), out=str(package.parent / "endpoint")))
    config = RunConfig.model_validate({"endpoint": str(package.parent / "endpoint"), "port": 0})
    with serving(lambda: realized(config), config) as running:
        yield running


def benchmark(folder: Path, data: Path, *words: str) -> Report:
    """Runs the benchmarks through the command."""
    shared = [f"benchmarks.tasks={TASKS}", f"benchmarks.data={data}", "benchmarks.limit=3", "benchmarks.num_fewshot=0", f"out={folder}"]
    assert main(["evaluate", *shared, *words]) == 0
    return read_document(str(folder), Report)


def test_the_same_rows_get_the_same_score_from_the_model_and_through_an_endpoint(
    tmp_path: Path, package: Path, url: str, test_data: Path
) -> None:
    # a plain directory: nobody knows what it learnt, so there is nothing to look for contamination in
    own = benchmark(tmp_path / "own", test_data, f"run={package}/model")
    # TGI tells a prompt's likelihoods as details, OpenAI's route by `echo` with `logprobs`
    routes = [benchmark(tmp_path / route, test_data, f"endpoint.url={url}", f"endpoint.route={route}") for route in ("tgi", "openai")]

    figures = [{item.name: item.value for item in report.measurements} for report in (own, *routes)]
    assert figures[1] == pytest.approx(figures[0], rel=1e-3) and len(figures[0]) >= 6
    assert figures[2] == pytest.approx(figures[0], rel=1e-3)
    details = own.measurements[0].details
    assert (
        details["num_fewshot"] == "0"
        and details["prompt_version"].startswith("1.0, sha256")
        and details["engine"].startswith("lm-eval 0.4")
    )
    answers = [
        [(row["row_id"], row["answer"]) for row in map(json.loads, (tmp_path / name / "benchmark-samples.jsonl").read_text().splitlines())]
        for name in ("own", "tgi", "openai")
    ]
    generated = [[pair for pair in side if pair[0].startswith("gsm8k")] for side in answers]
    assert generated[0] and generated[0] == generated[1] == generated[2]


def test_groups_are_what_their_files_offer(tmp_path: Path, package: Path, test_data: Path) -> None:
    from llmops_train.benchmarks.local import expand, load

    assert expand(["glue", "super_glue"], test_data) == ["mrpc", "rte", "sst2", "boolq", "cb", "copa"]
    assert len(expand(["mmlu"], test_data)) == 57 and len(expand(["bbh"], test_data)) == 13
    assert {split: len(rows) for split, rows in load(test_data, "mmlu_anatomy").items()} == {"dev": 5, "validation": 14}
    assert {split: len(rows) for split, rows in load(test_data, "gsm8k").items()} == {"test": 675, "train": 1461}


def test_examples_that_are_missing_are_asked_for(
    tmp_path: Path, package: Path, test_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["benchmarks.tasks=[arc_easy]", f"benchmarks.data={test_data}", "benchmarks.num_fewshot=5", f"out={tmp_path}/o"]

    assert main(["evaluate", f"run={package}/model", *words]) == 2
    assert "puts 5 examples in front, and there is no train split" in capsys.readouterr().err


def test_published_results_are_scored_as_published(test_data: Path) -> None:
    """BIG-bench hard by davinci's predictions, GSM8K by the flags of four models: the harness's own filters and metrics."""
    from lm_eval.api.metrics import exact_match_hf_evaluate
    from lm_eval.filters.extraction import RegexFilter

    for path in sorted((test_data / "eval-bbh" / "davinci-direct").glob("*.metrics.json")):
        with gzip.open(str(path).replace(".metrics.json", ".jsonl.gz"), "rt") as file:
            rows = [json.loads(line) for line in file]
        found = exact_match_hf_evaluate([row["prediction"] for row in rows], [row["target"] for row in rows])["exact_match"]
        assert 100 * float(found) == pytest.approx(json.loads(path.read_text())["accuracy"])

    with gzip.open(test_data / "eval-gsm8k" / "example_model_solutions.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    last, ignored = RegexFilter(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", group_select=-1), [",", r"\$", r"\.$"]
    for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
        for row in rows:
            (found,), (wanted,) = last.apply([[row[model]["solution"]], [row["ground_truth"]]], [None, None])
            right = exact_match_hf_evaluate([found], [wanted], regexes_to_ignore=ignored)["exact_match"]
            assert bool(right) == row[model]["is_correct"]
