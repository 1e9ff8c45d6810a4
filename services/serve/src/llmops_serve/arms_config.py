"""Settings of `llmops-serve arms` and `key`."""

from typing import Annotated

from pydantic import Field

from llmops_shared.config import Config, JobConfig
from llmops_shared.contracts.retrieval import RetrievalSettings


class ArmSettings(Config):
    """One arm."""

    weight: float = Field(default=1.0, ge=0)
    """Share of the users, relative to the other arms."""
    variant: str | None = Field(default=None)
    """Production variant that answers; not given: any, by the variants' weights."""
    prompt: str | None = Field(default=None, pattern=r"^prompts:/[^/]+/[1-9]\d*$")
    """Version of a prompt in MLflow's registry, such as `prompts:/helpful/3`."""
    index: str | None = Field(default=None, min_length=1)
    """RetrievalIndex, or its folder, of this arm alone, such as one with another embedder; not given: the endpoint's."""
    retrieval: RetrievalSettings | None = Field(default=None)
    """How this arm searches and shows chunks; not given: as the endpoint does."""


class ArmsConfig(JobConfig):
    """The next generation of an endpoint, with an A/B test of prompts, retrieval and variants."""

    endpoint: str = Field(min_length=1)
    """Endpoint document to start from, or its folder."""
    arms: dict[str, ArmSettings]
    """By name: `arms.short.prompt=prompts:/short/1 arms.short.weight=0.1`; `arms={}` ends the test."""


class KeyConfig(Config):
    """An API key: printed once, and kept as its digest."""

    keys: str = Field(min_length=1)
    """JSON file of keys; made if there is none."""
    name: str = Field(min_length=1)
    """Who gets it."""
    requests_per_minute: Annotated[int, Field(ge=1)] | None = Field(default=None)
    """Requests, of which as many may come at once; not given: any number."""
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = Field(default=None)
    """Tokens of prompts and answers; not given: any number."""
