"""The gate: worse is seen, the same is the same, little data is said to be little; thresholds; contamination."""

import json
from pathlib import Path

import numpy as np
import pytest

from llmops_shared.contracts import Report
from llmops_shared.documents import read_document
from llmops_shared.errors import LlmopsError
from llmops_train.cli import main
from llmops_train.evaluation.config import GateConfig
from llmops_train.evaluation.contamination import overlaps
from llmops_train.evaluation.gate import compare_scores, overall
from llmops_train.metrics.resampling import paired
from llmops_train.metrics.scores import make_scores

QUICK = GateConfig(num_resamples=1000)


def write_predictions(path: Path, share_right: float, count: int = 200, seed: int = 0) -> str:
    """A file of predictions, so many of them right."""
    draw = np.random.default_rng(seed)
    rows = [
        {"id": str(number), "prediction": f"answer {number}" if draw.random() < share_right else "no idea", "reference": f"answer {number}"}
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def evaluate(folder: Path, name: str, *words: str, share_right: float = 0.8, **more: int) -> tuple[int, str]:
    """Evaluates predictions through the command; exit code and report."""
    predictions = write_predictions(folder / f"{name}.jsonl", share_right, **more)
    out = str(folder / name)
    return main(["evaluate", f"predictions={predictions}", "measures=[exact_match, squad_f1, bleu]", f"out={out}", *words]), out


@pytest.mark.slow
def test_a_system_against_itself_is_no_different_in_95_percent_of_200_resamples() -> None:
    """Two samples of answers of one system, which does not always answer the same."""
    draw = np.random.default_rng(7)
    ids = [str(number) for number in range(150)]
    skill = draw.uniform(0.2, 0.9, 150)
    verdicts = []
    for trial in range(200):
        first, second = (
            {
                name: make_scores(name, ids, values, "")
                for name, values in (("right", (draw.random(150) < skill) * 1.0), ("close", skill + 0.2 * draw.standard_normal(150)))
            }
            for _ in range(2)
        )
        verdicts.append(overall(compare_scores(first, second, QUICK, seed=trial)))

    assert verdicts.count("no_difference") >= 190, verdicts.count("no_difference")


@pytest.mark.slow
def test_a_report_against_itself_is_no_different(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out = evaluate(tmp_path, "one")
    capsys.readouterr()

    code = main(["compare", out, out])

    assert code == 0
    assert Report.model_validate_json(capsys.readouterr().out).verdict == "no_difference"


def test_worse_exits_with_3_and_better_with_0(tmp_path: Path) -> None:
    _, good = evaluate(tmp_path, "good", share_right=0.8)
    _, bad = evaluate(tmp_path, "bad", share_right=0.5, seed=1)

    assert main(["compare", good, bad, f"out={tmp_path}/down"]) == 3
    assert main(["compare", bad, good, f"out={tmp_path}/up"]) == 0

    down, up = read_document(f"{tmp_path}/down", Report), read_document(f"{tmp_path}/up", Report)
    assert (down.verdict, up.verdict) == ("worse", "better")
    exact = {item.name: item for item in down.measurements}["exact_match_difference"]
    assert exact.high is not None and exact.high < -0.05 and exact.value == pytest.approx(-0.25, abs=0.1) and exact.num_rows == 200
    assert float(exact.details["p_holm"]) <= 0.01 and exact.details["outcome"] == "worse"
    assert "Worse" in (tmp_path / "down" / "report.html").read_text()
    assert main(["compare", good, bad, f"out={tmp_path}/down"]) == 3  # kept


@pytest.mark.slow
def test_a_difference_without_practical_meaning_does_not_count() -> None:
    ids = [str(number) for number in range(500)]
    base = np.random.default_rng(0).random(500)
    first, second = {"m": make_scores("m", ids, base, "")}, {"m": make_scores("m", ids, base - 0.002, "")}

    assert paired(first["m"], second["m"]).p < 0.001
    assert overall(compare_scores(first, second, QUICK, 0)) == "no_difference"
    assert overall(compare_scores(first, second, GateConfig(num_resamples=1000, margins={"m": 0.001}), 0)) == "worse"


def test_few_rows_are_not_enough(tmp_path: Path) -> None:
    _, first = evaluate(tmp_path, "first", count=10)
    _, second = evaluate(tmp_path, "second", share_right=0.0, count=10)

    assert main(["compare", first, second, f"out={tmp_path}/c"]) == 0
    assert read_document(f"{tmp_path}/c", Report).verdict == "not_enough_data"


@pytest.mark.slow
def test_a_baseline_and_thresholds_decide_at_once(tmp_path: Path) -> None:
    _, good = evaluate(tmp_path, "good")

    assert evaluate(tmp_path, "met", "thresholds.exact_match.at_least=0.5")[0] == 0
    assert evaluate(tmp_path, "missed", "thresholds.exact_match.at_least=0.95")[0] == 3
    assert evaluate(tmp_path, "worse", f"baseline={good}", share_right=0.4)[0] == 3

    verdicts = [read_document(str(tmp_path / name), Report).verdict for name in ("met", "missed", "worse")]
    assert verdicts == ["pass", "fail", "worse"]
    assert "misses the threshold of at least 0.95" in read_document(str(tmp_path / "missed"), Report).reasons[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["thresholds.rouge_2.at_least=1"], "thresholds: rouge_2 was not measured"),
        (["thresholds.bleu={}"], "give at_least or at_most"),
        (["measures=[perplexity]"], "perplexity: needs the model itself"),
        (["measures=[ndcg_at_k]"], "have no `retrieved` and `relevant`"),
        (["measures=[bertscore_f1]"], "needs encoder=DIR"),
        (["judge.kind=openai"], "judge kind openai needs judge.url"),
        (["run=x"], "give exactly one of run, endpoint, predictions"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tmp_path, "x", *words)[0] == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "b", "prediction": null, "reference": "x"}', "row b: its prediction is no text"),
        ('{"id": "b", "prediction": NaN, "reference": "x"}', r"row b: its prediction is no text (NaN)"),
        ('{"id": "b", "prediction": "x", "reference": ""}', "row b: its reference is empty"),
        ('{"id": "b", "prediction": "x"}', "row b needs `prediction` and `reference`"),
        ('{"id": "a", "prediction": "x", "reference": "y"}', "id a occurs twice"),
        ("{", ".jsonl:2: is no JSON"),
    ],
)
def test_bad_predictions_are_named(tmp_path: Path, line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "a", "prediction": "x", "reference": "x"}\n' + line + "\n")

    assert main(["evaluate", f"predictions={path}", f"out={tmp_path}/o"]) == 2
    assert message in capsys.readouterr().err


def test_rankings_are_judged(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": 1, "retrieved": ["a", "b"], "relevant": ["b"]}\n{"id": 2, "retrieved": ["c"], "relevant": {"c": 2.0}}\n')

    assert main(["evaluate", f"predictions={path}", "measures=[recall_at_k, mrr, ndcg_at_k]", "k=1", f"out={tmp_path}/o"]) == 0

    report = read_document(f"{tmp_path}/o", Report)
    assert {item.name: item.value for item in report.measurements} == {"recall_at_k": 0.5, "mrr": 0.75, "ndcg_at_k": 0.5}


def test_reports_that_cannot_be_compared_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out = evaluate(tmp_path, "a")
    path = Path(out) / "report.json"
    old = json.loads(path.read_text())
    del old["parts"]["scores"]
    (tmp_path / "old.json").write_text(json.dumps(old))

    assert main(["compare", out, f"{tmp_path}/old.json"]) == 2
    assert "keeps no figures row by row" in capsys.readouterr().err
    first, second = ({"m": make_scores("m", [row], [1.0], signature)} for row, signature in (("x", "v1"), ("x", "v2")))
    with pytest.raises(LlmopsError, match=r"measured in different ways \(v1 and v2\)"):
        compare_scores(first, second, QUICK, 0)
    with pytest.raises(LlmopsError, match="no row in common"):
        compare_scores(first, {"m": make_scores("m", ["y"], [1.0], "v1")}, QUICK, 0)


def test_contamination_is_found_by_runs_of_words_and_whole_short_rows() -> None:
    long = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    judged = {
        "long": [("copied", f"before it {long.upper()} after it"), ("other", "a b c d e f g h i j k l m n o")],
        "short": [("whole", "Paris, France"), ("part", "Paris in winter")],
    }

    found = overlaps(judged, [f"x {long} y", "He lives in Paris France since then"])

    assert found["long"].rows == ["copied"] and found["short"].rows == ["whole"]
    assert str(found["long"]) == "1 of 2 rows (50.0%)"
