"""Schedules and optimizers."""

import pytest
import torch

from llmops_train.config import OptimizerConfig
from llmops_train.optimizer import make_optimizers, orthogonal
from llmops_train.schedule import rate


def test_the_rate_rises_then_falls_to_its_last_share() -> None:
    cosine = OptimizerConfig(warmup_share=0.1, final_share=0.05)

    rates = [rate(cosine, step, 100) for step in range(100)]

    assert rates[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.05)


def test_a_linear_schedule_is_flat_before_its_decay() -> None:
    linear = OptimizerConfig(schedule="linear", warmup_share=0.2, decay_share=0.5)

    rates = [rate(linear, step, 10) for step in range(10)]

    assert rates == pytest.approx([0.5, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0])


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 8, 20), (2, 20, 8)])
def test_orthogonal_keeps_directions_and_evens_lengths(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    found = orthogonal(matrices)

    assert found.shape == matrices.shape
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    turned = left.mT @ found @ right.mT
    lengths = turned.diagonal(dim1=1, dim2=2)
    assert lengths.min() > 0.5 and lengths.max() < 1.3  # the quintic step trades exactness for speed: about 0.7 to 1.2
    torch.testing.assert_close(turned, torch.diag_embed(lengths), atol=1e-4, rtol=0)


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2))

    adamw, muon = make_optimizers(model, OptimizerConfig(kind="muon", learning_rate=0.001, muon_learning_rate=0.02, weight_decay=0.1))

    assert [len(group["params"]) for group in muon.param_groups] == [2 * 7]
    assert [(len(group["params"]), group["weight_decay"]) for group in adamw.param_groups] == [(2, 0.1), (2 * 2 + 1, 0.0)]
    assert {group["peak"] for group in adamw.param_groups} == {0.001} and muon.param_groups[0]["peak"] == 0.02
