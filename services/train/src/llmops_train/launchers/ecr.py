"""The image of a job that names none: the newest one that the registry has for a commit, by its digest."""

import logging
import re
from typing import Any

from llmops_shared.errors import LlmopsError

logger = logging.getLogger(__name__)

COMMIT = re.compile(r"[0-9a-f]{40}")
"""An image gets its commit as tag once it is scanned and signed; signatures and half-done images have other tags, or none."""


def newest_image(client: Any, repository: str) -> str:
    """`repository@sha256:...`. Raises LlmopsError when there is none, or the registry cannot be asked."""
    from botocore.exceptions import BotoCoreError, ClientError

    registry, _, name = repository.partition("/")
    pages = client.get_paginator("describe_images").paginate(
        registryId=registry.partition(".")[0], repositoryName=name, filter={"tagStatus": "TAGGED"}
    )
    try:
        images = [image for page in pages for image in page["imageDetails"]]
    except (BotoCoreError, ClientError) as error:
        raise LlmopsError(
            f"{repository}: the registry does not tell its images ({error}); give launch.sagemaker.image, or the permission "
            f"ecr:DescribeImages"
        ) from error
    whole = [image for image in images if any(COMMIT.fullmatch(tag) for tag in image.get("imageTags", ()))]
    if not whole:
        raise LlmopsError(
            f"{repository}: has no image of a commit yet; push one (the workflow `images` does on every push to main), or give "
            f"launch.sagemaker.image"
        )
    newest = max(whole, key=lambda image: image["imagePushedAt"])
    commit = next(tag for tag in newest["imageTags"] if COMMIT.fullmatch(tag))
    logger.info("image of commit %s, pushed at %s", commit[:12], newest["imagePushedAt"].isoformat(timespec="minutes"))
    return f"{repository}@{newest['imageDigest']}"
