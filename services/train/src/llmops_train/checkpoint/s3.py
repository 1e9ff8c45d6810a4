"""Checkpoints into S3: one object a node, in large parts, a bounded number of them at a time."""

from pathlib import Path

from llmops_shared.s3 import client, split, translated

# S3 takes 10,000 parts of up to 5 GiB; few large requests, for a prefix takes 3,500 PUTs a second
MOST_PARTS = 10_000
CONCURRENCY = 4


def upload(path: Path, uri: str, part_bytes: int) -> None:
    """Uploads a file as one object, which appears when its last part is there; a failed upload leaves no parts. Raises LlmopsError."""
    from boto3.s3.transfer import TransferConfig

    bucket, key = split(uri)
    part = max(part_bytes, -(-path.stat().st_size // MOST_PARTS))
    config = TransferConfig(multipart_threshold=part, multipart_chunksize=part, max_concurrency=CONCURRENCY)
    with translated(uri):
        client().upload_file(str(path), bucket, key, Config=config)
