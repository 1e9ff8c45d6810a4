"""What a month of ordinary work is taken to be, and the price list a refresh writes."""

from pathlib import Path

from pydantic import Field

from llmops_shared.config import Config, load_config
from llmops_shared.prices.price_list import PriceList, price_path

FOLDER = Path(__file__).resolve().parents[2] / "prices"


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
