"""Bodies of requests: TGI's and OpenAI's. What the engine cannot do is refused by name, never ignored."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from llmops_serve.engines.engine import Sampling
from llmops_shared.contracts.exchange import Message


class Body(BaseModel):
    """A request's body; fields nobody knows are tolerated, as clients send many."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


# beyond these, dividing logits leaves the range of float32
SMALLEST, LARGEST = 1e-6, 1e6
MAX_TOP_TOKENS = 20  # OpenAI's limit; TGI's default is 5
Penalty = Annotated[float, Field(ge=SMALLEST, le=LARGEST)]


def zero_or_more(temperature: float) -> float:
    """OpenAI's temperature: 0 is greedy."""
    if 0 < temperature < SMALLEST:
        raise ValueError(f"must be 0, or {SMALLEST} and more")
    return temperature


def refuse(body: BaseModel, unsupported: dict[str, tuple[Any, ...]]) -> None:
    """Raises ValueError for a field with a value other than those that change nothing."""
    for name, harmless in unsupported.items():
        if getattr(body, name) not in harmless:
            raise ValueError(f"`{name}` is not supported by this engine")


class GenerateParameters(Body):
    """`parameters` of TGI's routes."""

    model_config = ConfigDict(extra="forbid")

    max_new_tokens: int | None = Field(default=None, ge=1)
    do_sample: bool = False
    temperature: float | None = Field(default=None, ge=SMALLEST)
    top_k: int | None = Field(default=None, gt=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    typical_p: float | None = Field(default=None, gt=0, le=1)
    repetition_penalty: Penalty | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    stop: list[Annotated[str, Field(min_length=1)]] = []
    truncate: int | None = Field(default=None, ge=1)
    return_full_text: bool | None = None
    details: bool = False
    decoder_input_details: bool = False
    best_of: int | None = None
    frequency_penalty: float | None = None
    watermark: bool = False
    grammar: Any = None
    top_n_tokens: int | None = Field(default=None, ge=0, le=MAX_TOP_TOKENS)
    adapter_id: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _is_supported(self) -> Self:
        harmless = {"best_of": (None, 1), "frequency_penalty": (None, 0), "watermark": (False,)}
        refuse(self, {**harmless, "grammar": (None,)})
        return self

    def sampling(self) -> Sampling:
        """As TGI reads them: a warper other than its neutral value means sampling, `do_sample` or not."""
        warps = self.temperature not in (None, 1.0) or self.top_k is not None
        warps = warps or self.top_p not in (None, 1.0) or self.typical_p not in (None, 1.0)
        return Sampling(
            max_new_tokens=self.max_new_tokens or 1,
            do_sample=self.do_sample or warps,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            typical_p=self.typical_p,
            repetition_penalty=self.repetition_penalty,
            seed=self.seed,
            stop=tuple(self.stop),
            prompt_logprobs=self.decoder_input_details,
            top_n_tokens=self.top_n_tokens or 0,
            adapter=self.adapter_id,
        )


class GenerateBody(Body):
    """Body of `/generate`, `/generate_stream`, and with `stream` of `/` and `/invocations`."""

    inputs: str
    parameters: GenerateParameters = GenerateParameters()
    stream: bool = False


class TokenizeBody(Body):
    """Body of `/tokenize`."""

    inputs: str
    add_special_tokens: bool = True


Texts = str | list[str] | None


def as_list(value: Any) -> Any:
    """One string is a list of one."""
    return [value] if isinstance(value, str) else [] if value is None else value


Stop = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(as_list, json_schema_input_type=Texts)]


class StreamOptions(Body):
    """`stream_options` of OpenAI's routes."""

    include_usage: bool = False


class OpenAIBody(Body):
    """What OpenAI's two routes have in common."""

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: Annotated[float, Field(ge=0), AfterValidator(zero_or_more)] | None = None
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    stop: Stop = []
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: Any = None
    metadata: dict[str, str] | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _is_supported(self) -> Self:
        refuse(self, {"n": (None, 1), "frequency_penalty": (None, 0), "presence_penalty": (None, 0), "logit_bias": (None, {}, [])})
        return self

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self, repetition_penalty: float | None = None, num_likely: int = 0, adapter: str | None = None) -> Sampling:
        """As TGI reads them: temperature 0 is greedy, no temperature is 1."""
        return Sampling(
            max_new_tokens=self.max_tokens or 1,
            do_sample=self.temperature != 0,
            temperature=self.temperature or None,
            top_p=self.top_p,
            repetition_penalty=repetition_penalty,
            seed=self.seed,
            stop=tuple(self.stop),
            keep_stop=False,
            top_n_tokens=num_likely,
            adapter=adapter,
        )


def as_text(content: Any) -> Any:
    """A message's content: text, or the text parts OpenAI's clients may send."""
    if isinstance(content, list):
        if any(not isinstance(part, dict) or part.get("type") != "text" for part in content):
            raise ValueError("only text parts are supported by this model")
        return "".join(str(part.get("text", "")) for part in content)
    return content


class ChatMessage(Body):
    """One turn. `developer` is OpenAI's newer word for `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str | None, BeforeValidator(as_text, json_schema_input_type=str | list[dict[str, Any]] | None)] = None
    refusal: str | None = None
    tool_calls: Any = None
    function_call: Any = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        refuse(self, {"tool_calls": (None, []), "function_call": (None,)})
        if self.content is None and self.refusal is None:
            raise ValueError("needs a `content`")
        return self

    def message(self) -> Message:
        """The same in our own words; what the model refused with is what it said."""
        said = self.content if self.content is not None else self.refusal
        return Message(role="system" if self.role == "developer" else self.role, content=said or "")


def as_values(values: Any) -> Any:
    """A filter's value: one or several."""
    return [values] if isinstance(values, str) else values


FilterValues = Annotated[
    list[Annotated[str, Field(max_length=2048)]],
    BeforeValidator(as_values, json_schema_input_type=str | list[str]),
    Field(min_length=1, max_length=100),
]


class RetrievalAsk(Body):
    """`retrieval` of a chat request that wants more than the endpoint's settings: what chunks, and how many."""

    model_config = ConfigDict(extra="forbid")

    filters: dict[Annotated[str, Field(min_length=1, max_length=200)], FilterValues] = Field(default={}, max_length=20)
    num_chunks: int | None = Field(default=None, ge=1, le=100)


class ChatBody(OpenAIBody):
    """Body of `/v1/chat/completions` and `/chat_tokenize`."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MAX_TOP_TOKENS)
    tools: Any = None
    tool_choice: Any = None
    functions: Any = None
    response_format: Any = None
    retrieval: bool | RetrievalAsk = False

    @model_validator(mode="after")
    def _chat_is_supported(self) -> Self:
        refuse(self, {"tools": (None, []), "tool_choice": (None, "none", "auto"), "functions": (None, [])})
        refuse(self, {"response_format": (None, {"type": "text"})})
        if self.top_logprobs and not self.logprobs:
            raise ValueError("`top_logprobs` needs `logprobs`: true")
        return self

    @property
    def num_likely(self) -> int:
        """Likeliest tokens asked for with each one."""
        return self.top_logprobs or 0

    @property
    def retrieval_ask(self) -> RetrievalAsk:
        """`retrieval` with its words; `true` has none."""
        return self.retrieval if isinstance(self.retrieval, RetrievalAsk) else RetrievalAsk()

    @property
    def max_new_tokens(self) -> int | None:
        """OpenAI renamed `max_tokens`; both are sent."""
        return self.max_completion_tokens or self.max_tokens


class CompletionBody(OpenAIBody):
    """Body of `/v1/completions`."""

    prompt: Annotated[list[str], BeforeValidator(as_list, json_schema_input_type=str | list[str]), Field(min_length=1)]
    repetition_penalty: Penalty | None = None
    suffix: str | None = None
    echo: bool = False
    best_of: int | None = None
    logprobs: int | None = Field(default=None, ge=0, le=MAX_TOP_TOKENS)

    @model_validator(mode="after")
    def _completion_is_supported(self) -> Self:
        refuse(self, {"suffix": (None, ""), "best_of": (None, 1)})
        if self.echo and self.stream:
            raise ValueError("`echo` is not supported in a stream")
        return self

    @property
    def num_likely(self) -> int:
        """Likeliest tokens asked for with each one."""
        return self.logprobs or 0
