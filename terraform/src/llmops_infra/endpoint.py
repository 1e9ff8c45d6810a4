"""The endpoint: its configuration, how traffic moves to the next one, and what brings it back."""

from collections.abc import Sequence

from cdktn import Postcondition, TerraformResourceLifecycle
from cdktn_provider_aws.sagemaker_endpoint import (
    SagemakerEndpoint,
    SagemakerEndpointDeploymentConfig,
    SagemakerEndpointDeploymentConfigAutoRollbackConfiguration,
    SagemakerEndpointDeploymentConfigAutoRollbackConfigurationAlarms,
    SagemakerEndpointDeploymentConfigBlueGreenUpdatePolicy,
    SagemakerEndpointDeploymentConfigBlueGreenUpdatePolicyTrafficRoutingConfiguration,
    SagemakerEndpointDeploymentConfigBlueGreenUpdatePolicyTrafficRoutingConfigurationCanarySize,
    SagemakerEndpointDeploymentConfigBlueGreenUpdatePolicyTrafficRoutingConfigurationLinearStepSize,
)
from cdktn_provider_aws.sagemaker_endpoint_configuration import (
    SagemakerEndpointConfiguration,
    SagemakerEndpointConfigurationDataCaptureConfig,
    SagemakerEndpointConfigurationDataCaptureConfigCaptureContentTypeHeader,
    SagemakerEndpointConfigurationDataCaptureConfigCaptureOptions,
    SagemakerEndpointConfigurationProductionVariants,
    SagemakerEndpointConfigurationProductionVariantsRoutingConfig,
    SagemakerEndpointConfigurationShadowProductionVariants,
)
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.hardware import takes_a_key
from llmops_infra.models import Models, PlatformOutputs, digest_name
from llmops_infra.serving_settings import Deployment
from llmops_shared.contracts.endpoint import Capture, Variant
from llmops_shared.contracts.endpoint import Endpoint as EndpointDocument


class Endpoint(Construct):
    """The endpoint of a document; an update keeps it and replaces its configuration."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        document: EndpointDocument,
        models: Models,
        platform: PlatformOutputs,
        rollback_alarms: Sequence[str],
    ) -> None:
        super().__init__(scope, name)
        self._document, self._models, self._platform = document, models, platform
        shadow = document.shadow()
        self.configuration = SagemakerEndpointConfiguration(
            self,
            "configuration",
            name=self._configuration_name(),
            production_variants=[self._production(variant) for variant in document.production()],
            shadow_production_variants=[self._shadow(shadow)] if shadow else None,
            data_capture_config=self._capture(document.capture) if document.capture else None,
            kms_key_arn=platform.captures_key_arn if self._takes_a_key() else None,
            tags={"Generation": str(document.generation)},
            # the endpoint runs on the old configuration until the new one has taken over
            lifecycle=TerraformResourceLifecycle(create_before_destroy=True),
        )
        self.endpoint = SagemakerEndpoint(
            self,
            "endpoint",
            name=document.name,
            endpoint_config_name=self.configuration.name,
            deployment_config=deployment_config(environment.serving.deployment, rollback_alarms),
            # SageMaker need not return it, and the provider would replace the endpoint, traffic and all, for a difference in it.
            # An update sends what the state holds: DescribeEndpoint's LastDeploymentConfig.
            lifecycle=TerraformResourceLifecycle(ignore_changes=["deployment_config"], postcondition=[self._taken_over()]),
        )

    def _taken_over(self) -> Postcondition:
        """Fails the apply when an alarm took the traffic back, which the provider calls a success.

        It would go on to delete the old configuration, on which the endpoint then runs (terraform-provider-aws issue 48997).
        """
        return Postcondition(
            condition=f"${{self.endpoint_config_name == {self.configuration.fqn}.name}}",
            error_message=f"Generation {self._document.generation} of {self._document.name} was rolled back: its alarms say why. Deploy "
            "the document of the generation before, or a better package.",
        )

    def _takes_a_key(self) -> bool:
        """Whether a key may be named for the disks of every variant's instances."""
        return all(takes_a_key(self._models.hosting(variant).instance_type) for variant in self._document.variants)

    def _configuration_name(self) -> str:
        """A configuration cannot be changed: what is in it makes its name."""
        hosted = [self._models.hosting(variant).model_dump(mode="json") for variant in self._document.variants]
        served = self._document.model_dump(mode="json", include={"variants", "capture"})
        return digest_name(f"{self._document.name}-g{self._document.generation}", [served, hosted])

    def _production(self, variant: Variant) -> SagemakerEndpointConfigurationProductionVariants:
        hosting = self._models.hosting(variant)
        return SagemakerEndpointConfigurationProductionVariants(
            variant_name=variant.name,
            model_name=self._models.by_variant[variant.name].name,
            instance_type=hosting.instance_type,
            initial_instance_count=hosting.num_instances,
            initial_variant_weight=variant.weight,
            container_startup_health_check_timeout_in_seconds=hosting.startup_timeout_s,
            model_data_download_timeout_in_seconds=hosting.startup_timeout_s,
            # answers differ in length by a hundred times, so that counting requests says little about who is free
            routing_config=[SagemakerEndpointConfigurationProductionVariantsRoutingConfig(routing_strategy="LEAST_OUTSTANDING_REQUESTS")],
        )

    def _shadow(self, variant: Variant) -> SagemakerEndpointConfigurationShadowProductionVariants:
        """A copy of every request goes to it: the shadow's weight is its share of production's weight."""
        hosting, (production,) = self._models.hosting(variant), self._document.production()
        return SagemakerEndpointConfigurationShadowProductionVariants(
            variant_name=variant.name,
            model_name=self._models.by_variant[variant.name].name,
            instance_type=hosting.instance_type,
            initial_instance_count=hosting.num_instances,
            initial_variant_weight=production.weight,
            container_startup_health_check_timeout_in_seconds=hosting.startup_timeout_s,
            model_data_download_timeout_in_seconds=hosting.startup_timeout_s,
        )

    def _capture(self, capture: Capture) -> SagemakerEndpointConfigurationDataCaptureConfig:
        both = [SagemakerEndpointConfigurationDataCaptureConfigCaptureOptions(capture_mode=mode) for mode in ("Input", "Output")]
        # SageMaker writes what it does not know as JSON in base64
        json_types = SagemakerEndpointConfigurationDataCaptureConfigCaptureContentTypeHeader(
            json_content_types=["application/json", "application/jsonlines"]
        )
        return SagemakerEndpointConfigurationDataCaptureConfig(
            enable_capture=True,
            initial_sampling_percentage=round(capture.sample_rate * 100),
            # SageMaker adds the names of endpoint and variant, and the hour
            destination_s3_uri=self._platform.exchanges_uri,
            kms_key_id=self._platform.captures_key_arn,
            capture_options=both,
            capture_content_type_header=json_types,
        )


def deployment_config(settings: Deployment, alarms: Sequence[str]) -> SagemakerEndpointDeploymentConfig:
    """Blue/green: a second fleet takes the traffic step by step; any of the alarms gives it back to the first."""
    canary, linear = (
        SagemakerEndpointDeploymentConfigBlueGreenUpdatePolicyTrafficRoutingConfigurationCanarySize,
        SagemakerEndpointDeploymentConfigBlueGreenUpdatePolicyTrafficRoutingConfigurationLinearStepSize,
    )
    unit, percent = "CAPACITY_PERCENT", settings.step_percent
    return SagemakerEndpointDeploymentConfig(
        blue_green_update_policy=SagemakerEndpointDeploymentConfigBlueGreenUpdatePolicy(
            traffic_routing_configuration=SagemakerEndpointDeploymentConfigBlueGreenUpdatePolicyTrafficRoutingConfiguration(
                type=settings.shift.upper(),
                wait_interval_in_seconds=settings.wait_s,
                canary_size=canary(type=unit, value=percent) if settings.shift == "canary" else None,
                linear_step_size=linear(type=unit, value=percent) if settings.shift == "linear" else None,
            ),
            termination_wait_in_seconds=settings.keep_old_s,
            maximum_execution_timeout_in_seconds=deployment_limit_s(settings),
        ),
        auto_rollback_configuration=SagemakerEndpointDeploymentConfigAutoRollbackConfiguration(
            alarms=[SagemakerEndpointDeploymentConfigAutoRollbackConfigurationAlarms(alarm_name=alarm) for alarm in alarms]
        ),
    )


MAX_DEPLOYMENT_S = 14_400


def deployment_limit_s(settings: Deployment) -> int:
    """How long a deployment may take: its steps, its wait, and an hour to start the new fleet; SageMaker allows four hours."""
    return min(MAX_DEPLOYMENT_S, settings.num_steps * settings.wait_s + settings.keep_old_s + 3600)
