"""A base in 4 bits: evaluated in the middle of training and with odd widths, where bitsandbytes' repacking for AVX512-BF16 would spoil it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmops_train.config import ArchitectureConfig, TrainConfig
from llmops_train.data import make_batch
from llmops_train.feed.sequences import Packed
from llmops_train.loss import summed_loss
from llmops_train.methods.adapters import add_adapter
from llmops_train.methods.quantized import load_four_bits
from llmops_train.model import count_parameters, load_tokenizer, new_model, save_model
from unit.train.tiny import tiny_settings


@pytest.fixture(scope="module")
def odd(text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose feed-forward width is no multiple of the 64 that a block of 4-bit numbers has."""
    folder = tmp_path_factory.mktemp("odd")
    sizes = {"hidden_size": 64, "num_layers": 2, "num_heads": 2, "intermediate_size": 352, "max_position_embeddings": 128}
    save_model(new_model(ArchitectureConfig.model_validate(sizes), load_tokenizer(Path(text) / "tokenizer"), 0), folder)
    return folder


def adapted(folder: Path, kind: str = "nf4") -> tuple[Any, TrainConfig]:
    given = {"method": "qlora", "lora": {"rank": 4}, "quantization": {"kind": kind}, "max_steps": 1}
    config = TrainConfig.model_validate(tiny_settings(out="o", dataset="d", model="m", **given))
    assert config.four_bits is not None
    model = add_adapter(load_four_bits(folder, config.four_bits, torch.float32), config, folder)
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model, config


def packed() -> Packed:
    random = np.random.default_rng(0)
    return Packed(random.integers(5, 320, (2, 32)).astype(np.uint16), np.ones((2, 32), np.uint16), np.ones((2, 32), np.uint8))


def losses(folder: Path, evaluate: bool) -> list[float]:
    """The losses of some steps, with an evaluation and a generated answer between them or not."""
    model, config = adapted(folder)
    optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.02)
    found = []
    for _ in range(5):
        loss, count = summed_loss(model, make_batch(packed(), np.arange(2)), config)
        (loss / count).backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
        if evaluate:
            model.eval()
            with torch.no_grad():
                summed_loss(model, make_batch(packed(), np.arange(1)), config)
                model.generate(input_ids=torch.tensor([[7, 8, 9]]), attention_mask=torch.ones(1, 3), max_new_tokens=3, pad_token_id=1)
            model.train()
    return found


@pytest.mark.slow
def test_an_evaluation_in_the_middle_changes_no_step(odd: Path) -> None:
    unbroken = losses(odd, evaluate=False)

    assert losses(odd, evaluate=True) == unbroken
    assert unbroken[-1] < unbroken[0]


def test_no_layer_may_take_the_form_that_has_no_gradients(odd: Path) -> None:
    from bitsandbytes.nn.modules import Linear4bit

    model, _ = adapted(odd)
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]

    assert len(layers) == 14
    # on a processor without AVX512-BF16 bitsandbytes sets it so itself, and the test above says nothing: this one does
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)


def test_gradients_are_those_of_the_dequantized_weights(odd: Path) -> None:
    import bitsandbytes.functional as functional
    from bitsandbytes.nn.modules import Linear4bit

    model, config = adapted(odd)
    batch = make_batch(packed(), np.arange(2))
    summed_loss(model, batch, config)[0].backward()  # type: ignore[no-untyped-call]
    ours = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, Linear4bit):
                whole = torch.nn.Linear(layer.in_features, layer.out_features, bias=False)
                weight = functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
                whole.weight = torch.nn.Parameter(weight.float(), requires_grad=False)
                setattr(parent, name, whole)

    summed_loss(model, batch, config)[0].backward()  # type: ignore[no-untyped-call]

    for mine, parameter in zip(ours, (p for p in model.parameters() if p.grad is not None), strict=True):
        torch.testing.assert_close(mine, parameter.grad, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_parameters_are_counted_by_what_they_stand_for(kind: str, odd: Path) -> None:
    model, _ = adapted(odd, kind)
    matrices = 2 * (4 * 64 * 64 + 3 * 64 * 352)

    assert count_parameters(model) - count_parameters(model, trainable=True) == matrices + 320 * 64 + 5 * 64
