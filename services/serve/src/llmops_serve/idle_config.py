"""Settings of `llmops-serve idle`."""

from pydantic import Field

from llmops_shared.config import Config


class IdleConfig(Config):
    """Endpoints on SageMaker without traffic."""

    region: str = Field(min_length=1)
    """AWS region to look in."""
    hours: float = Field(default=24, gt=0, le=24 * 15)
    """An endpoint is idle when nobody asked it for this long; CloudWatch keeps five minutes for 63 days, and 15 days are plenty."""
    prefix: str = Field(default="")
    """Only endpoints whose name begins so."""
    keep: tuple[str, ...] = Field(default=())
    """Endpoints that are left alone whatever their traffic."""
    yes: bool = Field(default=False)
    """Stop the idle ones, which deletes them; also written `--yes`. Their documents stay, and `terraform apply` makes them again."""
