"""Kendra: search over the raw documents."""

from cdktn_provider_aws.kendra_data_source import (
    KendraDataSource,
    KendraDataSourceConfiguration,
    KendraDataSourceConfigurationS3Configuration,
)
from cdktn_provider_aws.kendra_index import KendraIndex, KendraIndexServerSideEncryptionConfiguration
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.keys import Keys
from llmops_infra.permissions import publish_metrics, read, write_logs
from llmops_infra.policy import allow
from llmops_infra.role import service_role
from llmops_infra.settings import Kendra
from llmops_infra.stack import Account
from llmops_infra.storage import Buckets


class DocumentIndex(Construct):
    """The index and its source, the raw bucket."""

    def __init__(
        self, scope: Construct, name: str, *, environment: Environment, settings: Kendra, account: Account, buckets: Buckets, keys: Keys
    ) -> None:
        super().__init__(scope, name)
        prefix = environment.prefix
        index_role = service_role(
            self,
            "index-role",
            role_name=f"{prefix}-kendra",
            account=account,
            services=["kendra"],
            statements=[publish_metrics("AWS/Kendra"), write_logs(account, "/aws/kendra/"), keys.use(["raw"])],
        )
        self.index = KendraIndex(
            self,
            "index",
            name=f"{prefix}-documents",
            edition=settings.edition,
            role_arn=index_role.arn,
            server_side_encryption_configuration=KendraIndexServerSideEncryptionConfiguration(kms_key_id=keys.arn("raw")),
        )
        put = allow("FillIndex", ["kendra:BatchPutDocument", "kendra:BatchDeleteDocument"], [self.index.arn])
        source_role = service_role(
            self,
            "source-role",
            role_name=f"{prefix}-kendra-source",
            account=account,
            services=["kendra"],
            statements=[*read(buckets.raw, "documents"), keys.use(["raw"]), put],
        )
        documents = KendraDataSourceConfigurationS3Configuration(bucket_name=buckets.raw.name, inclusion_prefixes=["documents/"])
        KendraDataSource(
            self,
            "documents",
            name="documents",
            type="S3",
            index_id=self.index.id,
            role_arn=source_role.arn,
            schedule=settings.schedule,
            configuration=KendraDataSourceConfiguration(s3_configuration=documents),
        )
