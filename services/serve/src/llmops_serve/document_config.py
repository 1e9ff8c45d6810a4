"""Settings of the verbs about Endpoint documents: deploy, shadow, split, promote, rollback, render and status."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.config import Config, JobConfig
from llmops_shared.contracts.engine import EngineName, EngineSettings
from llmops_shared.contracts.retrieval import RetrievalSettings

NAME = r"^[a-zA-Z0-9]([a-zA-Z0-9-]{0,62})$"


class DeployConfig(JobConfig):
    """The first generation of an endpoint."""

    name: str = Field(pattern=NAME)
    """Name of the endpoint: letters, digits and hyphens."""
    package: str = Field(min_length=1)
    """ModelPackage to serve, or its folder."""
    engine: EngineName = Field(default="in-process")
    """What runs the model: in-process (this machine's CPU), tgi, vllm, lmi-vllm, lmi-trtllm, lmi-deepspeed or lmi-accelerate."""
    urls: list[str] = Field(default=[])
    """Servers of that engine that run already, `http://...` or `sagemaker://ENDPOINT`; not given: in-process, or what Terraform makes."""
    settings: EngineSettings = Field(default=EngineSettings())
    """What the engine is told; the rest is derived from package and instance."""
    adapters: dict[str, str] = Field(default={})
    """Adapter packages by the name that requests say: `adapters.law=build/law`."""
    index: str | None = Field(default=None)
    """RetrievalIndex for requests that ask for context, or its folder; not given: such requests are refused."""
    retrieval: RetrievalSettings = Field(default=RetrievalSettings())
    """How the index is searched and its chunks are shown: `retrieval.num_chunks=5`, `retrieval.when_empty=refuse`."""
    capture: str | None = Field(default=None)
    """Folder of the exchange log, local or `s3://`; not given: nothing is kept."""
    capture_sample_rate: float = Field(default=1.0, ge=0, le=1)
    """Share of requests kept in the exchange log."""


class ShadowConfig(JobConfig):
    """The next generation of an endpoint, with a shadow variant."""

    endpoint: str = Field(min_length=1)
    """Endpoint document to start from, or its folder; it has one production variant and no shadow."""
    package: str = Field(min_length=1)
    """ModelPackage that gets a copy of the traffic, or its folder."""
    name: str = Field(default="shadow", pattern=NAME)
    """Name of the shadow variant."""
    engine: EngineName | None = Field(default=None)
    """What runs it; not given: what runs the production variant."""
    urls: list[str] = Field(default=[])
    """Servers of that engine that run already."""


class SplitConfig(JobConfig):
    """The next generation of an endpoint, in which two variants share the live traffic."""

    endpoint: str = Field(min_length=1)
    """Endpoint document to start from, or its folder; it has no shadow."""
    share: float = Field(gt=0, lt=1)
    """Share of the live traffic that the treatment gets, such as 0.1."""
    package: str | None = Field(default=None)
    """ModelPackage of the treatment, or its folder; not given: the endpoint has the variant already and only its share changes."""
    name: str = Field(default="treatment", pattern=NAME)
    """Name of the variant on trial."""
    engine: EngineName | None = Field(default=None)
    """What runs it; not given: what runs the other one."""
    urls: list[str] = Field(default=[])
    """Servers of that engine that run already."""


class ReindexConfig(JobConfig):
    """The next generation of an endpoint, with another index or another way to search it."""

    endpoint: str = Field(min_length=1)
    """Endpoint document to start from, or its folder."""
    index: str | None = Field(default=None, min_length=1)
    """RetrievalIndex to search from now on, or its folder; not given: the same one."""
    retrieval: RetrievalSettings | None = Field(default=None)
    """How it is searched, all of it anew; not given: as before."""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.index is None and self.retrieval is None:
            raise ValueError("give index=, retrieval.*=, or both: else nothing would change")
        return self


class PromoteConfig(JobConfig):
    """The next generation of an endpoint, with what was on trial in production."""

    endpoint: str = Field(min_length=1)
    """Endpoint document with a shadow variant or with two that share the traffic, or its folder."""
    report: str = Field(min_length=1)
    """Shadow or A/B Report about this endpoint, or its folder; anything but the verdict `promote` exits with 3."""


class RollbackConfig(JobConfig):
    """The next generation of an endpoint, with what an earlier one had in production."""

    endpoint: str = Field(min_length=1)
    """The present Endpoint document, or its folder; its history is followed back."""
    generation: int | None = Field(default=None, ge=1)
    """Generation to return to; not given: the latest one that had something else in production."""
    reason: str = Field(default="", max_length=200)
    """Why, in words, for the document."""
    report: str | None = Field(default=None)
    """Report that shows why, or its folder; not given: nobody needs one to go back."""


class RenderConfig(Config):
    """What a serving container would get."""

    endpoint: str = Field(min_length=1)
    """Endpoint document, or its folder."""
    engine: EngineName | None = Field(default=None)
    """Another engine than the document names."""
    instance_type: str = Field(default="ml.g5.2xlarge", pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")
    """SageMaker instance type to size for."""
    variant: str | None = Field(default=None)
    """Only this variant."""
    form: Literal["json", "environment", "properties"] = Field(default="json")
    """`json`: image, environment and properties. `environment`: variables, one a line. `properties`: DJL's serving.properties."""
    startup_timeout_s: int = Field(default=900, ge=60, le=3600)
    """How long loading may take."""


class StatusConfig(Config):
    """What runs, compared with the document."""

    endpoint: str = Field(min_length=1)
    """Endpoint document, or its folder."""
    url: str | None = Field(default=None, pattern=r"^https?://")
    """A server of `llmops-serve run`, such as `http://127.0.0.1:8080`; not given: the SageMaker endpoint of the document's name."""
    endpoint_uri: str | None = Field(default=None, pattern=r"^s3://[^/]+/.+")
    """Where the document is in S3, to find packages it names by a relative path; as in the serving stack."""
    timeout_s: float = Field(default=10, gt=0)
    """Time the server may take to answer."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.url is not None and self.endpoint_uri is not None:
            raise ValueError("url= asks a server of ours and endpoint_uri= is for SageMaker; give one of them")
        return self
