"""TGI's own routes: `/`, `/generate`, `/generate_stream`, `/invocations`, `/tokenize` and what tells about the server."""

import importlib.metadata
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from llmops_serve.chat import chat_response, collect, completion_response, text_of
from llmops_serve.engines.engine import Step
from llmops_serve.gateway import Gateway
from llmops_serve.job import Ask, Job, RequestError, Served
from llmops_serve.logprobs import top_tokens
from llmops_serve.requests import ChatBody, CompletionBody, GenerateBody, GenerateParameters, TokenizeBody
from llmops_serve.wire import (
    EventStream,
    begun,
    error_response,
    event,
    gateway_of,
    parse,
    plain_ask,
    read_body,
    read_json,
    to_the_end,
    unless_gone,
)

VERSION = importlib.metadata.version("llmops-serve")


async def generate(request: Request) -> Response:
    """POST /generate."""
    body = await read_body(request, GenerateBody)
    return JSONResponse(await generated(request, body, "/generate"))


async def generate_stream(request: Request) -> Response:
    """POST /generate_stream."""
    body = await read_body(request, GenerateBody)
    return await generate_events(request, body, "/generate_stream")


async def compat_generate(request: Request) -> Response:
    """POST /: `/generate`, or with `stream` `/generate_stream`; the answer is a list of one, as Hugging Face's clients expect."""
    return await compat(request, await read_body(request, GenerateBody), "/")


async def invocations(request: Request) -> Response:
    """POST /invocations, SageMaker's one route: the body's shape says which of the others is meant."""
    tree = await read_json(request)
    if isinstance(tree, dict) and "messages" in tree:
        return await chat_response(request, parse(tree, ChatBody), "/invocations")
    if isinstance(tree, dict) and "prompt" in tree:
        return await completion_response(request, parse(tree, CompletionBody), "/invocations")
    return await compat(request, parse(tree, GenerateBody), "/invocations")


async def compat(request: Request, body: GenerateBody, route: str) -> Response:
    """TGI's answer where one route streams or not."""
    if body.stream:
        return await generate_events(request, body, route)
    return JSONResponse([await generated(request, body, route)])


def ask_for(request: Request, body: GenerateBody, route: str) -> Ask:
    """The request in the gateway's words."""
    parameters = body.parameters
    return plain_ask(request, route, body.inputs, parameters.sampling(), parameters.max_new_tokens, truncate=parameters.truncate)


async def generated(request: Request, body: GenerateBody, route: str) -> dict[str, Any]:
    """A GenerateResponse."""
    gateway = gateway_of(request)
    job = await unless_gone(request, gateway.prepare(ask_for(request, body, route)))
    steps = await unless_gone(request, collect(gateway, job))
    text = text_of(steps)
    answer: dict[str, Any] = {"generated_text": job.prompt.text + text if body.parameters.return_full_text else text}
    if body.parameters.details or body.parameters.decoder_input_details:
        answer["details"] = {
            "finish_reason": steps[-1].finish,
            "generated_tokens": len(steps),
            "seed": job.sampling.seed,
            "prefill": prefill(job, steps[0]),
            "tokens": [token(job.served, step) for step in steps],
        }
        if body.parameters.top_n_tokens:
            answer["details"]["top_tokens"] = [top_tokens(job, step) for step in steps]
    return answer


async def generate_events(request: Request, body: GenerateBody, route: str) -> Response:
    """A stream of StreamResponses."""
    gateway = gateway_of(request)
    job = await unless_gone(request, gateway.prepare(ask_for(request, body, route)))
    steps = await begun(request, gateway.answer(job))
    return EventStream(to_the_end(stream_responses(job, body.parameters, steps)))


async def stream_responses(job: Job, parameters: GenerateParameters, steps: AsyncGenerator[Step, None]) -> AsyncGenerator[str, None]:
    """An event a token; the last one has the whole text."""
    text, number = job.prompt.text if parameters.return_full_text else "", 0
    async with aclosing(steps):
        async for step in steps:
            text += step.text
            number += 1
            payload: dict[str, Any] = {"index": number, "token": token(job.served, step), "generated_text": None, "details": None}
            if parameters.top_n_tokens:
                payload["top_tokens"] = top_tokens(job, step)
            if step.finish is not None:
                payload["generated_text"] = text
                payload["details"] = {
                    "finish_reason": step.finish,
                    "generated_tokens": number,
                    "input_length": len(job.prompt.token_ids),
                    "seed": job.sampling.seed,
                }
            yield event(payload)


def token(served: Served, step: Step) -> dict[str, Any]:
    """A Token; a control token is shown although it is no part of the text."""
    text = served.text.token(step.token_id) if step.special else step.text
    return {"id": step.token_id, "text": text, "logprob": step.logprob, "special": step.special}


def prefill(job: Job, first: Step) -> list[dict[str, Any]]:
    """The prompt's tokens with their log-probabilities, when asked for."""
    if first.prompt_logprobs is None:
        return []
    pairs = zip(job.prompt.token_ids, first.prompt_logprobs, strict=True)
    return [{"id": token_id, "text": job.served.text.token(token_id), "logprob": logprob} for token_id, logprob in pairs]


async def tokenize(request: Request) -> Response:
    """POST /tokenize."""
    body = await read_body(request, TokenizeBody)
    served = gateway_of(request).primary
    await served.text.ready()
    return JSONResponse(simple_tokens(served, body.inputs, body.add_special_tokens))


async def chat_tokenize(request: Request) -> Response:
    """POST /chat_tokenize."""
    body = await read_body(request, ChatBody)
    served = gateway_of(request).primary
    try:
        text = served.text.render([message.message() for message in body.messages])
    except ValueError as error:
        raise RequestError(str(error)) from error
    await served.text.ready()
    return JSONResponse({"tokenize_response": simple_tokens(served, text, special=False), "templated_text": text})


def simple_tokens(served: Served, text: str, special: bool) -> list[dict[str, Any]]:
    """SimpleTokens: ids, and where in the text they come from."""
    spans = served.text.spans(text, special)
    return [{"id": token_id, "text": text[start:stop], "start": start, "stop": stop} for token_id, start, stop in spans]


async def show_info(request: Request) -> Response:
    """GET /info."""
    gateway = gateway_of(request)
    served, limits = gateway.primary, gateway.primary.limits
    return JSONResponse(
        {
            "model_id": gateway.endpoint.name,
            "model_sha": served.variant.package.sha256,
            "model_pipeline_tag": "text-generation",
            "max_concurrent_requests": request.app.state.max_concurrent_requests,
            "max_best_of": 1,
            "max_stop_sequences": limits.max_stop_sequences,
            "max_input_tokens": limits.max_input_tokens,
            "max_total_tokens": limits.max_total_tokens,
            "validation_workers": 1,
            "max_client_batch_size": limits.max_client_batch_size,
            "router": "llmops-serve",
            "version": VERSION,
            "sha": gateway.endpoint_sha256,
            "docker_label": None,
        }
    )


async def health(request: Request) -> Response:
    """GET /health and /ping: 200 while the production variants can answer."""
    failure = gateway_of(request).failure()
    return Response() if failure is None else error_response(503, f"unhealthy: {failure}", "healthcheck")


async def show_metrics(request: Request) -> Response:
    """GET /metrics, in Prometheus' text format."""
    gateway: Gateway = gateway_of(request)
    return Response(gateway.metrics.text(gateway.gauges()), media_type="text/plain; version=0.0.4")
