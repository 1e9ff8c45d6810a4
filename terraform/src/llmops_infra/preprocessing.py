"""The Glue job that runs preprocessing on Spark."""

from cdktn_provider_aws.glue_connection import GlueConnection, GlueConnectionPhysicalConnectionRequirements
from cdktn_provider_aws.glue_job import GlueJob, GlueJobCommand, GlueJobExecutionProperty
from cdktn_provider_aws.glue_security_configuration import (
    GlueSecurityConfiguration,
    GlueSecurityConfigurationEncryptionConfiguration,
    GlueSecurityConfigurationEncryptionConfigurationCloudwatchEncryption,
    GlueSecurityConfigurationEncryptionConfigurationJobBookmarksEncryption,
    GlueSecurityConfigurationEncryptionConfigurationS3Encryption,
)
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.keys import Keys
from llmops_infra.network import Network

# Spark 3.5.6, Python 3.11
GLUE_VERSION = "5.1"


class Preprocessing(Construct):
    """The job; the release uploads its script and wheels to `code_uri`."""

    def __init__(
        self, scope: Construct, name: str, *, environment: Environment, network: Network, keys: Keys, code_uri: str, role_arn: str
    ) -> None:
        super().__init__(scope, name)
        settings = environment.preprocessing
        connection = GlueConnection(
            self,
            "private",
            name=f"{environment.prefix}-private",
            connection_type="NETWORK",
            physical_connection_requirements=GlueConnectionPhysicalConnectionRequirements(
                availability_zone=network.subnets[0].availability_zone,
                subnet_id=network.subnet_ids[0],
                # Spark's workers talk to each other: the group of EFA lets its members do so on every port
                security_group_id_list=network.groups.job_ids,
            ),
        )
        self.job = GlueJob(
            self,
            "job",
            name=f"{environment.prefix}-preprocess",
            role_arn=role_arn,
            glue_version=GLUE_VERSION,
            worker_type=settings.worker_type,
            number_of_workers=settings.num_workers,
            timeout=settings.timeout_min,
            max_retries=0,
            execution_property=GlueJobExecutionProperty(max_concurrent_runs=4),
            connections=[connection.name],
            security_configuration=self._encryption(environment, keys).name,
            command=GlueJobCommand(name="glueetl", python_version="3", script_location=f"{code_uri}/preprocess/glue.py"),
            default_arguments={
                # no way to a package index: wheels come from S3
                # (docs.aws.amazon.com/glue/latest/dg/aws-glue-programming-python-libraries.html)
                "--additional-python-modules": f"{code_uri}/preprocess/llmops.gluewheels.zip",
                "--python-modules-installer-option": "--no-index",
                "--enable-auto-scaling": "true",
                "--enable-continuous-cloudwatch-log": "true",
                "--enable-metrics": "true",
                "--enable-observability-metrics": "true",
                "--job-language": "python",
            },
        )

    def _encryption(self, environment: Environment, keys: Keys) -> GlueSecurityConfiguration:
        operations = keys.arn("operations")
        return GlueSecurityConfiguration(
            self,
            "encryption",
            name=environment.prefix,
            encryption_configuration=GlueSecurityConfigurationEncryptionConfiguration(
                cloudwatch_encryption=GlueSecurityConfigurationEncryptionConfigurationCloudwatchEncryption(
                    cloudwatch_encryption_mode="SSE-KMS", kms_key_arn=operations
                ),
                job_bookmarks_encryption=GlueSecurityConfigurationEncryptionConfigurationJobBookmarksEncryption(
                    job_bookmarks_encryption_mode="CSE-KMS", kms_key_arn=operations
                ),
                s3_encryption=GlueSecurityConfigurationEncryptionConfigurationS3Encryption(
                    s3_encryption_mode="SSE-KMS", kms_key_arn=keys.arn("datasets")
                ),
            ),
        )
