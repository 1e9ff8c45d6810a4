import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from llmops_monitor import collect, history, profile_job
from llmops_monitor.alarms import HOURS, alarms
from llmops_monitor.cli import main
from llmops_monitor.config import DriftConfig
from llmops_monitor.drift import run as run_drift
from llmops_monitor.metric_queue import MetricQueue
from llmops_monitor.traffic_config import CollectConfig, HistoryConfig, ProfileConfig
from llmops_shared.contracts import Report
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, store_for
from support.traffic import Answer, exchange, good, poor, questions, write_log

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROWS = questions()


def hours(root: str, answers: list[Answer], per_hour: int = 60) -> str:
    """A log of so many hours, each answered by one model, collected into windows; the folder of the windows."""
    exchanges = [
        exchange(ROWS[(hour * per_hour + number) % len(ROWS)], hour * per_hour + number, answer,
                 time=NOON + timedelta(hours=hour, minutes=number % 60))
        for hour, answer in enumerate(answers) for number in range(per_hour)
    ]  # fmt: skip
    write_log(join(root, "log"), exchanges)
    collect.run(CollectConfig(out=join(root, "windows"), exchanges=join(root, "log")), NOON + timedelta(days=300))
    return join(root, "windows")


def declining(reference: str, draw: random.Random) -> str:
    """An endpoint whose model was put behind too strict a guard."""
    return "I'm sorry, but I can't help with that."


def baseline(root: str, rows: int = 400, answer: Answer = good) -> str:
    write_log(join(root, "baseline-log"), [exchange(row, 5000 + number, answer) for number, row in enumerate(ROWS[:rows])])
    profile_job.run(ProfileConfig(out=join(root, "baseline"), exchanges=join(root, "baseline-log")))
    return join(root, "baseline")


def test_the_window_in_which_answers_changed_is_found(root: str) -> None:
    windows, profile = hours(root, [good, good, good, poor]), baseline(root)

    report = history.run(HistoryConfig(out=join(root, "history"), windows=windows, profile=profile))

    assert report.verdict == "drift"
    assert report.reasons[0] == "1 of 4 windows with enough data drifted from the reference profile."
    assert report.reasons[1].startswith("2026-11-23 15:00: ")
    page = store_for(root).read(join(root, "history", "history.html")).decode()
    assert page.count("<figure") >= 15 and 'data-metric="refusal"' in page and "<script" not in page
    assert len(re.findall(r"<circle", page.split('data-metric="response_tokens"')[1].split("</figure>")[0])) == 4


def test_calm_hours_are_no_drift_and_few_rows_are_not_enough_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calm = history.run(
        HistoryConfig(out=str(tmp_path / "a"), windows=hours(str(tmp_path / "1"), [good] * 4), profile=baseline(str(tmp_path / "1")))
    )
    windows, profile = hours(str(tmp_path / "2"), [poor] * 2, per_hour=20), baseline(str(tmp_path / "2"))
    code = main(["history", f"windows={windows}", f"profile={profile}", f"out={tmp_path / 'b'}"])
    plain = history.run(HistoryConfig(out=str(tmp_path / "c"), windows=windows))

    assert calm.verdict == "no_drift" and "0 of 4 windows" in calm.reasons[0]
    assert code == 0 and '"not_enough_data"' in capsys.readouterr().out
    assert plain.verdict is None


@pytest.mark.parametrize(("answer", "per_hour", "signal"), [(declining, 12, "refusal"), (poor, 60, "repetitiveness")])
def test_an_alarm_in_the_newest_hour_is_a_verdict_that_remediation_acts_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: Answer, per_hour: int, signal: str
) -> None:
    windows = hours(str(tmp_path), [good] * 40 + [answer], per_hour)

    code = main(["history", f"windows={windows}", f"out={tmp_path / 'history'}"])

    report = Report.model_validate_json((tmp_path / "history" / "report.json").read_bytes())
    assert code == 3 and report.verdict == "alarm"
    alarms_raised = [item.name.removeprefix("alarm/") for item in report.measurements if item.name.startswith("alarm/")]
    assert signal in alarms_raised
    told = "\n".join(report.reasons)
    for name in alarms_raised:  # with the figures that made it one
        assert re.search(rf"Alarm: {name} at 2026-11-25 04:00: its last 6 windows are \S+ from the most similar ones before", told)
    capsys.readouterr()
    words = ["remediate", str(tmp_path / "history"), f"out={tmp_path / 'remedy'}", "retrain=never", "start=eventbridge", "environment=dev"]
    assert main([*words, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert '"verdict\\": \\"alarm\\"' in told and all(f'"signal": "{name}"' in told for name in alarms_raised)


def test_a_window_is_held_against_a_saved_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = baseline(str(tmp_path))
    write_log(str(tmp_path / "log"), [exchange(row, number, poor) for number, row in enumerate(ROWS[200:320])], "a.jsonl")
    write_log(str(tmp_path / "same"), [exchange(row, 9000 + number, good) for number, row in enumerate(ROWS[200:320])], "a.jsonl")
    words = ["drift", f"profile={profile}", "evidently=false"]

    codes = [main([*words, f"exchanges={tmp_path / 'log'}", f"out={tmp_path / 'out'}"]) for _ in range(2)]
    same = run_drift(DriftConfig(out=str(tmp_path / "calm"), exchanges=str(tmp_path / "same"), profile=profile, evidently=False))
    codes.append(main([*words, f"exchanges={tmp_path / 'log'}", f"out={tmp_path / 'x'}", "reference.half=first"]))

    assert codes == [3, 3, 2] and same.verdict == "no_drift"
    report = Report.model_validate_json((tmp_path / "out" / "report.json").read_bytes())
    assert report.subjects["reference"].uri == "../baseline/profile.json"
    assert any(item.name == "shift/response_tokens" for item in report.measurements)
    assert "give either profile=" in capsys.readouterr().err


def test_windows_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(LlmopsError, match=r"ledger.json: there is no such Ledger"):
        history.run(HistoryConfig(out=str(tmp_path / "a"), windows=str(tmp_path / "windows")))


def test_alarms_go_off_where_points_are_like_none_before() -> None:
    draw = np.random.default_rng(0)
    hours = np.arange(1000)
    calm = 100 + 30 * np.sin(hours * np.pi / 12) + draw.normal(0, 3, 1000)
    trend = calm + 0.05 * hours

    jump, holes, quiet, again = calm.copy(), calm.copy(), calm.copy(), calm.copy()
    jump[700:] += 40
    holes[::3] = np.nan
    quiet[700:] = 100 + draw.normal(0, 3, 300)  # within its range all the time: only the cycle is gone
    again[700:703] += 200
    again[760:763] += 200
    again[820:823] += 400

    assert alarms(calm, HOURS) == [] and alarms(trend, HOURS) == [] and alarms(holes, HOURS) == []
    (alarm,) = alarms(jump, HOURS)
    assert 700 <= alarm.place < 706 and alarm.distance > HOURS.growth * alarm.farthest and alarm.distance > HOURS.usual * alarm.usual
    (alarm,) = alarms(quiet, HOURS)
    assert 700 <= alarm.place < 724
    assert [alarm.place for alarm in alarms(again, HOURS)] == [700, 821]  # no stranger than what was strange lately
    gone = jump.copy()
    gone[690:700] = np.nan
    assert [alarm.place for alarm in alarms(gone, HOURS)] == [
        alarm.place for alarm in alarms(jump, HOURS)
    ]  # the place is that of the series


def test_what_never_moves_raises_no_alarm_until_it_does() -> None:
    for constant in (np.zeros(500), np.full(500, 7.0), np.full(500, np.nan), np.full(500, 1e15), np.array([]), np.array([1.0])):
        assert alarms(constant, HOURS) == [] and alarms(constant) == []
    full = np.full(500, 100.0)
    full[400:] = 99.9

    assert [alarm.place for alarm in alarms(np.r_[np.zeros(400), np.ones(10)], HOURS)] == [400]
    assert alarms(full, HOURS) == []


def test_a_mean_moves_by_chance_as_far_as_its_standard_error_says() -> None:
    shares = np.zeros(400)
    shares[200] = 1 / 40  # one answer of forty
    shares[300:303] = 36 / 40
    errors = np.sqrt(shares * (1 - shares) / 40)

    assert [alarm.place for alarm in alarms(shares, HOURS, errors)] == [300]
    assert [alarm.place for alarm in alarms(shares, HOURS)] == [200, 300]  # where nobody says of how many answers it is the mean
    assert alarms(shares, HOURS, np.full(400, np.inf)) == []


def test_metrics_are_sent_in_the_background_and_errors_come_back() -> None:
    class Broken:
        run_id = None

        def __init__(self) -> None:
            self.seen: list[tuple[dict[str, float], int]] = []

        def metrics(self, values: dict[str, float], step: int = 0) -> None:
            if step == 3:
                raise LlmopsError("MLflow is gone")
            self.seen.append((values, step))

    run = Broken()
    with MetricQueue(run) as queue:  # type: ignore[arg-type]
        for step in range(3):
            queue.metrics({f"m{number}": 1.0 for number in range(1500)}, step)
    assert [(len(values), step) for values, step in run.seen] == [(1000, 0), (500, 0), (1000, 1), (500, 1), (1000, 2), (500, 2)]
    with pytest.raises(LlmopsError, match="MLflow is gone"), MetricQueue(run) as queue:  # type: ignore[arg-type]
        queue.metrics({"m": 1.0}, 3)


@pytest.mark.slow
def test_mlflow_has_each_window_as_a_step(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    windows = hours(str(tmp_path), [good] * 3)

    assert main(["history", f"windows={windows}", f"out={tmp_path / 'history'}", f"tracking.uri={uri}"]) == 0

    report = Report.model_validate_json((tmp_path / "history" / "report.json").read_bytes())
    client = MlflowClient(tracking_uri=uri)
    points = client.get_metric_history(report.mlflow_run_id or "", "refusal")
    assert [point.step for point in points] == [int(NOON.timestamp()) // 3600 + hour for hour in range(3)]
    assert {item.path for item in client.list_artifacts(report.mlflow_run_id or "")} == {"history.html", "report.json"}
