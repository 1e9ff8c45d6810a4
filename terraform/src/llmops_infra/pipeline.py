"""The SageMaker pipeline from raw text to the next Endpoint document, and the notice of its failure."""

import json

from cdktn_provider_aws.cloudwatch_event_rule import CloudwatchEventRule
from cdktn_provider_aws.cloudwatch_event_target import CloudwatchEventTarget
from cdktn_provider_aws.data_aws_sagemaker_prebuilt_ecr_image import DataAwsSagemakerPrebuiltEcrImage
from cdktn_provider_aws.sagemaker_pipeline import SagemakerPipeline, SagemakerPipelineParallelismConfiguration
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.pipeline_definition import Places, definition
from llmops_infra.pipeline_steps import Place
from llmops_infra.serving_settings import DEFAULT_CONTAINER
from llmops_shared.hosting.container import IMAGES


def serving_image(scope: Construct, environment: Environment) -> str:
    """The image that serves packages, as the registry is told; which account AWS keeps its images in differs from region to region."""
    hosting = environment.serving.hosting
    repository, _, tag = IMAGES[hosting.container or DEFAULT_CONTAINER].partition(":")
    return (
        hosting.image or DataAwsSagemakerPrebuiltEcrImage(scope, "serving-image", repository_name=repository, image_tag=tag).registry_path
    )


class Pipeline(Construct):
    """The pipeline; a failed execution is told to the topic."""

    def __init__(
        self, scope: Construct, name: str, *, environment: Environment, places: Places, place: Place, role_arn: str, topic_arn: str
    ) -> None:
        super().__init__(scope, name)
        made = definition(environment.pipeline, environment.training, places, place, needs_efa=environment.training_efa)
        self.pipeline = SagemakerPipeline(
            self,
            "pipeline",
            pipeline_name=environment.prefix,
            pipeline_display_name=environment.prefix,
            pipeline_description="Raw text to a registered package and the next Endpoint document",
            pipeline_definition=json.dumps(made),
            parallelism_configuration=SagemakerPipelineParallelismConfiguration(max_parallel_execution_steps=10),
            role_arn=role_arn,
        )
        pattern = {
            "source": ["aws.sagemaker"],
            "detail-type": ["SageMaker Model Building Pipeline Execution Status Change"],
            "detail": {"pipelineArn": [self.pipeline.arn], "currentPipelineExecutionStatus": ["Failed"]},
        }
        rule = CloudwatchEventRule(
            self,
            "failed",
            name=f"{environment.prefix}-pipeline-failed",
            description="An execution of the pipeline has failed, or its gate has refused the model",
            event_pattern=json.dumps(pattern),
        )
        CloudwatchEventTarget(self, "tell", rule=rule.name, target_id="tell", arn=topic_arn)
