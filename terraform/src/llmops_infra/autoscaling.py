"""How many instances a variant has: by the requests it works on, and by the clock."""

from cdktn_provider_aws.appautoscaling_policy import (
    AppautoscalingPolicy,
    AppautoscalingPolicyTargetTrackingScalingPolicyConfiguration,
    AppautoscalingPolicyTargetTrackingScalingPolicyConfigurationPredefinedMetricSpecification,
)
from cdktn_provider_aws.appautoscaling_scheduled_action import (
    AppautoscalingScheduledAction,
    AppautoscalingScheduledActionScalableTargetAction,
)
from cdktn_provider_aws.appautoscaling_target import AppautoscalingTarget
from constructs import Construct

from llmops_infra.serving_settings import Autoscaling

SERVICE = "sagemaker"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
# requests in flight, every ten seconds: a model is busy with tens of them long before a count per minute says so
METRIC = "SageMakerVariantConcurrentRequestsPerModelHighResolution"


class VariantScaling(Construct):
    """Target tracking of one production variant, and its night."""

    def __init__(self, scope: Construct, name: str, *, endpoint: str, variant: str, settings: Autoscaling) -> None:
        super().__init__(scope, name)
        self._settings = settings
        self._target = AppautoscalingTarget(
            self,
            "target",
            service_namespace=SERVICE,
            scalable_dimension=DIMENSION,
            resource_id=f"endpoint/{endpoint}/variant/{variant}",
            min_capacity=settings.min_instances,
            max_capacity=settings.max_instances,
        )
        AppautoscalingPolicy(
            self,
            "by-requests",
            name=f"{endpoint}-{variant}-requests",
            policy_type="TargetTrackingScaling",
            service_namespace=self._target.service_namespace,
            scalable_dimension=self._target.scalable_dimension,
            resource_id=self._target.resource_id,
            target_tracking_scaling_policy_configuration=AppautoscalingPolicyTargetTrackingScalingPolicyConfiguration(
                target_value=settings.requests_per_instance,
                predefined_metric_specification=AppautoscalingPolicyTargetTrackingScalingPolicyConfigurationPredefinedMetricSpecification(
                    predefined_metric_type=METRIC
                ),
                # an instance takes minutes to load a model: grow at once, shrink when it has lasted
                scale_out_cooldown=60,
                scale_in_cooldown=600,
            ),
        )
        if settings.night and settings.morning:
            self._from(f"{endpoint}-{variant}", "night", settings.night, settings.min_instances)
            self._from(f"{endpoint}-{variant}", "morning", settings.morning, settings.max_instances)

    def _from(self, stem: str, name: str, at: str, max_instances: int) -> None:
        AppautoscalingScheduledAction(
            self,
            name,
            name=f"{stem}-{name}",
            service_namespace=self._target.service_namespace,
            scalable_dimension=self._target.scalable_dimension,
            resource_id=self._target.resource_id,
            schedule=at,
            timezone=self._settings.timezone,
            scalable_target_action=AppautoscalingScheduledActionScalableTargetAction(
                min_capacity=str(self._settings.min_instances), max_capacity=str(max_instances)
            ),
        )
