"""ModelPackage: what a server needs to answer, in one folder."""

from typing import ClassVar, Literal

from pydantic import Field

from llmops_shared.contracts.document import Contract, Part, Reference, Value


class RegisteredModel(Value):
    """The entry of this package in MLflow's model registry."""

    name: str
    """Registered model."""
    version: str
    """Version number in the registry."""


class ModelPackage(Contract):
    """A model directory that any engine can load, accepted by a test before this document was written."""

    file_name: ClassVar[str] = "package.json"

    kind: Literal["package"] = "package"
    """What this document is."""
    name: str
    """Name of the package."""
    run: Reference
    """The TrainingRun it was made from."""
    evaluation: Reference | None
    """The evaluation Report of that run."""
    layout: Literal["merged", "adapter"]
    """`merged`: one full model directory. `adapter`: a full base model in `model/` and the adapter, as peft writes it, in `adapter/`."""
    mergeable: bool = Field(default=True)
    """Whether the adapter can be part of the weights. Those of prompt_tuning, prefix_tuning and llama_adapter cannot."""
    files: list[Part]
    """Everything under `model/` (and `adapter/`): safetensors, config, tokenizer with its chat template."""
    architecture: str
    """Class name in the model's config, such as `LlamaForCausalLM`."""
    num_parameters: int = Field(ge=1)
    """Parameters of the model as served."""
    max_context_tokens: int = Field(ge=1)
    """Prompt and answer together may not be longer."""
    dtype: str
    """Number format of the stored weights, such as `float32`."""
    registered_model: RegisteredModel | None
    """Its entry in the model registry; None when it was not registered."""
