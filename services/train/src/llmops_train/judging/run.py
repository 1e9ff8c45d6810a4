"""Judging every answer of an evaluation: pairs in both orders, or scores by a rubric; finished verdicts are kept."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from llmops_shared.contracts import Report
from llmops_shared.documents import document_uri, fetch_part, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.review.agreement import cohen_kappa
from llmops_shared.store import store_for
from llmops_train.evaluation.config import EvaluateConfig, JudgeConfig
from llmops_train.evaluation.journal import Journal
from llmops_train.evaluation.measures import Judged, measurement
from llmops_train.evaluation.progress import Progress
from llmops_train.judging.judges import Judge, open_judge
from llmops_train.judging.prompt import VERSION, Prompt, pairwise_prompt, rubric_prompt
from llmops_train.judging.verdict import NoVerdictError, read_choice, read_score
from llmops_train.metrics.scores import make_scores

if TYPE_CHECKING:
    from llmops_train.evaluation.findings import Findings

V = TypeVar("V")

WIN, LOSS, TIE = "win", "loss", "tie"
POINTS = {WIN: 1.0, TIE: 0.5, LOSS: 0.0}


def judge_answers(findings: "Findings", config: EvaluateConfig, journal: Journal) -> None:
    """Adds the judge's figures and verdicts. Raises LlmopsError that names the row when the judge cannot be asked."""
    assert config.judge is not None
    rows = [row for row in findings.rows if row.answer is not None]
    if not rows:
        raise LlmopsError("judge: there is no answer to judge; give a measure of answers, such as rouge_l")
    opponents = find_opponents(config, rows) if config.judge.mode == "pairwise" else {}
    with open_judge(config.judge) as judge:
        verdicts = ask_all(judge, config.judge, rows, opponents, journal)
    add_figures(findings, config, verdicts)


def ask_all(
    judge: Judge, config: JudgeConfig, rows: Sequence[Judged], opponents: Mapping[str, str], journal: Journal
) -> list[dict[str, Any]]:
    """A verdict a row, in order."""
    found: list[dict[str, Any]] = []
    progress = Progress("judged", len(rows))
    step = 4 * config.concurrency
    with ThreadPoolExecutor(config.concurrency) as pool:
        for start in range(0, len(rows), step):
            group, name = rows[start : start + step], f"verdicts-{start:07}"
            kept = journal.get(name)
            if kept is None:
                kept = list(pool.map(lambda row: judge_row(judge, config, row, opponents.get(row.row_id)), group))
                journal.put(name, kept)
                progress.advance(len(group))
            else:
                progress.keep(len(group))
            found.extend(kept)
    return found


def judge_row(judge: Judge, config: JudgeConfig, row: Judged, opponent: str | None) -> dict[str, Any]:
    """One verdict; `outcome` is None where the judge gave none."""
    answer = row.answer or ""
    shared = {"row_id": row.row_id, "question": row.prompt, "answer": answer}
    try:
        if opponent is None:
            return {**shared, "reference": row.reference, **judge_by_rubric(judge, config, row)}
        return {**shared, "opponent": opponent, **judge_pair(judge, row.prompt, answer, opponent, config.rubric)}
    except LlmopsError as error:
        raise LlmopsError(f"judge: row {row.row_id}: {error}") from error


def judge_pair(judge: Judge, question: str, ours: str, theirs: str, rubric: str) -> dict[str, Any]:
    """A pair in both orders: a win or loss is what both orders say, everything else is a tie (Zheng et al. 2023, arXiv:2306.05685)."""
    if ours.strip() == theirs.strip():
        return {"outcome": TIE, "first": TIE, "second": TIE, "reason": "the answers are the same"}
    forth = ask(judge, pairwise_prompt(question, ours, theirs, rubric), read_choice)
    back = ask(judge, pairwise_prompt(question, theirs, ours, rubric), read_choice)
    if forth is None or back is None:
        return {"outcome": None, "first": None, "second": None, "reason": "no verdict"}
    first = {"A": WIN, "B": LOSS, "tie": TIE}[forth.winner]
    second = {"A": LOSS, "B": WIN, "tie": TIE}[back.winner]
    return {"outcome": first if first == second else TIE, "first": first, "second": second, "reason": forth.reason}


def judge_by_rubric(judge: Judge, config: JudgeConfig, row: Judged) -> dict[str, Any]:
    """A score from 1 to 5."""
    found = ask(judge, rubric_prompt(row.prompt, row.reference, row.answer or "", config.rubric), read_score)
    return {"outcome": None if found is None else found.score, "reason": "no verdict" if found is None else found.reason}


def ask(judge: Judge, prompt: Prompt, read: Callable[[str], V]) -> V | None:
    """The verdict, asked for twice at most; None when neither reply was one."""
    try:
        return read(judge(prompt))
    except NoVerdictError as problem:
        try:
            return read(judge(prompt.again(str(problem))))
        except NoVerdictError:
            return None


def add_figures(findings: "Findings", config: EvaluateConfig, verdicts: list[dict[str, Any]]) -> None:
    """Win rate or mean score, how steady the judge is, and its agreement with people."""
    assert config.judge is not None
    valid = [verdict for verdict in verdicts if verdict["outcome"] is not None]
    if not valid:
        raise LlmopsError(
            f"judge {config.judge.model}: gave no verdict in the form asked for, in {len(verdicts)} rows; choose another judge"
        )
    ids = [verdict["row_id"] for verdict in valid]
    signature = f"judge:{config.judge.kind}:{config.judge.model}|prompt:{VERSION}|rubric:{config.judge.rubric}"
    pairwise = config.judge.mode == "pairwise"
    if pairwise:
        signature += f"|against:{config.judge.opponent}"
        scores = [make_scores("judge_win_rate", ids, [POINTS[verdict["outcome"]] for verdict in valid], signature)]
        steady = [float(verdict["first"] == verdict["second"]) for verdict in valid]
        scores.append(make_scores("judge_consistency", ids, steady, signature))
    else:
        scores = [make_scores("judge_score", ids, [float(verdict["outcome"]) for verdict in valid], signature)]
    findings.scores.extend(scores[:1])  # consistency is about the judge, so no gate compares it
    findings.measurements.extend(measurement(one, config.seed) for one in scores)
    findings.files["judgements"] = ("judgements.jsonl", verdicts)
    if len(valid) < len(verdicts):
        findings.reasons.append(f"the judge gave no verdict in the form asked for in {len(verdicts) - len(valid)} of {len(verdicts)} rows")
    if pairwise:
        places = Counter(
            place for verdict in valid for place in ("first", "second") if verdict[place] == (WIN if place == "first" else LOSS)
        )
        decided = sum(verdict[place] != TIE for verdict in valid for place in ("first", "second"))
        if decided:
            findings.reasons.append(f"the judge chose the answer shown first in {places.total()} of {decided} decisions")
    if config.judge.labels is not None:
        add_agreement(findings, config.judge.labels, valid, config.seed)


def add_agreement(findings: "Findings", labels_uri: str, verdicts: Sequence[dict[str, Any]], seed: int) -> None:
    """How often judge and people say the same, and Cohen's kappa. Raises LlmopsError when no judged row has a label."""
    labels: dict[str, str] = {}
    for number, line in enumerate(store_for(labels_uri).read(labels_uri).splitlines(), 1):
        try:
            row = json.loads(line)
            labels[str(row["row_id"])] = str(row["label"])
        except (ValueError, KeyError, TypeError) as error:
            raise LlmopsError(f"{labels_uri}:{number}: needs a JSON object with row_id and label ({error!r})") from error
    both = [(row["row_id"], str(row["outcome"]), labels[row["row_id"]]) for row in verdicts if row["row_id"] in labels]
    if not both:
        raise LlmopsError(f"judge.labels {labels_uri}: has a label for none of the {len(verdicts)} judged rows; its row_id must be theirs")
    scores = make_scores(
        "judge_agreement", [row_id for row_id, _, _ in both], [float(ours == theirs) for _, ours, theirs in both], "same label"
    )
    kappa = cohen_kappa([(ours, theirs) for _, ours, theirs in both])
    item = measurement(scores, seed)
    findings.measurements.append(
        item.model_copy(update={"details": {**item.details, "cohen_kappa": "-" if kappa is None else f"{kappa:.4f}"}})
    )


def find_opponents(config: EvaluateConfig, rows: Sequence[Judged]) -> dict[str, str]:
    """The other answer to each row. Raises LlmopsError that names a row the baseline did not answer."""
    assert config.judge is not None
    if config.judge.opponent == "reference":
        return {row.row_id: row.reference for row in rows}
    assert config.baseline is not None
    answers = answers_of(config.baseline)
    missing = [row.row_id for row in rows if row.row_id not in answers]
    if missing:
        raise LlmopsError(
            f"baseline {config.baseline}: did not answer row {missing[0]} ({len(missing)} such rows); evaluate it on the same rows"
        )
    return {row.row_id: answers[row.row_id] for row in rows}


def answers_of(report_uri: str) -> dict[str, str]:
    """The answers that a report keeps, by row."""
    place = document_uri(report_uri, Report)
    part = read_document(place, Report).parts.get("rows")
    if part is None:
        raise LlmopsError(f"{place}: keeps no rows; evaluate again")
    rows = [json.loads(line) for line in fetch_part(place, part).read_bytes().splitlines()]
    return {row["row_id"]: row["answer"] for row in rows if row.get("answer") is not None}
