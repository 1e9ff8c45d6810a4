"""An answer in the making, and the exchange it becomes."""

import time
from dataclasses import dataclass

from llmops_serve.citations import trace
from llmops_serve.engines.engine import Step
from llmops_serve.job import Ask, Job, Served
from llmops_shared.contracts.endpoint import Arm
from llmops_shared.contracts.exchange import Exchange, RetrievalTrace


@dataclass(slots=True)
class Turn:
    """What is known of an answer so far."""

    started: float
    """`time.perf_counter` when the request came."""
    text: str = ""
    num_prompt_tokens: int = 0
    num_tokens: int = 0
    first_token_ms: float | None = None
    finish: str = "error"
    error: str | None = None
    replica: str = ""
    guarded: str | None = None
    retrieval: RetrievalTrace | None = None

    def add(self, step: Step) -> None:
        """Takes the next token."""
        self.num_tokens += 1
        self.text += step.text
        self.begin()
        if step.finish is not None:
            self.end("length" if step.finish == "length" else "stop")

    def begin(self) -> None:
        """Something of the answer is there."""
        if self.first_token_ms is None:
            self.first_token_ms = (time.perf_counter() - self.started) * 1000

    def end(self, finish: str) -> None:
        """The answer is whole."""
        self.finish, self.error = finish, None

    def of_job(self, job: Job) -> None:
        """What a prompt that was made here tells."""
        self.num_prompt_tokens = len(job.prompt.token_ids)
        self.retrieval = trace(job.context, job.used, job.refusal is not None and job.guarded is None)
        self.replica = job.tried[-1] if job.tried else ""
        self.guarded = job.guarded or self.guarded


def exchange_of(ask: Ask, served: Served, arm: Arm | None, turn: Turn, latency_ms: float, endpoint: tuple[str, str]) -> Exchange:
    """The line of the exchange log; `endpoint` is name and digest."""
    return Exchange(
        request_id=ask.request_id,
        time=ask.time,
        endpoint=endpoint[0],
        endpoint_sha256=endpoint[1],
        variant=served.variant.name,
        shadow=served.variant.shadow,
        package_sha256=served.variant.package.sha256,
        route=ask.route,
        messages=ask.messages,
        response=turn.text,
        finish_reason=turn.finish,
        num_prompt_tokens=turn.num_prompt_tokens,
        num_response_tokens=turn.num_tokens,
        latency_ms=latency_ms,
        first_token_ms=turn.first_token_ms,
        error=turn.error,
        retrieval=turn.retrieval,
        metadata=ask.metadata if turn.guarded is None else {**ask.metadata, "guard": turn.guarded},
        arm=arm.name if arm else None,
        prompt_sha256=arm.prompt.sha256 if arm and arm.prompt else None,
        replica=turn.replica or None,
    )
