"""The dated price list of a region, and what a month of ordinary work is taken to be."""

import datetime
from pathlib import Path

from pydantic import Field

from llmops_shared.config import Config, load_config
from llmops_shared.errors import LlmopsError

FOLDER = Path(__file__).resolve().parents[2] / "prices"
# where there is no file of the environment's own region
REFERENCE_REGION = "us-east-1"


class PriceList(Config):
    """On-demand prices in USD."""

    region: str
    """AWS region they hold for."""
    date: datetime.date
    """Day they were read."""
    source: str
    """Where they were read."""
    hourly: dict[str, float]
    """What is paid by the hour it exists."""
    monthly: dict[str, float]
    """What is paid by the month it exists."""
    used: dict[str, float]
    """What is paid by use."""
    instances: dict[str, float]
    """SageMaker instances, per hour."""
    older: list[str] = Field(default=[])
    """Items that a refresh did not find: their figures are those of an earlier list."""

    def instance(self, instance_type: str) -> float:
        """USD per hour. Raises LlmopsError for a type that is not listed."""
        if instance_type not in self.instances:
            raise LlmopsError(
                f"{price_path(self.region)} has no price of {instance_type}: run `llmops-infra prices ENV --refresh`, "
                f"or add it under instances"
            )
        return self.instances[instance_type]


class Use(Config):
    """A month of ordinary work."""

    training_hours: float = Field(ge=0)
    """Of all instances of the training settings."""
    preprocessing_hours: float = Field(ge=0)
    """Of the Glue job with all its workers."""
    monitoring_hours: float = Field(ge=0)
    """Of the monitor job."""
    stored_gib: float = Field(ge=0)
    """In all buckets."""
    s3_puts: float = Field(ge=0)
    """Writes and lists."""
    s3_gets: float = Field(ge=0)
    """Reads."""
    private_traffic_gib: float = Field(ge=0)
    """Through the interface endpoints."""
    log_gib: float = Field(ge=0)
    """Taken in by CloudWatch."""
    busy_prefixes: float = Field(ge=0)
    """Prefixes of buckets with requests at every hour; the metrics of each are paid by the hour they exist."""


def price_path(region: str) -> Path:
    """The file of a region."""
    return FOLDER / f"{region}.yaml"


def read_prices(region: str) -> PriceList:
    """The region's list, or the reference region's where it has none: `region` of what is returned says which."""
    path = price_path(region)
    return load_config(PriceList, str(path if path.exists() else price_path(REFERENCE_REGION)), [])


def read_use() -> Use:
    """The month in `terraform/prices/use.yaml`."""
    return load_config(Use, str(FOLDER / "use.yaml"), [])


def write_prices(prices: PriceList) -> Path:
    """Writes the region's file."""
    import yaml

    path = price_path(prices.region)
    head = "# On-demand prices in USD, without taxes, savings plans or the free tier. Written by `llmops-infra prices --refresh`.\n"
    path.write_text(head + yaml.safe_dump(prices.model_dump(), sort_keys=False), encoding="utf-8")
    return path
