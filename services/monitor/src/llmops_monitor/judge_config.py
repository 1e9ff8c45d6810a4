"""Settings of what a comparison may measure beyond the log: a judge's preference, prices, and where quality is published."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.config import Config


class JudgeConfig(Config):
    """A model that says which of two answers is better; each pair is asked in both orders."""

    kind: Literal["endpoint", "bedrock"] = Field(default="endpoint")
    """`endpoint`: any OpenAI-compatible server by its URL. `bedrock`: a model of Amazon Bedrock."""
    url: str | None = Field(default=None, pattern=r"^https?://")
    """Base URL of the server, such as `http://127.0.0.1:8000/v1`; its key is read from OPENAI_API_KEY."""
    model: str = Field(min_length=1)
    """Name of the model on the server, or Bedrock's model id or inference profile."""
    limit: int = Field(default=200, ge=1)
    """Pairs that are judged, drawn by a hash of the request id; each takes two answers of the judge."""
    num_workers: int = Field(default=8, ge=1, le=64)
    """Pairs judged at the same time."""

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if (self.kind == "endpoint") != (self.url is not None):
            raise ValueError("url is the address of kind=endpoint: give it there, and leave it out with kind=bedrock")
        return self


class Prices(Config):
    """What a variant's tokens cost."""

    prompt_usd: float = Field(ge=0)
    """US dollars for 1,000 tokens of prompt."""
    response_usd: float = Field(ge=0)
    """US dollars for 1,000 tokens of answer."""
