"""`llmops-train evaluate`: figures that are right, documents that are complete, requests that are refused."""

import json
import math
from pathlib import Path

import pytest
import torch

from llmops_shared.contracts import DatasetManifest, Report
from llmops_shared.documents import read_document, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, store_for
from llmops_train.config import PackageConfig
from llmops_train.evaluate import evaluate
from llmops_train.evaluation.config import EvaluateConfig
from llmops_train.evaluation.generation import answer
from llmops_train.evaluation.likelihood import score
from llmops_train.evaluation.measures import Judged, measure
from llmops_train.evaluation.questions import Question, read_rows, sample_evenly, to_question
from llmops_train.model import load_model, load_tokenizer
from llmops_train.package import package
from llmops_train.source import identify, open_source
from unit.train.tiny import questions, write_dataset


def settings(out: str, run: str, dataset: str, **more: object) -> EvaluateConfig:
    return EvaluateConfig.model_validate({"out": out, "run": run, "dataset": dataset, "max_new_tokens": 24, "num_threads": 1, **more})


def test_an_evaluation_has_every_figure_with_its_interval(root: str, fluent: str, chat: str) -> None:
    report = evaluate(settings(join(root, "evaluation"), fluent, chat, limit=18))

    assert read_document(join(root, "evaluation"), Report) == report
    figures = {item.name: item for item in report.measurements}
    assert list(figures) == ["perplexity", "rouge_l", "answer_exact_match", "signature_exact_match", "tokens_per_second"]
    assert [item.num_rows for item in report.measurements] == [30, 18, 18, 6, 18]
    assert all(item.low <= item.value <= item.high for item in report.measurements[:4] if item.low is not None and item.high is not None)
    assert 1 < figures["perplexity"].value < 20
    assert set(report.subjects) == {"run", "dataset"}
    rows = [json.loads(line) for line in store_for(root).read(join(root, "evaluation", report.parts["rows"].path)).splitlines()]
    assert len(rows) == 30 and sum(row["answer"] is not None for row in rows) == 18
    page = store_for(root).read(join(root, "evaluation", report.parts["html"].path)).decode()
    assert "By question kind" in page and "What is the signature of" in page


def test_the_figures_follow_from_the_rows(tmp_path: Path, fluent: str, chat: str) -> None:
    report = evaluate(settings(str(tmp_path / "evaluation"), fluent, chat, limit=18))

    rows = [json.loads(line) for line in (tmp_path / "evaluation" / "rows.jsonl").read_text().splitlines()]
    answered = [row for row in rows if row["answer"] is not None]
    figures = {item.name: item.value for item in report.measurements}
    assert figures["perplexity"] == pytest.approx(math.exp(sum(row["nll"] for row in rows) / sum(row["num_tokens"] for row in rows)))
    assert figures["rouge_l"] == pytest.approx(sum(row["rouge_l"] for row in answered) / 18)
    assert figures["answer_exact_match"] == pytest.approx(sum(row["answer"].split() == row["reference"].split() for row in answered) / 18)


@pytest.mark.slow
def test_a_package_or_a_plain_model_is_judged_as_well(tmp_path: Path, fluent: str, chat: str) -> None:
    package(PackageConfig(out=str(tmp_path / "package"), run=fluent))
    only = ["perplexity"]

    reports = [
        evaluate(settings(str(tmp_path / f"evaluation-{number}"), subject, chat, measures=only))
        for number, subject in enumerate([fluent, str(tmp_path / "package"), f"{fluent}/model"])
    ]

    assert [sorted(report.subjects) for report in reports] == [["dataset", "run"], ["dataset", "package"], ["dataset", "model"]]
    figures = [[(item.value, item.low, item.high) for item in report.measurements] for report in reports]
    assert figures[0] == figures[1] == figures[2]
    known = [report.measurements[0].details.get("contamination") for report in reports]
    assert known == ["0 of 30 rows (0.0%)", "0 of 30 rows (0.0%)", None]  # nobody knows what a plain directory learnt
    assert [report.name for report in reports] == ["tiny-evaluation", "tiny-evaluation", "model-evaluation"]


@pytest.mark.slow
def test_tuning_shows(tmp_path: Path, pretrained: str, tuned: str, chat: str) -> None:
    before, after = (
        evaluate(settings(str(tmp_path / name), run, chat, measures=["perplexity"])).measurements[0]
        for name, run in (("before", pretrained), ("after", tuned))
    )

    assert after.value < 0.5 * before.value


@pytest.mark.slow
def test_the_likelihood_of_an_answer_is_that_of_the_model_alone(fluent: str, chat: str) -> None:
    files = open_source(identify(fluent))
    model, tokenizer = load_model(files).eval(), load_tokenizer(files.tokenizer)
    asked = [to_question(row, tokenizer) for row in questions(9)]

    found = score(model, asked, window=64)

    for question, likelihood in zip(asked, found, strict=True):
        ids = torch.tensor([[*question.prompt_ids, *question.answer_ids]])
        with torch.no_grad():
            surprise = -model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        assert likelihood.num_tokens == len(question.answer_ids)
        assert likelihood.nll == pytest.approx(float(surprise[len(question.prompt_ids) - 1 :].sum()), rel=1e-4)


def test_a_text_is_scored_in_windows(pretrained: str, text: str) -> None:
    model = load_model(open_source(identify(pretrained))).eval()
    ids = tuple(range(10, 40))
    whole = Question("whole", "text", "", "", (), ids)
    halves = [Question("half", "text", "", "", (), part) for part in (ids[:16], ids[16:])]

    (windowed,), parts = score(model, [whole], window=16), score(model, halves, window=64)

    assert windowed.num_tokens == 28
    assert windowed.nll == pytest.approx(sum(part.nll for part in parts), rel=1e-5)


@pytest.mark.slow
def test_answers_in_a_batch_are_those_given_alone(fluent: str) -> None:
    files = open_source(identify(fluent))
    model, tokenizer = load_model(files).eval(), load_tokenizer(files.tokenizer)
    prompts = [to_question(row, tokenizer).prompt_ids for row in questions(12)]
    assert len({len(prompt) for prompt in prompts}) > 2

    together = answer(model, tokenizer, prompts, max_new_tokens=16, batch_rows=5)
    alone = [answer(model, tokenizer, [prompt], max_new_tokens=16, batch_rows=1).ids[0] for prompt in prompts]

    assert together.ids == alone
    assert any(len(ids) < 16 for ids in together.ids) and tokenizer.eos_token_id not in {token for ids in together.ids for token in ids}


def test_the_sample_takes_turns_between_kinds_and_ignores_the_order_of_rows() -> None:
    rows = questions(30)

    chosen = sample_evenly(rows, 7, seed=1)

    assert sorted(row.metadata["question"] for row in chosen) == ["purpose"] * 3 + ["raises"] * 2 + ["signature"] * 2
    assert sample_evenly(rows[::-1], 7, seed=1) == chosen != sample_evenly(rows, 7, seed=2)


def test_a_figure_without_rows_is_an_error() -> None:
    row = Judged("1", "purpose", "p", "r", "a", 3.0, 2, 0.5, False, True)

    with pytest.raises(LlmopsError, match="no row for signature_exact_match; .* leave signature_exact_match out of measures"):
        measure([row], ["rouge_l", "signature_exact_match"], 1.0, seed=0)


@pytest.mark.slow
def test_missing_and_empty_splits_are_named(tmp_path: Path, tuned: str, chat: str) -> None:
    tokenizer = Path(chat) / "tokenizer"
    empty = write_dataset(str(tmp_path / "empty"), "chat", {"train": questions(4), "test": []}, tokenizer)

    with pytest.raises(LlmopsError, match=r"split 'held' is missing \(has test, train, validation\)"):
        evaluate(settings(str(tmp_path / "a"), tuned, chat, split="held"))
    with pytest.raises(LlmopsError, match="split 'test' is empty"):
        evaluate(settings(str(tmp_path / "b"), tuned, empty))
    with pytest.raises(LlmopsError, match="split train: models learn from it"):
        evaluate(settings(str(tmp_path / "c"), tuned, chat, split="train"))


@pytest.mark.slow
def test_a_text_dataset_gives_perplexity_and_nothing_else(tmp_path: Path, pretrained: str, text: str) -> None:
    report = evaluate(settings(str(tmp_path / "a"), pretrained, text, measures=["perplexity"]))

    assert [item.name for item in report.measurements] == ["perplexity"] and report.measurements[0].value < 320
    with pytest.raises(LlmopsError, match=r"is a text dataset, which has no answers to judge \(rouge_l\); set measures=\[perplexity\]"):
        evaluate(settings(str(tmp_path / "b"), pretrained, text, measures=["perplexity", "rouge_l"]))


@pytest.mark.slow
def test_answers_that_do_not_fit_the_model_are_refused(tmp_path: Path, tuned: str, chat: str) -> None:
    with pytest.raises(LlmopsError, match="need .* tokens, but the model takes 128; lower max_new_tokens"):
        evaluate(settings(str(tmp_path / "a"), tuned, chat, max_new_tokens=120))


def test_a_template_that_rewrites_the_question_is_refused(tmp_path: Path, chat: str) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for path in (Path(chat) / "tokenizer").iterdir():
        (folder / path.name).write_text(
            path.read_text().replace("{% for message in messages %}", "{{ messages | length }}{% for message in messages %}")
        )

    with pytest.raises(LlmopsError, match="row row-0: the chat template writes the question otherwise"):
        to_question(questions(1)[0], load_tokenizer(folder))


def test_a_broken_rows_file_is_named(tmp_path: Path, chat: str) -> None:
    manifest = read_document(chat, DatasetManifest)
    part = manifest.splits["test"].rows[0]
    (tmp_path / "rows").mkdir()
    (tmp_path / part.path).write_bytes(b"{}\n")
    write_document(str(tmp_path), manifest)

    with pytest.raises(LlmopsError, match="is damaged"):
        read_rows(f"{tmp_path}/dataset.json", manifest, "test")


@pytest.mark.slow
def test_evaluations_compare_in_mlflow(tmp_path: Path, tuned: str, chat: str, tracking_uri: str) -> None:
    from mlflow import MlflowClient

    report = evaluate(settings(str(tmp_path / "a"), tuned, chat, limit=6, tracking={"uri": tracking_uri}))

    tracked = MlflowClient(tracking_uri).get_run(report.mlflow_run_id)
    assert tracked.data.tags["llmops.stage"] == "evaluate"
    assert tracked.data.metrics == {item.name: item.value for item in report.measurements}
    wanted = {"method": "lora", "optimizer.learning_rate": "0.005", "lora.rank": "8", "split": "test"}
    assert wanted.items() <= tracked.data.params.items() and {"num_parameters", "parent"} <= set(tracked.data.params)
    assert [artifact.path for artifact in MlflowClient(tracking_uri).list_artifacts(report.mlflow_run_id)] == ["report.html"]


@pytest.mark.slow
def test_a_finished_report_is_kept(tmp_path: Path, tuned: str, chat: str) -> None:
    config = settings(str(tmp_path / "a"), tuned, chat, measures=["perplexity"])

    assert evaluate(config) == evaluate(config)
    with pytest.raises(LlmopsError, match=r"made from other settings or inputs \(seed\)"):
        evaluate(config.model_copy(update={"seed": 4}))
