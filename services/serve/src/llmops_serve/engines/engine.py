"""The engine port: tokens of an answer, one after another, for a prompt and its sampling."""

from collections.abc import AsyncGenerator
from typing import Literal, NamedTuple, Protocol

from pydantic import Field

from llmops_shared.contracts.document import Value

FinishReason = Literal["length", "eos_token", "stop_sequence"]


class Sampling(Value):
    """How the tokens of one answer are chosen; the names are TGI's."""

    max_new_tokens: int = Field(ge=1)
    """Tokens at most."""
    do_sample: bool = False
    """False: always the likeliest token."""
    temperature: float | None = None
    """Divides the logits; None: 1."""
    top_k: int | None = None
    """Only the k likeliest tokens."""
    top_p: float | None = None
    """Only the likeliest tokens that together have this probability."""
    typical_p: float | None = None
    """Only the most typical tokens that together have this probability."""
    repetition_penalty: float | None = None
    """Makes tokens that occurred less likely when above 1."""
    seed: int | None = None
    """Seed of the draws; the same seed gives the same answer."""
    stop: tuple[str, ...] = ()
    """The answer ends where one of these occurs."""
    keep_stop: bool = True
    """Whether the answer includes the stop sequence, as in TGI's routes, or not, as in OpenAI's."""
    prompt_logprobs: bool = False
    """Whether the log-probabilities of the prompt's tokens are asked for."""
    top_n_tokens: int = 0
    """The likeliest tokens to tell with each one that was chosen."""
    adapter: str | None = None
    """Name of the adapter that answers; None: the package as it is."""


class Prompt(NamedTuple):
    """A prompt as the model sees it."""

    text: str
    token_ids: list[int]


class Likely(NamedTuple):
    """A token the model held for likely."""

    token_id: int
    text: str
    logprob: float


class Step(NamedTuple):
    """One token of an answer."""

    token_id: int
    text: str
    """What the answer grows by; empty while a character is incomplete or may begin a stop sequence."""
    logprob: float
    """Log-probability of the token, before temperature and the like."""
    special: bool
    """True: a control token, whose text is no part of the answer."""
    finish: FinishReason | None
    """Why the answer ends with this token; None: it goes on."""
    prompt_logprobs: list[float | None] | None = None
    """With the first token, when asked for: one of each prompt token, None for the first."""
    likely: list[Likely] | None = None
    """When asked for: the likeliest tokens at this place, best first."""


class EngineError(Exception):
    """The model failed to answer."""


class OverloadError(EngineError):
    """The engine has as many requests as it takes."""


class UnsupportedError(Exception):
    """The engine cannot do what was asked: the client's error, told before anything is generated."""


class Engine(Protocol):
    """One model."""

    async def start(self) -> None:
        """Loads the model. Raises LlmopsError when it cannot be loaded."""

    def failure(self) -> str | None:
        """Why the engine cannot answer any more; None while it can."""

    def num_requests(self) -> int:
        """Requests under way, waiting ones included."""

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Step, None]:
        """The tokens of an answer. Closing the iterator early stops the model's work on it.

        Raises OverloadError or UnsupportedError before the first token, or EngineError at any time.
        """

    async def stop(self) -> None:
        """Ends the engine; what it is still working on fails with EngineError."""
