"""Settings of `llmops-preprocess label`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.config import Config

Task = Literal["classification", "entities"]


class LabelConfig(Config):
    """A Ground Truth labeling job over rows: which class a text has, or where entities are in it.

    Rankings of answers are the review queue's questions (`llmops_shared.review`), the same on a laptop and in Ground Truth.
    """

    name: str = Field(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$")
    """Name of the job."""
    rows: str = Field(min_length=1)
    """JSON lines with `id` and `text`, such as a dataset's `rows/train.jsonl`."""
    out: str = Field(pattern=r"^s3://[^/]+")
    """Prefix for manifest, labels, page and answers."""
    task: Task = Field(default="classification")
    """`classification`: one label a text; `entities`: labelled stretches of it."""
    labels: tuple[str, ...] = Field(min_length=2, max_length=50)
    """What may be said."""
    instructions: str = Field(default="Read the text and choose the label that fits best.", min_length=1, max_length=255)
    """What the people are told."""
    region: Literal[
        "ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "ca-central-1", "eu-central-1",
        "eu-west-1", "eu-west-2", "us-east-1", "us-east-2", "us-west-2",
    ]  # fmt: skip
    """Region of the job: it decides whose Lambda functions prepare the tasks and consolidate the answers."""
    workteam_arn: str = Field(pattern=r"^arn:aws[a-z-]*:sagemaker:")
    """The team that labels."""
    role_arn: str = Field(pattern=r"^arn:aws[a-z-]*:iam:")
    """Role that reads the rows and writes the answers."""
    key_arn: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:kms:")
    """KMS key of what the job writes; none: the bucket's own."""
    answers_per_row: int = Field(default=3, ge=1, le=9)
    """People who label a text; Ground Truth consolidates their answers."""

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels must differ, got {', '.join(self.labels)}")
        return self
