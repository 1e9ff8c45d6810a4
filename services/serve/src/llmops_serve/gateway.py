"""What happens to a request between its HTTP route and the models: routing, context, limits, shadow copies, records."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from llmops_serve.capture import CaptureLog
from llmops_serve.citations import trace
from llmops_serve.engines.engine import EngineError, OverloadError, Step
from llmops_serve.job import Ask, Job, RequestError, Served, make_job
from llmops_serve.metrics import Metrics
from llmops_serve.prompt import question_of
from llmops_serve.retrieve import Context, Retriever
from llmops_serve.router import choose, is_sampled
from llmops_serve.shadow import ShadowQueue
from llmops_shared.contracts import Endpoint
from llmops_shared.contracts.exchange import Exchange


@dataclass
class Turn:
    """An answer in the making, for the record."""

    started: float
    text: str = ""
    num_tokens: int = 0
    first_token_ms: float | None = None
    finish: str = "error"
    error: str | None = None

    def add(self, step: Step) -> None:
        """Takes the next token."""
        self.num_tokens += 1
        self.text += step.text
        if self.first_token_ms is None:
            self.first_token_ms = (time.perf_counter() - self.started) * 1000
        if step.finish is not None:
            self.finish, self.error = "length" if step.finish == "length" else "stop", None


class Gateway:
    """An Endpoint document, running."""

    def __init__(
        self,
        endpoint: Endpoint,
        endpoint_sha256: str,
        served: Sequence[Served],
        retriever: Retriever | None,
        capture: CaptureLog | None,
        metrics: Metrics,
        max_shadow_queue: int,
    ) -> None:
        self.endpoint = endpoint
        self.endpoint_sha256 = endpoint_sha256
        self.served = {one.variant.name: one for one in served}
        self.metrics = metrics
        self.capture = capture
        self._retriever = retriever
        shadow = endpoint.shadow()
        self._shadow = self.served[shadow.name] if shadow else None
        self.copies = ShadowQueue(self._copy, max_shadow_queue, metrics)

    @property
    def primary(self) -> Served:
        """The variant that answers questions about the endpoint itself: the one with the largest weight."""
        return self.served[max(self.endpoint.production(), key=lambda variant: variant.weight).name]

    def failure(self) -> str | None:
        """Why requests cannot be answered; None while they can. A shadow's failure is none."""
        reasons = (self.served[variant.name].engine.failure() for variant in self.endpoint.production())
        return next((reason for reason in reasons if reason is not None), None)

    def gauges(self) -> dict[str, float]:
        """Figures of this moment, for `/metrics`."""
        production = [self.served[variant.name].engine.num_requests() for variant in self.endpoint.production()]
        gauges: dict[str, float] = {"tgi_queue_size": sum(production), "llmops_shadow_waiting": self.copies.num_waiting}
        if self.capture is not None:
            gauges |= {"llmops_capture_written": self.capture.num_written, "llmops_capture_lost": self.capture.num_lost}
        return gauges

    async def prepare(self, ask: Ask) -> Job:
        """Chooses the variant and makes the prompt. Raises RequestError, or LlmopsError when the index fails."""
        served = self.served[choose(self.endpoint.production(), ask.request_id).name]
        context = None
        if ask.retrieval:
            if self._retriever is None:
                raise RequestError(f"endpoint {self.endpoint.name} has no index; deploy it with index=, or leave `retrieval` out")
            try:
                question = question_of(ask.messages)
            except ValueError as error:
                raise RequestError(str(error)) from error
            context = await self._retriever.context(question, ask.filters, ask.num_chunks)
        job = make_job(ask, served, context)
        self.metrics.observe("tgi_request_input_length", len(job.prompt.token_ids))
        self.metrics.observe("tgi_request_max_new_tokens", job.sampling.max_new_tokens)
        return job

    async def answer(self, job: Job) -> AsyncGenerator[Step, None]:
        """The tokens of the live answer; a copy of the request goes to the shadow as soon as the model took it."""
        self.metrics.count("tgi_request_count")
        copied = False
        async with aclosing(self._run(job, job.ask.arrived)) as steps:
            async for step in steps:
                if not copied and self._shadow is not None:
                    copied = True
                    self.copies.put(job.ask, job.context)
                yield step

    async def _copy(self, ask: Ask, context: Context | None) -> None:
        """The shadow's answer to a request, for the record only."""
        assert self._shadow is not None
        started = time.perf_counter()
        try:
            job = make_job(ask, self._shadow, context)
        except RequestError as error:
            turn = Turn(started, error=str(error))
            self._record(ask, self._shadow, None, turn)
            return
        try:
            async with aclosing(self._run(job, started)) as steps:
                async for _ in steps:
                    pass
        except EngineError:
            return  # recorded as such

    async def _run(self, job: Job, started: float) -> AsyncGenerator[Step, None]:
        """Generates and records; a refused request (429) never began and is not recorded."""
        # a live answer that ends early was given up by its client; a copy that does was given up by the server, and is no answer
        turn = Turn(started, error=None if job.served.variant.shadow else "the client went away")
        try:
            generated = refused(job) if job.refusal is not None else job.served.engine.generate(job.prompt, job.sampling)
            async with aclosing(generated) as steps:
                async for step in steps:
                    turn.add(step)
                    yield step
        except OverloadError:
            turn.error = None
            raise
        except EngineError as error:
            turn.error = str(error)
            raise
        finally:
            if turn.error is not None or turn.finish != "error":
                self._record(job.ask, job.served, job, turn)

    def _record(self, ask: Ask, served: Served, job: Job | None, turn: Turn) -> None:
        latency_ms = (time.perf_counter() - turn.started) * 1000
        if not served.variant.shadow:
            self.metrics.answered(turn.error is None, latency_ms / 1000, turn.num_tokens)
        capture = self.endpoint.capture
        if self.capture is None or capture is None or not is_sampled(ask.request_id, capture.sample_rate):
            return
        self.capture.add(
            Exchange(
                request_id=ask.request_id,
                time=ask.time,
                endpoint=self.endpoint.name,
                endpoint_sha256=self.endpoint_sha256,
                variant=served.variant.name,
                shadow=served.variant.shadow,
                package_sha256=served.variant.package.sha256,
                route=ask.route,
                messages=ask.messages,
                response=turn.text,
                finish_reason=turn.finish,
                num_prompt_tokens=len(job.prompt.token_ids) if job else 0,
                num_response_tokens=turn.num_tokens,
                latency_ms=latency_ms,
                first_token_ms=turn.first_token_ms,
                error=turn.error,
                retrieval=trace(job.context, job.used, job.refusal is not None) if job else None,
                metadata=ask.metadata,
            )
        )


async def refused(job: Job) -> AsyncGenerator[Step, None]:
    """The refusal as an answer of one step."""
    assert job.refusal is not None
    token_id = job.served.text.encode(job.refusal, special=False)[0]
    yield Step(token_id, job.refusal, 0.0, False, "eos_token")
