"""Answers of GPT-3.5 and GPT-4 in March and in June 2023 to the same questions (the LLMDrift study)."""

import csv
import gzip
from pathlib import Path

import pytest

from llmops_monitor import profile_job
from llmops_monitor.config import DriftConfig
from llmops_monitor.drift import run
from llmops_monitor.traffic_config import ProfileConfig
from llmops_shared.contracts import Report
from support.traffic import chat, exchange, write_log

MARCH = {"gpt-3.5": "openaichat/gpt-3.5-turbo-0301", "gpt-4": "openaichat/gpt-4-0314"}
JUNE = {"gpt-3.5": "openaichat/gpt-3.5-turbo-0613", "gpt-4": "openaichat/gpt-4-0613"}


@pytest.fixture(scope="module")
def log(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return log_of(test_data / "drift-llmdrift" / "SENSITIVEQ_EVAL.csv.gz", tmp_path_factory.mktemp("llmdrift"))


@pytest.fixture(scope="module")
def programs(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return log_of(test_data / "drift-llmdrift" / "LEETCODE_EASY_EVAL.csv.gz", tmp_path_factory.mktemp("leetcode"))


def log_of(path: Path, folder: Path) -> str:
    """The answers as an exchange log, the model in the metadata."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        answers = list(csv.DictReader(file))
    exchanges = [
        exchange(chat(answer["query"], "", "sensitive"), number, lambda reference, draw: "", response=answer["answer"],
                 num_response_tokens=len(answer["answer"].split()), metadata={"model": answer["model"]})
        for number, answer in enumerate(answers)
    ]  # fmt: skip
    write_log(str(folder), exchanges)
    return str(folder)


def answers_drift(log: str, out: Path, reference: dict[str, object], current: dict[str, object], min_rows: int = 40) -> Report:
    settings = {"out": str(out), "exchanges": log, "text": "response", "evidently": False, "min_rows": min_rows}
    return run(DriftConfig.model_validate({**settings, "reference": reference, "current": current}))


@pytest.mark.parametrize("model", ["gpt-3.5", "gpt-4"])
def test_june_differs_from_march(log: str, tmp_path: Path, model: str) -> None:
    report = answers_drift(log, tmp_path, {"metadata": {"model": MARCH[model]}}, {"metadata": {"model": JUNE[model]}})

    assert report.verdict == "drift"
    assert any(reason.startswith("A classifier on words tells the windows apart") for reason in report.reasons)


@pytest.mark.parametrize("model", ["gpt-3.5", "gpt-4"])
def test_march_does_not_differ_from_itself(log: str, tmp_path: Path, model: str) -> None:
    march = {"metadata": {"model": MARCH[model]}}

    report = answers_drift(log, tmp_path, {**march, "half": "first"}, {**march, "half": "second"})

    assert report.verdict == "no_drift"


@pytest.mark.parametrize("model", ["gpt-3.5", "gpt-4"])
def test_a_saved_profile_of_march_says_the_same(log: str, tmp_path: Path, model: str) -> None:
    march, june = ({"metadata": {"model": names[model]}} for names in (MARCH, JUNE))
    profile_job.run(ProfileConfig.model_validate({"out": str(tmp_path / "march"), "exchanges": log, "select": march}))
    profile_job.run(ProfileConfig.model_validate({"out": str(tmp_path / "half"), "exchanges": log, "select": {**march, "half": "first"}}))

    verdicts = [
        run(DriftConfig.model_validate({
            "out": str(tmp_path / name), "exchanges": log, "profile": str(tmp_path / profile), "current": current, "evidently": False, "min_rows": 40,
        })).verdict
        for name, profile, current in (("june", "march", june), ("split", "half", {**march, "half": "second"}))
    ]  # fmt: skip

    assert verdicts == ["drift", "no_drift"]


@pytest.mark.parametrize("model", ["gpt-4", "gpt-3.5"])
def test_programs_of_june_in_fifty_answers(programs: str, tmp_path: Path, model: str) -> None:
    """GPT-4 began to fence its programs (0 of 50 answers, then 44); GPT-3.5 had done so in 31 of 50 before, and in June in 49."""
    march, june = ({"metadata": {"model": names[model]}} for names in (MARCH, JUNE))

    moved = answers_drift(programs, tmp_path / "june", march, june)
    calm = answers_drift(programs, tmp_path / "march", {**march, "half": "first"}, {**march, "half": "second"}, min_rows=15)

    assert (moved.verdict, calm.verdict) == ("drift", "no_drift")
    assert any(reason.startswith("code_fences: ") for reason in moved.reasons)
