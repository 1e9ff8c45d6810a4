"""Adapters of every method, beside each other in one engine: each answers as peft's own model does, batched or not."""

import pytest
import torch

from llmops_serve.engines.batches import Batches
from llmops_serve.engines.engine import Sampling
from llmops_serve.engines.load import load_model
from llmops_serve.engines.messages import WorkerSettings
from llmops_serve.engines.row import Row
from llmops_shared.errors import LlmopsError

PROMPTS = [[10, 20, 30], [40], [50, 60, 70, 80, 90, 100, 110, 120]]
NUM_TOKENS = 10

pytestmark = [
    pytest.mark.slow,  # peft takes long to import
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),  # peft's own
    pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning"),  # several adapters is what we want
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]


def configurations():
    from peft import AdaptionPromptConfig, LoraConfig, PrefixTuningConfig, PromptTuningConfig

    task = {"task_type": "CAUSAL_LM"}
    return {
        "lora": LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, **task),
        "second-lora": LoraConfig(r=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False, **task),
        "prompt": PromptTuningConfig(num_virtual_tokens=5, **task),
        "prefix": PrefixTuningConfig(num_virtual_tokens=4, **task),
        "llama-adapter": AdaptionPromptConfig(adapter_len=4, adapter_layers=2, **task),
    }


@pytest.fixture(scope="module")
def base(packages):
    return packages / "first" / "model"


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    """Each adapter's folder and what peft's model answers with it; all differ from the base model's answers."""
    from peft import get_peft_model

    folder, found = tmp_path_factory.mktemp("adapters"), {None: (None, answers(load_model(base)))}
    for seed, (name, configuration) in enumerate(configurations().items()):
        torch.manual_seed(seed)
        tuned = get_peft_model(load_model(base), configuration).eval()
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.8)
        tuned.save_pretrained(str(folder / name))
        found[name] = (folder / name, answers(tuned))
    assert len({str(expected) for _, expected in found.values()}) == len(found)
    return found


def answers(model):
    """The greedy answers of a model, one prompt at a time."""
    found = []
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NUM_TOKENS,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        found.append(out[0].tolist()[-NUM_TOKENS:])
    return found


def served(base, names, own=None, adapters=None, **changes):
    """The engine's answers to all prompts as each of these adapters, all at the same time."""
    settings = WorkerSettings(base, own, threads=1, max_batch_size=8, max_total_tokens=64, adapters=adapters or {}, **changes)
    rows = {name: [Row(list(prompt), Sampling(max_new_tokens=NUM_TOKENS, adapter=name)) for prompt in PROMPTS] for name in names}
    with torch.no_grad():
        batches = Batches(settings, load_model(base))
        for row in (row for group in zip(*rows.values(), strict=True) for row in group):
            batches.join(row)
            batches.step()  # so that no two rows are at the same place
        while any(row.num_new_tokens < NUM_TOKENS for group in rows.values() for row in group):
            batches.leave([row for row, _ in batches.step() if row.num_new_tokens >= NUM_TOKENS])
    return {name: [row.token_ids[len(row.prompt_ids) :][:NUM_TOKENS] for row in group] for name, group in rows.items()}


@pytest.mark.parametrize("name", ["lora", "prompt", "prefix", "llama-adapter"])
def test_a_packages_own_adapter_answers_as_peft_does(base, trained, name):
    folder, expected = trained[name]

    assert served(base, [None], own=folder)[None] == expected


def test_adapters_by_name_and_the_base_model_answer_side_by_side(base, trained):
    names = [None, "lora", "second-lora", "prompt", "prefix"]

    found = served(base, names, adapters={name: trained[name][0] for name in names if name is not None})

    assert found == {name: trained[name][1] for name in names}


def test_a_packages_own_adapter_is_not_mixed_into_the_named_ones(base, trained):
    found = served(base, [None, "second-lora"], own=trained["lora"][0], adapters={"second-lora": trained["second-lora"][0]})

    assert found == {None: trained["lora"][1], "second-lora": trained["second-lora"][1]}


def test_a_llama_adapter_takes_no_others_beside_it(base, trained):
    with pytest.raises(LlmopsError, match="give it a variant of its own"):
        served(base, [None], adapters={"a": trained["llama-adapter"][0]})
    with pytest.raises(LlmopsError, match="give it a variant of its own"):
        served(base, [None], own=trained["llama-adapter"][0], adapters={"a": trained["lora"][0]})


def test_an_adapter_over_a_quantized_model_is_refused(base, trained):
    with pytest.raises(LlmopsError, match="over a whole model only"):
        served(base, [None], own=trained["lora"][0], quantize="int8")
