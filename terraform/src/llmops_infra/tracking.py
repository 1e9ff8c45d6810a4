"""SageMaker's managed MLflow: a tracking server or the serverless app."""

from typing import TYPE_CHECKING

from cdktn_provider_aws.sagemaker_mlflow_tracking_server import SagemakerMlflowTrackingServer
from constructs import Construct

from llmops_infra import bindings
from llmops_infra.config import Environment
from llmops_shared.errors import LlmopsError

if TYPE_CHECKING:
    from cdktn_provider_aws.sagemaker_mlflow_app import SagemakerMlflowApp


class Tracking(Construct):
    """MLflow; `uri` is what MLFLOW_TRACKING_URI is set to."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, artifacts_uri: str, role_arn: str) -> None:
        super().__init__(scope, name)
        self.uri: str
        match environment.tracking.mlflow:
            case "tracking-server":
                server = SagemakerMlflowTrackingServer(
                    self,
                    "server",
                    tracking_server_name=environment.prefix,
                    artifact_store_uri=artifacts_uri,
                    role_arn=role_arn,
                    tracking_server_size=environment.tracking.server_size,
                    automatic_model_registration=True,
                    weekly_maintenance_window_start="Sun:03:00",
                )
                self.uri = server.arn
            case "serverless":
                app = app_resource()(
                    self,
                    "app",
                    name=environment.prefix,
                    artifact_store_uri=artifacts_uri,
                    role_arn=role_arn,
                    account_default_status="DISABLED",
                    model_registration_mode="AutoModelRegistrationEnabled",
                    weekly_maintenance_window_start="Sun:03:00",
                )
                self.uri = app.arn


def app_resource() -> "type[SagemakerMlflowApp]":
    """The resource of the serverless app. Raises LlmopsError with the archived bindings, which are older than it."""
    try:
        from cdktn_provider_aws.sagemaker_mlflow_app import SagemakerMlflowApp
    except ImportError as error:
        raise LlmopsError(
            f"{bindings.installed()} has no aws_sagemaker_mlflow_app: set tracking.mlflow: tracking-server, or install cdktn-provider-aws"
        ) from error
    return SagemakerMlflowApp
