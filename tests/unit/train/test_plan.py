"""`llmops-train plan`: sizes by formula equal to the real ones, memory measured, time and price bounded, quota and zones asked."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.prices.price_list import read_prices
from llmops_train.cli import main
from llmops_train.config import ArchitectureConfig, TrainConfig
from llmops_train.plan.arithmetic import flops_a_token, trained_parameters
from llmops_train.plan.config import PlanConfig
from llmops_train.plan.make import plan
from llmops_train.plan.memory import Split, memory_of
from llmops_train.plan.shape import Shape, shape_of, shape_of_architecture
from unit.train.tiny import tiny_settings

SIZES = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 300}
ARCHITECTURE = {"hidden_size": 256, "num_layers": 4, "num_heads": 4, "intermediate_size": 704, "max_position_embeddings": 512}


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("Llama", {"num_key_value_heads": 2, "tie_word_embeddings": False}),
        ("Llama", {"num_key_value_heads": 4, "tie_word_embeddings": True}),
        ("Mistral", {"num_key_value_heads": 2}),
        ("Qwen2", {"num_key_value_heads": 2}),
        ("Qwen3", {"num_key_value_heads": 2, "head_dim": 32}),
    ],
)
def test_a_model_has_the_parameters_the_formula_says(family: str, more: dict[str, Any]) -> None:
    import torch
    import transformers

    config = getattr(transformers, f"{family}Config")(**SIZES, **more)
    with torch.device("meta"):
        model = getattr(transformers, f"{family}ForCausalLM")(config)

    assert shape_of(config.to_dict(), "config.json").num_parameters == model.num_parameters()


def test_a_family_without_a_formula_is_named() -> None:
    with pytest.raises(LlmopsError, match=r"x/config.json: models of type gpt2 are not in the plan's formulas \(known: llama"):
        shape_of({"model_type": "gpt2"}, "x/config.json")


METHODS: list[dict[str, Any]] = [
    {"method": "full"},
    {"method": "lora", "lora": {"rank": 8}},
    {"method": "prompt_tuning", "prompt_tuning": {"num_virtual_tokens": 16}},
    {"method": "prefix_tuning", "prefix_tuning": {"num_virtual_tokens": 16}},
    {"method": "llama_adapter", "llama_adapter": {"num_virtual_tokens": 10}},
]


def config_of(**more: object) -> TrainConfig:
    return TrainConfig.model_validate(tiny_settings(**{"out": "o", "dataset": "d", "model": "m", "max_steps": 3, **more}))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["method"])
def test_as_many_parameters_learn_as_the_formula_says(method: dict[str, Any], tmp_path: Path) -> None:
    from llmops_train.methods.adapters import add_adapter
    from llmops_train.model import count_parameters, new_model
    from support.memory import Vocabulary

    architecture, config = ArchitectureConfig.model_validate(ARCHITECTURE), config_of(**method)
    model = add_adapter(new_model(architecture, Vocabulary(500), 0), config, tmp_path)  # type: ignore[arg-type]

    assert trained_parameters(shape_of_architecture(architecture, 500), config) == count_parameters(model, trainable=True)


CASES: list[dict[str, Any]] = [
    {"config": {"method": "full"}, "architecture": {**ARCHITECTURE, "hidden_size": 128, "intermediate_size": 352}},
    {"config": {"method": "full"}, "architecture": {**ARCHITECTURE, "hidden_size": 384, "num_layers": 6, "num_heads": 6}, "rows": 4},
    {"config": {"method": "full"}, "rows": 1, "length": 128},
    {"config": {"method": "full", "gradient_checkpointing": True}},
    {"config": {"method": "full", "micro_batch_sequences": 2}, "target_share": 0.3},
    {"config": {"method": "full", "optimizer": {"kind": "muon"}}, "architecture": {**ARCHITECTURE, "tie_embeddings": False}, "rows": 2},
    {"config": {"method": "full", "dtype": "bfloat16"}, "rows": 2},
    {"config": {"method": "lora", "lora": {}, "dtype": "bfloat16"}, "rows": 2},
    {"config": {"method": "dpo"}, "rows": 2},
    {"config": {"method": "dpo", "lora": {"rank": 16}}, "rows": 2},
    *({"config": method, "rows": 4} for method in METHODS[1:]),
]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_torch_allocates_what_the_plan_predicts() -> None:
    cases = [{"architecture": ARCHITECTURE, "rows": 8, "length": 256, "vocab_size": 4096, "target_share": 1.0} | case for case in CASES]
    for case in cases:
        case["config"] = {"model": "m", **case["config"]}
    done = subprocess.run(
        [sys.executable, "-m", "support.memory"],
        input="".join(json.dumps(case) + "\n" for case in cases),
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured = [int(line) for line in done.stdout.split()]

    ratios = {}
    for case, figure in zip(cases, measured, strict=True):
        config = config_of(**{"batch_sequences": case["rows"], **case["config"]})
        shape = shape_of_architecture(ArchitectureConfig.model_validate(case["architecture"]), case["vocab_size"])
        predicted = memory_of(shape, config, case["length"], Split(), case["target_share"]).peak
        ratios[json.dumps(case)] = predicted / figure
    assert all(0.85 <= ratio <= 1.15 for ratio in ratios.values()), "\n".join(f"{ratio:.3f} {case}" for case, ratio in ratios.items())


LLAMA_8B = Shape(128256, 4096, 32, 32, 8, 128, 14336, tied=False)
GIB = 2**30


@pytest.mark.parametrize(
    ("parallel", "split", "weights", "gradients", "optimizer"),
    [
        ({}, Split(), 29.9, 29.9, 59.8),
        ({"engine": "ddp"}, Split(data=8), 29.9, 29.9, 59.8),
        ({"engine": "deepspeed", "zero_stage": 1}, Split(data=8), 29.9, 29.9, 7.5),
        ({"engine": "deepspeed", "zero_stage": 2}, Split(data=8), 29.9, 3.7, 7.5),
        ({"engine": "deepspeed", "zero_stage": 3}, Split(data=8), 3.7, 3.7, 7.5),
        ({"engine": "deepspeed", "zero_stage": 2, "offload": True}, Split(data=8), 29.9, 3.7, 0.0),
        ({"engine": "fsdp2"}, Split(data=8), 3.7, 3.7, 7.5),
        ({"engine": "fsdp2", "tensor": 2, "pipeline": 2}, Split(2, 2, 2), 3.7, 3.7, 7.5),
    ],
)
def test_parallelism_shards_what_it_shards(
    parallel: dict[str, Any], split: Split, weights: float, gradients: float, optimizer: float
) -> None:
    config = config_of(method="full", parallel=parallel, batch_sequences=16)

    memory = memory_of(LLAMA_8B, config, 2048, split, 1.0)

    assert LLAMA_8B.num_parameters == 8_030_261_248  # as its model card says
    assert [round(part / GIB, 1) for part in (memory.weights, memory.gradients, memory.optimizer)] == [weights, gradients, optimizer]


def test_a_base_in_four_bits_takes_an_eighth() -> None:
    lora = {"rank": 16}
    whole = memory_of(LLAMA_8B, config_of(method="lora", lora=lora), 2048, Split(), 1.0)
    half = memory_of(LLAMA_8B, config_of(method="lora", lora=lora, dtype="bfloat16"), 2048, Split(), 1.0)
    four = memory_of(LLAMA_8B, config_of(method="qlora", lora=lora), 2048, Split(), 1.0)

    matrices = LLAMA_8B.block_weights
    assert whole.weights - half.weights == 2 * matrices
    assert matrices * 0.51 < four.weights - (whole.weights - 4 * matrices) < matrices * 0.52


def test_operations_are_those_of_the_paper() -> None:
    shape = shape_of_architecture(ArchitectureConfig.model_validate(ARCHITECTURE), 4096)
    linear, attention = shape.block_weights + shape.embedding, 12 * 4 * 256 * 512

    assert flops_a_token(shape, config_of(method="full"), 512) == 6 * linear + attention
    assert flops_a_token(shape, config_of(method="llama_adapter", llama_adapter={}), 512) == 4 * linear + attention
    assert flops_a_token(shape, config_of(method="dpo"), 512) == 8 * linear + attention * 4 / 3


def words(text: str, *more: str) -> list[str]:
    given = tiny_settings(method="pretrain", num_epochs=2)
    return ["plan", f"dataset={text}", *(f"{key}={json.dumps(value)}" for key, value in given.items()), *more]


def test_the_cheapest_place_that_fits_is_best_and_the_price_is_the_lists(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    types = 'plan.instance_types=["ml.p4d.24xlarge", "ml.g5.xlarge"]'

    assert main(words(text, types, "max_steps=null")) == 0

    told = json.loads(capsys.readouterr().out)
    best, other = told["choices"]
    manifest = read_document(text, DatasetManifest)
    assert (told["best"], told["verdict"], best["place"], other["place"]) == ("ml.g5.xlarge", "pass", "ml.g5.xlarge", "ml.p4d.24xlarge")
    assert told["num_tokens"] == pytest.approx(2 * manifest.splits["train"].num_tokens, rel=0.1)
    assert best["usd"] == pytest.approx(best["hours"] * read_prices("us-east-1").instance("ml.g5.xlarge"))
    assert best["hours"] * 3600 * best["tokens_per_second"] == pytest.approx(told["num_tokens"])


def test_what_is_too_dear_or_too_large_is_refused_with_exit_code_3(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    long = ["max_steps=1000000000", "num_epochs=null", 'plan.instance_types=["ml.g5.xlarge"]', "plan.max_usd=1"]

    assert main(words(text, *long)) == 3

    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert (told["best"], told["verdict"]) == (None, "fail")
    assert "USD, more than plan.max_usd 1" in told["choices"][0]["problems"][0] and "USD, more than plan.max_usd 1" in printed.err
    wide = ["architecture.hidden_size=8192", "architecture.num_layers=80", 'plan.instance_types=["ml.g5.xlarge"]']
    assert main(words(text, *wide)) == 3
    assert "GiB a process, and there are 21.3" in json.loads(capsys.readouterr().out)["choices"][0]["problems"][0]


def test_a_type_that_does_not_exist_is_named_with_its_neighbours(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(text, 'plan.instance_types=["ml.g5.3xlarge"]')) == 2
    assert "ml.g5.3xlarge: SageMaker trains on no such type; did you mean ml.g5." in capsys.readouterr().err


def test_a_plan_takes_its_config_as_a_bare_word_and_writes_nothing(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps({**tiny_settings(method="pretrain", max_steps=5), "dataset": text, "out": str(tmp_path / "run")}))

    assert main(["plan", str(path)]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["num_steps"] == 5 and "this machine" in [choice["place"] for choice in told["choices"]]
    assert not (tmp_path / "run").exists()


class Stubbed:
    """AWS clients that answer once, and only what was asked exactly so."""

    def __init__(self, answers: dict[str, list[tuple[str, dict[str, Any], dict[str, Any]]]]) -> None:
        import boto3
        from botocore.stub import Stubber

        self.clients: dict[str, Any] = {}
        for service, calls in answers.items():
            secrets = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
            self.clients[service] = boto3.client(service, region_name="us-east-1", **secrets)
            stubber = Stubber(self.clients[service])
            for operation, expected, response in calls:
                stubber.add_response(operation, response, expected)
            stubber.activate()
        self.region = "us-east-1"

    def client(self, service: str) -> Any:
        return self.clients[service]


def quotas(*pairs: tuple[str, float]) -> dict[str, Any]:
    return {"Quotas": [{"ServiceCode": "sagemaker", "QuotaName": name, "Value": value} for name, value in pairs]}


def offers(*zones: str) -> dict[str, Any]:
    return {
        "InstanceTypeOfferings": [{"InstanceType": "g5.xlarge", "LocationType": "availability-zone", "Location": zone} for zone in zones]
    }


ZONES = (
    "describe_instance_type_offerings",
    {"LocationType": "availability-zone", "Filters": [{"Name": "instance-type", "Values": ["g5.xlarge"]}]},
)
ASKED = {"ServiceCode": "sagemaker"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "defaults", "zones", "problem"),
    [
        ([("ml.g5.xlarge for training job usage", 2.0)], None, ["us-east-1a", "us-east-1b"], None),
        (
            [("ml.g5.xlarge for endpoint usage", 9.0)],
            [("ml.g5.xlarge for training job usage", 1.0)],
            ["us-east-1a"],
            "may train on 1 of it",
        ),
        ([], [], ["us-east-1a"], "Service Quotas knows no training quota of it"),
        ([("ml.g5.xlarge for training job usage", 2.0)], None, ["us-east-1f"], "is in us-east-1f, the job's subnets in us-east-1a"),
    ],
)
def test_quota_and_zones_are_asked_with_exact_requests(
    text: str, own: list[Any], defaults: list[Any] | None, zones: list[str], problem: str | None
) -> None:
    limits = [("list_service_quotas", ASKED, quotas(*own))]
    if defaults is not None:
        limits.append(("list_aws_default_service_quotas", ASKED, quotas(*defaults)))
    clients: Any = Stubbed({"service-quotas": limits, "ec2": [(*ZONES, offers(*zones))]})
    settings = {"instance_types": ["ml.g5.xlarge"], "num_instances": 2, "account": True, "zones": ["us-east-1a"]}
    config = PlanConfig.model_validate({**tiny_settings(method="pretrain", max_steps=5), "dataset": text, "plan": settings})

    told = plan(config, clients)

    assert told.choices[0].zones == zones
    assert [problem in found for found in told.choices[0].problems] == ([True] if problem else [])
    assert told.verdict == ("fail" if problem else "pass")


@pytest.mark.slow
def test_a_refused_question_says_which_permission_is_missing(text: str) -> None:
    from botocore.stub import Stubber

    clients: Any = Stubbed({"service-quotas": [], "ec2": []})
    stubber = Stubber(clients.client("service-quotas"))
    stubber.add_client_error("list_service_quotas", "AccessDeniedException", "no")
    stubber.activate()
    settings = {"instance_types": ["ml.g5.xlarge"], "account": True}
    config = PlanConfig.model_validate({**tiny_settings(method="pretrain", max_steps=5), "dataset": text, "plan": settings})

    with pytest.raises(LlmopsError, match="allow servicequotas:ListServiceQuotas, or plan.account=false"):
        plan(config, clients)


def test_a_tuned_models_plan_is_made_from_the_model_below_it(tuned: str, chat: str) -> None:
    given = tiny_settings(method="lora", lora={"rank": 4}, max_steps=5, dataset=chat, model=tuned)

    told = plan(PlanConfig.model_validate({**given, "plan": {"instance_types": ["ml.g5.xlarge"]}}))

    assert told.num_parameters - told.num_trainable_parameters == 30880
