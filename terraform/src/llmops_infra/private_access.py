"""Private ways to AWS: S3 by the route table, other services by interface endpoints, each with a policy."""

from cdktn_provider_aws.vpc_endpoint import VpcEndpoint
from cdktn_provider_aws.vpc_security_group_egress_rule import VpcSecurityGroupEgressRule
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.policy import allow, document
from llmops_infra.private_services import ACTIONS, services_of
from llmops_infra.security_groups import SecurityGroups
from llmops_infra.stack import Account

S3_ACTIONS = (
    "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetBucketLocation", "s3:GetObject", "s3:GetObjectTagging", "s3:GetObjectVersion",
    "s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts", "s3:PutObject", "s3:PutObjectTagging",
)  # fmt: skip


class PrivateAccess(Construct):
    """The gateway endpoint of S3 and the interface endpoints."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        account: Account,
        vpc_id: str,
        route_table_id: str,
        subnet_ids: list[str],
        groups: SecurityGroups,
    ) -> None:
        super().__init__(scope, name)
        self._environment, self._account, self._vpc_id = environment, account, vpc_id
        s3 = VpcEndpoint(
            self,
            "s3",
            vpc_id=vpc_id,
            vpc_endpoint_type="Gateway",
            service_name=self._service("s3"),
            route_table_ids=[route_table_id],
            policy=self._s3_policy(),
            tags={"Name": f"{environment.prefix}-s3"},
        )
        VpcSecurityGroupEgressRule(
            self,
            "jobs-to-s3",
            security_group_id=groups.jobs.id,
            prefix_list_id=s3.prefix_list_id,
            description="S3",
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
        )
        for service in services_of(environment):
            VpcEndpoint(
                self,
                service.replace(".", "-"),
                vpc_id=vpc_id,
                vpc_endpoint_type="Interface",
                service_name=self._service(service),
                subnet_ids=subnet_ids,
                security_group_ids=[groups.endpoints.id],
                private_dns_enabled=True,
                policy=self._policy(service),
                tags={"Name": f"{environment.prefix}-{service}"},
            )

    def _service(self, name: str) -> str:
        region = self._environment.region
        # docs.aws.amazon.com/sagemaker/latest/dg/mlflow-private-link.html
        return f"aws.sagemaker.{region}.experiments" if name == "mlflow" else f"com.amazonaws.{region}.{name}"

    def _policy(self, service: str) -> str:
        """Our own principals only: stolen keys of another account carry nothing out."""
        own = {"StringEquals": {"aws:PrincipalAccount": self._account.id}}
        return document(allow("OwnPrincipals", ACTIONS[service], ["*"], own, {"AWS": "*"}))

    def _s3_policy(self) -> str:
        account = self._account
        own = {"StringEquals": {"aws:PrincipalAccount": account.id, "aws:ResourceAccount": account.id}}
        # image layers of every registry are in a bucket of AWS (docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html)
        layers = account.arn("s3", f"prod-{account.region}-starport-layer-bucket/*", region="", account="")
        return document(
            allow("OwnBuckets", S3_ACTIONS, ["*"], own, {"AWS": "*"}),
            allow("ImageLayers", ["s3:GetObject"], [layers], principal={"AWS": "*"}),
        )
