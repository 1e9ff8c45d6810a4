"""Bodies of answers as `/openapi.json` describes them: TGI's and OpenAI's shapes. Answers are written without them; a test compares."""

from typing import Any, Literal

from pydantic import BaseModel


class ErrorResponse(BaseModel):
    """Every error."""

    error: str
    error_type: str


class Token(BaseModel):
    """A token of an answer."""

    id: int
    text: str
    logprob: float | None
    special: bool


class PrefillToken(BaseModel):
    """A token of a prompt."""

    id: int
    text: str
    logprob: float | None


class Details(BaseModel):
    """How an answer came about."""

    finish_reason: Literal["length", "eos_token", "stop_sequence"]
    generated_tokens: int
    seed: int | None
    prefill: list[PrefillToken]
    tokens: list[Token]
    top_tokens: list[list[Token]] | None = None


class GenerateResponse(BaseModel):
    """TGI's answer."""

    generated_text: str
    details: Details | None = None


class StreamDetails(BaseModel):
    """What the last event of a stream tells."""

    finish_reason: Literal["length", "eos_token", "stop_sequence"]
    generated_tokens: int
    seed: int | None
    input_length: int


class StreamResponse(BaseModel):
    """An event of TGI's stream."""

    index: int
    token: Token
    generated_text: str | None
    details: StreamDetails | None
    top_tokens: list[Token] | None = None


class SimpleToken(BaseModel):
    """A token of a text, and where it is."""

    id: int
    text: str
    start: int
    stop: int


class ChatTokenizeResponse(BaseModel):
    """A conversation as the model sees it."""

    tokenize_response: list[SimpleToken]
    templated_text: str


class Usage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class OutputMessage(BaseModel):
    """What the model says."""

    role: str
    content: str | None
    refusal: str | None = None


class ChatChoice(BaseModel):
    """One answer of a chat."""

    index: int
    message: OutputMessage
    finish_reason: str | None
    logprobs: Any = None


class ChatCompletion(BaseModel):
    """OpenAI's answer to a conversation; with `retrieval`, what was found and cited."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: str | None = None
    retrieval: Any = None


class CompletionChoice(BaseModel):
    """One answer to a prompt."""

    index: int
    text: str
    finish_reason: str | None
    logprobs: Any = None


class Completion(BaseModel):
    """OpenAI's answer to prompts."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    system_fingerprint: str | None = None


class ModelInfo(BaseModel):
    """A model that may be asked for."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelsInfo(BaseModel):
    """The models."""

    object: Literal["list"]
    data: list[ModelInfo]


class Info(BaseModel):
    """What is served, and its limits."""

    model_id: str
    max_concurrent_requests: int
    max_best_of: int
    max_stop_sequences: int
    max_input_tokens: int
    max_total_tokens: int
    validation_workers: int
    max_client_batch_size: int
    router: str
    version: str
