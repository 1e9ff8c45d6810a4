"""Where a review queue is, told from its settings; imports nothing that is slow."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from llmops_shared.config import Config
from llmops_shared.review.queue import ReviewQueue


class QueueConfig(Config):
    """A review queue."""

    uri: str = Field(min_length=1)
    """SQLite file that people answer on a page; `s3://bucket/prefix`: Ground Truth jobs, or A2I loops with `flow_definition_arn`."""
    answers_per_item: int = Field(default=2, ge=1)
    """People who answer an item."""
    workteam_arn: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:sagemaker:")
    """Ground Truth: the team that labels."""
    role_arn: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:iam:")
    """Ground Truth: the role that reads the items and writes the answers."""
    key_arn: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:kms:")
    """Ground Truth: KMS key of what it writes; none: the bucket's own."""
    flow_definition_arn: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:sagemaker:.*:flow-definition/")
    """Switches to A2I: the review flow each item is a human loop of."""

    @model_validator(mode="after")
    def _backend_has_what_it_needs(self) -> Self:
        on_aws = urlsplit(self.uri).scheme == "s3"
        given = [name for name in ("workteam_arn", "role_arn", "key_arn", "flow_definition_arn") if getattr(self, name) is not None]
        if given and not on_aws:
            raise ValueError(f"{', '.join(given)}: only a queue at s3:// uses them, and uri is {self.uri}")
        if on_aws and self.flow_definition_arn is None and (self.workteam_arn is None or self.role_arn is None):
            raise ValueError("a queue at s3:// needs workteam_arn and role_arn (Ground Truth), or flow_definition_arn (A2I)")
        return self


def queue_for(config: QueueConfig) -> ReviewQueue:
    """The queue of these settings."""
    if urlsplit(config.uri).scheme != "s3":
        from llmops_shared.review.sqlite import SqliteQueue

        return SqliteQueue(config.uri, config.answers_per_item)
    if config.flow_definition_arn is not None:
        from llmops_shared.review.a2i import HumanLoopQueue

        return HumanLoopQueue(config.uri, config.flow_definition_arn)
    from llmops_shared.review.groundtruth import GroundTruthQueue

    return GroundTruthQueue(config.uri, config.workteam_arn or "", config.role_arn or "", config.answers_per_item, config.key_arn)
