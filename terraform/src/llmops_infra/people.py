"""Who labels and reviews: a private workforce with one team, and the review flow of Augmented AI."""

import json
from pathlib import Path

from cdktn_provider_aws.cloudformation_stack import CloudformationStack
from cdktn_provider_aws.cognito_user_group import CognitoUserGroup
from cdktn_provider_aws.cognito_user_pool import (
    CognitoUserPool,
    CognitoUserPoolAdminCreateUserConfig,
    CognitoUserPoolPasswordPolicy,
    CognitoUserPoolSoftwareTokenMfaConfiguration,
)
from cdktn_provider_aws.cognito_user_pool_domain import CognitoUserPoolDomain
from cdktn_provider_aws.s3_bucket_cors_configuration import S3BucketCorsConfiguration, S3BucketCorsConfigurationCorsRule
from cdktn_provider_aws.s3_object import S3Object
from cdktn_provider_aws.sagemaker_flow_definition import (
    SagemakerFlowDefinition,
    SagemakerFlowDefinitionHumanLoopConfig,
    SagemakerFlowDefinitionOutputConfig,
)
from cdktn_provider_aws.sagemaker_human_task_ui import SagemakerHumanTaskUi, SagemakerHumanTaskUiUiTemplate
from cdktn_provider_aws.sagemaker_workforce import SagemakerWorkforce, SagemakerWorkforceCognitoConfig
from cdktn_provider_aws.sagemaker_workteam import (
    SagemakerWorkteam,
    SagemakerWorkteamMemberDefinition,
    SagemakerWorkteamMemberDefinitionCognitoMemberDefinition,
    SagemakerWorkteamNotificationConfiguration,
)
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.stack import Account
from llmops_infra.storage import Buckets

TEMPLATE = Path(__file__).with_name("review.liquid.html")


class Workforce(Construct):
    """A user pool as private workforce, its team, and what Ground Truth needs in the bucket."""

    def __init__(
        self, scope: Construct, name: str, *, environment: Environment, account: Account, buckets: Buckets, topic_arn: str, key_arn: str
    ) -> None:
        super().__init__(scope, name)
        prefix = environment.prefix
        pool = CognitoUserPool(
            self,
            "pool",
            name=f"{prefix}-people",
            admin_create_user_config=CognitoUserPoolAdminCreateUserConfig(allow_admin_create_user_only=True),
            mfa_configuration="ON",
            software_token_mfa_configuration=CognitoUserPoolSoftwareTokenMfaConfiguration(enabled=True),
            password_policy=CognitoUserPoolPasswordPolicy(
                minimum_length=14, require_lowercase=True, require_uppercase=True, require_numbers=True, require_symbols=True
            ),
            deletion_protection="ACTIVE" if environment.protect else "INACTIVE",
        )
        # sign-in pages have one name space in a region
        domain = CognitoUserPoolDomain(self, "domain", domain=f"{prefix}-{account.id}", user_pool_id=pool.id)
        group = CognitoUserGroup(self, "group", name="reviewers", user_pool_id=pool.id)
        client_id = self._client(prefix, pool.id)
        workforce = SagemakerWorkforce(
            self,
            "workforce",
            workforce_name=prefix,
            cognito_config=SagemakerWorkforceCognitoConfig(client_id=client_id, user_pool=pool.id),
            depends_on=[domain],
        )
        members = SagemakerWorkteamMemberDefinitionCognitoMemberDefinition(client_id=client_id, user_pool=pool.id, user_group=group.name)
        self.team = SagemakerWorkteam(
            self,
            "team",
            workteam_name=f"{prefix}-reviewers",
            workforce_name=workforce.workforce_name,
            description="Label documents and review answers",
            member_definition=[SagemakerWorkteamMemberDefinition(cognito_member_definition=members)],
            notification_configuration=SagemakerWorkteamNotificationConfiguration(notification_topic_arn=topic_arn),
        )
        self._prepare_labeling(buckets, key_arn)

    def _client(self, prefix: str, pool_id: str) -> str:
        """The app client, made by CloudFormation: SageMaker demands one with a secret, which Terraform would keep in its state."""
        properties = {"UserPoolId": {"Ref": "UserPool"}, "ClientName": f"{prefix}-people", "GenerateSecret": True}
        template = {
            "Parameters": {"UserPool": {"Type": "String"}},
            "Resources": {"Client": {"Type": "AWS::Cognito::UserPoolClient", "Properties": properties}},
            "Outputs": {"ClientId": {"Value": {"Ref": "Client"}}},
        }
        client = CloudformationStack(
            self, "client", name=f"{prefix}-people-client", template_body=json.dumps(template), parameters={"UserPool": pool_id}
        )
        return f'${{{client.fqn}.outputs["ClientId"]}}'

    def _prepare_labeling(self, buckets: Buckets, key_arn: str) -> None:
        # the labeling page loads what is labelled straight from the bucket (docs.aws.amazon.com/sagemaker/latest/dg/sms-cors-update.html)
        rule = S3BucketCorsConfigurationCorsRule(
            allowed_methods=["GET"], allowed_origins=["*"], allowed_headers=[], expose_headers=["Access-Control-Allow-Origin"]
        )
        S3BucketCorsConfiguration(self, "cors", bucket=buckets.raw.bucket.id, cors_rule=[rule])
        S3Object(
            self,
            "template",
            bucket=buckets.raw.bucket.id,
            key="labels/templates/answer.liquid.html",
            content=TEMPLATE.read_text(encoding="utf-8"),
            content_type="text/html",
            kms_key_id=key_arn,
        )


class ReviewFlow(Construct):
    """Augmented AI: answers that people judge one by one. Closed to new customers of AWS."""

    def __init__(
        self, scope: Construct, name: str, *, environment: Environment, team_arn: str, role_arn: str, output_uri: str, key_arn: str
    ) -> None:
        super().__init__(scope, name)
        prefix = environment.prefix
        page = SagemakerHumanTaskUi(
            self,
            "page",
            human_task_ui_name=f"{prefix}-answers",
            ui_template=SagemakerHumanTaskUiUiTemplate(content=TEMPLATE.read_text(encoding="utf-8")),
        )
        self.flow = SagemakerFlowDefinition(
            self,
            "flow",
            flow_definition_name=f"{prefix}-answers",
            role_arn=role_arn,
            human_loop_config=SagemakerFlowDefinitionHumanLoopConfig(
                human_task_ui_arn=page.arn,
                workteam_arn=team_arn,
                task_title="Judge an answer",
                task_description="Read the question and say whether the answer is good",
                task_count=environment.people.reviewers_per_answer,
                task_time_limit_in_seconds=3600,
            ),
            output_config=SagemakerFlowDefinitionOutputConfig(s3_output_path=output_uri, kms_key_id=key_arn),
        )
