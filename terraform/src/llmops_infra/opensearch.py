"""OpenSearch Serverless: a vector collection inside the VPC."""

import json

from cdktn_provider_aws.opensearchserverless_access_policy import OpensearchserverlessAccessPolicy
from cdktn_provider_aws.opensearchserverless_collection import OpensearchserverlessCollection
from cdktn_provider_aws.opensearchserverless_security_policy import OpensearchserverlessSecurityPolicy
from cdktn_provider_aws.opensearchserverless_vpc_endpoint import OpensearchserverlessVpcEndpoint
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.network import Network
from llmops_infra.settings import OpenSearch

READ = ("aoss:DescribeIndex", "aoss:ReadDocument")
WRITE = ("aoss:CreateIndex", "aoss:UpdateIndex", "aoss:DescribeIndex", "aoss:ReadDocument", "aoss:WriteDocument")


class VectorCollection(Construct):
    """The collection with its three policies: encryption, network, data."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        settings: OpenSearch,
        network: Network,
        key_arn: str,
        writers: list[str],
        readers: list[str],
    ) -> None:
        super().__init__(scope, name)
        self._name = f"{environment.prefix}-vectors"
        access = OpensearchserverlessVpcEndpoint(
            self,
            "access",
            name=self._name,
            vpc_id=network.vpc.id,
            subnet_ids=network.subnet_ids,
            security_group_ids=[network.groups.endpoints.id],
        )
        encrypted = {"Rules": [self._rule("collection")], "AWSOwnedKey": False, "KmsARN": key_arn}
        private = [{"Rules": [self._rule("collection"), self._rule("dashboard")], "AllowFromPublic": False, "SourceVPCEs": [access.id]}]
        policies = [
            OpensearchserverlessSecurityPolicy(self, "encryption", name=self._name, type="encryption", policy=json.dumps(encrypted)),
            OpensearchserverlessSecurityPolicy(self, "private", name=self._name, type="network", policy=json.dumps(private)),
        ]
        permissions = [self._permission("writers", writers, WRITE), self._permission("readers", readers, READ)]
        OpensearchserverlessAccessPolicy(self, "permissions", name=self._name, type="data", policy=json.dumps(permissions))
        self.collection = OpensearchserverlessCollection(
            self,
            "collection",
            name=self._name,
            type="VECTORSEARCH",
            standby_replicas="ENABLED" if settings.standby else "DISABLED",
            # a collection without a matching encryption policy is refused
            depends_on=policies,
        )

    def _rule(self, kind: str) -> dict[str, object]:
        return {"ResourceType": kind, "Resource": [f"collection/{self._name}"]}

    def _permission(self, who: str, principals: list[str], calls: tuple[str, ...]) -> dict[str, object]:
        indexes = {"ResourceType": "index", "Resource": [f"index/{self._name}/*"], "Permission": list(calls)}
        look = {**self._rule("collection"), "Permission": ["aoss:DescribeCollectionItems"]}
        return {"Description": who, "Rules": [indexes, look], "Principal": principals}
