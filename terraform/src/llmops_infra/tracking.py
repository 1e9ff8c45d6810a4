"""SageMaker's managed MLflow: a tracking server or the serverless app."""

from cdktn_provider_aws.sagemaker_mlflow_tracking_server import SagemakerMlflowTrackingServer
from constructs import Construct

from llmops_infra.config import Environment


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
                # only the newer bindings know it
                from cdktn_provider_aws.sagemaker_mlflow_app import SagemakerMlflowApp

                app = SagemakerMlflowApp(
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
