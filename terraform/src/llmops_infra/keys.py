"""A KMS key per class of data, so that access to one says nothing about another."""

from collections.abc import Sequence
from typing import Literal, get_args

from cdktn_provider_aws.kms_alias import KmsAlias
from cdktn_provider_aws.kms_key import KmsKey
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.policy import Statement, allow, by_service, document
from llmops_infra.stack import Account

DataClass = Literal["raw", "datasets", "checkpoints", "models", "captures", "operations"]
DATA_CLASSES: tuple[DataClass, ...] = get_args(DataClass)

USE = ("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey", "kms:DescribeKey")
# what sends to the topic of alarms
ALARM_SOURCES = ("cloudwatch", "events", "budgets", "sagemaker")
# the role FSx makes for each file system to read its bucket; nobody else can give it a policy
FSX_ROLES = "role/aws-service-role/s3.data-source.lustre.fsx.amazonaws.com/AWSServiceRoleForFSxS3Access_fs-*"
# what the account's own IAM policies may give away; without it nobody could change the key any more
ADMINISTER = (
    *USE, "kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant", "kms:GenerateDataKeyWithoutPlaintext", "kms:EnableKey", "kms:DisableKey",
    "kms:EnableKeyRotation", "kms:DisableKeyRotation", "kms:GetKeyRotationStatus", "kms:RotateKeyOnDemand", "kms:ListKeyRotations",
    "kms:GetKeyPolicy", "kms:PutKeyPolicy", "kms:ListKeyPolicies", "kms:UpdateKeyDescription", "kms:ListResourceTags", "kms:TagResource",
    "kms:UntagResource", "kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion",
)  # fmt: skip


class Keys(Construct):
    """The keys, by class: raw text, datasets, checkpoints, models, captured traffic, and operations (logs, alarms, images)."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, account: Account) -> None:
        super().__init__(scope, name)
        self._account, self._has_file_system = account, environment.storage.fsx is not None
        self._by_class = {data_class: self._key(data_class, environment) for data_class in DATA_CLASSES}

    def arn(self, data_class: DataClass) -> str:
        """The key of a class."""
        return self._by_class[data_class].arn

    def arns(self) -> dict[str, str]:
        """All keys, by class."""
        return {data_class: key.arn for data_class, key in self._by_class.items()}

    def use(self, data_classes: Sequence[DataClass]) -> Statement:
        """Leave to read and write what these keys protect."""
        return allow("UseKeys", USE, [self.arn(data_class) for data_class in data_classes])

    def lend(self, data_classes: Sequence[DataClass]) -> Statement:
        """Leave to have AWS encrypt the disks of jobs and endpoints with these keys, and nothing else."""
        for_services = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
        return allow("LendKeys", ["kms:CreateGrant"], [self.arn(data_class) for data_class in data_classes], for_services)

    def _key(self, data_class: DataClass, environment: Environment) -> KmsKey:
        key = KmsKey(
            self,
            data_class,
            description=f"{environment.prefix}: {data_class}",
            enable_key_rotation=True,
            deletion_window_in_days=30 if environment.protect else 7,
            policy=document(*self._statements(data_class)),
        )
        KmsAlias(self, f"{data_class}-alias", name=f"alias/{environment.prefix}-{data_class}", target_key_id=key.key_id)
        return key

    def _statements(self, data_class: DataClass) -> list[Statement]:
        account = self._account
        root = {"AWS": account.arn("iam", "root", region="")}
        statements = [allow("ByPoliciesOfThisAccount", ADMINISTER, ["*"], principal=root)]
        if data_class == "operations":
            # log groups of this account and region only
            groups = {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": account.arn("logs", "*")}}
            own = {"StringEquals": {"aws:SourceAccount": account.id}}
            logs = by_service(f"logs.{account.region}")
            statements += [
                allow("EncryptLogs", [*USE, "kms:GenerateDataKeyWithoutPlaintext"], ["*"], groups, logs),
                allow("SendAlarms", ["kms:Decrypt", "kms:GenerateDataKey"], ["*"], own, by_service(*ALARM_SOURCES)),
            ]
        if data_class == "datasets" and self._has_file_system:
            # docs.aws.amazon.com/fsx/latest/LustreGuide/s3-server-side-encryption-support.html
            roles = {
                "StringEquals": {"kms:CallerAccount": account.id},
                "ArnLike": {"aws:PrincipalArn": account.arn("iam", FSX_ROLES, region="")},
            }
            statements.append(allow("FillFileSystem", USE, ["*"], roles, {"AWS": "*"}))
        return statements
