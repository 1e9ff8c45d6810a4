import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from llmops_monitor.ab import measure, run
from llmops_monitor.ab_config import AbConfig
from llmops_monitor.ab_verdict import decide
from llmops_monitor.arms import split
from llmops_monitor.cli import main
from llmops_monitor.metrics import METRICS
from llmops_shared.contracts import Endpoint, ModelPackage, Report
from llmops_shared.contracts.endpoint import Variant
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.documents import document_uri, follow, read_document, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.rows import ChatRow
from llmops_shared.store import join
from support.traffic import Answer, exchange, good, poor, questions, write_log, write_scene

ROWS = questions()
NUM_RUNS = 200


def traffic(rows: Sequence[ChatRow], control: Answer = poor, treatment: Answer = good, share: float = 0.5, seed: int = 0) -> list[Exchange]:
    """Each request answered by one of two variants, drawn at random."""
    draw = random.Random(seed)
    answered = []
    for number, row in enumerate(rows):
        treated = draw.random() < share
        made = exchange(row, number, treatment if treated else control, treated)  # `shadow` picks package and variant
        answered.append(made.model_copy(update={"shadow": False, "variant": "candidate" if treated else "production"}))
    return answered


def write_ab_scene(root: str, exchanges: Sequence[Exchange], weight: float = 1.0) -> tuple[str, str]:
    """Endpoint with two production variants, its log and its dataset; returns endpoint and dataset."""
    scene = write_scene(root, exchanges, ROWS)
    endpoint = read_document(scene.endpoint, Endpoint)
    production, shadow = endpoint.variants
    candidate = Variant(name="candidate", package=shadow.package, weight=weight)
    write_document(scene.endpoint, endpoint.model_copy(update={"variants": [production, candidate]}))
    return scene.endpoint, scene.dataset


def judge(root: str, exchanges: Sequence[Exchange], weight: float = 1.0, out: str = "report", **settings: object) -> Report:
    endpoint, dataset = write_ab_scene(root, exchanges, weight)
    return run(AbConfig.model_validate({"out": join(root, out), "endpoint": endpoint, "dataset": dataset, **settings}))


def figure(report: Report, name: str) -> float:
    return next(item.value for item in report.measurements if item.name == name)


def test_a_better_treatment_is_promoted_and_the_report_says_why(root: str) -> None:
    prices = {name: {"prompt_usd": 0.001, "response_usd": 0.002} for name in ("production", "candidate")}
    report = judge(root, traffic(ROWS[:1000]), max_error_increase=0.03, prices=prices)

    assert report.verdict == "promote", report.reasons
    assert report.reasons[0].startswith("rouge_l: treatment minus control is +0.") and "above the margin of 0.020" in report.reasons[0]
    assert 0.4 < figure(report, "difference/rouge_l") < 0.6
    assert "within the guardrail" in report.reasons[1] and "within the guardrail" in report.reasons[2]
    assert figure(report, "units/control") + figure(report, "units/treatment") == 1000
    assert figure(report, "sample_ratio_p_value") > 0.1 and figure(report, "ratio/latency_ms") < 1
    assert figure(report, "treatment/cost_usd") > 0 and figure(report, "difference/descriptor/readability") is not None
    assert follow(report.subjects["treatment"], join(root, "report"), ModelPackage)[1].name == "tuned"
    assert read_document(join(root, "report"), Report) == report


def test_a_worse_treatment_is_rolled_back_and_exits_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint, dataset = write_ab_scene(str(tmp_path), traffic(ROWS[:600], control=good, treatment=poor))

    code = main(["ab", f"endpoint={endpoint}", f"dataset={dataset}", f"out={tmp_path / 'report'}"])

    report = Report.model_validate_json(capsys.readouterr().out)
    assert (code, report.verdict) == (3, "rollback")
    assert "the treatment is worse" in report.reasons[0]
    assert "Roll back" in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.slow
def test_a_model_against_itself_is_promoted_in_at_most_one_of_twenty_runs_however_often_looked_at() -> None:
    config = AbConfig(out="out", endpoint="endpoint", metrics=["stop_share"], margin=0, max_error_increase=1, max_latency_ratio=100)
    reference = {"uri": "package.json", "sha256": exchange(ROWS[0], 0, poor).package_sha256}
    variants = [Variant.model_validate({"name": name, "package": reference}) for name in ("production", "candidate")]
    draw = random.Random(3)
    verdicts = []
    for _ in range(NUM_RUNS):
        exchanges = [
            STOPPED[draw.random() < 0.6][draw.random() < 0.5].model_copy(update={"request_id": str(number)}) for number in range(300)
        ]
        looks = (split(exchanges[:number], variants[0], variants[1], None) for number in range(75, 301, 75))
        verdicts.append([decide(measure(look, (variants[0], variants[1]), {}, config, METRICS)[0], config)[0] for look in looks])

    promoted, rolled_back = (sum(verdict in looks for looks in verdicts) for verdict in ("promote", "rollback"))
    assert promoted <= NUM_RUNS * 0.05 and rolled_back <= NUM_RUNS * 0.05
    assert sum(looks[-1] == "not_enough_data" for looks in verdicts) > NUM_RUNS * 0.8


STOPPED = [
    [
        exchange(ROWS[0], 0, poor, variant=variant, finish_reason=reason, latency_ms=50.0 + 10 * (reason == "stop"))
        for variant in ("production", "candidate")
    ]
    for reason in ("length", "stop")
]


def test_a_split_that_is_not_the_planned_one_gives_no_verdict(tmp_path: Path) -> None:
    lost = [item for number, item in enumerate(traffic(ROWS[:800])) if item.variant == "production" or number % 3]

    report = judge(str(tmp_path), lost)

    assert report.verdict == "not_enough_data"
    assert (
        report.reasons[0].startswith("Sample ratio mismatch: control has 389 and treatment 271") and "start a new test" in report.reasons[0]
    )


def test_a_treatment_that_fails_is_rolled_back_even_where_the_split_broke(tmp_path: Path) -> None:
    broken = {"error": "engine: out of memory", "finish_reason": "error", "response": ""}
    failing = [
        item.model_copy(update=broken) if item.variant == "candidate" and number % 2 else item
        for number, item in enumerate(traffic(ROWS[:600], share=0.3))
    ]

    report = judge(str(tmp_path), failing)

    assert report.verdict == "rollback"
    assert report.reasons[0].startswith("Sample ratio mismatch") and "breaks the guardrail" in " ".join(report.reasons)


@pytest.mark.parametrize("number", [1, 2, 40])
def test_little_traffic_is_not_enough_data(tmp_path: Path, number: int) -> None:
    report = judge(str(tmp_path), traffic(ROWS[:number]))

    assert report.verdict == "not_enough_data"
    assert "too few units" in report.reasons[0]


def test_a_unit_that_both_variants_answered_is_left_out_and_said(tmp_path: Path) -> None:
    draw = random.Random(1)
    exchanges = [
        item.model_copy(update={"metadata": {**item.metadata, "session": f"{item.variant}-{draw.randrange(150)}"}})
        for item in traffic(ROWS[:1500])
    ]
    crossed = [item.model_copy(update={"metadata": {**item.metadata, "session": "both"}}) for item in exchanges[:20]]
    nameless = exchanges[20].model_copy(update={"metadata": {"row_id": ROWS[20].id}})

    report = judge(str(tmp_path), [*crossed, nameless, *exchanges[21:]], unit="session")

    assert figure(report, "units/control") + figure(report, "units/treatment") <= 300  # sessions, not requests
    assert "1 exchanges without session in their metadata were left out." in report.reasons
    assert "1 units were answered by both variants and left out." in report.reasons


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    endpoint, dataset = write_ab_scene(str(tmp_path), traffic(ROWS[:100]))
    one = write_scene(str(tmp_path / "one"), traffic(ROWS[:100]), ROWS)

    def refused(**settings: object) -> str:
        with pytest.raises(LlmopsError) as error:
            run(AbConfig.model_validate({"out": str(tmp_path / "out"), "endpoint": endpoint, "dataset": dataset, **settings}))
        return str(error.value)

    assert "has one production variant (production)" in refused(endpoint=one.endpoint)
    assert "treatment=tuned: is no production variant" in refused(treatment="tuned")
    assert "control and treatment are both candidate" in refused(control="candidate", treatment="candidate")
    assert "unit=user: none of 100 exchanges has user" in refused(unit="user")


def test_broken_lines_clock_jumps_and_an_empty_log(tmp_path: Path) -> None:
    exchanges = traffic(ROWS[:600])
    jumped = [
        item.model_copy(update={"time": item.time.replace(year=1970 if number % 2 else 2100), "latency_ms": 0.0})
        for number, item in enumerate(exchanges)
    ]
    endpoint, dataset = write_ab_scene(str(tmp_path), [])
    with pytest.raises(LlmopsError, match="it holds no exchange at all"):
        run(AbConfig(out=str(tmp_path / "empty"), endpoint=endpoint, dataset=dataset))
    write_log(join(str(tmp_path), "exchanges"), jumped)
    (tmp_path / "exchanges" / "z.jsonl").write_text('{"half": \n')

    report = run(AbConfig(out=str(tmp_path / "report"), endpoint=endpoint, dataset=dataset))

    assert report.verdict == "not_enough_data"  # a clock that says 0 ms tells nothing of latency
    assert "1 broken lines of the log were left out" in report.reasons[-1]
    assert document_uri(str(tmp_path / "report"), Report)
