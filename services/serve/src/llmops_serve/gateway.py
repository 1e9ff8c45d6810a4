"""What happens to a request between its HTTP route and the models: routing, context, limits, shadow copies, records."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from llmops_serve.capture import CaptureLog
from llmops_serve.engines.engine import Engine, EngineError, OverloadError, Prompt, Sampling, Step
from llmops_serve.metrics import Metrics
from llmops_serve.prompt import UsedChunk, question_of, render, render_with_context
from llmops_serve.retrieve import Context, Retriever
from llmops_serve.router import choose, is_sampled
from llmops_serve.shadow import ShadowQueue
from llmops_serve.text import ModelText
from llmops_shared.contracts import Endpoint, ModelPackage
from llmops_shared.contracts.endpoint import Variant
from llmops_shared.contracts.exchange import Exchange, Message, RetrievalTrace, RetrievedChunk

DEFAULT_MAX_NEW_TOKENS = 1024  # TGI's, when a request names none and the window has room


class RequestError(Exception):
    """A request that cannot be answered as asked: TGI's `validation` error, 422."""


@dataclass(frozen=True)
class Limits:
    """What one request may ask for."""

    max_input_tokens: int
    max_total_tokens: int
    max_stop_sequences: int
    max_client_batch_size: int


@dataclass(frozen=True)
class Served:
    """A variant, its package and what runs it."""

    variant: Variant
    package: ModelPackage
    text: ModelText
    engine: Engine
    limits: Limits


@dataclass(frozen=True)
class Ask:
    """A request, whatever route it came by."""

    request_id: str
    route: str
    arrived: float
    """`time.perf_counter` at arrival."""
    time: datetime
    """The same moment in UTC."""
    messages: list[Message]
    """The conversation; a plain prompt is one user message."""
    is_chat: bool
    """True: the model's chat template makes the prompt of `messages`."""
    sampling: Sampling
    max_new_tokens: int | None
    """None: as many as the window has room for, up to a default."""
    truncate: int | None = None
    """Tokens kept of a plain prompt, from its end."""
    retrieval: bool = False
    """Whether context is put in front of the question."""
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A request as one variant is about to answer it."""

    ask: Ask
    served: Served
    prompt: Prompt
    sampling: Sampling
    context: Context | None
    used: list[UsedChunk]


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
            context = await self._retriever.context(question)
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
            async with aclosing(job.served.engine.generate(job.prompt, job.sampling)) as steps:
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
                retrieval=trace(job) if job else None,
                metadata=ask.metadata,
            )
        )


def trace(job: Job) -> RetrievalTrace | None:
    """What retrieval did for a request."""
    if job.context is None:
        return None
    return RetrievalTrace(
        index_sha256=job.context.index_sha256,
        chunks=[RetrievedChunk(chunk_id=one.chunk.chunk_id, score=one.chunk.score, num_tokens=one.num_tokens) for one in job.used],
        embedding_ms=job.context.found.embedding_ms,
        search_ms=job.context.found.search_ms,
    )


def make_job(ask: Ask, served: Served, context: Context | None) -> Job:
    """The prompt and sampling of a request for one variant. Raises RequestError when they do not fit its limits."""
    limits, used = served.limits, list[UsedChunk]()
    if len(ask.sampling.stop) > limits.max_stop_sequences:
        raise RequestError(f"`stop` supports up to {limits.max_stop_sequences} stop sequences. Given: {len(ask.sampling.stop)}")
    try:
        if not ask.is_chat:
            prompt = plain_prompt(ask, served.text)
        elif context is None:
            prompt = render(served.text, ask.messages)
        else:
            # a quarter of the window is kept for an answer of open length
            reserved = limits.max_total_tokens // 4 if ask.max_new_tokens is None else ask.max_new_tokens
            room = min(limits.max_input_tokens, limits.max_total_tokens - reserved)
            prompt, used = render_with_context(served.text, ask.messages, context.found.chunks, room)
    except ValueError as error:
        raise RequestError(str(error)) from error
    num_tokens = len(prompt.token_ids)
    if num_tokens == 0:
        raise RequestError("`inputs` cannot be empty")
    if num_tokens > limits.max_input_tokens:
        raise RequestError(f"`inputs` must have less than {limits.max_input_tokens + 1} tokens. Given: {num_tokens}")
    max_new_tokens = ask.max_new_tokens or min(DEFAULT_MAX_NEW_TOKENS, limits.max_total_tokens - num_tokens)
    if num_tokens + max_new_tokens > limits.max_total_tokens:
        raise RequestError(
            f"`inputs` tokens + `max_new_tokens` must be <= {limits.max_total_tokens}. "
            f"Given: {num_tokens} `inputs` tokens and {max_new_tokens} `max_new_tokens`"
        )
    return Job(ask, served, prompt, ask.sampling.model_copy(update={"max_new_tokens": max_new_tokens}), context, used)


def plain_prompt(ask: Ask, text: ModelText) -> Prompt:
    """A prompt that no template touches, cut at its beginning when `truncate` says so."""
    content = ask.messages[0].content
    token_ids = text.encode(content, special=True)
    if ask.truncate is not None and len(token_ids) > ask.truncate:
        token_ids = token_ids[-ask.truncate :]
    return Prompt(content, token_ids)
