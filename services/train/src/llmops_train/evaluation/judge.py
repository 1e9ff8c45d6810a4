"""Judging a model: rows sampled, references scored, questions answered."""

from collections.abc import Sequence
from typing import Any

from llmops_shared.rouge import rouge_l
from llmops_train.config import EvaluateConfig
from llmops_train.evaluation.generation import answer
from llmops_train.evaluation.likelihood import Likelihood, score
from llmops_train.evaluation.measures import Judged, same_words
from llmops_train.evaluation.questions import Question, Row, check_lengths, sample, sample_evenly, to_question


def judge(model: Any, tokenizer: Any, rows: Sequence[Row], config: EvaluateConfig, window: int) -> tuple[list[Judged], float | None]:
    """The judged rows, answered ones first, and the speed of generation in tokens/s; None without answers.

    A text row is scored in windows of `window` tokens.
    """
    scored = {row.id for row in sample(rows, config.perplexity_rows, config.seed)}
    asked = [] if set(config.measures) == {"perplexity"} else sample_evenly(rows, config.limit, config.seed)
    others = [row for row in rows if row.id in scored - {row.id for row in asked}]
    questions = [to_question(row, tokenizer) for row in [*asked, *others]]
    check_lengths(questions, config.max_new_tokens, getattr(model.config, "max_position_embeddings", None))

    scores = list(zip(questions, score(model, questions, window), strict=True))
    if not asked:
        return [unanswered(*pair) for pair in scores], None
    prompts = [question.prompt_ids for question in questions[: len(asked)]]
    answers = answer(model, tokenizer, prompts, config.max_new_tokens, config.batch_rows)
    texts = [text.strip() for text in tokenizer.batch_decode(answers.ids, skip_special_tokens=True)]
    judged = [answered(*pair, text, pair[0].row_id in scored) for pair, text in zip(scores, texts, strict=False)]
    judged += [unanswered(*pair) for pair in scores[len(asked) :]]
    return judged, answers.num_tokens / answers.seconds


def answered(question: Question, likelihood: Likelihood, text: str, for_perplexity: bool) -> Judged:
    """A row with its answer."""
    return Judged(
        row_id=question.row_id,
        question=question.kind,
        prompt=question.prompt,
        reference=question.reference,
        answer=text,
        nll=likelihood.nll,
        num_tokens=likelihood.num_tokens,
        rouge_l=rouge_l(text, question.reference),
        exact=same_words(text, question.reference),
        for_perplexity=for_perplexity,
    )


def unanswered(question: Question, likelihood: Likelihood) -> Judged:
    """A row that was only scored."""
    return Judged(
        row_id=question.row_id,
        question=question.kind,
        prompt=question.prompt,
        reference=question.reference,
        answer=None,
        nll=likelihood.nll,
        num_tokens=likelihood.num_tokens,
        rouge_l=None,
        exact=None,
        for_perplexity=True,
    )
