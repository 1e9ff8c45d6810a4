"""Buckets for every class of data, and the file system in front of the datasets."""

from cdktn_provider_aws.cloudwatch_log_group import CloudwatchLogGroup
from cdktn_provider_aws.fsx_data_repository_association import (
    FsxDataRepositoryAssociation,
    FsxDataRepositoryAssociationS3,
    FsxDataRepositoryAssociationS3AutoImportPolicy,
)
from cdktn_provider_aws.fsx_lustre_file_system import (
    FsxLustreFileSystem,
    FsxLustreFileSystemLogConfiguration,
    FsxLustreFileSystemMetadataConfiguration,
)
from constructs import Construct

from llmops_infra.bucket import Bucket, Contents
from llmops_infra.config import Environment
from llmops_infra.keys import Keys
from llmops_infra.policy import Statement, allow, by_service
from llmops_infra.settings import FileSystem
from llmops_infra.settings import Storage as StorageSettings
from llmops_infra.stack import Account

# where the datasets appear on the file system
DATASETS_PATH = "/datasets"


def contents(settings: StorageSettings) -> dict[str, Contents]:
    """What each bucket holds. Training data and checkpoints never share a prefix: one is read hard while the other is written."""
    return {
        "raw": Contents(["documents", "labels"], versioned=True),
        "datasets": Contents(["datasets", "indexes", "pipelines"], versioned=True),
        "checkpoints": Contents(["checkpoints", "runs"], versioned=False, expire_days=settings.checkpoint_days),
        "models": Contents(["packages", "endpoints", "mlflow", "code"], versioned=True),
        "captures": Contents(["exchanges", "reports", "reviews"], versioned=False, expire_days=settings.capture_days),
    }


class Buckets(Construct):
    """raw, datasets, checkpoints, models, captures and logs."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, account: Account, keys: Keys) -> None:
        super().__init__(scope, name)
        held = contents(environment.storage)

        def bucket(purpose: str) -> Bucket:
            key = keys.arns()[purpose]
            return Bucket(self, purpose, environment=environment, account=account, contents=held[purpose], key_arn=key)

        self.raw = bucket("raw")
        self.datasets = bucket("datasets")
        self.checkpoints = bucket("checkpoints")
        self.models = bucket("models")
        self.captures = bucket("captures")
        kept = Contents(["access", "inventory"], versioned=True, expire_days=environment.storage.log_days)
        logs_arn = account.arn("s3", f"{environment.prefix}-logs-{account.id}-{account.region}", region="", account="")
        statements = deliveries(account, logs_arn)
        self.logs = Bucket(self, "logs", environment=environment, account=account, contents=kept, statements=statements)
        for source in self.all():
            source.deliver_to(self.logs)

    def all(self) -> list[Bucket]:
        """Every bucket that holds data, without the logs."""
        return [self.raw, self.datasets, self.checkpoints, self.models, self.captures]


def deliveries(account: Account, bucket_arn: str) -> list[Statement]:
    """Leave for S3 to put access logs and inventories of this account's buckets."""
    own = {"StringEquals": {"aws:SourceAccount": account.id}}
    return [
        allow("AccessLogs", ["s3:PutObject"], [f"{bucket_arn}/access/*"], own, by_service("logging.s3")),
        allow("Inventories", ["s3:PutObject"], [f"{bucket_arn}/inventory/*"], own, by_service("s3")),
    ]


class Lustre(Construct):
    """FSx for Lustre, filled from the datasets bucket as files are first read."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        settings: FileSystem,
        subnet_id: str,
        group_ids: list[str],
        buckets: Buckets,
        keys: Keys,
    ) -> None:
        super().__init__(scope, name)
        group = CloudwatchLogGroup(
            self,
            "events",
            # FSx writes only to groups of this name
            name=f"/aws/fsx/{environment.prefix}",
            retention_in_days=environment.network.flow_log_days,
            kms_key_id=keys.arn("operations"),
        )
        self.size_gib = settings.size_gib
        self.file_system = FsxLustreFileSystem(
            self,
            "file-system",
            # one zone: jobs that read it run there
            subnet_ids=[subnet_id],
            security_group_ids=group_ids,
            deployment_type="PERSISTENT_2",
            storage_type="SSD",
            storage_capacity=settings.size_gib,
            per_unit_storage_throughput=settings.throughput,
            file_system_type_version="2.15",
            data_compression_type="LZ4",
            efa_enabled=environment.fsx_efa or None,
            # EFA needs metadata servers of its own
            metadata_configuration=FsxLustreFileSystemMetadataConfiguration(mode="AUTOMATIC"),
            # what is on it is in the bucket, too
            automatic_backup_retention_days=0,
            kms_key_id=keys.arn("datasets"),
            log_configuration=FsxLustreFileSystemLogConfiguration(level="WARN_ERROR", destination=group.arn),
            tags={"Name": f"{environment.prefix}-datasets"},
        )
        self.association = FsxDataRepositoryAssociation(
            self,
            "datasets",
            file_system_id=self.file_system.id,
            data_repository_path=buckets.datasets.uri("datasets"),
            file_system_path=DATASETS_PATH,
            batch_import_meta_data_on_create=True,
            s3=FsxDataRepositoryAssociationS3(
                # documents never change, so nothing is written back
                auto_import_policy=FsxDataRepositoryAssociationS3AutoImportPolicy(events=["NEW", "CHANGED", "DELETED"])
            ),
        )
