"""People: unsure answers and a random share go to the review queue, and what people said comes back into the figures."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmops_shared.contracts.exchange import Message
from llmops_shared.contracts.report import Measurement
from llmops_shared.contracts.review import TIE, ReviewItem
from llmops_shared.review.agreement import cohen_kappa, krippendorff_alpha
from llmops_shared.review.items import Sampled, side_by_side, single_label
from llmops_shared.review.location import queue_for
from llmops_shared.review.queue import Reviewed
from llmops_train.evaluation.config import EvaluateConfig, ReviewConfig
from llmops_train.evaluation.measures import Judged, measurement
from llmops_train.metrics.scores import make_scores

if TYPE_CHECKING:
    from llmops_train.evaluation.findings import Findings

OURS, OTHER = "judged", "opponent"
HUMAN = {OURS: 1.0, TIE: 0.5, OTHER: 0.0, "good": 1.0, "bad": 0.0}
JUDGED = {"win": OURS, "loss": OTHER, "tie": TIE}
MIDDLE, RANGE = 3, 4  # of a rubric from 1 to 5


def review_answers(findings: "Findings", config: EvaluateConfig, name: str) -> None:
    """Queues what people should see, and folds in what they said to these very answers so far."""
    assert config.review is not None
    rows = {row.row_id: row for row in findings.rows if row.answer is not None}
    verdicts = {verdict["row_id"]: verdict for verdict in findings.files.get("judgements", ("", []))[1]}
    chosen = choose(list(rows.values()), verdicts, config.review, config.seed)
    items = [make_item(rows[row_id], verdicts.get(row_id), sampled, name) for row_id, sampled in chosen]
    queue = queue_for(config.review.queue)
    added = queue.add(items)
    known = {item.item_id: item for item in items}
    answered = [one for one in queue.reviewed() if one.item.item_id in known and one.answers]
    findings.reasons.append(
        f"{len(items)} answers are for people to judge ({added} newly queued at {config.review.queue.uri}), {len(answered)} have been"
    )
    if answered:
        fold_in(findings, answered, rows, verdicts, config)


def choose(rows: Sequence[Judged], verdicts: Mapping[str, dict[str, Any]], review: ReviewConfig, seed: int) -> list[tuple[str, Sampled]]:
    """(row id, why) of at most `max_rows` rows: the random share first, for it alone is unbiased, then the most unsure."""
    ordered = sorted(row.row_id for row in rows)
    audit = random.Random(seed).sample(ordered, min(len(ordered), review.max_rows, round(len(ordered) * review.audit_share)))
    doubts = sorted((doubt(row, verdicts.get(row.row_id), review), row.row_id) for row in rows)
    unsure = [row_id for certainty, row_id in doubts if certainty < 1 and row_id not in audit]
    chosen: list[tuple[str, Sampled]] = [(row_id, "random") for row_id in audit]
    return chosen + [(row_id, "uncertainty") for row_id in unsure[: review.max_rows - len(audit)]]


def doubt(row: Judged, verdict: dict[str, Any] | None, review: ReviewConfig) -> float:
    """How sure we are, 0 to 1; 1 needs nobody. A judge that contradicts itself, or says nothing, is least sure."""
    if verdict is None:
        distance, margin = abs((row.rouge_l or 0.0) - 0.5), review.low_margin
    elif "first" in verdict:
        return 0.0 if verdict["first"] != verdict["second"] or verdict["outcome"] is None else 0.5 if verdict["outcome"] == "tie" else 1.0
    elif verdict["outcome"] is None:
        return 0.0
    else:
        distance, margin = abs(verdict["outcome"] - MIDDLE) / RANGE, review.low_margin
    return distance if distance <= margin else 1.0


def make_item(row: Judged, verdict: dict[str, Any] | None, sampled: Sampled, name: str) -> ReviewItem:
    """What people are asked: which of two answers is better where a judge saw two, else whether the answer is good."""
    messages, metadata = [Message(role="user", content=row.prompt or "(no question)")], {"row_id": row.row_id, "subject": name}
    answer = row.answer or ""
    if verdict is not None and "opponent" in verdict:
        said = JUDGED.get(verdict["outcome"] or "")
        responses = {OURS: answer, OTHER: verdict["opponent"]}
        return side_by_side(messages, responses, sampled, reference=row.reference, judge_label=said, metadata=metadata)
    score = verdict["outcome"] if verdict is not None else None
    said = None if score is None or score == MIDDLE else "good" if score > MIDDLE else "bad"
    return single_label(messages, OURS, answer, sampled, reference=row.reference, judge_label=said, metadata=metadata)


def fold_in(
    findings: "Findings",
    answered: Sequence[Reviewed],
    rows: Mapping[str, Judged],
    verdicts: Mapping[str, dict[str, Any]],
    config: EvaluateConfig,
) -> None:
    """People's agreement with each other and with the judge, and the figure with their word in place of the judge's."""
    units = [[answer.label for answer in one.answers] for one in answered]
    human = {
        one.item.metadata["row_id"]: sum(HUMAN[label] for label in unit) / len(unit) for one, unit in zip(answered, units, strict=True)
    }
    pairs = [
        (one.item.judge_label, Counter(unit).most_common(1)[0][0])
        for one, unit in zip(answered, units, strict=True)
        if one.item.judge_label is not None
    ]
    for label, value, count in (
        ("review_krippendorff_alpha", krippendorff_alpha(units), sum(len(unit) > 1 for unit in units)),
        ("review_judge_cohen_kappa", cohen_kappa(pairs), len(pairs)),
    ):
        if value is not None:
            figure = Measurement(name=label, value=value, low=None, high=None, confidence=None, num_rows=count, better="higher")
            findings.measurements.append(figure)
        else:
            findings.reasons.append(f"{label}: cannot be told from {count} items (it needs two labels an item, and more than one label)")
    machine = {row_id: points(verdict) for row_id, verdict in verdicts.items()}
    combined = {row_id: human.get(row_id, machine.get(row_id)) for row_id in rows}
    known = [row_id for row_id in rows if combined[row_id] is not None]
    signature = f"people's word where they gave it ({len(human)} rows), else the judge's"
    scores = make_scores("combined_preference", known, [combined[row_id] or 0.0 for row_id in known], signature)
    item = measurement(scores, config.seed)
    findings.scores.append(scores)
    findings.measurements.append(item)
    findings.reasons.append(combined_verdict(item, len(human)))


def points(verdict: Mapping[str, Any]) -> float | None:
    """A judge's verdict from 0 to 1."""
    outcome = verdict["outcome"]
    if outcome is None:
        return None
    return {"win": 1.0, "tie": 0.5, "loss": 0.0}[outcome] if isinstance(outcome, str) else (outcome - 1) / RANGE


def combined_verdict(item: Measurement, num_human: int) -> str:
    """What people and judge together say, in words."""
    low, high = item.low or 0.0, item.high or 0.0
    word = "better" if low > 0.5 else "worse" if high < 0.5 else "no different"
    return (
        f"people and judge together: {word} than the other answer or the middle of the scale "
        f"({item.value:.3f}, interval {low:.3f} to {high:.3f} around 0.5, {num_human} of {item.num_rows} rows by people)"
    )
