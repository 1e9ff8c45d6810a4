"""The SageMaker pipeline from raw text to a registered package; its steps are written elsewhere, in its definition."""

from pathlib import Path

from cdktn_provider_aws.sagemaker_pipeline import SagemakerPipeline, SagemakerPipelineParallelismConfiguration
from constructs import Construct

from llmops_infra.config import Environment
from llmops_shared.errors import LlmopsError


class Pipeline(Construct):
    """The pipeline with a definition from a file."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, definition: str, role_arn: str) -> None:
        super().__init__(scope, name)
        self.pipeline = SagemakerPipeline(
            self,
            "pipeline",
            pipeline_name=environment.prefix,
            pipeline_display_name=environment.prefix,
            pipeline_description="Raw text to a registered model package",
            pipeline_definition=read_definition(definition),
            parallelism_configuration=SagemakerPipelineParallelismConfiguration(max_parallel_execution_steps=10),
            role_arn=role_arn,
        )


def read_definition(path: str) -> str:
    """The definition's JSON; what looks like a Terraform expression in it stays as it is."""
    try:
        return Path(path).read_text(encoding="utf-8").replace("${", "$${").replace("%{", "%%{")
    except OSError as error:
        raise LlmopsError(f"pipeline.definition {path}: cannot be read ({error}); name the pipeline's JSON or leave it out") from error
