"""A model with its adapters: the package's own, and those that requests ask for by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmops_serve.engines.method import method_of
from llmops_serve.engines.virtual import Layers, VirtualTokens, add_vectors
from llmops_shared.errors import LlmopsError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

OWN = "package-own"  # peft's name for the package's own adapter


class Loaded(NamedTuple):
    """An adapter that is ready."""

    layers: str | None = None
    """The name peft knows its layers by; None: it has none, or they are part of the model."""
    virtual: VirtualTokens | None = None
    """What it puts in front of every prompt."""


class AdaptedModel:
    """One model in memory; which adapter's layers are at work is switched between steps."""

    def __init__(self, model: "PreTrainedModel", own: Path | None, named: Mapping[str, Path], foldable: bool) -> None:
        self.model = model
        self._active: str | None = None
        self.is_plain = True
        """False: it has modules of peft's, which look at the weights of the layers they wrap."""
        fold = foldable and not named
        self.adapters: dict[str | None, Loaded] = {None: Loaded() if own is None else self._load(own, OWN, fold)}
        for name, folder in named.items():
            self.adapters[name] = self._load(folder, name, fold=False)
        if any(loaded.layers for loaded in self.adapters.values()):
            self.model.disable_adapters()

    def use(self, name: str | None) -> None:
        """Makes the model answer as this adapter."""
        wanted = self.adapters[name].layers
        if wanted == self._active:
            return
        if wanted is None:
            self.model.disable_adapters()
        else:
            self.model.enable_adapters()
            self.model.set_adapter(wanted)
        self._active = wanted

    def _load(self, folder: Path, name: str, fold: bool) -> Loaded:
        method = method_of(folder)
        match method:
            case "LORA" if fold:
                self.model = peft_model(self.model, folder).merge_and_unload()
                return Loaded()
            case "LORA":
                self.model.load_adapter(str(folder), adapter_name=name)
                self.is_plain = False
                return Loaded(layers=name)
            case "ADAPTION_PROMPT" if name == OWN and fold:
                # its attention modules stay in the model that was wrapped
                self.model = peft_model(self.model, folder).get_base_model()
                self.is_plain = False
                return Loaded()
            case "PROMPT_TUNING":
                vectors = peft_model(self.model, folder).get_prompt(batch_size=1)[0]
                return Loaded(virtual=VirtualTokens(add_vectors(self.model, vectors), len(vectors), None))
            case "PREFIX_TUNING":
                layers = prefix_layers(peft_model(self.model, folder).get_prompt(batch_size=1))
                num_tokens = layers[0][0].shape[1]
                return Loaded(virtual=VirtualTokens(add_vectors(self.model, blank(self.model, num_tokens)), num_tokens, layers))
            case "ADAPTION_PROMPT":
                raise LlmopsError(
                    f"{folder}: a LLaMA adapter lives inside the model's attention and cannot be served beside others, "
                    "quantized or split; give it a variant of its own"
                )
        raise LlmopsError(f"{folder}: adapters of method {method} cannot be served; package the run with layout=merged")


def peft_model(model: "PreTrainedModel", folder: Path) -> Any:
    """The model with the adapter as peft puts it on. Raises LlmopsError when peft is missing."""
    try:
        from peft import PeftModel
    except ImportError as error:
        way_out = "install llmops-serve[adapters], or package the run as merged"
        raise LlmopsError(f"{folder}: serving an adapter needs peft; {way_out}") from error
    return PeftModel.from_pretrained(model, str(folder), is_trainable=False).eval()


def prefix_layers(cache: Any) -> Layers:
    """The learned keys and values of each layer, without the dimension of the batch."""
    return [(layer.keys[0].detach(), layer.values[0].detach()) for layer in cache.layers]


def blank(model: "PreTrainedModel", num_tokens: int) -> "torch.Tensor":
    """Embeddings that stand for nothing: what a prefix says is in its keys and values."""
    weight: torch.Tensor = model.get_input_embeddings().weight
    return weight.new_zeros(num_tokens, weight.shape[1])
