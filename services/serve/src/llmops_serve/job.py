"""A request in the gateway's words, and what one variant makes of it: prompt, sampling, limits."""

from dataclasses import dataclass, field
from datetime import datetime

from llmops_serve.arrival import NOBODY, Caller
from llmops_serve.engines.engine import Prompt, Sampling
from llmops_serve.prompt import UsedChunk, render, render_with_context
from llmops_serve.replicas import Replicas
from llmops_serve.retrieve import Context
from llmops_serve.router import sticky_key
from llmops_serve.text import ModelText
from llmops_shared.contracts import ModelPackage
from llmops_shared.contracts.endpoint import Arm, Variant
from llmops_shared.contracts.exchange import Message

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
    engine: Replicas
    limits: Limits
    is_relayed: bool = False
    """Whether its servers have OpenAI's routes as well and are reached over HTTP: requests may be handed on as they are."""
    adapters: frozenset[str] = frozenset()
    """Names of the adapters that may be asked for."""


@dataclass(slots=True)  # nobody changes it; frozen ones take three times as long to make, and this one is made for every request
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
    filters: dict[str, list[str]] = field(default_factory=dict)
    """Values that the metadata of a chunk may have; narrows the endpoint's own filters."""
    num_chunks: int | None = None
    """Chunks asked for; None: the endpoint's number."""
    metadata: dict[str, str] = field(default_factory=dict)
    caller: Caller = NOBODY
    user: str | None = None
    """OpenAI's `user`."""

    @property
    def sticky(self) -> str:
        """What its arm, variant and server hang on."""
        return sticky_key(self.user, self.caller.session, self.messages, self.is_chat, self.request_id)


@dataclass(frozen=True)
class Job:
    """A request as one variant is about to answer it."""

    ask: Ask
    served: Served
    prompt: Prompt
    sampling: Sampling
    context: Context | None
    used: list[UsedChunk]
    refusal: str | None = None
    """Said in place of the model's answer; None: the model is asked."""
    messages: list[Message] = field(default_factory=list)
    """The conversation as the model sees it: masked by the guard, with the arm's prompt."""
    arm: Arm | None = None
    guarded: str | None = None
    """Why the guard refused; None: it did not."""
    tried: list[str] = field(default_factory=list)
    """Servers that were asked, in order."""


def make_job(
    ask: Ask,
    served: Served,
    context: Context | None,
    messages: list[Message] | None = None,
    arm: Arm | None = None,
    refusal: str | None = None,
    guarded: str | None = None,
) -> Job:
    """The prompt and sampling of a request for one variant. Raises RequestError when they do not fit its limits.

    `messages` are the conversation for the model, where that is another than the client's.
    """
    messages = ask.messages if messages is None else messages
    limits, used = served.limits, list[UsedChunk]()
    if len(ask.sampling.stop) > limits.max_stop_sequences:
        raise RequestError(f"`stop` supports up to {limits.max_stop_sequences} stop sequences. Given: {len(ask.sampling.stop)}")
    try:
        if not ask.is_chat:
            prompt = plain_prompt(messages[0].content, ask.truncate, served.text)
        elif context is None:
            prompt = render(served.text, messages)
        else:
            # a quarter of the window is kept for an answer of open length
            reserved = limits.max_total_tokens // 4 if ask.max_new_tokens is None else ask.max_new_tokens
            room = min(limits.max_input_tokens, limits.max_total_tokens - reserved)
            prompt, used = render_with_context(served.text, messages, context, room)
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
    if refusal is None and context and not used and context.settings.when_empty == "refuse":
        refusal = context.settings.refusal
    sampling = ask.sampling.model_copy(update={"max_new_tokens": max_new_tokens})
    return Job(ask, served, prompt, sampling, context, used, refusal, messages, arm, guarded)


def plain_prompt(content: str, truncate: int | None, text: ModelText) -> Prompt:
    """A prompt that no template touches, cut at its beginning when `truncate` says so."""
    token_ids = text.encode(content, special=True)
    if truncate is not None and len(token_ids) > truncate:
        token_ids = token_ids[-truncate:]
    return Prompt(content, token_ids)
