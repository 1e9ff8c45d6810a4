"""Settings of `llmops-serve run` and `replay`."""

from typing import Self

from pydantic import Field, model_validator

from llmops_serve.guard.config import GuardConfig
from llmops_shared.config import Config, JobConfig


class RunConfig(Config):
    """A server that realizes an Endpoint document."""

    endpoint: str = Field(min_length=1)
    """Endpoint document, or its folder. On SIGHUP it is read again; where it is another one then, such as behind a symbolic link that was
    set to the next generation, its models are loaded, traffic moves to them, and the earlier ones are left when idle."""
    watch_s: float = Field(default=0, ge=0)
    """Seconds between looks whether `endpoint` is another document now; 0: only on SIGHUP."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on; 0 takes a free one and logs it."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of each variant's model. More than one slows small models down, and all of them on a busy machine."""
    max_concurrent_requests: int = Field(default=128, ge=1)
    """Requests a variant takes at a time, waiting ones included; one more is answered with 429."""
    max_batch_size: int = Field(default=32, ge=1)
    """Requests a model steps together; the others wait."""
    max_total_tokens: int | None = Field(default=None, ge=2)
    """Prompt and answer together; not given: what the package's model can take."""
    max_input_tokens: int | None = Field(default=None, ge=1)
    """Longest prompt; not given: one token less than `max_total_tokens`."""
    max_stop_sequences: int = Field(default=4, ge=1)
    """Stop sequences in one request."""
    max_client_batch_size: int = Field(default=4, ge=1)
    """Prompts in one `/v1/completions` request."""
    max_payload_bytes: int = Field(default=2_000_000, ge=1)
    """Largest request body; a larger one is answered with 413."""
    max_shadow_queue: int = Field(default=1000, ge=1)
    """Copies that wait for the shadow variant; more are dropped and counted."""
    first_token_timeout_s: float = Field(default=120, gt=0)
    """Time a variant's server gets for its first token; another one is asked after it, where the variant has several."""
    body_timeout_s: float = Field(default=30, gt=0)
    """Time a client gets to send its request; slower ones are answered with 408."""
    keys: str | None = Field(default=None)
    """JSON file of API keys, written by `llmops-serve key`; needed for a `host` beyond this machine."""
    guard: GuardConfig = GuardConfig()
    """What requests and answers may not hold."""
    data_capture: str | None = Field(default=None)
    """Folder for the exchanges that are kept in the form of SageMaker's data capture, too; not given: only in ours."""
    metrics_log: str | None = Field(default=None)
    """File for CloudWatch's embedded metric format, a line a minute; `/dev/stdout` where a container's output goes to CloudWatch Logs."""
    metrics_log_every_s: float = Field(default=60, gt=0)
    """Seconds between its lines."""
    start_timeout_s: float = Field(default=300, gt=0)
    """Time a model gets to load."""
    drain_timeout_s: float = Field(default=60, ge=0)
    """After SIGTERM: time for running requests to finish, and then again for waiting shadow copies."""


class Prompts(Config):
    """Prompts of one dataset, sent as one window of traffic."""

    dataset: str = Field(min_length=1)
    """Chat DatasetManifest, or its folder; the last message of a row is the answer and is not sent."""
    split: str = Field(default="test", min_length=1)
    """Split to take rows from."""
    limit: int = Field(default=200, ge=1)
    """Rows sent; the same ones each time, drawn by their ids."""
    retrieval: bool = Field(default=False)
    """Whether the requests ask for context from the endpoint's index."""
    max_tokens: int = Field(default=48, ge=1)
    """Longest answer."""


class ReplayConfig(JobConfig):
    """Prompts of datasets, or a recording of traffic, sent to an endpoint by the `openai` client."""

    name: str = Field(default="replay", min_length=1)
    """Name of the report, as it appears in MLflow."""
    endpoint: str | None = Field(default=None)
    """Endpoint document, or its folder: a server is started for it and stopped at the end. Give this or `url`."""
    url: str | None = Field(default=None, pattern=r"^https?://")
    """A running server, such as `http://127.0.0.1:8080`. Give this or `endpoint`."""
    prompts: dict[str, Prompts] = Field(default={})
    """By name of the window: `prompts.in_domain.dataset=build/loop/chat`; keys are dataset, split, limit, retrieval, max_tokens."""
    traffic: str | None = Field(default=None, min_length=1)
    """A recording in place of prompts: a CSV file, compressed or not, with the columns of Azure's public traces, TIMESTAMP, ContextTokens
    and GeneratedTokens. Requests are sent when they came, with prompts and answers as long as they were."""
    speed: float = Field(default=1, gt=0)
    """How many times as fast as it was recorded `traffic` is sent."""
    traffic_skip: int = Field(default=0, ge=0)
    """Requests left out at the beginning of `traffic`."""
    traffic_limit: int = Field(default=1000, ge=1)
    """Requests of `traffic` that are sent."""
    concurrency: int = Field(default=8, ge=1)
    """Requests under way at a time; those of `traffic` come when they came."""
    timeout_s: float = Field(default=120, gt=0)
    """Time one request may take before it counts as an error."""
    server_threads: int = Field(default=1, ge=1)
    """`threads` of the server that is started."""

    @model_validator(mode="after")
    def _names_one_server(self) -> Self:
        if (self.endpoint is None) == (self.url is None):
            raise ValueError("give either endpoint= (a server is started) or url= (one that runs already)")
        if bool(self.prompts) == (self.traffic is not None):
            raise ValueError("give either prompts.NAME.dataset= or traffic=")
        return self
