"""The topic that every alarm, warning and notice goes to."""

from cdktn_provider_aws.sns_topic import SnsTopic
from cdktn_provider_aws.sns_topic_policy import SnsTopicPolicy
from cdktn_provider_aws.sns_topic_subscription import SnsTopicSubscription
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.keys import ALARM_SOURCES
from llmops_infra.policy import allow, by_service, deny, document
from llmops_infra.stack import Account


class Alerts(Construct):
    """An encrypted topic; the address in the settings is subscribed and has to confirm by mail."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, account: Account, key_arn: str) -> None:
        super().__init__(scope, name)
        self.topic = SnsTopic(self, "topic", name=f"{environment.prefix}-alerts", kms_master_key_id=key_arn)
        own = {"StringEquals": {"aws:SourceAccount": account.id}}
        plain = {"Bool": {"aws:SecureTransport": "false"}}
        policy = document(
            allow("Publish", ["sns:Publish"], [self.topic.arn], own, by_service(*ALARM_SOURCES)),
            deny("TlsOnly", ["sns:Publish"], [self.topic.arn], plain, {"AWS": "*"}),
        )
        SnsTopicPolicy(self, "policy", arn=self.topic.arn, policy=policy)
        if environment.monitoring.email:
            SnsTopicSubscription(self, "email", topic_arn=self.topic.arn, protocol="email", endpoint=environment.monitoring.email)
