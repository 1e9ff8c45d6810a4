"""The retraining set: reviewed and low-scoring exchanges, once each, without personal data and without the evaluation's text."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from llmops_monitor.labels import chat_row
from llmops_monitor.mask import mask
from llmops_shared.contracts.dataset import DatasetManifest, StageCount
from llmops_shared.contracts.exchange import Exchange, Message
from llmops_shared.contracts.report import Report
from llmops_shared.documents import document_uri, fetch_part, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.rows import ChatRow

WORD = re.compile(r"\w+")
NUM_WORDS = 13
"""A run of words this long in both is no accident (Brown et al. 2020, appendix C); a shorter evaluation text counts as a whole."""
HELD_OUT = ("test", "validation")


class Cleaned(NamedTuple):
    """Rows that are left, and what became of the others."""

    rows: list[ChatRow]
    counts: list[StageCount]


def low_scoring(
    report: Report, report_uri: str, metric: str, max_score: float, exchanges: Mapping[tuple[str, bool], Exchange]
) -> list[ChatRow]:
    """Requests where the served answer scored at most `max_score` and the shadow's scored above it: the shadow's answer is the row.

    Scores are those of the report's own rows. A low-scoring request without a better answer has nothing to learn from: it belongs in
    the review queue. Raises LlmopsError when the report has no such metric.
    """
    if "rows" not in report.parts:
        return []
    found = []
    for line in fetch_part(report_uri, report.parts["rows"]).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if f"production/{metric}" not in row:
            raise LlmopsError(f"{report_uri}: its rows have no {metric}; correct metric= (has {', '.join(sorted(metrics_of(row)))})")
        served, other = row[f"production/{metric}"], row[f"shadow/{metric}"]
        better = exchanges.get((row["request_id"], True))
        if served is not None and other is not None and served <= max_score < other and better is not None:
            metadata = {"request_id": better.request_id, "label": "low_scoring", "score": f"{served:.3f}"}
            found.append(chat_row(better.messages, better.response, f"exchange/{better.request_id}", metadata, "unknown"))
    return found


def metrics_of(row: Mapping[str, object]) -> set[str]:
    """Metric names of a report's row."""
    return {key.partition("/")[2] for key in row if "/" in key}


def clean(rows: Sequence[ChatRow], held_out: Iterable[str]) -> Cleaned:
    """Each conversation once, personal data masked, nothing that repeats the evaluation; earlier rows win."""
    counts = []
    masked = [masked_row(row) for row in rows]
    once = list({signature(row.messages[:-1]): row for row in reversed(masked)}.values())[::-1]
    counts.append(StageCount(stage="duplicates", rows_in=len(rows), rows_out=len(once), dropped={"prompt": len(rows) - len(once)}))
    runs, whole = runs_of(held_out)
    kept = [row for row in once if not contaminated(row, runs, whole)]
    counts.append(
        StageCount(stage="decontamination", rows_in=len(once), rows_out=len(kept), dropped={"evaluation_text": len(once) - len(kept)})
    )
    return Cleaned(kept, counts)


def masked_row(row: ChatRow) -> ChatRow:
    """The row with each piece of personal data replaced by its kind, and marked when there was one."""
    messages = [Message(role=message.role, content=mask(message.content)) for message in row.messages]
    if messages == row.messages:
        return row
    return row.model_copy(update={"messages": messages, "metadata": {**row.metadata, "personal_data": "masked"}})


def signature(messages: Sequence[Message]) -> str:
    """Equal for conversations that differ in case, punctuation and white space only."""
    return "\n".join(f"{message.role} {' '.join(words(message.content))}" for message in messages)


def words(text: str) -> list[str]:
    """Lower-case words."""
    return WORD.findall(text.lower())


def held_out_texts(uri: str) -> Iterator[str]:
    """Every message of the evaluation's held-out splits. Raises LlmopsError when the dataset has none of them."""
    place = document_uri(uri, DatasetManifest)
    manifest = read_document(place, DatasetManifest)
    present = [name for name in HELD_OUT if name in manifest.splits]
    if not present:
        raise LlmopsError(
            f"{place}: has no split {' or '.join(HELD_OUT)} (has {', '.join(manifest.splits)}); name the evaluation's dataset"
        )
    for part in [part for name in present for part in manifest.splits[name].rows]:
        with fetch_part(place, part).open(encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                yield from (message["content"] for message in row["messages"]) if "messages" in row else (row["text"],)


def runs_of(texts: Iterable[str]) -> tuple[set[int], set[str]]:
    """Hashes of the runs of 13 words, and texts too short to have one."""
    runs: set[int] = set()
    whole: set[str] = set()
    for text in texts:
        found = words(text)
        if len(found) < NUM_WORDS:
            whole.add(" ".join(found))
        runs.update(hash(tuple(found[start : start + NUM_WORDS])) for start in range(len(found) - NUM_WORDS + 1))
    return runs, whole


def contaminated(row: ChatRow, runs: set[int], whole: set[str]) -> bool:
    """Whether a question or answer shares a run of words with the evaluation, or is one of its short texts."""
    for message in row.messages:
        found = words(message.content)
        # a short answer such as a name is no leak by itself; a short question is
        if len(found) < NUM_WORDS and message.role == "user" and " ".join(found) in whole:
            return True
        if any(hash(tuple(found[start : start + NUM_WORDS])) in runs for start in range(len(found) - NUM_WORDS + 1)):
            return True
    return False
