"""What starts by the clock: the pipeline and the monitor job, by EventBridge Scheduler, which needs no Lambda for it."""

import json
from typing import Any

from cdktn_provider_aws.scheduler_schedule import (
    SchedulerSchedule,
    SchedulerScheduleFlexibleTimeWindow,
    SchedulerScheduleTarget,
    SchedulerScheduleTargetRetryPolicy,
)
from cdktn_provider_aws.scheduler_schedule_group import SchedulerScheduleGroup
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.hardware import takes_a_key

# a call of the AWS API as the target (docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html)
CREATE_PROCESSING_JOB = "arn:aws:scheduler:::aws-sdk:sagemaker:createProcessingJob"
START_PIPELINE = "arn:aws:scheduler:::aws-sdk:sagemaker:startPipelineExecution"
# filled in by the scheduler at each start
EXECUTION_ID = "<aws.scheduler.execution-id>"


class Schedules(Construct):
    """The schedules of an environment, in one group."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, role_arn: str, key_arn: str) -> None:
        super().__init__(scope, name)
        self._role_arn, self._key_arn = role_arn, key_arn
        self._group = SchedulerScheduleGroup(self, "group", name=environment.prefix)

    def start(self, name: str, *, at: str, target_arn: str, request: dict[str, Any] | None = None) -> None:
        """Starts the target at these times; `request` is the body of an API call."""
        target = SchedulerScheduleTarget(
            arn=target_arn,
            role_arn=self._role_arn,
            input=json.dumps(request) if request else None,
            retry_policy=SchedulerScheduleTargetRetryPolicy(maximum_event_age_in_seconds=3600, maximum_retry_attempts=3),
        )
        SchedulerSchedule(
            self,
            name,
            name=name,
            group_name=self._group.name,
            schedule_expression=at,
            schedule_expression_timezone="UTC",
            flexible_time_window=SchedulerScheduleFlexibleTimeWindow(mode="OFF"),
            kms_key_arn=self._key_arn,
            target=target,
        )


def start_execution(pipeline: str) -> dict[str, Any]:
    """The request of StartPipelineExecution; a start that is tried twice is one execution."""
    return {
        "PipelineName": pipeline,
        "ClientRequestToken": EXECUTION_ID,
        "PipelineParameters": [{"Name": "Run", "Value": f"scheduled-{EXECUTION_ID}"}],
    }


def monitor_job(
    environment: Environment,
    *,
    image: str,
    role_arn: str,
    tracking_uri: str,
    reports_uri: str,
    key_arn: str,
    subnets: list[str],
    groups: list[str],
) -> dict[str, Any]:
    """The request of CreateProcessingJob that runs `llmops-monitor` once."""
    settings = environment.monitoring
    return {
        "ProcessingJobName": f"{environment.prefix}-{EXECUTION_ID}",
        "RoleArn": role_arn,
        "AppSpecification": {
            "ImageUri": f"{image}:{settings.image_tag}",
            "ContainerEntrypoint": ["llmops-monitor"],
            "ContainerArguments": [*settings.arguments, f"out={reports_uri}/{EXECUTION_ID}"],
        },
        # a processing container is not told its region
        "Environment": {"AWS_DEFAULT_REGION": environment.region, "MLFLOW_TRACKING_URI": tracking_uri},
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1,
                "InstanceType": settings.instance_type,
                "VolumeSizeInGB": 50,
                **({"VolumeKmsKeyId": key_arn} if takes_a_key(settings.instance_type) else {}),
            }
        },
        "NetworkConfig": {
            "EnableInterContainerTrafficEncryption": True,
            "VpcConfig": {"Subnets": subnets, "SecurityGroupIds": groups},
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 7200},
    }
