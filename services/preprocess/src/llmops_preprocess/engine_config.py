"""Settings of where the row stages run. None of them changes the dataset, so none is part of what a finished one is known by."""

from typing import Literal

from pydantic import Field

from llmops_shared.config import Config

EngineName = Literal["local", "spark", "glue"]


class Spark(Config):
    """A Spark 3.5 or 4 cluster (`engine: spark`; needs the extra `llmops-preprocess[spark]` and Java)."""

    master: str | None = Field(default=None, min_length=1)
    """`spark://host:7077`, `yarn`, `local[*]`; null: what spark-submit, EMR or Glue set."""
    settings: dict[str, str] = Field(default={})
    """Spark's own settings, such as `spark.executor.memory: 8g`."""


class Glue(Config):
    """An AWS Glue 5 job (`engine: glue`), which runs the same command with `engine: spark` beside the data."""

    job: str = Field(default="llmops-preprocess", min_length=1)
    """Name of the Glue job; its script is `llmops_preprocess/glue_script.py`."""
    wheels: str = Field(default="", pattern=r"^(s3://[^/]+/.*)?$")
    """`s3://` prefix with the wheels that `make wheels` builds."""
    worker_type: Literal["G.1X", "G.2X", "G.4X", "G.8X", "R.1X", "R.2X", "R.4X", "R.8X"] = Field(default="G.2X")
    """Machine of a worker."""
    num_workers: int = Field(default=10, ge=2)
    """Workers, the driver included."""
    timeout_minutes: int = Field(default=2880, ge=1)
    """After which Glue stops the run."""
    poll_s: float = Field(default=30, gt=0)
    """Seconds between two looks at the run."""
