"""Settings of the methods: which weights learn, and from what."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmops_shared.config import Config

Method = Literal["pretrain", "full", "lora", "qlora", "prompt_tuning", "prefix_tuning", "llama_adapter", "dpo"]

# The section of the config that describes a method's adapter; `dpo` has `lora` if the config says so
SECTIONS = {
    "lora": "lora",
    "qlora": "lora",
    "prompt_tuning": "prompt_tuning",
    "prefix_tuning": "prefix_tuning",
    "llama_adapter": "llama_adapter",
}


class LoraConfig(Config):
    """The adapter of `method: lora` (Hu et al. 2021, https://arxiv.org/abs/2106.09685), on every linear layer but the output embedding."""

    rank: int = Field(default=16, ge=1)
    """Width of the adapter matrices."""
    alpha: float = Field(default=32.0, gt=0)
    """The adapter counts `alpha / rank` times."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout in front of the adapter."""


class QuantizationConfig(Config):
    """How the base of `method: qlora` is held (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314)."""

    kind: Literal["nf4", "fp4"] = Field(default="nf4")
    """Number format of the 4 bits."""
    double: bool = Field(default=True)
    """Quantizes the scales of the blocks, too: 0.4 bits less a parameter."""


class PromptTuningConfig(Config):
    """The adapter of `method: prompt_tuning` (Lester et al. 2021, https://arxiv.org/abs/2104.08691): vectors in front of every prompt."""

    num_virtual_tokens: int = Field(default=16, ge=1)
    """Vectors in front of every prompt."""
    initial_text: str | None = Field(default=None, min_length=1)
    """Text whose embeddings the vectors start from; none: those of random tokens of the vocabulary."""


class PrefixTuningConfig(Config):
    """The adapter of `method: prefix_tuning` (Li and Liang 2021, https://arxiv.org/abs/2101.00190): learnt keys and values."""

    num_virtual_tokens: int = Field(default=16, ge=1)
    """Keys and values in front of those of every layer."""
    initial: Literal["zero", "random"] = Field(default="zero")
    """What they start from."""


class LlamaAdapterConfig(Config):
    """The adapter of `method: llama_adapter` (Zhang et al. 2023, https://arxiv.org/abs/2303.16199): gated prompts inside attention."""

    num_virtual_tokens: int = Field(default=10, ge=1)
    """Vectors that each adapted layer attends to."""
    num_layers: int | None = Field(default=None, ge=1)
    """Topmost layers that are adapted; none: all."""


class DpoConfig(Config):
    """Preference tuning (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290) on rows with a `rejected` answer."""

    beta: float = Field(default=0.1, gt=0)
    """How much a step away from the reference model costs: less for a higher value."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the pairs taken to be the wrong way round (conservative DPO, https://ericmitchell.ai/cdpo.pdf)."""


class MethodConfig(Config):
    """The method and its sections."""

    method: Method
    """What learns. `pretrain`: all weights, from scratch or on from `model`, on texts; `full`: all weights of `model`, on chats; `lora`,
    `prompt_tuning`, `prefix_tuning`, `llama_adapter`: an adapter for `model`; `qlora`: a LoRA adapter for `model` held in 4 bits; `dpo`:
    preference tuning of `model`, or of a LoRA adapter for it where `lora` is given."""
    lora: LoraConfig | None = Field(default=None)
    """The adapter of methods lora and qlora, and of method dpo where all weights shall not learn."""
    quantization: QuantizationConfig | None = Field(default=None)
    """How method qlora holds its base; with method dpo and lora, too. None: with qlora its defaults."""
    prompt_tuning: PromptTuningConfig | None = Field(default=None)
    """The adapter; `method: prompt_tuning` only."""
    prefix_tuning: PrefixTuningConfig | None = Field(default=None)
    """The adapter; `method: prefix_tuning` only."""
    llama_adapter: LlamaAdapterConfig | None = Field(default=None)
    """The adapter; `method: llama_adapter` only, Llama and Mistral."""
    dpo: DpoConfig | None = Field(default=None)
    """Preference tuning; `method: dpo` only. None: its defaults."""

    @model_validator(mode="after")
    def check_sections(self) -> Self:
        needed = SECTIONS.get(self.method)
        if needed and getattr(self, needed) is None:
            raise ValueError(f"method {self.method} needs `{needed}: {{{EXAMPLES[needed]}}}`")
        allowed = {"dpo": {"lora", "quantization", "dpo"}, "qlora": {"lora", "quantization"}}.get(self.method, {needed})
        for section in ("lora", "quantization", "prompt_tuning", "prefix_tuning", "llama_adapter", "dpo"):
            if getattr(self, section) is not None and section not in allowed:
                raise ValueError(f"{section} describes {DESCRIBED[section]}, which method {self.method} does not have; {OWNERS[section]}")
        if self.method == "dpo" and self.quantization is not None and self.lora is None:
            raise ValueError("quantization holds the base of an adapter in 4 bits: add `lora: {...}`, or leave quantization out")
        return self

    @property
    def adapter(self) -> str | None:
        """The section that describes the adapter; None where all weights learn."""
        return "lora" if self.method == "dpo" and self.lora is not None else SECTIONS.get(self.method)

    @property
    def four_bits(self) -> QuantizationConfig | None:
        """How the base is quantized; None where it is not."""
        return self.quantization or (QuantizationConfig() if self.method == "qlora" else None)


EXAMPLES = {
    "lora": "rank: ..., alpha: ...",
    "prompt_tuning": "num_virtual_tokens: ...",
    "prefix_tuning": "num_virtual_tokens: ...",
    "llama_adapter": "num_virtual_tokens: ...",
}
DESCRIBED = {
    "lora": "an adapter",
    "quantization": "a base in 4 bits",
    "prompt_tuning": "an adapter",
    "prefix_tuning": "an adapter",
    "llama_adapter": "an adapter",
    "dpo": "preference tuning",
}
OWNERS = {
    "lora": "use method lora, qlora or dpo",
    "quantization": "use method qlora, or dpo with lora",
    "prompt_tuning": "use method prompt_tuning",
    "prefix_tuning": "use method prefix_tuning",
    "llama_adapter": "use method llama_adapter",
    "dpo": "use method dpo",
}
