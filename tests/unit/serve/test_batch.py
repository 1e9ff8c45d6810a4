"""Continuous batching: rows that join and leave give the very tokens that transformers' `generate` gives them alone."""

import pytest
import torch

from llmops_serve.engines.answer import Answer
from llmops_serve.engines.batch import Batch, Room
from llmops_serve.engines.engine import Prompt, Sampling
from llmops_serve.engines.load import end_tokens, load_model
from llmops_serve.engines.merged import merge_linears
from llmops_serve.engines.packed import PackedLinear, pack_linears
from llmops_serve.engines.row import Row
from llmops_serve.text import ModelText
from llmops_shared.errors import LlmopsError
from support.stories import PUBLISHED

PROMPTS = [[10, 20, 30], [40], [50, 60, 70, 80, 90, 100, 110, 120], [130, 140], [150, 160, 170, 180, 190]]


@pytest.fixture(scope="module")
def model(packages):
    torch.set_num_threads(1)
    return load_model(packages / "first" / "model")


def generate(model, prompt, num_tokens, **options):
    """The new tokens of one prompt, by transformers."""
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_tokens, do_sample=False, eos_token_id=None, pad_token_id=0, **options
    )
    return out[0, len(prompt) :].tolist()


def new_tokens(row):
    return row.token_ids[len(row.prompt_ids) :]


ROOM = Room(max_rows=8, max_tokens=256, cache_bytes=2**26)


def run(model, rows, joining=(), num_steps=12, room=ROOM):
    """Steps a batch; `joining` maps a step to the rows that join before it."""
    late = dict(joining)
    with torch.no_grad():
        batch = Batch(model, room)
        batch.join(rows)
        for step in range(num_steps):
            batch.join(late.get(step, []))
            batch.step()
    return batch


def greedy(prompt, **changes):
    return Row(list(prompt), Sampling(max_new_tokens=50, **changes))


def test_rows_of_different_lengths_are_what_they_are_alone(model):
    rows = [greedy(prompt) for prompt in PROMPTS]

    run(model, rows)

    assert [new_tokens(row) for row in rows] == [generate(model, prompt, 12) for prompt in PROMPTS]


def test_short_rows_beside_a_long_one_are_what_they_are_alone(model):
    rows = [greedy([number % 250 for number in range(230)]), *(greedy(prompt) for prompt in PROMPTS)]

    run(model, rows)

    assert [new_tokens(row) for row in rows] == [generate(model, row.prompt_ids, 12) for row in rows]


def test_what_lies_in_free_pages_is_never_looked_at(model):
    rows, late = [greedy(PROMPTS[2]), greedy(list(range(40)))], [greedy(PROMPTS[0]), greedy(PROMPTS[4])]
    with torch.no_grad():
        batch = Batch(model, ROOM)
        cache = batch._processor.cache
        for layer in range(model.config.num_hidden_layers):
            for pages in cache.layer_to_allocator[layer].get_cache_for_block_table(layer):
                pages.fill_(torch.nan)
        batch.join(rows)
        for step in range(40):
            if step == 10:
                batch.join(late)
            batch.step()

    assert [new_tokens(row) for row in rows] == [generate(model, row.prompt_ids, 40) for row in rows]
    assert [new_tokens(row) for row in late] == [generate(model, row.prompt_ids, 30) for row in late]


def test_packed_weights_are_the_same_weights():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.Linear(512, 256, bias=False), torch.nn.Linear(256, 8))
    states = torch.randn(3, 5, 512)
    with torch.no_grad():
        expected = model(states)
        pack_linears(model)
        found = model(states)

    assert [type(layer) for layer in model] == [PackedLinear, PackedLinear, torch.nn.Linear]
    assert torch.allclose(found, expected, atol=1e-5)


class Block(torch.nn.Module):
    """What layers that belong together look like."""

    def __init__(self, bias):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (torch.nn.Linear(512, size, bias=bias) for size in (512, 256, 256))
        self.gate_proj, self.up_proj = torch.nn.Linear(512, 64), torch.nn.Linear(256, 64)  # of unlike widths: left alone

    def forward(self, states, other):
        return [self.q_proj(states), self.k_proj(states), self.v_proj(states), self.k_proj(other), self.q_proj(other), self.q_proj(other)]


@pytest.mark.parametrize("bias", [True, False])
def test_merged_layers_say_what_they_said_apart_and_take_no_more_memory(bias):
    torch.manual_seed(0)
    block = Block(bias)
    states, other = torch.randn(1, 5, 512), torch.randn(1, 2, 512)
    num_weights = sum(parameter.numel() for parameter in block.parameters())
    with torch.no_grad():
        expected = block(states, other)
        merge_linears(block)
        kept = sum(parameter.numel() for parameter in block.parameters())
        pack_linears(block)
        found = block(states, other)
        block.q_proj(states)
        states.zero_()  # the product of before is of no use to the next layer
        later = block.k_proj(states)

    assert kept == num_weights
    assert type(block.up_proj) is torch.nn.Linear
    assert all(torch.allclose(one, two, atol=1e-5) for one, two in zip(found, expected, strict=True))
    assert torch.allclose(later, torch.zeros_like(later)) != bias


def test_rows_that_join_later_change_nothing(model):
    first, second, third = [greedy(PROMPTS[0])], [greedy(PROMPTS[2]), greedy(PROMPTS[1])], [greedy(PROMPTS[3])]

    run(model, first, {3: second, 7: third})

    for row in (*first, *second, *third):
        assert new_tokens(row) == generate(model, row.prompt_ids, len(new_tokens(row)))
    assert [len(new_tokens(row)) for row in (*first, *second, *third)] == [12, 9, 9, 5]


def test_rows_that_leave_change_nothing_and_free_their_memory(model):
    rows = [greedy(prompt) for prompt in PROMPTS]
    with torch.no_grad():
        batch = Batch(model, ROOM)
        before = batch.num_free_pages
        batch.join(rows)
        for _ in range(5):
            batch.step()
        held = before - batch.num_free_pages
        batch.leave([rows[2], rows[4]])
        for _ in range(5):
            batch.step()
        batch.leave([rows[0], rows[1], rows[3]])

    assert held == len(rows)
    assert batch.num_free_pages == before
    assert [len(new_tokens(row)) for row in rows] == [10, 10, 5, 10, 5]
    for row in rows:
        assert new_tokens(row) == generate(model, row.prompt_ids, len(new_tokens(row)))


def test_more_rows_than_there_is_memory_for_are_what_they_are_alone(model):
    """Pages for little more than one row: the others wait, or give theirs up and are read again."""
    rows = [greedy([*prompt, *range(60)]) for prompt in PROMPTS]
    scarce = Room(max_rows=8, max_tokens=130, cache_bytes=1)

    with torch.no_grad():
        batch = Batch(model, scarce)
        batch.join(rows)
        for _ in range(400):
            batch.leave([row for row, _ in batch.step() if row.num_new_tokens == 50])

    assert not batch.rows
    assert [new_tokens(row) for row in rows] == [generate(model, row.prompt_ids, 50) for row in rows]


def test_a_prompt_longer_than_a_step_is_read_in_pieces(model):
    long, short = greedy([number % 250 for number in range(240)]), greedy(PROMPTS[0])
    many = [greedy([number % 200 + 3, *long.prompt_ids[1:]]) for number in range(4)]

    run(model, [*many, short], num_steps=14)

    assert new_tokens(many[3])[:8] == generate(model, many[3].prompt_ids, 8)
    assert new_tokens(short)[:8] == generate(model, short.prompt_ids, 8)


@pytest.mark.parametrize("layers", [["sliding_attention"] * 2, ["sliding_attention", "full_attention"]])
def test_a_model_that_looks_back_so_far_only_does_so(layers):
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    shape = {
        "vocab_size": 256, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 8, "max_position_embeddings": 1024, "sliding_window": 40, "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0,
    }  # fmt: skip
    if "full_attention" in layers:
        model = Gemma3ForCausalLM(Gemma3TextConfig(**shape, layer_types=layers))
    else:
        model = MistralForCausalLM(MistralConfig(**shape))
    model.eval().requires_grad_(False)
    # within the window, beyond it, over its end while answering, and read in two pieces
    prompts = [[number * step % 251 + 1 for number in range(length)] for step, length in ((3, 20), (5, 100), (7, 36), (11, 700))]
    expected = [generate(model, prompt, 16) for prompt in prompts]
    ids = torch.tensor([prompts[1]])
    known = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    rows = [greedy(prompt, prompt_logprobs=prompt is prompts[1]) for prompt in prompts]

    run(model, rows, num_steps=20, room=Room(max_rows=4, max_tokens=800, cache_bytes=2**26))

    assert [new_tokens(row)[:16] for row in rows] == expected
    assert rows[1].prompt_logprobs[1:] == pytest.approx(known.tolist(), abs=1e-5)


def test_the_likeliest_tokens_are_told_when_asked_for(model):
    row = greedy(PROMPTS[0], top_n_tokens=3)
    with torch.no_grad():
        batch = Batch(model, ROOM)
        batch.join([row, greedy(PROMPTS[1])])
        told = {id(chosen): choice for chosen, choice in batch.step()}
        expected = model(torch.tensor([PROMPTS[0]])).logits[0, -1].log_softmax(-1).topk(3)

    choice = told.pop(id(row))
    assert [token for token, _ in choice.likely] == expected.indices.tolist()
    assert [logprob for _, logprob in choice.likely] == pytest.approx(expected.values.tolist(), abs=1e-4)
    assert choice.likely[0] == pytest.approx((choice.token_id, choice.logprob))
    assert [other.likely for other in told.values()] == [None]


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
    rows = [Row(PROMPTS[0], Sampling(max_new_tokens=1, do_sample=True, temperature=1.5, seed=seed)) for seed in range(1000)]
    with torch.no_grad():
        expected = model(torch.tensor([PROMPTS[0]])).logits[0, -1].div(1.5).softmax(-1)
        batch = Batch(model, Room(max_rows=500, max_tokens=16, cache_bytes=2**26))
        batch.join(rows)
        while any(row.num_new_tokens == 0 for row in rows):
            batch.leave([row for row, _ in batch.step()])
    tokens = torch.tensor([row.token_ids[-1] for row in rows])

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
    with torch.no_grad():
        batch = Batch(model, ROOM)
        batch.join([row, greedy(PROMPTS[0])])
        choice = next(choice for chosen, choice in batch.step() if chosen is row)
        expected = model(torch.tensor([PROMPTS[2]])).logits[0].log_softmax(-1)

    assert choice.logprob == pytest.approx(expected[-1].max().item(), abs=1e-4)
    assert row.prompt_logprobs[0] is None
    assert row.prompt_logprobs[1:] == pytest.approx([expected[at, token].item() for at, token in enumerate(PROMPTS[2][1:])], abs=1e-4)


def test_a_directory_that_holds_no_model_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')

    with pytest.raises(LlmopsError, match=f"{tmp_path}: cannot be loaded as a causal language model"):
        load_model(tmp_path)


def test_a_pickled_model_is_never_loaded(tmp_path, packages):
    model = load_model(packages / "first" / "model")
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")

    with pytest.raises(LlmopsError, match="cannot be loaded"):
        load_model(tmp_path)


@pytest.fixture(scope="module")
def stories(test_data):
    return load_model(test_data / "model-stories260k")


def test_the_published_text_of_a_published_model(stories, test_data):
    answer = Answer(1, Prompt("", [1]), Sampling(max_new_tokens=200), ModelText(test_data / "model-stories260k"))
    text = ""
    with torch.no_grad():
        batch = Batch(stories, ROOM)
        batch.join([answer.row])
        for _ in range(200):
            text += "".join(answer.advance(choice, end_tokens(stories)).text for _, choice in batch.step())

    assert text == PUBLISHED


def test_the_published_model_answers_many_as_transformers_does(stories):
    rows = [greedy(prompt) for prompt in ([1], [1, 403, 407, 261, 378], [1, 403])]

    run(stories, rows, num_steps=30)

    assert [new_tokens(row) for row in rows] == [generate(stories, row.prompt_ids, 30) for row in rows]
    assert end_tokens(stories) == {2}
