"""The settings of the serving stack: which document it realizes, on what, and how a change reaches the traffic."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from llmops_infra.settings import INSTANCE_TYPE
from llmops_shared.config import Config

Container = Literal["tgi", "lmi-vllm", "lmi-trtllm", "lmi-deepspeed", "lmi-accelerate", "vllm"]
DEFAULT_CONTAINER: Container = "lmi-vllm"


class Hosting(Config):
    """What a variant runs on."""

    container: Container | None = None
    """Another engine than the document names: TGI; DJL's LMI with vLLM, TensorRT-LLM, DeepSpeed or the Hugging Face accelerate handler;
    or vLLM's own image. How many GPUs it takes, and its limits, are derived from the document and the instance."""
    image: str | None = None
    """Another image for it, as a full URI; none: AWS's image of that container in this region."""
    instance_type: str = Field(default="ml.g5.2xlarge", pattern=INSTANCE_TYPE)
    """SageMaker instance type."""
    num_instances: int = Field(default=1, ge=1)
    """Instances at the start; `autoscaling` moves it."""
    startup_timeout_s: int = Field(default=900, ge=60, le=3600)
    """How long loading may take before SageMaker gives the instance up."""
    environment: dict[str, str] = Field(default={})
    """More variables for the container; no secrets, for they would stand in the state."""

    @field_validator("environment")
    @classmethod
    def _no_secrets(cls, environment: dict[str, str]) -> dict[str, str]:
        secret = [name for name in environment if re.search(r"TOKEN$|SECRET|PASSWORD|API_KEY|CREDENTIAL", name.upper())]
        if secret:
            raise ValueError(f"{', '.join(secret)} would stand in Terraform's state; put the model into S3, where no token is needed")
        return environment


class Deployment(Config):
    """How traffic moves to a new fleet, and what brings it back."""

    shift: Literal["canary", "linear"] = "canary"
    """Canary: one small step, then all. Linear: equal steps."""
    step_percent: int = Field(default=10, ge=5, le=50)
    """Share of the capacity in the canary or in each linear step."""
    wait_s: int = Field(default=600, ge=60, le=3600)
    """Watch the alarms this long after each step."""
    keep_old_s: int = Field(default=600, ge=0, le=3600)
    """Keep the old fleet this long after the last step."""
    max_latency_p95_ms: int = Field(default=10_000, ge=1)
    """Roll back when the model's 95th percentile is above."""
    max_error_percent: float = Field(default=1.0, gt=0, le=100)
    """Roll back when more of the answers are 5xx."""
    min_answer_quality: float = Field(default=0.6, ge=0, le=1)
    """Roll back when the answer quality our monitor publishes (0 to 1) is below."""

    @property
    def num_steps(self) -> int:
        """Steps until all traffic is on the new fleet."""
        return 2 if self.shift == "canary" else -(-100 // self.step_percent)

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if self.shift == "linear" and self.step_percent < 10:
            raise ValueError(f"step_percent {self.step_percent} is too small a linear step: SageMaker takes 10 to 50")
        # docs.aws.amazon.com/sagemaker/latest/APIReference/API_BlueGreenUpdatePolicy.html
        if (total := self.num_steps * self.wait_s + self.keep_old_s) > 12_600:
            raise ValueError(f"steps and waits take {total} s; with half an hour to start a fleet SageMaker allows 12600: shorten wait_s")
        return self


class Autoscaling(Config):
    """How many instances, when."""

    min_instances: int = Field(default=1, ge=1)
    """At least."""
    max_instances: int = Field(default=4, ge=1)
    """At most."""
    requests_per_instance: float = Field(default=20, gt=0)
    """Concurrent requests per instance that target tracking holds."""
    night: str | None = Field(default=None, pattern=r"^cron\(.+\)$")
    """When it goes down to `min_instances` and stays there; none: never."""
    morning: str | None = Field(default=None, pattern=r"^cron\(.+\)$")
    """When it may grow again."""
    timezone: str = "UTC"
    """Of `night` and `morning`."""

    @model_validator(mode="after")
    def _range_and_schedule(self) -> Self:
        if self.max_instances < self.min_instances:
            raise ValueError(f"max_instances {self.max_instances} must be at least min_instances {self.min_instances}")
        if (self.night is None) != (self.morning is None):
            raise ValueError("night and morning come as a pair: what is scaled in has to be allowed to grow again")
        return self


class Serving(Config):
    """The endpoint on SageMaker."""

    endpoint: str | None = None
    """Endpoint document to realize, a file or its folder; none: no endpoint, no cost."""
    endpoint_uri: str | None = Field(default=None, pattern=r"^s3://[^/]+/.+")
    """Where that document is in S3, to find packages it names by a relative path; none: it names them by s3:// URIs."""
    hosting: Hosting = Hosting()
    """What variants run on."""
    variants: dict[str, Hosting] = Field(default={})
    """What single variants run on instead, by name."""
    deployment: Deployment = Deployment()
    """Traffic shifting and rollback."""
    autoscaling: Autoscaling = Autoscaling()
    """Number of instances."""

    @model_validator(mode="after")
    def _instances_are_within_the_scale(self) -> Self:
        scale = self.autoscaling
        hosted = {"hosting": self.hosting, **{f"variants.{name}": hosting for name, hosting in self.variants.items()}}
        outside = [
            f"{where}.num_instances {hosting.num_instances} is outside autoscaling's {scale.min_instances} to {scale.max_instances}"
            for where, hosting in hosted.items()
            if not scale.min_instances <= hosting.num_instances <= scale.max_instances
        ]
        if outside:
            raise ValueError(f"{'; '.join(outside)}: change one of them")
        return self
