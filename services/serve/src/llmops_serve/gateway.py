"""What happens to a request between its HTTP route and the models: arm, guard, context, limits, shadow copies, records."""

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial

from llmops_serve.arms import prompted
from llmops_serve.capture import CaptureLog
from llmops_serve.engines.engine import EngineError, OverloadError, Step
from llmops_serve.guard.guard import Guard
from llmops_serve.job import Ask, Job, RequestError, Served, make_job
from llmops_serve.metrics import Metrics
from llmops_serve.prompt import question_of
from llmops_serve.retrieve import Context, Retriever
from llmops_serve.router import choose, is_sampled
from llmops_serve.shadow import ShadowQueue
from llmops_serve.turn import Turn, exchange_of
from llmops_shared.contracts import Endpoint
from llmops_shared.contracts.endpoint import Arm


class Gateway:
    """An Endpoint document, running."""

    def __init__(
        self,
        endpoint: Endpoint,
        endpoint_sha256: str,
        served: Sequence[Served],
        retrievers: Mapping[str | None, Retriever],
        capture: CaptureLog | None,
        metrics: Metrics,
        max_shadow_queue: int,
        guard: Guard | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.endpoint_sha256 = endpoint_sha256
        self.served = {one.variant.name: one for one in served}
        self.metrics = metrics
        self.capture = capture
        self.guard = guard
        self.num_open = 0
        """Requests that are being answered."""
        self._retrievers = retrievers
        self._production = endpoint.production()
        self._arms = endpoint.arms
        shadow = endpoint.shadow()
        self.shadow = self.served[shadow.name] if shadow else None
        self.copies = ShadowQueue(max_shadow_queue, metrics)

    @property
    def primary(self) -> Served:
        """The variant that answers questions about the endpoint itself: the one with the largest weight."""
        return self.served[max(self._production, key=lambda variant: variant.weight).name]

    def failure(self) -> str | None:
        """Why requests cannot be answered; None while they can. A shadow's failure is none."""
        reasons = (self.served[variant.name].engine.failure() for variant in self._production)
        return next((reason for reason in reasons if reason is not None), None)

    def gauges(self) -> dict[str, float]:
        """Figures of this moment, for `/metrics`."""
        engines = [self.served[variant.name].engine for variant in self._production]
        gauges: dict[str, float] = {
            "tgi_queue_size": sum(engine.num_requests() for engine in engines),
            "llmops_shadow_waiting": self.copies.num_waiting,
            "llmops_replicas_left_alone": sum(one.breaker.is_open for engine in engines for one in engine.replicas),
        }
        if self.capture is not None:
            gauges |= {"llmops_capture_written": self.capture.num_written, "llmops_capture_lost": self.capture.num_lost}
        return gauges

    def route(self, sticky: str) -> tuple[Arm | None, Served]:
        """Arm and variant of whoever this is."""
        arm = choose(self._arms, sticky, "arm") if self._arms else None
        name = arm.variant if arm and arm.variant else choose(self._production, sticky).name
        return arm, self.served[name]

    async def prepare(self, ask: Ask) -> Job:
        """Chooses arm and variant and makes the prompt. Raises RequestError, or LlmopsError when index or guardrail fail."""
        arm, served = self.route(ask.sticky)
        messages, reason, refusal = ask.messages, None, None
        if self.guard is not None:
            verdict = await self.guard.prompt(messages)
            messages, reason, refusal = verdict.messages, verdict.reason, verdict.refusal or None
        context = None if reason or not ask.retrieval else await self._context(ask, arm)
        if ask.is_chat and reason is None:
            messages = prompted(arm, messages, context is not None)
        await served.text.ready()
        job = make_job(ask, served, context, messages, arm, refusal, reason)
        num_tokens = len(job.prompt.token_ids)
        if self.guard and self.guard.config.max_prompt_tokens and num_tokens > self.guard.config.max_prompt_tokens:
            raise RequestError(f"`inputs` must have at most {self.guard.config.max_prompt_tokens} tokens. Given: {num_tokens}")
        if reason is not None:
            self.metrics.count("llmops_refused", error=f"guard:{reason}")
        self.metrics.observe("tgi_request_input_length", num_tokens)
        self.metrics.observe("tgi_request_max_new_tokens", job.sampling.max_new_tokens)
        return job

    async def _context(self, ask: Ask, arm: Arm | None) -> Context:
        """Chunks for the question, from the arm's index or the endpoint's."""
        retriever = self._retrievers.get(arm.name if arm else None)
        if retriever is None:
            raise RequestError(f"endpoint {self.endpoint.name} has no index; deploy it with index=, or leave `retrieval` out")
        try:
            question = question_of(ask.messages)
        except ValueError as error:
            raise RequestError(str(error)) from error
        return await retriever.context(question, ask.filters, ask.num_chunks)

    async def answer(self, job: Job) -> AsyncGenerator[Step, None]:
        """The tokens of the live answer; a copy of the request goes to the shadow as soon as the model took it."""
        self.metrics.count("tgi_request_count")
        copied = job.guarded is not None
        async with aclosing(self._run(job, job.ask.arrived)) as steps:
            async for step in steps:
                if not copied and self.shadow is not None:
                    copied = True
                    self.copies.put(partial(self._copy, job))
                yield step

    async def _copy(self, live: Job) -> None:
        """The shadow's answer to a request, for the record only."""
        assert self.shadow is not None
        started = time.perf_counter()
        await self.shadow.text.ready()
        try:
            job = make_job(live.ask, self.shadow, live.context, live.messages, live.arm)
        except RequestError as error:
            self.record(live.ask, self.shadow, live.arm, Turn(started, error=str(error)))
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
            async with aclosing(self._steps(job, turn)) as steps:
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
            if len(job.tried) > 1:
                self.metrics.count("llmops_retries", len(job.tried) - 1)
            if turn.error is not None or turn.finish != "error":
                turn.of_job(job)
                self.record(job.ask, job.served, job.arm, turn)

    async def _steps(self, job: Job, turn: Turn) -> AsyncGenerator[Step, None]:
        """The refusal, or the model's tokens as the guard lets them through."""
        if job.refusal is not None:
            generated = said(job, job.refusal)
        else:
            generated = job.served.engine.generate_for(job.ask.sticky, job.prompt, job.sampling, job.tried)
        async with aclosing(generated) as steps:
            if self.guard is None or not self.guard.reads_answers or job.refusal is not None:
                async for step in steps:
                    yield step
                return
            whole = [step async for step in steps]
        text, turn.guarded = await self.guard.answer("".join(step.text for step in whole))
        if turn.guarded is not None:
            self.metrics.count("llmops_refused", error=f"guard:answer:{turn.guarded}")
        for step in whole:  # all of the text comes with the last token, so that numbers of tokens stay true
            yield step._replace(text=text if step.finish is not None else "", likely=None)

    def record(self, ask: Ask, served: Served, arm: Arm | None, turn: Turn) -> None:
        """Counts the end of an answer, charges its key, and keeps the exchange if it is of the sample."""
        latency_ms = (time.perf_counter() - turn.started) * 1000
        if not served.variant.shadow:
            first_token_s = None if turn.first_token_ms is None else turn.first_token_ms / 1000
            self.metrics.answered(turn.error is None, latency_ms / 1000, turn.num_tokens, first_token_s)
            if ask.caller.key is not None:
                ask.caller.key.charge(turn.num_prompt_tokens + turn.num_tokens)
        capture = self.endpoint.capture
        if self.capture is None or capture is None or not is_sampled(ask.request_id, capture.sample_rate):
            return
        self.capture.add(partial(exchange_of, ask, served, arm, turn, latency_ms, (self.endpoint.name, self.endpoint_sha256)))


async def said(job: Job, text: str) -> AsyncGenerator[Step, None]:
    """A text of ours as an answer of one step."""
    yield Step(job.served.text.encode(text, special=False)[0], text, 0.0, False, "eos_token")
