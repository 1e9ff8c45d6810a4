"""Serving: the endpoint that an Endpoint document asks for. Changes with every release, holds no data."""

from pathlib import Path

from cdktn import DataTerraformRemoteStateLocal, DataTerraformRemoteStateS3, TerraformOutput, TerraformRemoteState
from cdktn_provider_aws.cloudwatch_dashboard import CloudwatchDashboard
from constructs import Construct

from llmops_infra.autoscaling import VariantScaling
from llmops_infra.config import Environment
from llmops_infra.dashboard import body
from llmops_infra.endpoint import Endpoint
from llmops_infra.endpoint_alarms import EndpointAlarms
from llmops_infra.endpoint_dashboard import widgets
from llmops_infra.models import Models, PlatformOutputs
from llmops_infra.stack import Stack, state_bucket, state_key, state_path
from llmops_shared.contracts.endpoint import Endpoint as EndpointDocument


class ServingStack(Stack):
    """Models, endpoint configuration, endpoint, autoscaling, alarms and dashboard; nothing at all without a document."""

    def __init__(self, scope: Construct, *, environment: Environment, endpoint: EndpointDocument | None, out: Path) -> None:
        super().__init__(scope, "serving", environment=environment, out=out)
        if endpoint is not None:
            self._serve(endpoint, read_platform(self._platform_state(out)))

    def _serve(self, document: EndpointDocument, platform: PlatformOutputs) -> None:
        environment = self.environment
        models = Models(self, "models", environment=environment, endpoint=document, platform=platform)
        alarms = EndpointAlarms(self, "alarms", environment=environment, endpoint=document, topic_arn=platform.alarm_topic_arn)
        served = Endpoint(
            self,
            "endpoint",
            environment=environment,
            document=document,
            models=models,
            platform=platform,
            rollback_alarms=alarms.names,
        )
        # SageMaker scales production variants only, and each by itself
        for variant in document.production():
            scaling = environment.serving.autoscaling
            VariantScaling(self, f"scaling-{variant.name}", endpoint=served.endpoint.name, variant=variant.name, settings=scaling)
        CloudwatchDashboard(
            self,
            "dashboard",
            dashboard_name=f"{environment.prefix}-{document.name}",
            dashboard_body=body(widgets(environment, document)),
        )
        TerraformOutput(self, "endpoint_name", value=served.endpoint.name, static_id=True)
        TerraformOutput(self, "generation", value=document.generation, static_id=True)

    def _platform_state(self, out: Path) -> TerraformRemoteState:
        environment = self.environment
        if environment.state.backend == "local":
            # the stacks run in folders side by side, so that the path is the same from both
            return DataTerraformRemoteStateLocal(self, "platform", path=state_path(environment, "platform", out))
        return DataTerraformRemoteStateS3(
            self,
            "platform",
            bucket=state_bucket(environment, self.account),
            key=state_key(environment, "platform"),
            region=environment.region,
        )


def read_platform(state: TerraformRemoteState) -> PlatformOutputs:
    """What serving uses of the platform's outputs."""
    return PlatformOutputs(
        role_arn=state.get_string('role_arns["serve"]'),
        subnet_ids=state.get_list("subnet_ids"),
        security_group_ids=state.get_list("job_security_group_ids"),
        captures_key_arn=state.get_string('key_arns["captures"]'),
        exchanges_uri=state.get_string("exchanges_uri"),
        alarm_topic_arn=state.get_string("alarm_topic_arn"),
    )
