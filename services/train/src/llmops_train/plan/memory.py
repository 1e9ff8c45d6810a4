"""Memory of one process, by method and parallelism; bytes. No torch here.

The highest point of a step is where the backward pass begins: all activations are there and the logits' own gradient, while gradients of
weights are made as activations go. What each block keeps is counted tensor by tensor as transformers' Llama and PyTorch's autograd
keep it: an input is kept where a weight or adapter behind it learns, a product where its other factor does.
"""

from dataclasses import asdict, dataclass

from llmops_train.config import TrainConfig
from llmops_train.plan.arithmetic import trained_parameters
from llmops_train.plan.shape import Shape

FLOAT, HALF = 4, 2


@dataclass(frozen=True)
class Split:
    """How a run is laid out over its processes."""

    data: int = 1
    """Processes with different rows."""
    tensor: int = 1
    pipeline: int = 1


@dataclass(frozen=True)
class Memory:
    """Bytes of one process."""

    weights: int
    """Of the model and its adapter."""
    reference: int
    """`dpo` of all weights: the frozen copy."""
    optimizer: int
    """Moments."""
    gradients: int
    """Of the weights that learn."""
    activations: int
    """What the forward pass keeps for the backward pass of one micro batch."""
    recomputed: int
    """With `gradient_checkpointing`: the activations of the block whose backward pass it is."""
    logits: int
    """Of the targets, with their softmax and gradient."""
    gathered: int
    """Weights of the block at work, where they are sharded otherwise."""
    early_gradients: int
    """Gradients that are there while all activations are: the embeddings', or all."""

    @property
    def peak(self) -> int:
        """The most that is there at a time."""
        standing = self.weights + self.reference + self.optimizer + self.gathered
        return standing + max(self.activations + max(self.logits, self.recomputed) + self.early_gradients, self.gradients)

    def as_dict(self) -> dict[str, int]:
        """Parts and peak."""
        return {**asdict(self), "peak": self.peak}


def memory_of(shape: Shape, config: TrainConfig, sequence_length: int, split: Split, target_share: float) -> Memory:
    """Memory of the process that needs most."""
    learning = trained_parameters(shape, config)
    cells = split.tensor * split.pipeline
    engine, stage = config.parallel.engine, config.parallel.zero_stage
    sharded = split.data if engine in ("fsdp2", "smp") or (engine == "deepspeed" and stage == 3) else 1
    shards = {"weights": cells * sharded, "gradients": cells * sharded, "optimizer": cells * sharded}
    if engine == "deepspeed":
        shards["optimizer"] = cells * split.data
        shards["gradients"] = cells * (split.data if stage >= 2 else 1)
    tokens = micro_rows(config, split) * sequence_length
    in_flight = split.pipeline  # micro batches of a first stage whose backward pass has not come
    offloaded = config.parallel.offload
    # DDP's buckets are always there; with several micro batches the first one's gradients wait for the others'
    stays = engine == "ddp" or micro_rows(config, split) < -(-config.batch_sequences // split.data)
    gradients = learning * FLOAT // shards["gradients"]
    return Memory(
        weights=weights_of(shape, config) // shards["weights"],
        reference=copy_of(shape, config),
        optimizer=0 if offloaded else moments_of(shape, config, learning) // shards["optimizer"],
        gradients=gradients,
        activations=in_flight * activations_of(shape, config, tokens, sequence_length, split) + casts_of(shape, config) // cells,
        recomputed=block_of(shape, config, tokens, sequence_length, split.tensor) if config.gradient_checkpointing else 0,
        logits=logits_of(shape, config, tokens, target_share) // split.tensor,
        gathered=gathered_of(shape, config, sharded),
        early_gradients=gradients if stays else early_of(shape, config) // shards["gradients"],
    )


def micro_rows(config: TrainConfig, split: Split) -> int:
    """Sequences that a process computes at a time."""
    share = -(-config.batch_sequences // split.data)
    return min(share, config.micro_batch_sequences or -(-share // split.pipeline))


def weights_of(shape: Shape, config: TrainConfig) -> int:
    """The model's weights: float32; a frozen base's matrices in bfloat16 with `dtype: bfloat16`, or in 4 bits with their scales."""
    adapter = trained_parameters(shape, config) * FLOAT if config.adapter else 0
    matrices = shape.block_weights
    rest = shape.num_parameters - matrices
    if config.four_bits is not None:
        # blocks of 64 numbers share a scale: 4 bytes, or a byte and 4 bytes for 256 of them
        scales = matrices / 64 * (1 + FLOAT / 256 if config.four_bits.double else FLOAT)
        return int(matrices / 2 + scales) + rest * FLOAT + adapter
    if config.adapter is not None and config.dtype == "bfloat16":
        return matrices * HALF + rest * FLOAT + adapter
    return shape.num_parameters * FLOAT + adapter


def copy_of(shape: Shape, config: TrainConfig) -> int:
    """The reference of `dpo`, which an adapter does not need."""
    if config.method != "dpo" or config.adapter is not None:
        return 0
    wide = shape.num_parameters - shape.block_weights if config.dtype == "bfloat16" else shape.num_parameters
    return wide * FLOAT + (shape.num_parameters - wide) * HALF


def moments_of(shape: Shape, config: TrainConfig, learning: int) -> int:
    """Two moments a weight with AdamW; one for the blocks' matrices with Muon."""
    if config.optimizer.kind == "muon":
        return (2 * learning - shape.block_weights) * FLOAT
    return 2 * learning * FLOAT


def gathered_of(shape: Shape, config: TrainConfig, sharded: int) -> int:
    """Whole weights of a block and of the embeddings, where every process else holds its share of them."""
    if sharded == 1:
        return 0
    return (shape.block_weights // shape.num_layers + shape.embedding) * FLOAT


def early_of(shape: Shape, config: TrainConfig) -> int:
    """The output embedding's gradient is the first to be there."""
    return shape.embedding * FLOAT if config.adapter is None else 0


def logits_of(shape: Shape, config: TrainConfig, tokens: int, target_share: float) -> int:
    """Logits, their log-softmax, and the gradient of both; `dpo` keeps no others while the reference is asked."""
    targets = int(tokens * target_share)
    return targets * shape.vocab_size * (LOGIT_COPIES * FLOAT + (HALF if config.dtype == "bfloat16" else 0))


LOGIT_COPIES = 3


def activations_of(shape: Shape, config: TrainConfig, tokens: int, sequence_length: int, split: Split) -> int:
    """What the blocks of a process keep for one micro batch; of recomputed ones their inputs alone."""
    layers = -(-shape.num_layers // split.pipeline)
    if config.gradient_checkpointing:
        return layers * tokens * shape.hidden_size * FLOAT
    return layers * block_of(shape, config, tokens, sequence_length, split.tensor)


def block_of(shape: Shape, config: TrainConfig, tokens: int, sequence_length: int, tensor: int) -> int:
    """What one block keeps, its attention mask as numbers included."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    queries, keys = shape.num_heads * shape.head_size, shape.num_kv_heads * shape.head_size
    inputs_kept = config.adapter in (None, "lora")  # of linear layers: where their weights, or an adapter beside them, learn
    normed = 2 * hidden if config.adapter is None else 0  # before its scale, which learns
    attention = 2 * queries + 2 * keys + (queries if inputs_kept else 0)
    feed_forward = (4 if inputs_kept else 3) * inner
    # with `dtype: bfloat16` norms stay in float32, and what linear layers and attention take and give does not
    wide = 2 * hidden + normed
    narrow = (2 * hidden if inputs_kept else 0) + (attention + feed_forward) / tensor + sequence_length
    return int(tokens * (wide * FLOAT + narrow * number_of(config)))


def casts_of(shape: Shape, config: TrainConfig) -> int:
    """Copies in bfloat16 of the weights that learn, which autocast keeps from the forward to the backward pass."""
    if config.dtype != "bfloat16" or config.adapter is not None:
        return 0
    return (shape.block_weights + shape.embedding) * HALF


def number_of(config: TrainConfig) -> int:
    """Bytes of a number in the arithmetic of `dtype`."""
    return HALF if config.dtype == "bfloat16" else FLOAT
