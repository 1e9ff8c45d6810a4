"""Endpoint: the desired state of a served model; `serve run` realizes it on a laptop, Terraform on AWS."""

import re
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from llmops_shared.contracts.document import Contract, Reference, Value
from llmops_shared.contracts.engine import Adapter, EngineName, EngineSettings, ServedModel
from llmops_shared.contracts.retrieval import RetrievalSettings


class Variant(Value):
    """One model behind the endpoint."""

    name: str = Field(pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9-]{0,62})$")
    """Its name; SageMaker's rule for variant names."""
    package: Reference
    """The ModelPackage it serves."""
    weight: float = Field(default=1.0, ge=0)
    """Share of the live traffic, relative to the other production variants; ignored for a shadow."""
    shadow: bool = False
    """True: it gets a copy of the traffic and its answers are captured, never returned."""
    engine: EngineName = "in-process"
    """What runs the model."""
    urls: list[str] = Field(default=[])
    """Servers of that engine that run already, for the gateway to send to: `http://...`, or `sagemaker://ENDPOINT` through SageMaker's
    runtime. Several are replicas. None for `in-process`, and none where Terraform makes the endpoint."""
    settings: EngineSettings = EngineSettings()
    """What the engine is told."""
    model: ServedModel | None = None
    """Facts of the package; None in documents that were written before they were kept."""
    adapters: list[Adapter] = Field(default=[])
    """Adapters that requests may name."""

    @model_validator(mode="after")
    def _engine_is_where_it_can_be(self) -> Self:
        if self.engine == "in-process" and self.urls:
            raise ValueError(f"variant {self.name}: in-process runs in the server itself; leave urls out, or name the engine behind them")
        if wrong := [url for url in self.urls if not url.startswith(("http://", "https://", "sagemaker://"))]:
            raise ValueError(f"variant {self.name}: {wrong[0]}: urls are http://, https:// or sagemaker://ENDPOINT")
        names = [adapter.name for adapter in self.adapters]
        if len(set(names)) != len(names):
            raise ValueError(f"variant {self.name}: adapter names must differ, got {names}")
        return self


class Retrieval(RetrievalSettings):
    """Where context for an answer comes from."""

    index: Reference
    """The RetrievalIndex."""


class PromptVersion(Value):
    """One version of a prompt in MLflow's registry, where versions never change; its text is kept here, so that serving needs no MLflow."""

    uri: str = Field(pattern=r"^prompts:/[^/]+/[1-9]\d*$")
    """Where it is registered: `prompts:/NAME/VERSION`."""
    sha256: str
    """Digest of its text, kept with every exchange."""
    text: str = Field(min_length=1)
    """What is said to the model before the conversation; with the place `{{question}}` it takes the place of the last question, and with
    `{{context}}` beside it of the retrieval's template."""

    @model_validator(mode="after")
    def _places_are_known(self) -> Self:
        places = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", self.text))
        if unknown := sorted(places - {"question", "context"}):
            raise ValueError(f"{self.uri}: has no value for {{{{{unknown[0]}}}}}; the places are {{{{question}}}} and {{{{context}}}}")
        if "context" in places and "question" not in places:
            raise ValueError(f"{self.uri}: has {{{{context}}}} without {{{{question}}}}; write both, or neither")
        return self

    @property
    def places(self) -> frozenset[str]:
        """The places it has."""
        return frozenset(re.findall(r"\{\{\s*(\w+)\s*\}\}", self.text))


class Arm(Value):
    """One side of an A/B test: what its users get that others do not."""

    name: str = Field(pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9-]{0,62})$")
    """Its name, kept with every exchange."""
    weight: float = Field(default=1.0, ge=0)
    """Share of the users, relative to the other arms."""
    variant: str | None = None
    """Production variant that answers; None: any, by the variants' weights."""
    prompt: PromptVersion | None = None
    """What is put before the conversation; None: nothing."""
    retrieval: Retrieval | None = None
    """Index and settings of retrieval; None: the endpoint's."""


class Capture(Value):
    """What is kept of the traffic."""

    uri: str
    """Folder of the exchange log, relative to this document's folder or absolute."""
    sample_rate: float = Field(default=1.0, ge=0, le=1)
    """Share of requests kept; a request and its shadow copy are kept or left out together."""
    mask_pii: bool = True
    """Whether e-mail addresses, numbers of cards, phones and accounts, and keys are masked before anything is written."""


class Endpoint(Contract):
    """A named endpoint at one point of its history."""

    file_name: ClassVar[str] = "endpoint.json"

    kind: Literal["endpoint"] = "endpoint"
    """What this document is."""
    name: str = Field(pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9-]{0,62})$")
    """Name of the endpoint, the same through all generations; SageMaker's rule for endpoint names."""
    generation: int = Field(ge=1)
    """Counts up by one with each change."""
    previous: Reference | None
    """The Endpoint document this one replaces."""
    reason: str
    """Why it was written: `deploy`, `shadow tuned`, `promote tuned: ...`."""
    evidence: Reference | None
    """The Report that allowed the change; None where none was needed."""
    variants: list[Variant] = Field(min_length=1)
    """Production variants and at most one shadow variant."""
    retrieval: Retrieval | None
    """Retrieval for requests that ask for it; None: no index."""
    capture: Capture | None
    """Exchange log; None: nothing is kept."""
    arms: list[Arm] = Field(default=[])
    """Arms of an A/B test; none: every request gets the same."""

    @model_validator(mode="after")
    def _variants_can_serve(self) -> Self:
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError(f"variant names must differ, got {names}")
        production = [variant for variant in self.variants if not variant.shadow]
        if not any(variant.weight > 0 for variant in production):
            raise ValueError("one production variant needs a weight above 0")
        # SageMaker takes one production and one shadow variant at most, or several production variants and no shadow
        shadows = len(self.variants) - len(production)
        check_arms(self.arms, {variant.name for variant in production})
        if shadows > 1 or (shadows and len(production) > 1):
            raise ValueError("a shadow variant needs exactly one production variant beside it, and there is one shadow at most")
        return self

    def production(self) -> list[Variant]:
        """The variants that answer."""
        return [variant for variant in self.variants if not variant.shadow]

    def shadow(self) -> Variant | None:
        """The variant that gets a copy of the traffic."""
        return next((variant for variant in self.variants if variant.shadow), None)


def check_arms(arms: Sequence[Arm], production: set[str]) -> None:
    """Raises ValueError for arms that cannot be told apart, get nobody, or name a variant that does not answer."""
    names = [arm.name for arm in arms]
    if len(set(names)) != len(names):
        raise ValueError(f"arm names must differ, got {names}")
    if arms and not any(arm.weight > 0 for arm in arms):
        raise ValueError("one arm needs a weight above 0")
    if lost := [arm for arm in arms if arm.variant is not None and arm.variant not in production]:
        known = ", ".join(sorted(production))
        raise ValueError(f"arm {lost[0].name}: {lost[0].variant} is no production variant (has {known})")
