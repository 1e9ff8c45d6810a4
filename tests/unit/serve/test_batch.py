"""Continuous batching: rows that join and leave give the very tokens that transformers' `generate` gives them alone."""

import pytest
import torch

from llmops_serve.engines.batch import Batch, Row
from llmops_serve.engines.engine import Sampling
from llmops_serve.engines.load import end_tokens, load_model
from llmops_shared.errors import LlmopsError

PROMPTS = [[10, 20, 30], [40], [50, 60, 70, 80, 90, 100, 110, 120], [130, 140], [150, 160, 170, 180, 190]]


@pytest.fixture(scope="module")
def model(packages):
    torch.set_num_threads(1)
    return load_model(packages / "first" / "model", None)


def generate(model, prompt, num_tokens, **options):
    """The new tokens of one prompt, by transformers."""
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_tokens, do_sample=False, eos_token_id=None, pad_token_id=0, **options
    )
    return out[0, len(prompt) :].tolist()


def new_tokens(row):
    return row.token_ids[len(row.prompt_ids) :]


def run(model, rows, joining=(), num_steps=12):
    """Steps a batch; `joining` maps a step to the rows that join before it."""
    late = dict(joining)
    with torch.inference_mode():
        batch = Batch(model)
        batch.join(rows)
        for step in range(1, num_steps):
            if step in late:
                batch.join(late[step])
            batch.step()
    return batch


def greedy(prompt, **changes):
    return Row(list(prompt), Sampling(max_new_tokens=50, **changes))


def test_rows_of_different_lengths_are_what_they_are_alone(model):
    rows = [greedy(prompt) for prompt in PROMPTS]

    run(model, rows)

    assert [new_tokens(row) for row in rows] == [generate(model, prompt, 12) for prompt in PROMPTS]


def test_rows_that_join_later_change_nothing(model):
    first, second, third = [greedy(PROMPTS[0])], [greedy(PROMPTS[2]), greedy(PROMPTS[1])], [greedy(PROMPTS[3])]

    run(model, first, {3: second, 7: third})

    for row in (*first, *second, *third):
        assert new_tokens(row) == generate(model, row.prompt_ids, len(new_tokens(row)))
    assert [len(new_tokens(row)) for row in (*first, *second, *third)] == [12, 10, 10, 6]


def test_rows_that_leave_change_nothing_and_free_their_memory(model):
    rows = [greedy(prompt) for prompt in PROMPTS]
    with torch.inference_mode():
        batch = Batch(model)
        batch.join(rows)
        for _ in range(4):
            batch.step()
        batch.leave([rows[2], rows[4]])  # the longest ones
        width = batch._mask.shape[1]
        for _ in range(5):
            batch.step()
        batch.leave([rows[0], rows[1], rows[3]])

    assert width == max(len(rows[index].token_ids) for index in (0, 1, 3)) - 5 - 1
    assert [len(new_tokens(row)) for row in rows] == [10, 10, 5, 10, 5]
    for row in rows:
        assert new_tokens(row) == generate(model, row.prompt_ids, len(new_tokens(row)))
    assert batch.rows == []


def test_a_repetition_penalty_is_transformers_own(model):
    plain, penalised = greedy(PROMPTS[0]), greedy(PROMPTS[0], repetition_penalty=3.0)

    run(model, [plain, penalised])

    assert new_tokens(penalised) == generate(model, PROMPTS[0], 12, repetition_penalty=3.0)
    assert new_tokens(plain) == generate(model, PROMPTS[0], 12)
    assert new_tokens(plain) != new_tokens(penalised)


def test_draws_depend_on_their_seed_and_not_on_the_batch(model):
    def drawn(seed, others):
        row = Row(PROMPTS[0], Sampling(max_new_tokens=50, do_sample=True, temperature=1.3, top_k=50, top_p=0.9, seed=seed))
        run(model, [row, *others])
        return new_tokens(row)

    alone = drawn(7, [])

    assert drawn(7, [greedy(PROMPTS[2])]) == alone
    assert drawn(8, []) != alone


def test_draws_follow_the_models_distribution(model):
    """A thousand first tokens against the softmax of the logits; total variation below what chance allows."""
    with torch.inference_mode():
        expected = model(torch.tensor([PROMPTS[0]])).logits[0, -1].div(1.5).softmax(-1)
        rows = [Row(PROMPTS[0], Sampling(max_new_tokens=1, do_sample=True, temperature=1.5, seed=seed)) for seed in range(1000)]
        tokens = torch.tensor([choice.token_id for choice in Batch(model).join(rows)])

    counted = torch.bincount(tokens, minlength=len(expected)) / len(tokens)
    by_chance = (
        torch.bincount(
            torch.multinomial(expected, 1000, replacement=True, generator=torch.Generator().manual_seed(0)), minlength=len(expected)
        )
        / 1000
    )
    assert (counted - expected).abs().sum() < 1.3 * (by_chance - expected).abs().sum()


def test_log_probabilities_are_the_models_own(model):
    row = greedy(PROMPTS[2], prompt_logprobs=True)
    with torch.inference_mode():
        choice = Batch(model).join([row, greedy(PROMPTS[0])])[0]
        expected = model(torch.tensor([PROMPTS[2]])).logits[0].log_softmax(-1)

    assert choice.logprob == pytest.approx(expected[-1].max().item(), abs=1e-4)
    assert row.prompt_logprobs[0] is None
    assert row.prompt_logprobs[1:] == pytest.approx([expected[at, token].item() for at, token in enumerate(PROMPTS[2][1:])], abs=1e-4)


def test_a_directory_that_holds_no_model_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')

    with pytest.raises(LlmopsError, match=f"{tmp_path}: cannot be loaded as a causal language model"):
        load_model(tmp_path, None)


def test_a_pickled_model_is_never_loaded(tmp_path, packages):
    model = load_model(packages / "first" / "model", None)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")

    with pytest.raises(LlmopsError, match="cannot be loaded"):
        load_model(tmp_path, None)


def test_the_published_tiny_stories_model_answers_as_transformers_does(test_data):
    model = load_model(test_data / "model-stories260k", None)
    prompts = [[1], [1, 403, 407, 261, 378], [1, 403]]
    rows = [greedy(prompt) for prompt in prompts]

    run(model, rows, num_steps=100)

    assert [new_tokens(row) for row in rows] == [generate(model, prompt, 100) for prompt in prompts]
    assert end_tokens(model) == {2}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft's own
def test_an_adapter_is_folded_into_its_base_model(packages, tmp_path):
    from peft import LoraConfig, get_peft_model

    tuned = get_peft_model(
        load_model(packages / "first" / "model", None), LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    tuned.save_pretrained(str(tmp_path))

    served = load_model(packages / "first" / "model", tmp_path)

    with torch.inference_mode():
        ids = torch.tensor([PROMPTS[2]])
        plain, expected, found = (model(ids).logits for model in (load_model(packages / "first" / "model", None), tuned, served))
    assert torch.allclose(found, expected, atol=1e-3)
    assert not torch.allclose(found, plain, atol=1e-1)
