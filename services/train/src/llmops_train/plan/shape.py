"""The sizes of a decoder model, by its config.json or the architecture of a new one. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmops_shared.errors import LlmopsError
from llmops_train.config import ArchitectureConfig

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True)
class Shape:
    """A decoder with gated feed-forward blocks and grouped attention."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    intermediate_size: int
    tied: bool
    """Whether input and output embeddings are one matrix."""
    qkv_biases: bool = False
    """Qwen 2 has biases on query, key and value."""
    head_norms: bool = False
    """Qwen 3 normalises queries and keys."""

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of the linear layers of one block."""
        hidden, queries, keys = self.hidden_size, self.num_heads * self.head_size, self.num_kv_heads * self.head_size
        attention = [(hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden)]
        return [*attention, (hidden, self.intermediate_size), (hidden, self.intermediate_size), (self.intermediate_size, hidden)]

    @property
    def block_weights(self) -> int:
        """Weights of the linear layers of all blocks."""
        return self.num_layers * sum(inputs * outputs for inputs, outputs in self.matrices)

    @property
    def embedding(self) -> int:
        """Weights of one embedding matrix."""
        return self.vocab_size * self.hidden_size

    @property
    def num_parameters(self) -> int:
        """All parameters, shared ones once."""
        biases = (self.num_heads + 2 * self.num_kv_heads) * self.head_size if self.qkv_biases else 0
        norms = 2 * self.hidden_size + (2 * self.head_size if self.head_norms else 0)
        embeddings = self.embedding if self.tied else 2 * self.embedding
        return self.block_weights + embeddings + self.num_layers * (biases + norms) + self.hidden_size


def shape_of_architecture(architecture: ArchitectureConfig, vocab_size: int) -> Shape:
    """The new model of `method: pretrain`."""
    return Shape(
        vocab_size,
        architecture.hidden_size,
        architecture.num_layers,
        architecture.num_heads,
        architecture.num_heads,
        architecture.hidden_size // architecture.num_heads,
        architecture.intermediate_size,
        architecture.tie_embeddings,
    )


def shape_of(config: Mapping[str, Any], place: str) -> Shape:
    """A model by its config.json. Raises LlmopsError for a family whose sizes these formulas do not give."""
    family = config.get("model_type")
    if family not in FAMILIES:
        raise LlmopsError(f"{place}: models of type {family} are not in the plan's formulas (known: {', '.join(FAMILIES)})")
    try:
        heads = int(config["num_attention_heads"])
        return Shape(
            vocab_size=int(config["vocab_size"]),
            hidden_size=int(config["hidden_size"]),
            num_layers=int(config["num_hidden_layers"]),
            num_heads=heads,
            num_kv_heads=int(config.get("num_key_value_heads") or heads),
            head_size=int(config.get("head_dim") or int(config["hidden_size"]) // heads),
            intermediate_size=int(config["intermediate_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
            qkv_biases=family == "qwen2",
            head_norms=family == "qwen3",
        )
    except KeyError as error:
        raise LlmopsError(f"{place}: has no {error.args[0]}, which the plan is made from; give a complete config.json") from error
