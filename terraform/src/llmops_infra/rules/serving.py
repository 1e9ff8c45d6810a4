"""Rules on endpoints: what SageMaker serves, keeps and how it changes."""

from llmops_infra.rules.rule import Block, blocks, nested, rule


@rule("LLMOPS_1", "An endpoint shifts traffic in steps and is rolled back by alarms", "aws_sagemaker_endpoint")
def shifts_and_rolls_back(endpoint: Block) -> str | None:
    deployment = nested(endpoint, "deployment_config")
    if not blocks(nested(deployment, "auto_rollback_configuration"), "alarms"):
        return "deployment_config.auto_rollback_configuration names no alarms"
    routing = nested(deployment, "blue_green_update_policy", "traffic_routing_configuration")
    if routing.get("type") not in ("CANARY", "LINEAR"):
        return f"traffic moves {routing.get('type')}, not CANARY or LINEAR"
    return None


@rule("LLMOPS_2", "A change of the deployment settings never replaces an endpoint", "aws_sagemaker_endpoint")
def keeps_its_deployment_settings(endpoint: Block) -> str | None:
    # SageMaker does not return deployment_config: without this every plan would replace the endpoint
    if "deployment_config" not in (nested(endpoint, "lifecycle").get("ignore_changes") or []):
        return "lifecycle.ignore_changes lacks deployment_config"
    return None


@rule("LLMOPS_3", "Requests and answers are captured, encrypted with a key of ours", "aws_sagemaker_endpoint_configuration")
def captures_encrypted(configuration: Block) -> str | None:
    capture = nested(configuration, "data_capture_config")
    if capture.get("enable_capture") is not True:
        return "data_capture_config.enable_capture is not true"
    modes = {option.get("capture_mode") for option in blocks(capture, "capture_options")}
    if not modes >= {"Input", "Output"} and "InputAndOutput" not in modes:
        return f"captures only {', '.join(sorted(map(str, modes)))}"
    if not capture.get("kms_key_id"):
        return "data_capture_config.kms_key_id is missing"
    return None


@rule("LLMOPS_4", "A model runs inside the VPC", "aws_sagemaker_model")
def runs_in_the_vpc(model: Block) -> str | None:
    vpc = nested(model, "vpc_config")
    return None if vpc.get("subnets") and vpc.get("security_group_ids") else "vpc_config lacks subnets or security groups"


@rule("LLMOPS_5", "A model's image is pinned", "aws_sagemaker_model")
def pins_its_image(model: Block) -> str | None:
    for container in [*blocks(model, "primary_container"), *blocks(model, "container")]:
        image = str(container.get("image", ""))
        name = image.rpartition("/")[2]
        if not image.startswith("${") and "@sha256:" not in image and (":" not in name or name.endswith(":latest")):
            return f"{image or 'no image'} names no version"
    return None
