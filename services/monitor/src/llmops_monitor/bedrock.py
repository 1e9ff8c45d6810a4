"""A judge of Amazon Bedrock, asked through Converse."""

from collections.abc import Callable
from typing import Any

from llmops_shared.aws_errors import explained


def ask_bedrock(model_id: str, client: Any = None) -> Callable[[str], str]:
    """Asks a model by its id or inference profile. Credentials and region come from the environment."""
    if client is None:
        import boto3
        from botocore.config import Config

        client = boto3.client("bedrock-runtime", config=Config(retries={"mode": "adaptive", "max_attempts": 10}))

    def ask(prompt: str) -> str:
        with explained(f"judge {model_id}: Bedrock refuses", "check the id, the region and access to the model"):
            answer = client.converse(
                modelId=model_id,
                messages=[{"role": "user", "content": [{"text": prompt}]}],
                inferenceConfig={"temperature": 0.0, "maxTokens": 300},
            )
        return "".join(part.get("text", "") for part in answer["output"]["message"]["content"])

    return ask
