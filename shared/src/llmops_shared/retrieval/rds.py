"""Logging in to Aurora with an IAM role: RDS takes a signed URL for a password, for a quarter of an hour."""

from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from psycopg.conninfo import make_conninfo

from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.location import region_of


def aurora_conninfo(uri: str) -> str:
    """What psycopg.connect needs now for `aurora://user@host:port/database?region=...&sslmode=...&sslrootcert=...`.

    Each new connection needs its own call. TLS is required, for the token stands for the role; with `sslrootcert` the server's
    name is verified, too. Raises LlmopsError when there are no AWS credentials.
    """
    parts = urlsplit(uri)
    query = parse_qs(parts.query)
    host, port, user = str(parts.hostname), parts.port or 5432, str(parts.username)
    region = region_of(uri, host, query, "rds")
    mode = "verify-full" if "sslrootcert" in query else "require"
    options = {"sslmode": mode, **{key: values[0] for key, values in query.items() if key != "region"}}
    token = auth_token(region, host, port, user)
    return make_conninfo(host=host, port=port, user=user, dbname=parts.path.strip("/"), password=token, **options)


def auth_token(region: str, host: str, port: int, user: str) -> str:
    """The password of this moment; signed here, without a call."""
    from botocore.exceptions import NoCredentialsError

    try:
        return str(client(region).generate_db_auth_token(DBHostname=host, Port=port, DBUsername=user))
    except NoCredentialsError as error:
        raise LlmopsError(f"aurora://{user}@{host}: there are no AWS credentials; set AWS_PROFILE or run with a role") from error


@lru_cache
def client(region: str) -> Any:
    """RDS's client."""
    import boto3

    return boto3.client("rds", region_name=region)
