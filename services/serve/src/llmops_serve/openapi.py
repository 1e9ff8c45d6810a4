"""`GET /openapi.json`: what this gateway takes and gives, derived from the very models that read its requests."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import JSONResponse

from llmops_serve import responses
from llmops_serve.requests import ChatBody, CompletionBody, GenerateBody, TokenizeBody

Schema = dict[str, Any]
Mode = Literal["validation", "serialization"]
MODELS = "#/components/schemas/{model}"
STREAM = "text/event-stream"
JSON = "application/json"
REFUSALS = {
    "400": "No HTTP request",
    "401": "An API key is needed",
    "404": "No such route",
    "405": "No such method on this route",
    "408": "The body did not come in time",
    "413": "The body is too large",
    "422": "The request cannot be answered as asked",
    "424": "The model failed",
    "429": "Too much at a time, or more than the key may ask; `retry-after` says when to come again",
    "503": "The server cannot answer, or is ending",
}
GENERAL = ("400", "401", "503")
GENERATION = ("408", "413", "422", "424", "429")


class Operation(NamedTuple):
    """A route as the document has it."""

    summary: str
    bodies: Sequence[type[BaseModel]] = ()
    """What a request may be."""
    answers: Sequence[type[BaseModel]] = ()
    """What an answer at once may be."""
    streams: bool = False
    """Whether an answer may come as server-sent events."""
    is_list: bool = False
    """Whether TGI's answer is in a list of one."""
    text: str | None = None
    """Media type of an answer that is no JSON."""
    refusals: Sequence[str] = ()


BODIES = (GenerateBody, ChatBody, CompletionBody)
ANSWERS = (responses.GenerateResponse, responses.ChatCompletion, responses.Completion)
OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("post", "/"): Operation("Generates, or streams", BODIES[:1], ANSWERS[:1], streams=True, is_list=True, refusals=GENERATION),
    ("post", "/generate"): Operation("Generates", BODIES[:1], ANSWERS[:1], refusals=GENERATION),
    ("post", "/generate_stream"): Operation("Streams the tokens of an answer", BODIES[:1], streams=True, refusals=GENERATION),
    ("post", "/invocations"): Operation("SageMaker's route: any of the others, by the body's shape", BODIES, ANSWERS, True, True,
                                        refusals=GENERATION),
    ("post", "/v1/chat/completions"): Operation("Answers a conversation", BODIES[1:2], ANSWERS[1:2], True, refusals=GENERATION),
    ("post", "/v1/completions"): Operation("Goes on with prompts", BODIES[2:], ANSWERS[2:], True, refusals=GENERATION),
    ("post", "/tokenize"): Operation("Tokens of a text", (TokenizeBody,), (responses.SimpleToken,), is_list=True, refusals=("413", "422")),
    ("post", "/chat_tokenize"): Operation("Tokens of a conversation", BODIES[1:2], (responses.ChatTokenizeResponse,),
                                          refusals=("413", "422")),
    ("get", "/info"): Operation("What is served", (), (responses.Info,)),
    ("get", "/v1/models"): Operation("Models that may be asked for", (), (responses.ModelsInfo,)),
    ("get", "/health"): Operation("Whether answers can be given", text="text/plain"),
    ("get", "/ping"): Operation("SageMaker's word for /health", text="text/plain"),
    ("get", "/metrics"): Operation("Figures in Prometheus' format", text="text/plain"),
    ("get", "/openapi.json"): Operation("This document", text=JSON),
}  # fmt: skip


async def show_openapi(request: Request) -> JSONResponse:
    """GET /openapi.json."""
    return JSONResponse(document(request.state.gateway.endpoint.name))


def document(name: str) -> Schema:
    """The OpenAPI document."""
    wanted: list[tuple[type[BaseModel], Mode]] = [(model, "validation") for model in (*BODIES, TokenizeBody)]
    shown = {answer for operation in OPERATIONS.values() for answer in operation.answers}
    shown |= {responses.ErrorResponse, responses.StreamResponse}
    wanted += [(model, "serialization") for model in sorted(shown, key=lambda model: model.__name__)]
    _, schemas = models_json_schema(wanted, ref_template=MODELS)
    paths: dict[str, Schema] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method] = described(path, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": "1",
            "description": "Text Generation Inference's routes and OpenAI's.",
        },
        "paths": paths,
        "components": {"schemas": schemas["$defs"], "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],
    }


def described(path: str, operation: Operation) -> Schema:
    """One operation."""
    found: Schema = {"summary": operation.summary, "operationId": path.strip("/").replace("/", "_").replace(".", "_") or "compat_generate"}
    if operation.bodies:
        found["requestBody"] = {"required": True, "content": {JSON: {"schema": any_of(operation.bodies)}}}
    refusals = {code: refusal(code) for code in (*GENERAL, *operation.refusals)}
    return {**found, "responses": {"200": answered(operation), **dict(sorted(refusals.items()))}}


def answered(operation: Operation) -> Schema:
    """The answers of an operation by their media types."""
    content: Schema = {}
    if operation.text is not None:
        content[operation.text] = {}
    if operation.answers:
        schema = any_of(operation.answers)
        if operation.is_list:
            first = {"type": "array", "items": any_of(operation.answers[:1])}
            schema = first if len(operation.answers) == 1 else {"anyOf": [first, *schema["anyOf"][1:]]}
        content[JSON] = {"schema": schema}
    if operation.streams:
        content[STREAM] = {}
    return {"description": "An answer", "content": content}


def refusal(code: str) -> Schema:
    """An error, in TGI's shape; what is no HTTP at all is answered by uvicorn, in plain words."""
    return {"description": REFUSALS[code], "content": {JSON: {"schema": reference(responses.ErrorResponse)}, "text/plain": {}}}


def any_of(models: Sequence[type[BaseModel]]) -> Schema:
    """A schema that any of the models fits."""
    return reference(models[0]) if len(models) == 1 else {"anyOf": [reference(model) for model in models]}


def reference(model: type[BaseModel]) -> Schema:
    """Where the document describes a model."""
    return {"$ref": MODELS.format(model=model.__name__)}
