"""The settings of the SageMaker pipeline: what each stage does, and on what."""

import json
import re
from typing import Any, Self

from pydantic import Field, model_validator

from llmops_infra.settings import IMAGE_TAG, INSTANCE_TYPE
from llmops_shared.config import Config, Tree, parse_words

# docs.aws.amazon.com/sagemaker/latest/APIReference/API_AppSpecification.html
MAX_WORDS, MAX_WORD_LENGTH = 90, 256  # a step adds a few words of its own to the 100 that are allowed


class Recipes(Config):
    """The settings of each stage's command, as in its YAML file; places (`out`, `dataset`, `model`, ...) are the pipeline's own."""

    preprocess: dict[str, Any] = Field(min_length=1)
    """Of `llmops-preprocess run`; `source.uri` is the parameter `Source` unless it is set here, `tokenizer` that of the model."""
    documents: dict[str, Any] | None = None
    """Of another `llmops-preprocess run`, for the documents that answers are looked up in; goes with `index`."""
    index: dict[str, Any] | None = None
    """Of `llmops-preprocess index`; none: no retrieval index."""
    train: dict[str, Any] = Field(min_length=1)
    """Of `llmops-train run`; it starts from the parameter `Model`."""
    evaluate: dict[str, Any] = Field(min_length=1)
    """Of `llmops-train evaluate`; with `thresholds`, or with the parameter `Baseline`, it can say no."""
    package: dict[str, Any] = Field(default={})
    """Of `llmops-train package`."""

    @model_validator(mode="after")
    def _steps_take_them(self) -> Self:
        trees = {name: tree for name in type(self).model_fields if (tree := getattr(self, name))}
        problems = [f"{name}: {problem}" for name, tree in trees.items() for problem in problems_of(words_of(tree))]
        if (self.documents is None) != (self.index is None):
            problems.append("documents and index go together: an index is made of documents")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class Pipeline(Config):
    """The SageMaker pipeline from raw text to the next Endpoint document."""

    recipes: Recipes | None = None
    """What its stages do; none: no pipeline, and drift is reported instead of answered by a retraining."""
    model: str | None = Field(default=None, pattern=r"^s3://[^/]+/.+")
    """Model that training starts from, unless an execution names another `Model`; a schedule and drift need it."""
    endpoint: str | None = Field(default=None, pattern=r"^s3://[^/]+/.+")
    """Endpoint document that gets the new package as shadow, unless an execution names another; none: each is the first of an endpoint."""
    registered_model: str = Field(default="assistant", pattern=r"^[a-zA-Z0-9][\w-]{0,55}$")
    """Name in MLflow's registry, and of a new endpoint."""
    schedule: str | None = Field(default=None, pattern=r"^(cron|rate)\(.+\)$")
    """When it runs by itself, `cron(...)` or `rate(...)` in UTC; none: on demand and after drift."""
    image_tag: str | None = Field(default=None, pattern=IMAGE_TAG)
    """Tag of the services' images, which is the commit they were built from, unless an execution names another `ImageTag`; a schedule and
    drift need it."""
    preprocess_instance_type: str = Field(default="ml.m5.4xlarge", pattern=INSTANCE_TYPE)
    """SageMaker instance type of preprocessing and indexing."""
    evaluate_instance_type: str = Field(default="ml.g5.2xlarge", pattern=INSTANCE_TYPE)
    """SageMaker instance type of evaluation and packaging, which load the model."""
    cache_days: int = Field(default=30, ge=0, le=365)
    """A step with the same words on the same image is not run again for this long; 0: always run."""
    approve: bool = False
    """Approve a package that passed its gate at once; otherwise a person does, in the registry or by the promotion's pull request."""

    @property
    def starts_by_itself(self) -> bool:
        """Whether an execution needs no more than its name: what drift starts."""
        return bool(self.model and self.image_tag)

    @model_validator(mode="after")
    def _starts_by_itself_only_when_it_can(self) -> Self:
        if self.schedule and not self.recipes:
            raise ValueError(f"schedule {self.schedule} has no pipeline to start: describe its stages in pipeline.recipes")
        if self.schedule and not self.model:
            raise ValueError(f"schedule {self.schedule} starts from no model: name its s3:// folder in pipeline.model")
        if self.schedule and not self.image_tag:
            raise ValueError(f"schedule {self.schedule} runs no image: name the commit it was built from in pipeline.image_tag")
        return self


def words_of(tree: Tree, prefix: str = "") -> list[str]:
    """The tree as `key.sub=value` words, which the services' commands read back to the same tree."""
    words: list[str] = []
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            words += words_of(value, f"{prefix}{key}.")
        else:
            words.append(f"{prefix}{key}={word_of(value)}")
    return words


def word_of(value: Any) -> str:
    """A value as YAML on one line: plain where that reads back as the same text, JSON otherwise."""
    if isinstance(value, str) and "\n" not in value and parse_words([f"x={value}"]) == {"x": value}:
        return value
    return json.dumps(value)


def problems_of(words: list[str]) -> list[str]:
    """What SageMaker would refuse of a command."""
    problems = [f"{len(words)} settings are more than the {MAX_WORDS} a step takes"] if len(words) > MAX_WORDS else []
    problems += [f"{word[:40]}... is longer than {MAX_WORD_LENGTH} characters" for word in words if len(word) > MAX_WORD_LENGTH]
    return problems + [f"{word.partition('=')[0]} is set by the pipeline itself; leave it out" for word in words if OWN.match(word)]


OWN = re.compile(r"^(out|dataset|model|run|evaluation|baseline|tokenizer|endpoint|registered_model)=")
