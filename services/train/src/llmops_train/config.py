"""Settings of train's verbs."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.config import Config, JobConfig
from llmops_train.feed_config import FeedConfig
from llmops_train.launch_config import LaunchConfig
from llmops_train.method_config import LoraConfig, MethodConfig
from llmops_train.parallel_config import ParallelConfig

__all__ = ["ArchitectureConfig", "LoraConfig", "MethodConfig", "OptimizerConfig", "PackageConfig", "TrainConfig"]


class ArchitectureConfig(Config):
    """The Llama that `method: pretrain` starts from; its vocabulary is that of the dataset's tokenizer."""

    hidden_size: int = Field(default=256, ge=8)
    """Width."""
    num_layers: int = Field(default=4, ge=1)
    """Depth."""
    num_heads: int = Field(default=4, ge=1)
    """Attention heads; `hidden_size / num_heads` must be even."""
    intermediate_size: int = Field(default=704, ge=8)
    """Width inside the feed-forward blocks."""
    max_position_embeddings: int = Field(default=512, ge=8)
    """Longest prompt and answer together, in tokens."""
    tie_embeddings: bool = Field(default=True)
    """One matrix for input and output embeddings."""

    @model_validator(mode="after")
    def check_heads(self) -> Self:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of 2 x num_heads {self.num_heads} (rotary positions come in pairs)"
            )
        return self


class OptimizerConfig(Config):
    """How weights move: AdamW, or Muon for the matrices inside the blocks with AdamW for the rest."""

    kind: Literal["adamw", "muon"] = Field(default="adamw")
    """`muon` orthogonalises the momentum of each matrix (https://kellerjordan.github.io/posts/muon); for weights, not for adapters."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak of AdamW's learning rate."""
    muon_learning_rate: float = Field(default=0.02, gt=0)
    """Peak of Muon's learning rate; read with `kind: muon` only."""
    schedule: Literal["cosine", "linear"] = Field(default="cosine")
    """How the rate falls from its peak: `cosine` over all steps after the warm-up, `linear` over the last `decay_share`."""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the rate rises from 0."""
    decay_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the steps in which a `linear` schedule falls; it is constant before (warm-up, stable, decay)."""
    final_share: float = Field(default=0.0, ge=0, lt=1)
    """Rate at the last step, as a share of the peak."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay of matrices; norms have none."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """AdamW's first moment."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """AdamW's second moment."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients longer than this are scaled to it."""

    @model_validator(mode="after")
    def check_shares(self) -> Self:
        if self.schedule == "linear" and self.warmup_share + self.decay_share > 1:
            raise ValueError(f"warmup_share {self.warmup_share} and decay_share {self.decay_share} are more than all steps")
        return self


class TrainConfig(JobConfig, MethodConfig):
    """Settings of `llmops-train run`."""

    name: str = Field(min_length=1)
    """Name of the run, as MLflow shows it."""
    dataset: str = Field(min_length=1)
    """DatasetManifest: its folder or file."""
    model: str | None = Field(default=None)
    """Start: folder of a TrainingRun or ModelPackage, model directory, `s3://` prefix, or Hugging Face id; safetensors only."""
    architecture: ArchitectureConfig | None = Field(default=None)
    """The new model of `method: pretrain`; forbidden together with `model`."""
    optimizer: OptimizerConfig = Field(default=OptimizerConfig())
    """Optimizer and schedule."""
    feed: FeedConfig = Field(default=FeedConfig())
    """How the data reaches the trainer."""
    parallel: ParallelConfig = Field(default=ParallelConfig())
    """How the run is split over processes; it changes results in the last digits only."""
    launch: LaunchConfig | None = Field(default=None)
    """How those processes are started; none: this is the only one, or torchrun or mpirun has started it."""
    batch_sequences: int = Field(default=8, ge=1)
    """Packed sequences in one step, over all processes."""
    micro_batch_sequences: int | None = Field(default=None, ge=1)
    """Sequences a process computes at a time, gradients adding up to the step's; none: all it has, or one part for each pipeline stage."""
    gradient_checkpointing: bool = Field(default=False)
    """Keeps one activation a block and computes the others again in the backward pass: a third more work, a fraction of the memory."""
    num_epochs: float | None = Field(default=None, gt=0)
    """Length of training in passes over the train split; exactly one of num_epochs, max_steps, max_tokens."""
    max_steps: int | None = Field(default=None, ge=1)
    """Length of training in steps."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Length of training in tokens, padding left out; the step that reaches it is the last."""
    dtype: Literal["float32", "bfloat16"] = Field(default="float32")
    """Number format of the arithmetic; weights are float32. `bfloat16` is slow on a processor without AVX512-BF16 or AMX."""
    num_threads: int | None = Field(default=None, ge=1)
    """Threads of torch; none: one a core. Another number gives results that differ in the last digits."""
    seed: int = Field(default=0, ge=0)
    """Seed of initialisation, data order and dropout."""
    log_every_steps: int = Field(default=10, ge=1)
    """Steps between two points of the curves in MLflow."""
    validate_every_steps: int | None = Field(default=None, ge=1)
    """Steps between two measurements of the validation loss; none: only at the end."""
    examples: int = Field(default=3, ge=0)
    """Rows of the validation split that the model answers at each of these, for a table in MLflow; engines none and ddp."""
    example_tokens: int = Field(default=32, ge=1)
    """Longest of those answers in tokens."""
    checkpoint_every_steps: int = Field(default=200, ge=1)
    """Steps between two checkpoints; a stopped run goes on from the last."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Checkpoints kept; a damaged one is passed over for the one before."""
    checkpoint_uri: str | None = Field(default=None, min_length=1)
    """Folder of the checkpoints, which all nodes see; none: `<out>/checkpoint`. In SageMaker's containers `/opt/ml/checkpoints`."""
    checkpoint_scratch: str | None = Field(default=None, min_length=1)
    """Folder on each node's disk, for files on their way to S3; none: the system's folder for temporary files."""
    checkpoint_part_mib: int = Field(default=64, ge=5, le=5120)
    """MiB of a part of an upload to S3, four of which go at a time; it grows where an object would have more than 10,000 parts."""

    @model_validator(mode="after")
    def check_method(self) -> Self:
        if self.method != "pretrain" and self.model is None:
            raise ValueError(f"method {self.method} starts from a model: add `model: ...` (folder, s3:// prefix or Hugging Face id)")
        if self.architecture is not None and (self.method != "pretrain" or self.model is not None):
            raise ValueError("architecture describes a new model, so it goes with method pretrain and without model")
        if self.method == "pretrain" and self.model is None and self.architecture is None:
            raise ValueError("method pretrain needs either architecture (a new model) or model (to train on from one)")
        if self.adapter is not None and self.optimizer.kind == "muon":
            raise ValueError("optimizer.kind muon is for weight matrices, not for the thin matrices of an adapter; use adamw")
        if self.adapter not in (None, "lora") and self.parallel.engine not in ("none", "ddp"):
            raise ValueError(
                f"method {self.method} trains a few vectors, which parallel.engine {self.parallel.engine} cannot split; use ddp"
            )
        if self.four_bits is not None and self.parallel.engine not in ("none", "ddp"):
            raise ValueError(f"a base in 4 bits cannot be split by parallel.engine {self.parallel.engine}; use ddp")
        if self.method == "prefix_tuning" and self.gradient_checkpointing:
            raise ValueError("gradient_checkpointing drops the keys and values that prefix_tuning learns; leave it off")
        if self.method == "dpo" and self.parallel.engine not in ("none", "ddp"):
            raise ValueError(f"method dpo needs a whole reference model, which engine {self.parallel.engine} does not keep; use ddp")
        if self.method == "dpo" and self.feed.input_mode not in ("auto", "file"):
            raise ValueError(f"method dpo reads its pairs from the dataset's rows; leave out feed.input_mode {self.feed.input_mode}")
        return self

    @model_validator(mode="after")
    def check_parallel(self) -> Self:
        parallel = self.parallel
        sharded = parallel.engine in ("fsdp2", "deepspeed", "smp")
        if sharded and self.optimizer.kind == "muon":
            raise ValueError(
                f"optimizer.kind muon works on whole matrices, which parallel.engine {parallel.engine} splits; use adamw, or ddp"
            )
        if parallel.tensor * parallel.pipeline > 1 and self.method not in ("pretrain", "full"):
            raise ValueError(f"parallel.tensor and parallel.pipeline split a model of method pretrain or full, not of {self.method}")
        return self

    @model_validator(mode="after")
    def check_length(self) -> Self:
        given = [name for name in ("num_epochs", "max_steps", "max_tokens") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of num_epochs, max_steps, max_tokens; given: {', '.join(given) or 'none'}")
        return self


class PackageConfig(JobConfig):
    """Settings of `llmops-train package`."""

    run: str = Field(min_length=1)
    """TrainingRun to package: its folder or file."""
    evaluation: str | None = Field(default=None)
    """Evaluation Report of that run."""
    registered_model: str | None = Field(default=None, min_length=1)
    """Name in MLflow's model registry; the new version gets the alias `challenger`. None: not registered."""
    layout: Literal["merged", "adapter"] = Field(default="merged")
    """`merged`: one model directory. `adapter`: base and adapter side by side, as prompt_tuning, prefix_tuning and llama_adapter need."""
    acceptance_prompts: int = Field(default=8, ge=1)
    """Prompts whose greedy answers must be the same before and after packaging."""
    acceptance_tokens: int = Field(default=24, ge=1)
    """Length of those answers in tokens."""
