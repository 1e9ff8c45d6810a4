"""The serving stack, from an Endpoint document."""

from pathlib import Path
from typing import Any

import pytest

from llmops_infra.config import load_environment
from llmops_infra.containers import image_uri, serving_container
from llmops_infra.endpoint_document import read_endpoint
from llmops_infra.hardware import takes_a_key
from llmops_infra.serving_settings import Hosting
from llmops_infra.synth import synth
from llmops_shared.contracts.document import Reference
from llmops_shared.contracts.engine import Adapter
from llmops_shared.errors import LlmopsError
from llmops_shared.hosting.container import IMAGES
from support.infrastructure import SMALL_LLAMA, endpoint_document, synthesize, synthesized, variant
from support.stacks import Resources, needs_node


def only(resources: Resources, kind: str) -> dict[str, Any]:
    (found,) = resources[kind].values()
    return found


def test_one_production_and_one_shadow_variant(serving: Resources) -> None:
    configuration = only(serving, "aws_sagemaker_endpoint_configuration")

    assert [item["variant_name"] for item in configuration["production_variants"]] == ["base"]
    assert [item["variant_name"] for item in configuration["shadow_production_variants"]] == ["tuned"]
    # every request is copied: the shadow's share equals production's
    weights = {item["initial_variant_weight"] for kind in ("", "shadow_") for item in configuration[f"{kind}production_variants"]}
    assert weights == {1}


def test_input_and_output_are_captured_as_json_and_encrypted(serving: Resources) -> None:
    capture = only(serving, "aws_sagemaker_endpoint_configuration")["data_capture_config"]

    assert capture["enable_capture"] and capture["initial_sampling_percentage"] == 100
    assert [option["capture_mode"] for option in capture["capture_options"]] == ["Input", "Output"]
    assert "application/json" in capture["capture_content_type_header"]["json_content_types"]
    assert capture["kms_key_id"] == '${data.terraform_remote_state.platform.outputs.key_arns["captures"]}'
    assert capture["destination_s3_uri"] == "${data.terraform_remote_state.platform.outputs.exchanges_uri}"


@pytest.mark.parametrize(
    "instance_type, key",
    [("ml.m5.xlarge", True), ("ml.c6i.2xlarge", True), ("ml.inf2.xlarge", True), ("ml.r5.large", True)]
    + [
        (name, False)
        for name in ("ml.g4dn.xlarge", "ml.g5.2xlarge", "ml.g6e.12xlarge", "ml.p4d.24xlarge", "ml.p5en.48xlarge", "ml.m5d.xlarge")
    ],
)
def test_no_key_is_named_for_disks_that_the_hardware_encrypts(instance_type: str, key: bool) -> None:
    assert takes_a_key(instance_type) == key


def test_an_endpoint_on_such_disks_names_no_key(serving: Resources, tmp_path: Path) -> None:
    needs_node()
    (tmp_path / "endpoint.json").write_bytes(endpoint_document(variant("base")).to_json())
    words = [f"serving.endpoint={tmp_path}", "serving.hosting.instance_type=ml.p3.2xlarge", "max_monthly_usd=60000"]
    other = Path(synth(load_environment("dev", words), tmp_path).stacks["serving"])

    assert "kms_key_arn" not in only(serving, "aws_sagemaker_endpoint_configuration")
    assert "key_arns" in only(synthesized(other)["resource"], "aws_sagemaker_endpoint_configuration")["kms_key_arn"]


def test_traffic_shifts_by_a_canary_and_rolls_back_on_latency_errors_and_answer_quality(serving: Resources) -> None:
    endpoint = only(serving, "aws_sagemaker_endpoint")
    policy = endpoint["deployment_config"]["blue_green_update_policy"]
    alarms = serving["aws_cloudwatch_metric_alarm"]

    routing = policy["traffic_routing_configuration"]
    assert (routing["type"], routing["canary_size"]) == ("CANARY", {"type": "CAPACITY_PERCENT", "value": 10})
    rollback = {item["alarm_name"] for item in endpoint["deployment_config"]["auto_rollback_configuration"]["alarms"]}
    named = {f"${{aws_cloudwatch_metric_alarm.{name}.alarm_name}}" for name in alarms}
    assert (
        rollback
        == named
        == {f"${{aws_cloudwatch_metric_alarm.alarms_{name}.alarm_name}}" for name in ("quality", "base-latency", "base-errors")}
    )


def test_the_quality_alarm_watches_what_our_monitor_publishes(serving: Resources) -> None:
    alarm = serving["aws_cloudwatch_metric_alarm"]["alarms_quality"]

    assert (alarm["namespace"], alarm["metric_name"]) == ("LLMOps", "AnswerQuality")
    assert alarm["dimensions"] == {"Environment": "full", "Endpoint": "assistant"}
    assert (alarm["comparison_operator"], alarm["threshold"]) == ("LessThanThreshold", 0.6)


def test_a_missing_deployment_config_does_not_replace_the_endpoint(serving: Resources) -> None:
    assert only(serving, "aws_sagemaker_endpoint")["lifecycle"]["ignore_changes"] == ["deployment_config"]


def test_a_deployment_that_was_rolled_back_fails_the_apply(serving: Resources) -> None:
    (condition,) = only(serving, "aws_sagemaker_endpoint")["lifecycle"]["postcondition"]

    wanted = "aws_sagemaker_endpoint_configuration.endpoint_configuration.name"
    assert condition["condition"] == f"${{self.endpoint_config_name == {wanted}}}"
    assert "Generation 1 of assistant was rolled back" in condition["error_message"]


def test_the_endpoint_runs_on_the_old_configuration_until_the_new_one_has_taken_over(serving: Resources) -> None:
    assert only(serving, "aws_sagemaker_endpoint_configuration")["lifecycle"] == {"create_before_destroy": True}


def test_linear_steps(tmp_path: Path) -> None:
    needs_node()
    (tmp_path / "endpoint.json").write_bytes(endpoint_document(variant("base")).to_json())
    words = [f"serving.endpoint={tmp_path}", "serving.deployment.shift=linear", "serving.deployment.step_percent=25"]
    resources = synthesized(Path(synth(load_environment("dev", words), tmp_path).stacks["serving"]))["resource"]

    policy = only(resources, "aws_sagemaker_endpoint")["deployment_config"]["blue_green_update_policy"]

    assert policy["traffic_routing_configuration"] == {
        "linear_step_size": {"type": "CAPACITY_PERCENT", "value": 25},
        "type": "LINEAR",
        "wait_interval_in_seconds": 600,
    }
    # four steps of ten minutes, ten minutes with the old fleet at hand, an hour to start the new one
    assert policy["maximum_execution_timeout_in_seconds"] == 4 * 600 + 600 + 3600


def test_production_is_scaled_by_requests_in_flight_and_by_the_clock(serving: Resources) -> None:
    target, policy = only(serving, "aws_appautoscaling_target"), only(serving, "aws_appautoscaling_policy")
    actions = {action["name"]: action for action in serving["aws_appautoscaling_scheduled_action"].values()}

    assert target["resource_id"] == "endpoint/${aws_sagemaker_endpoint.endpoint_endpoint.name}/variant/base"
    assert (target["min_capacity"], target["max_capacity"]) == (1, 4)
    tracking = policy["target_tracking_scaling_policy_configuration"]
    metric = tracking["predefined_metric_specification"]["predefined_metric_type"]
    assert metric == "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    night, morning = sorted(actions.values(), key=lambda action: action["scalable_target_action"]["max_capacity"])
    assert night["schedule"] == "cron(0 20 * * ? *)" and night["scalable_target_action"] == {"min_capacity": "1", "max_capacity": "1"}
    assert morning["scalable_target_action"] == {"min_capacity": "1", "max_capacity": "4"}


def test_models_are_private_and_isolated_and_load_plain_files(serving: Resources) -> None:
    for model in serving["aws_sagemaker_model"].values():
        (source,) = model["primary_container"]["model_data_source"]["s3_data_source"]
        assert model["enable_network_isolation"]
        assert model["vpc_config"]["subnets"] == "${data.terraform_remote_state.platform.outputs.subnet_ids}"
        assert (source["s3_data_type"], source["compression_type"]) == ("S3Prefix", "None")
        assert source["s3_uri"].startswith("s3://llmops-models/packages/") and source["s3_uri"].endswith("/")


def test_another_package_is_another_model_and_configuration_but_the_same_endpoint(serving: Resources, tmp_path: Path) -> None:
    needs_node()
    other = variant("base").model_copy(update={"package": variant("base").package.model_copy(update={"sha256": "1" * 64})})
    changed = synthesized(synthesize("full", tmp_path, endpoint_document(other, variant("tuned", shadow=True)))["serving"])["resource"]

    def names(resources: Resources, kind: str) -> set[str]:
        return {resource["name"] for resource in resources[kind].values()}

    assert len(names(serving, "aws_sagemaker_model") & names(changed, "aws_sagemaker_model")) == 1
    assert names(serving, "aws_sagemaker_endpoint_configuration") != names(changed, "aws_sagemaker_endpoint_configuration")
    assert names(serving, "aws_sagemaker_endpoint") == names(changed, "aws_sagemaker_endpoint") == {"assistant"}


@pytest.mark.parametrize("container", ["tgi", "lmi-vllm", "lmi-trtllm", "lmi-deepspeed", "lmi-accelerate", "vllm"])
def test_the_environments_container_wins_over_the_documents(container: Any) -> None:
    hosting, served = Hosting(container=container), variant("base")

    assert image_uri(hosting, served, "registry.example") == f"registry.example/{IMAGES[hosting.container or 'tgi']}"
    assert serving_container(hosting, served).environment["HF_HUB_OFFLINE"] == "1"
    assert image_uri(Hosting(), served, "registry.example") == f"registry.example/{IMAGES['lmi-vllm']}"


def test_settings_win_over_what_is_derived() -> None:
    hosting = Hosting(container="tgi", environment={"MAX_CONCURRENT_REQUESTS": "7"}, image="example/tgi:1")

    assert serving_container(hosting, variant("base")).environment["MAX_CONCURRENT_REQUESTS"] == "7"
    assert image_uri(hosting, variant("base"), "registry.example") == "example/tgi:1"


def test_what_the_service_cannot_realize_is_told_for_all_variants_at_once(tmp_path: Path) -> None:
    laptop = variant("base").model_copy(update={"engine": "in-process"})
    (tmp_path / "endpoint.json").write_bytes(endpoint_document(laptop, variant("tuned", shadow=True)).to_json())
    environment = load_environment(
        "dev", [f"serving.endpoint={tmp_path}", "serving.variants.tuned.instance_type=ml.m5.large", "serving.variants.other.container=tgi"]
    )

    with pytest.raises(LlmopsError) as refused:
        read_endpoint(environment)

    message = str(refused.value)
    assert "variant base: engine in-process runs on the laptop" in message
    assert "instance type ml.m5.large: has no GPU that we know" in message
    assert "serving.variants.other: the document has no such variant" in message


def test_adapters_by_name_are_further_packages_of_the_model(tmp_path: Path) -> None:
    needs_node()
    adapters = [
        Adapter(name=name, package=Reference(uri=f"s3://llmops-models/packages/{name}/package.json", sha256="1" * 64)) for name in "ab"
    ]
    facts = SMALL_LLAMA.model_copy(update={"max_adapter_rank": 12})
    served = variant("base").model_copy(update={"engine": "vllm", "adapters": adapters, "model": facts})
    stack = synthesize("full", tmp_path, endpoint_document(served))["serving"]

    container = only(synthesized(stack)["resource"], "aws_sagemaker_model")["primary_container"]

    assert [(one["channel_name"], one["s3_data_source"][0]["s3_uri"]) for one in container["additional_model_data_source"]] == [
        ("a", "s3://llmops-models/packages/a/"),
        ("b", "s3://llmops-models/packages/b/"),
    ]
    further = "/opt/ml/additional-model-data-sources"
    assert container["environment"]["SM_VLLM_LORA_MODULES"] == f"a={further}/a/adapter b={further}/b/adapter"
    assert container["environment"]["SM_VLLM_MAX_LORA_RANK"] == "16"
