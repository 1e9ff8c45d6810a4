"""Log-probabilities in the shapes of TGI's and OpenAI's answers."""

from collections.abc import Sequence
from typing import Any

from llmops_serve.engines.engine import Likely, Step
from llmops_serve.job import Job


def likely_text(job: Job, one: Likely) -> str:
    """The text of a likely token, which not every server tells."""
    return one.text or job.served.text.token(one.token_id)


def top_tokens(job: Job, step: Step) -> list[dict[str, Any]]:
    """TGI's Tokens at one place."""
    special = job.served.text.special_ids
    return [
        {"id": one.token_id, "text": likely_text(job, one), "logprob": one.logprob, "special": one.token_id in special}
        for one in step.likely or []
    ]


def chat_logprob(job: Job, step: Step) -> dict[str, Any]:
    """A ChatCompletionLogprob."""
    best = [{"token": likely_text(job, one), "logprob": one.logprob} for one in step.likely or []]
    return {"token": job.served.text.token(step.token_id), "logprob": step.logprob, "top_logprobs": best}


def completion_logprobs(job: Job, steps: Sequence[Step], num_likely: int, echo: bool, before: int = 0) -> dict[str, Any]:
    """OpenAI's `logprobs` of a completion; `before` is the length of the text that was told already."""
    tokens: list[str] = []
    values: list[float | None] = []
    best: list[dict[str, float] | None] = []
    if echo:
        ids, known = job.prompt.token_ids, (steps[0].prompt_logprobs if steps else None) or []
        tokens += [job.served.text.token(token_id) for token_id in ids]
        values += known
        best += [None] * len(ids)
    for step in steps:
        tokens.append(job.served.text.token(step.token_id))
        values.append(step.logprob)
        best.append({likely_text(job, one): one.logprob for one in step.likely or []} if num_likely else None)
    offsets, at = [], before
    for token in tokens:
        offsets.append(at)
        at += len(token)
    return {"tokens": tokens, "token_logprobs": values, "top_logprobs": best if num_likely else None, "text_offset": offsets}
