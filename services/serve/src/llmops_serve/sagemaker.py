"""What SageMaker runs under an endpoint's name, by its describe calls."""

from collections.abc import Mapping
from typing import Any

from llmops_shared.aws_errors import refused
from llmops_shared.contracts import Endpoint
from llmops_shared.contracts.endpoint import Variant
from llmops_shared.hosting.container import IMAGES, container_of
from llmops_shared.store import folder_of, join

STARTUP_TIMEOUT_S = 900


def endpoint_differences(endpoint: Endpoint, place: str, endpoint_uri: str | None) -> list[str]:
    """Where the endpoint differs from the document, in words. Raises LlmopsError when AWS cannot be asked."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = boto3.client("sagemaker")
        return Comparison(client, endpoint, folder_of(endpoint_uri or place)).differences()
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        if code == "ValidationException" and "Could not find" in message:
            return [f"SageMaker has no endpoint {endpoint.name}; apply the serving stack."]
        raise refused(f"endpoint {endpoint.name}", error, "correct the role's permissions, or AWS_REGION") from error
    except BotoCoreError as error:
        raise refused(f"endpoint {endpoint.name}", error) from error


class Comparison:
    """One endpoint, described and compared."""

    def __init__(self, client: Any, endpoint: Endpoint, folder: str) -> None:
        self._client = client
        self._endpoint = endpoint
        self._folder = folder

    def differences(self) -> list[str]:
        """In words, one sentence each."""
        found = self._client.describe_endpoint(EndpointName=self._endpoint.name)
        differences = []
        if found["EndpointStatus"] != "InService":
            why = f": {found['FailureReason']}" if found.get("FailureReason") else ""
            differences.append(f"the endpoint is {found['EndpointStatus']}, not InService{why}.")
        configured = self._client.describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"])
        running = {item["VariantName"]: item for item in configured["ProductionVariants"]}
        shadows = {item["VariantName"]: item for item in configured.get("ShadowProductionVariants", [])}
        production = {variant.name: variant for variant in self._endpoint.production()}
        shadow = {variant.name: variant for variant in self._endpoint.variants if variant.shadow}
        for kind, wanted, there in (("production", production, running), ("shadow", shadow, shadows)):
            differences += [f"{kind} variant {name} is not there." for name in wanted if name not in there]
            differences += [f"{kind} variant {name} is there, and the document has none." for name in there if name not in wanted]
            for name in wanted.keys() & there.keys():
                differences += self._variant_differences(wanted[name], there[name])
        return [*differences, *weight_differences(production, found.get("ProductionVariants", []))]

    def _variant_differences(self, variant: Variant, configured: Mapping[str, Any]) -> list[str]:
        """Package, image and environment of one variant."""
        container = self._client.describe_model(ModelName=configured["ModelName"])["PrimaryContainer"]
        differences = []
        source = container.get("ModelDataSource", {}).get("S3DataSource", {}).get("S3Uri", container.get("ModelDataUrl", ""))
        wanted = folder_of(join(self._folder, variant.package.uri))
        if source.rstrip("/") != wanted:
            differences.append(f"variant {variant.name} serves the package {source.rstrip('/')}, the document has {wanted}.")
        if variant.engine == "in-process" or variant.model is None:
            return differences  # what runs it was chosen elsewhere
        expected = container_of(variant, variant.engine, configured["InstanceType"], STARTUP_TIMEOUT_S)
        if not container["Image"].endswith(f"/{IMAGES[variant.engine]}"):
            differences.append(f"variant {variant.name} runs the image {container['Image']}, the document's engine is {variant.engine}.")
        environment = container.get("Environment", {})
        for name, value in expected.environment.items():
            # the serving stack sets how long loading may take
            if environment.get(name) != value and name != "OPTION_MODEL_LOADING_TIMEOUT":
                differences.append(f"variant {variant.name} has {name}={environment.get(name)}, the document asks for {value}.")
        return differences


def weight_differences(production: Mapping[str, Variant], running: list[dict[str, Any]]) -> list[str]:
    """Shares of the traffic; SageMaker's weights are relative as ours are."""
    weights = {item["VariantName"]: item.get("CurrentWeight", 0.0) for item in running}
    if not weights.keys() >= production.keys() or not sum(weights.values()):
        return []  # what is missing is told already
    total, wanted = sum(weights.values()), sum(variant.weight for variant in production.values())
    return [
        f"variant {name} gets {weights[name] / total:.1%} of the traffic, the document asks for {variant.weight / wanted:.1%}."
        for name, variant in production.items()
        if abs(weights[name] / total - variant.weight / wanted) > 0.001
    ]
