"""TrainingRun: weights that training made, and what they were made from."""

from typing import ClassVar, Literal

from pydantic import Field

from llmops_shared.contracts.document import Contract, Part, Reference, Value


class BaseModelSource(Value):
    """The model a run started from when that was not one of our own runs."""

    uri: str
    """Hugging Face id, local directory or `s3://` prefix as given in the config."""
    sha256: str
    """Digest over the names and contents of its files."""


class TrainingRun(Contract):
    """One finished training job."""

    file_name: ClassVar[str] = "run.json"

    kind: Literal["run"] = "run"
    """What this document is."""
    name: str
    """Name of the run, as it appears in MLflow."""
    method: Literal["pretrain", "full", "lora", "qlora", "prompt_tuning", "prefix_tuning", "llama_adapter", "dpo"]
    """How the weights were changed."""
    dataset: Reference
    """The DatasetManifest it was trained on."""
    parent: Reference | None
    """The TrainingRun whose weights it started from."""
    base_model: BaseModelSource | None
    """The outside model it started from; None for a model from scratch or one with a `parent`."""
    weights: list[Part]
    """Full model directory (safetensors, config, tokenizer) below `model/`, or the adapter alone below `adapter/`."""
    num_parameters: int = Field(ge=1)
    """Parameters of the whole model."""
    num_trainable_parameters: int = Field(ge=1)
    """Parameters that training changed."""
    num_steps: int = Field(ge=0)
    """Optimizer steps taken."""
    num_tokens: int = Field(ge=0)
    """Tokens the model was trained on, padding left out, counted once per pass."""
    seed: int
    """Seed of initialisation and data order."""
    metrics: dict[str, float]
    """Final figures: `train_loss`, `validation_loss`, `tokens_per_second`, `train_seconds`, ..."""
    mlflow_run_id: str | None
    """The MLflow run of this job; None when it was not tracked."""
    versions: dict[str, str]
    """Versions of the packages that decide the numbers."""
