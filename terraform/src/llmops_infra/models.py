"""The SageMaker model of each variant."""

import hashlib
import json
from dataclasses import dataclass

from cdktn_provider_aws.data_aws_sagemaker_prebuilt_ecr_image import DataAwsSagemakerPrebuiltEcrImage
from cdktn_provider_aws.sagemaker_model import (
    SagemakerModel,
    SagemakerModelPrimaryContainer,
    SagemakerModelPrimaryContainerModelDataSource,
    SagemakerModelPrimaryContainerModelDataSourceS3DataSource,
    SagemakerModelVpcConfig,
)
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.containers import IMAGES, image_uri, variables
from llmops_infra.endpoint_document import package_folder
from llmops_infra.serving_settings import Hosting
from llmops_shared.contracts.endpoint import Endpoint, Variant

MAX_NAME = 63


@dataclass(frozen=True)
class PlatformOutputs:
    """What serving needs of the platform, as expressions over its state."""

    role_arn: str
    subnet_ids: list[str]
    security_group_ids: list[str]
    captures_key_arn: str
    exchanges_uri: str
    alarm_topic_arn: str


class Models(Construct):
    """A model per variant. A model cannot be changed, so that its name says what it is made of: other content, other model."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, endpoint: Endpoint, platform: PlatformOutputs) -> None:
        super().__init__(scope, name)
        self._environment, self._endpoint, self._platform = environment, endpoint, platform
        repository, _, tag = IMAGES["lmi-vllm"].partition(":")
        # which account AWS keeps its images in differs from region to region; the provider knows
        prebuilt = DataAwsSagemakerPrebuiltEcrImage(self, "images", repository_name=repository, image_tag=tag)
        self._registry = f"{prebuilt.registry_id}.dkr.ecr.{environment.region}.amazonaws.com"
        self.by_variant = {variant.name: self._model(variant) for variant in endpoint.variants}

    def hosting(self, variant: Variant) -> Hosting:
        """What a variant runs on."""
        return hosting_of(self._environment, variant)

    def _model(self, variant: Variant) -> SagemakerModel:
        hosting, folder = self.hosting(variant), package_folder(self._environment, variant)
        files = SagemakerModelPrimaryContainerModelDataSourceS3DataSource(
            s3_uri=f"{folder}/", s3_data_type="S3Prefix", compression_type="None"
        )
        return SagemakerModel(
            self,
            f"variant-{variant.name}",
            name=digest_name(f"{self._endpoint.name}-{variant.name}", [variant.package.sha256, folder, hosting.model_dump(mode="json")]),
            execution_role_arn=self._platform.role_arn,
            # no way out: the model's files are all it gets
            enable_network_isolation=True,
            vpc_config=SagemakerModelVpcConfig(subnets=self._platform.subnet_ids, security_group_ids=self._platform.security_group_ids),
            primary_container=SagemakerModelPrimaryContainer(
                image=image_uri(hosting, self._registry),
                environment=variables(hosting),
                model_data_source=SagemakerModelPrimaryContainerModelDataSource(s3_data_source=[files]),
            ),
            tags={"Package": variant.package.sha256[:12]},
        )


def hosting_of(environment: Environment, variant: Variant) -> Hosting:
    """The variant's own hosting, else everybody's."""
    return environment.serving.variants.get(variant.name, environment.serving.hosting)


def digest_name(stem: str, content: object) -> str:
    """A name that changes with the content: the stem, shortened where needed, and eight digits of a digest."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    return f"{stem[: MAX_NAME - 9].rstrip('-')}-{digest}"
