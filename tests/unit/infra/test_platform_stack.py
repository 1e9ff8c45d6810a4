"""The rest of the platform: registry, tracking, jobs, retrieval, people, monitoring, and the outputs."""

import json
from typing import Any

from llmops_shared.contracts.platform import Platform
from support.infrastructure import Stacks, synthesized
from support.stacks import ACCOUNT, Resources, statements


def only(resources: Resources, kind: str) -> dict[str, Any]:
    (found,) = resources[kind].values()
    return found


def test_the_outputs_are_the_fields_of_the_platform_document(stacks: Stacks) -> None:
    outputs = synthesized(stacks["platform"])["output"]

    assert outputs.keys() == Platform.model_fields.keys()
    assert not [name for name, output in outputs.items() if output["value"] == "${null}"]  # every switch is on here


def test_images_are_immutable_scanned_encrypted_and_expire(platform: Resources) -> None:
    assert {repository["name"] for repository in platform["aws_ecr_repository"].values()} == {
        f"llmops-full/{service}" for service in ("preprocess", "train", "serve", "monitor")
    }
    for name, repository in platform["aws_ecr_repository"].items():
        assert repository["image_tag_mutability"] == "IMMUTABLE"
        assert repository["image_scanning_configuration"] == {"scan_on_push": True}
        assert repository["encryption_configuration"] == [{"encryption_type": "KMS", "kms_key": "${aws_kms_key.keys_operations.arn}"}]
        assert platform["aws_ecr_lifecycle_policy"][f"{name}-lifecycle"]["repository"] == f"${{aws_ecr_repository.{name}.name}}"


def test_mlflow_keeps_its_artifacts_with_the_models(platform: Resources) -> None:
    server = only(platform, "aws_sagemaker_mlflow_tracking_server")

    assert server["artifact_store_uri"] == "s3://${aws_s3_bucket.storage_models_bucket.bucket}/mlflow"
    assert server["role_arn"] == "${aws_iam_role.identity_tracking.arn}"


def test_the_glue_job_runs_encrypted_inside_the_vpc(platform: Resources) -> None:
    job = only(platform, "aws_glue_job")
    (connection,) = platform["aws_glue_connection"].values()

    assert (job["glue_version"], job["command"]["name"]) == ("5.1", "glueetl")
    assert job["connections"] == ["${aws_glue_connection.preprocessing_private.name}"]
    assert job["security_configuration"] == "${aws_glue_security_configuration.preprocessing_encryption.name}"
    assert connection["physical_connection_requirements"]["subnet_id"] == "${aws_subnet.network_private-0.id}"
    assert job["default_arguments"]["--python-modules-installer-option"] == "--no-index"


def test_the_pipeline_and_the_monitor_start_by_the_clock(platform: Resources) -> None:
    schedules = {schedule["name"]: schedule for schedule in platform["aws_scheduler_schedule"].values()}

    started = json.loads(schedules["pipeline"]["target"]["input"])
    assert schedules["pipeline"]["target"]["arn"].endswith("aws-sdk:sagemaker:startPipelineExecution")
    assert started["PipelineName"] == "${aws_sagemaker_pipeline.pipeline_pipeline.pipeline_name}"
    assert started["PipelineParameters"] == [{"Name": "Run", "Value": "scheduled-<aws.scheduler.execution-id>"}]
    request = json.loads(schedules["monitor"]["target"]["input"])
    assert schedules["monitor"]["target"]["arn"].endswith("aws-sdk:sagemaker:createProcessingJob")
    assert request["ProcessingJobName"] == "llmops-full-<aws.scheduler.execution-id>"
    assert request["Environment"]["AWS_DEFAULT_REGION"] == "eu-west-1"
    assert request["AppSpecification"]["ContainerArguments"][0] == "drift"
    assert request["NetworkConfig"]["EnableInterContainerTrafficEncryption"]


def test_the_monitor_request_is_one_that_sagemaker_takes(platform: Resources) -> None:
    import botocore.session
    from botocore.validate import ParamValidator

    request = json.loads(platform["aws_scheduler_schedule"]["schedules_monitor"]["target"]["input"])
    model = botocore.session.get_session().get_service_model("sagemaker")

    report = ParamValidator().validate(request, model.operation_model("CreateProcessingJob").input_shape)

    assert report.generate_report() == ""
    # the scheduler's id has 36 characters
    assert len(request["ProcessingJobName"].replace("<aws.scheduler.execution-id>", "x" * 36)) <= 63


def test_the_vector_collection_is_encrypted_private_and_read_by_roles(platform: Resources) -> None:
    policies = {policy["type"]: json.loads(policy["policy"]) for policy in platform["aws_opensearchserverless_security_policy"].values()}
    access = json.loads(only(platform, "aws_opensearchserverless_access_policy")["policy"])

    assert policies["encryption"]["KmsARN"] == "${aws_kms_key.keys_datasets.arn}" and not policies["encryption"]["AWSOwnedKey"]
    (network,) = policies["network"]
    assert not network["AllowFromPublic"] and network["SourceVPCEs"] == ["${aws_opensearchserverless_vpc_endpoint.opensearch_access.id}"]
    assert {item["Description"]: len(item["Principal"]) for item in access} == {"writers": 1, "readers": 2}
    assert not [action for item in access for rule in item["Rules"] for action in rule["Permission"] if action.endswith("*")]


def test_the_database_has_no_password_of_ours_and_no_public_address(platform: Resources) -> None:
    cluster = only(platform, "aws_rds_cluster")

    assert cluster["manage_master_user_password"] and "master_password" not in cluster
    assert cluster["iam_database_authentication_enabled"] and cluster["storage_encrypted"]
    assert cluster["vpc_security_group_ids"] == ["${aws_security_group.network_groups_database.id}"]
    assert not any(instance["publicly_accessible"] for instance in platform["aws_rds_cluster_instance"].values())
    parameters = {item["name"]: item["value"] for item in only(platform, "aws_rds_cluster_parameter_group")["parameter"]}
    assert parameters["rds.force_ssl"] == "1"


def test_kendra_reads_the_raw_documents(platform: Resources) -> None:
    source = only(platform, "aws_kendra_data_source")

    assert source["configuration"]["s3_configuration"]["inclusion_prefixes"] == ["documents/"]


def test_people_sign_in_with_a_second_factor_and_their_client_s_secret_is_not_in_the_state(platform: Resources) -> None:
    pool = only(platform, "aws_cognito_user_pool")

    assert (pool["mfa_configuration"], pool["admin_create_user_config"]["allow_admin_create_user_only"]) == ("ON", True)
    assert "aws_cognito_user_pool_client" not in platform
    template = json.loads(only(platform, "aws_cloudformation_stack")["template_body"])
    assert template["Resources"]["Client"]["Properties"]["GenerateSecret"]
    assert template["Outputs"].keys() == {"ClientId"}


def test_the_review_flow_shows_question_and_answer_to_the_team(platform: Resources) -> None:
    flow, page = only(platform, "aws_sagemaker_flow_definition"), only(platform, "aws_sagemaker_human_task_ui")

    assert flow["human_loop_config"]["workteam_arn"] == "${aws_sagemaker_workteam.people_team.arn}"
    assert "task.input.prompt" in page["ui_template"]["content"] and "task.input.response" in page["ui_template"]["content"]
    cors = only(platform, "aws_s3_bucket_cors_configuration")  # Ground Truth's page loads from the bucket
    assert cors["bucket"] == "${aws_s3_bucket.storage_raw_bucket.id}"


def test_drift_tells_people_and_starts_the_pipeline(platform: Resources) -> None:
    pattern = json.loads(platform["aws_cloudwatch_event_rule"]["monitoring_drift"]["event_pattern"])
    targets = {target["target_id"]: target for name, target in platform["aws_cloudwatch_event_target"].items() if "monitoring" in name}

    assert pattern == {
        "source": ["llmops.monitor"],
        "detail-type": ["Drift Report"],
        "detail": {"environment": ["full"], "verdict": ["drift", "rollback", "alarm"]},
    }
    assert targets["retrain"]["arn"] == "${aws_sagemaker_pipeline.pipeline_pipeline.arn}"
    assert targets["retrain"]["sagemaker_pipeline_target"]["pipeline_parameter_list"] == [{"name": "Run", "value": "$.id"}]
    assert targets["tell"]["arn"] == "${aws_sns_topic.alerts_topic.arn}"


def test_the_budget_warns_before_and_when_the_month_costs_too_much(platform: Resources) -> None:
    budget = only(platform, "aws_budgets_budget")

    assert (budget["limit_amount"], budget["time_unit"]) == ("60000.0", "MONTHLY")
    assert [(item["notification_type"], item["threshold"]) for item in budget["notification"]] == [
        ("ACTUAL", 50),
        ("ACTUAL", 80),
        ("FORECASTED", 100),
    ]


def test_alarms_are_encrypted_and_come_from_this_account(platform: Resources) -> None:
    topic, policy = only(platform, "aws_sns_topic"), only(platform, "aws_sns_topic_policy")
    publish, tls = statements(policy["policy"])

    assert topic["kms_master_key_id"] == "${aws_kms_key.keys_operations.arn}"
    assert publish["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    assert tls["Effect"] == "Deny"
    assert only(platform, "aws_sns_topic_subscription")["endpoint"] == "team@example.com"


def test_dashboards_show_storage_jobs_drift_cost_and_the_endpoint(platform: Resources, serving: Resources) -> None:
    def titles(resources: Resources) -> str:
        widgets = json.loads(only(resources, "aws_cloudwatch_dashboard")["dashboard_body"])["widgets"]
        return " | ".join(widget["properties"]["title"] for widget in widgets)

    for what in ("S3 requests per prefix", "503", "File system", "GPU use", "GPU memory", "disk", "quality", "drift", "Charges"):
        assert what in titles(platform), what
    for what in ("latency", "first token", "Requests a minute", "Errors", "GPU", "Memory and disk", "quality", "drift"):
        assert what in titles(serving), what
