"""Judging a model or an endpoint: rows sampled, references scored, questions answered."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from llmops_shared.rouge import rouge_l
from llmops_train.evaluation.answering import Answered, Batch, Scorer, answer_questions
from llmops_train.evaluation.config import LIKELIHOOD, EvaluateConfig
from llmops_train.evaluation.endpoint import HttpModel
from llmops_train.evaluation.journal import Journal
from llmops_train.evaluation.measures import Judged, same_words
from llmops_train.evaluation.progress import Progress
from llmops_train.evaluation.questions import Question, Row, check_lengths, plain_question, sample, sample_evenly, to_question
from llmops_train.metrics.pairs import Pairs, make_pairs
from llmops_train.metrics.scores import Scores
from llmops_train.metrics.text import KINDS, NEEDS_ALL_ROWS, score_texts

SCORED_AT_A_TIME = 500


class Judgement(NamedTuple):
    """Everything found about the rows."""

    rows: list[Judged]
    """Answered ones first."""
    texts: dict[str, Scores]
    """Measures of answers beside references."""
    tokens_per_second: float | None
    """None without answers."""


def judge_model(
    model: Any, tokenizer: Any, rows: Sequence[Row], config: EvaluateConfig, names: Sequence[str], window: int, journal: Journal
) -> Judgement:
    """Judges a model; a text row is scored in windows of `window` tokens."""
    scored = {row.id for row in sample(rows, config.perplexity_rows, config.seed)} if set(names) & set(LIKELIHOOD) else set[str]()
    asked = [] if set(names) <= set(LIKELIHOOD) else sample_evenly(rows, config.limit, config.seed)
    others = [row for row in rows if row.id in scored - {row.id for row in asked}]
    questions = [to_question(row, tokenizer) for row in [*asked, *others]]
    check_lengths(questions, config.max_new_tokens, getattr(model.config, "max_position_embeddings", None))

    scores = (
        score_references(model, questions, window, config.stride or max(1, window // 2), journal) if scored else [(0.0, 0)] * len(questions)
    )

    def answer_batch(batch: Sequence[Question]) -> Batch:
        from llmops_train.evaluation.generation import answer

        answers = answer(model, tokenizer, [question.prompt_ids for question in batch], config.max_new_tokens, len(batch))
        texts = [text.strip() for text in tokenizer.batch_decode(answers.ids, skip_special_tokens=True)]
        return Batch(texts, answers.num_tokens, answers.seconds)

    answers = answer_questions(
        questions[: len(asked)], answer_batch, scorer(config, names), config.batch_rows, journal, known_answers(config)
    )
    judged = [
        judged_row(question, score, text, question.row_id in scored)
        for question, score, text in zip(questions, scores, [*answers.texts, *[None] * len(others)], strict=True)
    ]
    return finish(judged, answers, config, names)


def judge_endpoint(http: HttpModel, rows: Sequence[Row], config: EvaluateConfig, names: Sequence[str], journal: Journal) -> Judgement:
    """Judges an endpoint by its answers."""
    questions = [plain_question(row) for row in sample_evenly(rows, config.limit, config.seed)]

    def answer_batch(batch: Sequence[Question]) -> Batch:
        began = time.perf_counter()
        found = http.answer_all([question.messages() for question in batch], config.max_new_tokens)
        return Batch([one.text.strip() for one in found], sum(one.num_tokens for one in found), time.perf_counter() - began)

    answers = answer_questions(questions, answer_batch, scorer(config, names), config.batch_rows, journal, known_answers(config))
    judged = [judged_row(question, (0.0, 0), text, False) for question, text in zip(questions, answers.texts, strict=True)]
    return finish(judged, answers, config, names)


def judge_predictions(
    row_ids: Sequence[str], prompts: Sequence[str], pairs: Pairs, config: EvaluateConfig, names: Sequence[str]
) -> Judgement:
    """Judges predictions as they are."""
    texts = score_texts([name for name in names if name in KINDS], pairs, config.encoder, config.positive_label)
    rows = [
        judged_row(Question(row_id, "prediction", prompt, references[0], (), ()), (0.0, 0), prediction, False)
        for row_id, prompt, prediction, references in zip(row_ids, prompts, pairs.predictions, pairs.references, strict=True)
    ]
    return Judgement(rows, texts, None)


def score_references(model: Any, questions: Sequence[Question], window: int, stride: int, journal: Journal) -> list[tuple[float, int]]:
    """(nats, tokens) of each reference, finished groups kept."""
    from llmops_train.evaluation.likelihood import score

    found: list[tuple[float, int]] = []
    progress = Progress("scored", len(questions))
    for start in range(0, len(questions), SCORED_AT_A_TIME):
        group, name = questions[start : start + SCORED_AT_A_TIME], f"likelihood-{start:07}"
        kept = journal.get(name)
        if kept is None:
            kept = score(model, group, window, stride)
            journal.put(name, kept)
            progress.advance(len(group))
        else:
            progress.keep(len(group))
        found.extend((float(nll), int(count)) for nll, count in kept)
    return found


def known_answers(config: EvaluateConfig) -> dict[str, str]:
    """The answers of the report to reuse."""
    from llmops_train.judging.run import answers_of

    return {} if config.reuse is None else answers_of(config.reuse)


def scorer(config: EvaluateConfig, names: Sequence[str]) -> Scorer:
    """Scores a batch while the next is answered: every measure whose rows stand alone."""
    kinds = [name for name in names if name in KINDS and name not in NEEDS_ALL_ROWS]

    def score(questions: Sequence[Question], texts: Sequence[str]) -> dict[str, Scores]:
        ids = [question.row_id for question in questions]
        return score_texts(kinds, make_pairs(texts, [question.reference for question in questions], ids), config.encoder) if kinds else {}

    return score


def finish(rows: list[Judged], answers: Answered, config: EvaluateConfig, names: Sequence[str]) -> Judgement:
    """Adds the measures that need all rows at once."""
    answered = [row for row in rows if row.answer is not None]
    late = [name for name in names if name in NEEDS_ALL_ROWS]
    texts = dict(answers.scores)
    if late:
        pairs = make_pairs([row.answer for row in answered], [row.reference for row in answered], [row.row_id for row in answered])
        texts.update(score_texts(late, pairs, config.encoder, config.positive_label))
    return Judgement(rows, texts, answers.tokens_per_second if answered else None)


def judged_row(question: Question, likelihood: tuple[float, int], text: str | None, for_perplexity: bool) -> Judged:
    """A row with its answer, or one that was only scored."""
    return Judged(
        row_id=question.row_id,
        question=question.kind,
        prompt=question.prompt,
        reference=question.reference,
        answer=text,
        nll=likelihood[0],
        num_tokens=likelihood[1],
        rouge_l=None if text is None else rouge_l(text, question.reference),
        exact=None if text is None else same_words(text, question.reference),
        for_perplexity=for_perplexity,
    )
