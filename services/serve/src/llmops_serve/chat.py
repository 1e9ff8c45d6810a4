"""OpenAI's routes as TGI serves them: `/v1/chat/completions`, `/v1/completions` and `/v1/models`."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from llmops_serve.citations import cited, sources
from llmops_serve.engines.engine import Step
from llmops_serve.gateway import Gateway
from llmops_serve.job import Ask, Job, RequestError
from llmops_serve.logprobs import chat_logprob, completion_logprobs
from llmops_serve.requests import ChatBody, CompletionBody
from llmops_serve.wire import EventStream, begun, event, gateway_of, plain_ask, read_body, to_the_end, unless_gone

FINISH = {"eos_token": "stop", "stop_sequence": "stop", "length": "length"}


async def chat_completions(request: Request) -> Response:
    """POST /v1/chat/completions."""
    return await chat_response(request, await read_body(request, ChatBody), "/v1/chat/completions")


async def completions(request: Request) -> Response:
    """POST /v1/completions."""
    return await completion_response(request, await read_body(request, CompletionBody), "/v1/completions")


async def models(request: Request) -> Response:
    """GET /v1/models: the endpoint, and the adapters that may be asked for instead."""
    gateway = gateway_of(request)
    names = [gateway.endpoint.name, *dict.fromkeys(adapter.name for one in gateway.endpoint.production() for adapter in one.adapters)]
    entries = [{"id": name, "object": "model", "created": 0, "owned_by": "llmops"} for name in names]
    return JSONResponse({"object": "list", "data": entries})


def adapter_of(gateway: Gateway, model: str | None) -> str | None:
    """The adapter that OpenAI's `model` names; any other name stands for the endpoint, as with TGI."""
    known = {adapter.name for variant in gateway.endpoint.production() for adapter in variant.adapters}
    return model if model in known else None


async def chat_response(request: Request, body: ChatBody, route: str) -> Response:
    """The answer to a conversation, at once or as a stream."""
    gateway, arrival = gateway_of(request), request.state.arrival
    ask = Ask(
        request_id=arrival.request_id,
        route=route,
        arrived=arrival.arrived,
        time=arrival.time,
        messages=[message.message() for message in body.messages],
        is_chat=True,
        sampling=body.sampling(num_likely=body.num_likely, adapter=adapter_of(gateway, body.model)),
        max_new_tokens=body.max_new_tokens,
        retrieval=bool(body.retrieval),
        filters=body.retrieval_ask.filters,
        num_chunks=body.retrieval_ask.num_chunks,
        metadata=body.metadata or {},
        caller=arrival.caller,
        user=body.user,
    )
    job = await unless_gone(request, gateway.prepare(ask))
    if body.stream:
        begun_steps = await begun(request, gateway.answer(job))
        return EventStream(to_the_end(chat_events(gateway, job, body, begun_steps)))
    steps = await unless_gone(request, collect(gateway, job))
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text_of(steps), "refusal": None},
        "finish_reason": FINISH[str(steps[-1].finish)],
        "logprobs": {"content": [chat_logprob(job, step) for step in steps]} if body.logprobs else None,
    }
    answer = {**head(gateway, job, "chat.completion"), "choices": [choice], "usage": usage([(job, len(steps))])}
    shown = sources(job.context, job.used)
    if shown:
        shown["retrieval"] |= cited(job.context, job.used, text_of(steps))
    return JSONResponse({**answer, **shown})


async def chat_events(gateway: Gateway, job: Job, body: ChatBody, steps: AsyncGenerator[Step, None]) -> AsyncGenerator[str, None]:
    """A ChatCompletionChunk a token; the first one has the sources, the last one what was cited of them, or the usage when asked for."""
    shared = {**head(gateway, job, "chat.completion.chunk"), **({"usage": None} if body.includes_usage else {})}
    extra, number, answer = sources(job.context, job.used), 0, ""
    async with aclosing(steps):
        async for step in steps:
            number += 1
            answer += step.text
            if step.finish is not None and (found := cited(job.context, job.used, answer)):
                extra = {"retrieval": {**extra.get("retrieval", {}), **found}}
            choice = {
                "index": 0,
                "delta": {"role": "assistant", "content": step.text},
                "finish_reason": None if step.finish is None else FINISH[step.finish],
                "logprobs": {"content": [chat_logprob(job, step)]} if body.logprobs else None,
            }
            yield event({**shared, "choices": [choice], **extra})
            extra = {}
    if body.includes_usage:
        yield event({**shared, "choices": [], "usage": usage([(job, number)])})
    yield event("[DONE]")


async def completion_response(request: Request, body: CompletionBody, route: str) -> Response:
    """The answers to one prompt or several, at once or as a stream."""
    gateway = gateway_of(request)
    limit = gateway.primary.limits.max_client_batch_size
    if len(body.prompt) > limit:
        raise RequestError(f"`prompt` takes at most {limit} prompts. Given: {len(body.prompt)}")
    sampling = body.sampling(body.repetition_penalty, body.num_likely, adapter_of(gateway, body.model))
    if body.echo and body.logprobs is not None:
        sampling = sampling.model_copy(update={"prompt_logprobs": True})
    numbers = range(len(body.prompt)) if len(body.prompt) > 1 else [None]
    asks = [
        plain_ask(request, route, prompt, sampling, body.max_tokens, metadata=body.metadata, number=number, user=body.user)
        for number, prompt in zip(numbers, body.prompt, strict=True)
    ]
    jobs = [await unless_gone(request, gateway.prepare(ask)) for ask in asks]
    if body.stream:
        first = await begun(request, gateway.answer(jobs[0]))
        return EventStream(to_the_end(completion_events(gateway, jobs, first, body)))
    answers = await unless_gone(request, collect_all(gateway, jobs))
    choices = [
        {
            "index": index,
            "text": (job.prompt.text if body.echo else "") + text_of(steps),
            "finish_reason": FINISH[str(steps[-1].finish)],
            "logprobs": completion_logprobs(job, steps, body.num_likely, body.echo) if body.logprobs is not None else None,
        }
        for index, (job, steps) in enumerate(zip(jobs, answers, strict=True))
    ]
    counts = usage([(job, len(steps)) for job, steps in zip(jobs, answers, strict=True)])
    return JSONResponse({**head(gateway, jobs[0], "text_completion"), "choices": choices, "usage": counts})


async def completion_events(
    gateway: Gateway, jobs: Sequence[Job], first: AsyncGenerator[Step, None], body: CompletionBody
) -> AsyncGenerator[str, None]:
    """A Chunk a token, one prompt after the other; the first one's answer has begun already."""
    shared, counts = head(gateway, jobs[0], "text_completion"), list[tuple[Job, int]]()
    async with aclosing(first):
        for index, job in enumerate(jobs):
            number, length = 0, 0
            async with aclosing(first if index == 0 else gateway.answer(job)) as steps:
                async for step in steps:
                    number += 1
                    finish = "" if step.finish is None else FINISH[step.finish]
                    told = completion_logprobs(job, [step], body.num_likely, False, length) if body.logprobs is not None else None
                    length += len(step.text)
                    yield event({**shared, "choices": [{"index": index, "text": step.text, "finish_reason": finish, "logprobs": told}]})
            counts.append((job, number))
    if body.includes_usage:
        yield event({**shared, "choices": [], "usage": usage(counts)})
    yield event("[DONE]")


async def collect(gateway: Gateway, job: Job) -> list[Step]:
    """The whole answer."""
    async with aclosing(gateway.answer(job)) as steps:
        return [step async for step in steps]


async def collect_all(gateway: Gateway, jobs: Sequence[Job]) -> list[list[Step]]:
    """The answers of several jobs at a time; when one fails, the others are ended."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(collect(gateway, job)) for job in jobs]
    return [task.result() for task in tasks]


def head(gateway: Gateway, job: Job, kind: str) -> dict[str, Any]:
    """What every OpenAI object begins with; the fingerprint names the package that answered."""
    return {
        "id": job.ask.request_id,
        "object": kind,
        "created": int(job.ask.time.timestamp()),
        "model": gateway.endpoint.name,
        "system_fingerprint": job.served.variant.package.sha256[:12],
    }


def usage(counts: Sequence[tuple[Job, int]]) -> dict[str, int]:
    """Token counts of jobs and their answers."""
    prompt, completion = sum(len(job.prompt.token_ids) for job, _ in counts), sum(number for _, number in counts)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def text_of(steps: Sequence[Step]) -> str:
    """The answer's text."""
    return "".join(step.text for step in steps)
