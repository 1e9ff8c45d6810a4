"""Aurora PostgreSQL Serverless v2, for pgvector: no password of ours, no public address."""

from cdktn_provider_aws.db_subnet_group import DbSubnetGroup
from cdktn_provider_aws.rds_cluster import RdsCluster, RdsClusterServerlessv2ScalingConfiguration
from cdktn_provider_aws.rds_cluster_instance import RdsClusterInstance
from cdktn_provider_aws.rds_cluster_parameter_group import RdsClusterParameterGroup, RdsClusterParameterGroupParameter
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.network import Network
from llmops_infra.policy import allow
from llmops_infra.role import service_role
from llmops_infra.settings import Pgvector
from llmops_infra.stack import Account

ENGINE = "aurora-postgresql"
VERSION = "17"
DATABASE = "retrieval"


class Aurora(Construct):
    """The cluster; services log in with their role, as the user `retrieval`."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        settings: Pgvector,
        account: Account,
        network: Network,
        data_key_arn: str,
        operations_key_arn: str,
    ) -> None:
        super().__init__(scope, name)
        prefix = environment.prefix
        subnets = DbSubnetGroup(self, "subnets", name=f"{prefix}-retrieval", subnet_ids=network.subnet_ids)
        self.cluster = RdsCluster(
            self,
            "cluster",
            cluster_identifier=f"{prefix}-retrieval",
            engine=ENGINE,
            engine_version=VERSION,
            database_name=DATABASE,
            # RDS makes the password and keeps it in Secrets Manager: it never passes through Terraform
            master_username="administrator",
            manage_master_user_password=True,
            master_user_secret_kms_key_id=operations_key_arn,
            iam_database_authentication_enabled=True,
            db_subnet_group_name=subnets.name,
            vpc_security_group_ids=[network.groups.database.id],
            db_cluster_parameter_group_name=self._parameters(prefix).name,
            storage_encrypted=True,
            kms_key_id=data_key_arn,
            serverlessv2_scaling_configuration=RdsClusterServerlessv2ScalingConfiguration(
                min_capacity=settings.min_capacity, max_capacity=settings.max_capacity
            ),
            backup_retention_period=settings.backup_days,
            copy_tags_to_snapshot=True,
            deletion_protection=environment.protect,
            skip_final_snapshot=not environment.protect,
            final_snapshot_identifier=f"{prefix}-retrieval-final" if environment.protect else None,
            enabled_cloudwatch_logs_exports=["postgresql"],
        )
        monitoring = self._monitoring_role(prefix, account)
        self.instances = [
            RdsClusterInstance(
                self,
                f"instance-{number}",
                identifier=f"{prefix}-retrieval-{number}",
                cluster_identifier=self.cluster.id,
                engine=ENGINE,
                engine_version=self.cluster.engine_version,
                instance_class="db.serverless",
                publicly_accessible=False,
                auto_minor_version_upgrade=True,
                copy_tags_to_snapshot=True,
                performance_insights_enabled=True,
                performance_insights_kms_key_id=data_key_arn,
                monitoring_interval=60,
                monitoring_role_arn=monitoring,
            )
            for number in range(settings.num_instances)
        ]

    def _parameters(self, prefix: str) -> RdsClusterParameterGroup:
        wanted = {"rds.force_ssl": "1", "log_statement": "ddl", "log_min_duration_statement": "1000"}
        parameters = [RdsClusterParameterGroupParameter(name=key, value=value) for key, value in wanted.items()]
        return RdsClusterParameterGroup(self, "parameters", name=f"{prefix}-retrieval", family=f"{ENGINE}{VERSION}", parameter=parameters)

    def _monitoring_role(self, prefix: str, account: Account) -> str:
        group = account.arn("logs", "log-group:RDSOSMetrics")
        manage = ["logs:CreateLogGroup", "logs:PutRetentionPolicy"]
        write = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:GetLogEvents", "logs:PutLogEvents"]
        statements = [allow("OwnGroup", manage, [group, f"{group}:*"]), allow("WriteMetrics", write, [f"{group}:log-stream:*"])]
        role_name, services = f"{prefix}-retrieval-monitoring", ["monitoring.rds"]
        role = service_role(self, "monitoring", role_name=role_name, account=account, services=services, statements=statements)
        return str(role.arn)
