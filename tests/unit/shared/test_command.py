import json
import logging

import pytest
from pydantic import Field

from llmops_shared.command import Verb, run_command
from llmops_shared.config import JobConfig
from llmops_shared.contracts import Report
from llmops_shared.errors import LlmopsError


class Job(JobConfig):
    """A job."""

    size: int = Field(default=1, ge=1)
    """How large."""


def report(verdict):
    return Report(report="shadow", name="r", subjects={}, measurements=[], verdict=verdict, reasons=[], parts={}, mlflow_run_id=None)


def judge(config):
    match config.size:
        case 1:
            return report("promote")
        case 2:
            return report("keep")
        case 3:
            raise LlmopsError("size 3: too odd; give another")
        case 4:
            return None
    raise RuntimeError("our bug")


def call(*argv):
    verb = Verb("judge", "Judges.", Job, judge, refuses=lambda report: report.verdict == "keep")
    return run_command("llmops-test", "Tests.", [verb], ["judge", "out=x", *argv])


def test_stdout_is_the_document_and_nothing_else(capsys):
    assert call() == 0

    assert json.loads(capsys.readouterr().out)["verdict"] == "promote"


def test_a_verdict_of_no_exits_with_3_and_its_document(capsys):
    assert call("size=2") == 3

    assert json.loads(capsys.readouterr().out)["verdict"] == "keep"


def test_a_pipeline_step_ends_well_and_leaves_the_verdict_in_a_file(tmp_path, capsys):
    assert call("size=2", "--exit-zero", "--document", str(tmp_path / "a step" / "report.json")) == 0

    assert (tmp_path / "a step" / "report.json").read_text() == capsys.readouterr().out


def test_a_users_error_is_one_line_and_exits_with_2(capsys):
    assert call("size=3") == 2

    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "llmops-test judge: size 3: too odd; give another\n")


def test_our_bug_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="our bug"):
        call("size=5")


def test_a_server_has_no_document(capsys):
    assert call("size=4") == 0
    assert capsys.readouterr().out == ""


def test_dry_run_prints_the_resolved_settings_and_does_nothing(capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///x.db")

    assert call("--dry-run", "size=5", "tracking.experiment=mine") == 0

    assert json.loads(capsys.readouterr().out) == {
        "out": "x",
        "tracking": {"uri": "sqlite:///x.db", "experiment": "mine", "pipeline": None},
        "size": 5,
    }


def test_an_unknown_option_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        call("--size", "2")

    assert stopped.value.code == 2
    assert "unknown option --size; settings are written key=value" in capsys.readouterr().err


def test_help_lists_required_settings_first_with_their_texts(capsys):
    with pytest.raises(SystemExit):
        call("--help")

    text = capsys.readouterr().out
    assert text.index("out  (required)") < text.index("size=1") < text.index("How large.")
    assert "tracking.uri=null" in text


def test_the_log_can_be_json_lines(capsys):
    call("--log-json")
    logging.getLogger("llmops_shared.test").info("wrote %d rows to %s", 3, "x")

    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (line["level"], line["message"]) == ("info", "wrote 3 rows to x")
