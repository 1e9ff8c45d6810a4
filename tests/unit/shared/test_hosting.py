"""Sizing a serving container: what fits where, what is derived, and what is refused with its figures."""

import pytest

from llmops_shared.contracts.engine import EngineSettings
from llmops_shared.errors import LlmopsError
from llmops_shared.hosting.container import container_of
from llmops_shared.hosting.facts import facts_of
from llmops_shared.hosting.instances import GIB
from llmops_shared.hosting.sizing import size_of
from support.families import FAMILIES, variant

ALL = ("fp8", "int8", "nf4")


def size(family, instance_type, **settings):
    return size_of(FAMILIES[family], EngineSettings(**settings), instance_type, ALL)


def environment(family, engine, instance_type, **changes):
    return container_of(variant(family, **changes), engine, instance_type, 900).environment


def test_what_an_instance_holds_is_what_its_memory_leaves():
    """Llama 3.1 8B on one A10G: 22.5 GiB x 0.9 - 1.5 - 15 GiB of weights, 128 KiB a token."""
    found = size("llama-3.1-8b", "ml.g5.2xlarge")

    left = (22.5 * 0.9 - 1.5) * GIB - 8_030_261_248 * 2
    assert found.batch_tokens == int(left / (2 * 32 * 8 * 128 * 2))
    assert (found.num_gpus, found.dtype, found.quantize) == (1, "bfloat16", None)


def test_weights_are_quantized_only_where_they_would_not_fit_otherwise():
    assert size("qwen2.5-14b", "ml.g5.2xlarge").quantize == "int8"
    assert size("qwen2.5-14b", "ml.g6.2xlarge").quantize == "fp8"  # the L4 has it, the A10G has not
    assert size("qwen2.5-14b", "ml.g5.12xlarge").quantize is None


def test_what_the_document_says_is_taken():
    found = size("mistral-7b", "ml.g6.12xlarge", tensor_parallel=2, quantize="nf4", max_context_tokens=8192, max_concurrent_requests=5)

    assert (found.num_gpus, found.quantize, found.context_tokens, found.requests) == (2, "nf4", 8192, 5)


def test_a_model_is_split_only_by_what_divides_its_heads():
    """Qwen 2.5 14B has 40 heads, 8 of keys: eight GPUs share them, three do not."""
    assert size("qwen2.5-14b", "ml.g5.48xlarge").num_gpus == 8
    with pytest.raises(LlmopsError, match=r"tensor_parallel 3: .* it can be split over 1, 2, 4"):
        size("qwen2.5-14b", "ml.g5.12xlarge", tensor_parallel=3)


@pytest.mark.parametrize(
    ("instance_type", "settings", "words"),
    [
        ("ml.g4dn.xlarge", {"quantize": "int8"}, r"14.8 billion parameters does not fit 1 x T4 of ml.g4dn.xlarge: 14.4 GiB of weights"),
        ("ml.m5.xlarge", {}, "has no GPU that we know"),
        ("ml.g5.2xlarge", {"quantize": "fp8"}, r"not with this engine on A10G of ml.g5.2xlarge \(possible: int8, nf4\)"),
        ("ml.g5.12xlarge", {"max_context_tokens": 40_000}, "the model takes 32768"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_figures(instance_type, settings, words):
    with pytest.raises(LlmopsError, match=words):
        size("qwen2.5-14b", instance_type, **settings)


def test_an_old_gpu_computes_in_float16():
    assert size("mistral-7b", "ml.g4dn.12xlarge").dtype == "float16"
    assert environment("mistral-7b", "lmi-vllm", "ml.g4dn.12xlarge")["OPTION_DTYPE"] == "fp16"


def test_a_package_that_is_quantized_already_is_taken_as_it_is():
    model = FAMILIES["qwen2.5-14b"].model_copy(update={"quantized": "awq"})

    assert environment("qwen2.5-14b", "tgi", "ml.g5.2xlarge", model=model)["HF_MODEL_QUANTIZE"] == "awq"
    assert "SM_VLLM_QUANTIZATION" not in environment("qwen2.5-14b", "vllm", "ml.g5.2xlarge", model=model)
    with pytest.raises(LlmopsError, match="is quantized already"):
        environment("qwen2.5-14b", "tgi", "ml.g5.2xlarge", model=model, settings={"quantize": "int8"})


def test_adapters_have_names_and_places():
    adapter = FAMILIES["mistral-7b"].model_copy(update={"layout": "adapter", "max_adapter_rank": 24})
    named = [{"name": "law", "package": {"uri": "law/package.json", "sha256": "1" * 64}}]
    own, further = "adapter=/opt/ml/model/adapter", "law=/opt/ml/additional-model-data-sources/law/adapter"

    assert environment("mistral-7b", "tgi", "ml.g5.2xlarge", model=adapter, adapters=named)["LORA_ADAPTERS"] == f"{own},{further}"
    vllm = environment("mistral-7b", "vllm", "ml.g5.2xlarge", model=adapter, adapters=named)
    assert (vllm["SM_VLLM_LORA_MODULES"], vllm["SM_VLLM_MAX_LORAS"], vllm["SM_VLLM_MAX_LORA_RANK"]) == (f"{own} {further}", "2", "32")
    with pytest.raises(LlmopsError, match="lmi-vllm loads no adapter beside its base"):
        environment("mistral-7b", "lmi-vllm", "ml.g5.2xlarge", model=adapter)
    with pytest.raises(LlmopsError, match="serves LoRA adapters only"):
        environment("mistral-7b", "tgi", "ml.g5.2xlarge", model=adapter.model_copy(update={"max_adapter_rank": None}))


def test_in_process_has_no_container():
    with pytest.raises(LlmopsError, match="in-process runs in the laptop's server"):
        environment("mistral-7b", "in-process", "ml.g5.2xlarge")
    with pytest.raises(LlmopsError, match="holds no facts of its package"):
        environment("mistral-7b", "tgi", "ml.g5.2xlarge", model=None)


def test_the_facts_come_from_the_models_config(packages_facts):
    llama = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32}
    gpt2 = {"n_layer": 12, "n_head": 12, "n_embd": 768}

    facts = facts_of(packages_facts, llama, "here")
    assert (facts.num_layers, facts.num_key_value_heads, facts.head_size, facts.quantized) == (2, 2, 8, None)
    assert facts_of(packages_facts, gpt2, "here").head_size == 64
    assert facts_of(packages_facts, {**llama, "quantization_config": {"quant_method": "gptq"}}, "here").quantized == "gptq"
    with pytest.raises(LlmopsError, match="here: model/config.json has no num_attention_heads"):
        facts_of(packages_facts, {}, "here")


@pytest.fixture
def packages_facts():
    from llmops_shared.contracts import ModelPackage, Reference

    return ModelPackage(
        name="tiny",
        run=Reference(uri="run.json", sha256=""),
        evaluation=None,
        layout="merged",
        files=[],
        architecture="LlamaForCausalLM",
        num_parameters=1000,
        max_context_tokens=64,
        dtype="float32",
        registered_model=None,
    )
