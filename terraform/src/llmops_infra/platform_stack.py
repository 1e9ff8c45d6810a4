"""The platform: what is slow to make and holds data."""

from pathlib import Path

from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.keys import Keys
from llmops_infra.network import Network
from llmops_infra.stack import Stack
from llmops_infra.storage import Buckets, Lustre


class PlatformStack(Stack):
    """Network, storage, identity, registry, tracking, jobs, retrieval, people, monitoring."""

    def __init__(self, scope: Construct, *, environment: Environment, out: Path) -> None:
        super().__init__(scope, "platform", environment=environment, out=out)
        account = self.account
        keys = Keys(self, "keys", environment=environment, account=account)
        network = Network(self, "network", environment=environment, account=account, log_key_arn=keys.arn("operations"))
        buckets = Buckets(self, "storage", environment=environment, account=account, keys=keys)
        if environment.storage.fsx:
            Lustre(
                self,
                "lustre",
                environment=environment,
                settings=environment.storage.fsx,
                subnet_id=network.subnet_ids[0],
                group_id=network.groups.fsx.id,
                buckets=buckets,
                keys=keys,
            )
