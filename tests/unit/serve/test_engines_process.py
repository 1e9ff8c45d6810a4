"""The process of a model, as a whole: split over two processes, quantized, and the published text of a real small model."""

import asyncio

import pytest
import torch

from llmops_serve.engines.engine import Prompt, Sampling, UnsupportedError
from llmops_serve.engines.in_process import InProcessEngine
from llmops_serve.engines.load import load_model
from llmops_serve.engines.messages import WorkerSettings
from llmops_serve.text import ModelText
from support.stories import PUBLISHED

PROMPTS = [[10, 20, 30], [40], [50, 60, 70, 80, 90]]


def answers(model, prompts, adapters=None, **changes):
    """The tokens of greedy answers of one engine, asked at the same time."""
    settings = WorkerSettings(model, None, threads=1, max_batch_size=8, max_total_tokens=256, **changes)

    async def ask(engine, prompt):
        sampling = Sampling(max_new_tokens=8 if len(prompt) > 1 or prompt == [40] else 200)
        return [step async for step in engine.generate(Prompt("", prompt), sampling)]

    async def run():
        engine = InProcessEngine("x", settings, 10, 240)
        await engine.start()
        try:
            return await asyncio.gather(*(ask(engine, prompt) for prompt in prompts))
        finally:
            await engine.stop()

    return asyncio.run(run())


def greedy(model, prompt, num_tokens):
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_tokens, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    return out[0, len(prompt) :].tolist()


@pytest.mark.slow
def test_the_published_text_of_a_published_model(test_data):
    (steps,) = answers(test_data / "model-stories260k", [[1]])

    assert "".join(step.text for step in steps) == PUBLISHED


@pytest.mark.slow
def test_a_model_split_over_two_processes_answers_as_the_whole_one(packages):
    model = packages / "first" / "model"
    expected = load_model(model)

    found = answers(model, PROMPTS, tensor_parallel=2)

    assert [[step.token_id for step in steps] for steps in found] == [greedy(expected, prompt, 8) for prompt in PROMPTS]


@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["int8", "nf4"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_quantized_model_is_smaller_and_close_to_the_whole_one(test_data, quantize):
    folder = test_data / "model-stories260k"
    whole, small = load_model(folder), load_model(folder, quantize)
    ids = torch.tensor([ModelText(folder).encode("Once upon a time, there was a little girl", special=True)])

    with torch.no_grad():
        exact, near = (model(ids).logits[0].log_softmax(-1) for model in (whole, small))

    divergence = (exact.exp() * (exact - near)).sum(-1).mean()
    assert not torch.equal(exact, near)
    assert divergence < (0.01 if quantize == "int8" else 0.2)


def test_an_adapter_that_is_not_served_is_refused_by_name(packages):
    settings = WorkerSettings(packages / "first" / "model", None, 1, 8, 64, adapters={"law": packages / "second"})
    engine = InProcessEngine("x", settings, 10, 60)

    async def ask():
        async for _ in engine.generate(Prompt("", [1]), Sampling(max_new_tokens=1, adapter="poetry")):
            pass

    with pytest.raises(UnsupportedError, match=r"`adapter_id` poetry is not served here \(known: law\)"):
        asyncio.run(ask())
