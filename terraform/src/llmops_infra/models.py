"""The SageMaker model of each variant."""

import hashlib
import json
from dataclasses import dataclass

from cdktn_provider_aws.data_aws_sagemaker_prebuilt_ecr_image import DataAwsSagemakerPrebuiltEcrImage
from cdktn_provider_aws.sagemaker_model import (
    SagemakerModel,
    SagemakerModelPrimaryContainer,
    SagemakerModelPrimaryContainerAdditionalModelDataSource,
    SagemakerModelPrimaryContainerAdditionalModelDataSourceS3DataSource,
    SagemakerModelPrimaryContainerModelDataSource,
    SagemakerModelPrimaryContainerModelDataSourceS3DataSource,
    SagemakerModelVpcConfig,
)
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.containers import image_uri, serving_container
from llmops_infra.endpoint_document import folder_of_package, package_folder
from llmops_infra.serving_settings import DEFAULT_CONTAINER, Hosting
from llmops_shared.contracts.endpoint import Endpoint, Variant
from llmops_shared.hosting.container import IMAGES

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
        repository, _, tag = IMAGES[DEFAULT_CONTAINER].partition(":")
        # which account AWS keeps its images in differs from region to region; the provider knows
        prebuilt = DataAwsSagemakerPrebuiltEcrImage(self, "images", repository_name=repository, image_tag=tag)
        self._registry = f"{prebuilt.registry_id}.dkr.ecr.{environment.region}.amazonaws.com"
        self.by_variant = {variant.name: self._model(variant) for variant in endpoint.variants}

    def hosting(self, variant: Variant) -> Hosting:
        """What a variant runs on."""
        return hosting_of(self._environment, variant)

    def _model(self, variant: Variant) -> SagemakerModel:
        hosting, folder = self.hosting(variant), package_folder(self._environment, variant)
        container = serving_container(hosting, variant)
        further = {name: folder_of_package(self._environment, package) for name, package in container.places.further.items()}
        content = [variant.package.sha256, folder, further, container.image, container.environment, hosting.image]
        files = SagemakerModelPrimaryContainerModelDataSourceS3DataSource(
            s3_uri=f"{folder}/", s3_data_type="S3Prefix", compression_type="None"
        )
        return SagemakerModel(
            self,
            f"variant-{variant.name}",
            name=digest_name(f"{self._endpoint.name}-{variant.name}", content),
            execution_role_arn=self._platform.role_arn,
            # no way out: the model's files are all it gets
            enable_network_isolation=True,
            vpc_config=SagemakerModelVpcConfig(subnets=self._platform.subnet_ids, security_group_ids=self._platform.security_group_ids),
            primary_container=SagemakerModelPrimaryContainer(
                image=image_uri(hosting, variant, self._registry),
                environment=container.environment,
                model_data_source=SagemakerModelPrimaryContainerModelDataSource(s3_data_source=[files]),
                additional_model_data_source=[adapter_source(name, place) for name, place in further.items()] or None,
            ),
            tags={"Package": variant.package.sha256[:12]},
        )


def adapter_source(channel: str, folder: str) -> SagemakerModelPrimaryContainerAdditionalModelDataSource:
    """A further package, which SageMaker puts into a folder named by its channel."""
    return SagemakerModelPrimaryContainerAdditionalModelDataSource(
        channel_name=channel,
        s3_data_source=[
            SagemakerModelPrimaryContainerAdditionalModelDataSourceS3DataSource(
                s3_uri=f"{folder}/", s3_data_type="S3Prefix", compression_type="None"
            )
        ],
    )


def hosting_of(environment: Environment, variant: Variant) -> Hosting:
    """The variant's own hosting, else everybody's."""
    return environment.serving.variants.get(variant.name, environment.serving.hosting)


def digest_name(stem: str, content: object) -> str:
    """A name that changes with the content: the stem, shortened where needed, and eight digits of a digest."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    return f"{stem[: MAX_NAME - 9].rstrip('-')}-{digest}"
