"""Where images and models are registered."""

import json

from cdktn_provider_aws.ecr_lifecycle_policy import EcrLifecyclePolicy
from cdktn_provider_aws.ecr_repository import (
    EcrRepository,
    EcrRepositoryEncryptionConfiguration,
    EcrRepositoryImageScanningConfiguration,
)
from cdktn_provider_aws.sagemaker_model_package_group import SagemakerModelPackageGroup
from constructs import Construct

from llmops_infra.config import Environment

SERVICES = ("preprocess", "train", "serve", "monitor")
KEEP_IMAGES = 30


class Registry(Construct):
    """An image repository per service, and the group model packages are approved in."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, key_arn: str) -> None:
        super().__init__(scope, name)
        self.repositories = {service: self._repository(service, environment, key_arn) for service in SERVICES}
        self.models = SagemakerModelPackageGroup(
            self,
            "models",
            model_package_group_name=environment.prefix,
            model_package_group_description="Packages that passed evaluation; the approved one is what staging and prod deploy",
        )

    def urls(self) -> dict[str, str]:
        """Repository URL by service."""
        return {service: repository.repository_url for service, repository in self.repositories.items()}

    def _repository(self, service: str, environment: Environment, key_arn: str) -> EcrRepository:
        repository = EcrRepository(
            self,
            service,
            name=f"{environment.prefix}/{service}",
            # a tag that moves would change what a finished run says it ran on
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration=EcrRepositoryImageScanningConfiguration(scan_on_push=True),
            encryption_configuration=[EcrRepositoryEncryptionConfiguration(encryption_type="KMS", kms_key=key_arn)],
            force_delete=not environment.protect,
        )
        EcrLifecyclePolicy(self, f"{service}-lifecycle", repository=repository.name, policy=lifecycle())
        return repository


def lifecycle() -> str:
    """Untagged images go after a week, all but the newest at some time."""
    untagged = {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7}
    oldest = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": KEEP_IMAGES}
    rules = [
        {"rulePriority": 1, "description": "untagged", "selection": untagged, "action": {"type": "expire"}},
        {"rulePriority": 2, "description": f"all but {KEEP_IMAGES}", "selection": oldest, "action": {"type": "expire"}},
    ]
    return json.dumps({"rules": rules})
