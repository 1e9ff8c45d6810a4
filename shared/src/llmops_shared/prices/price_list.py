"""The dated price list of a region, which plans, costs and estimates are made from."""

import datetime
from pathlib import Path

from pydantic import Field

from llmops_shared.config import Config, load_config
from llmops_shared.errors import LlmopsError

FOLDER = Path(__file__).resolve().parent
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


def price_path(region: str) -> Path:
    """The file of a region."""
    return FOLDER / f"{region}.yaml"


def read_prices(region: str) -> PriceList:
    """The region's list, or the reference region's where it has none: `region` of what is returned says which."""
    path = price_path(region)
    return load_config(PriceList, str(path if path.exists() else price_path(REFERENCE_REGION)), [])
