"""What the tool keeps between runs: the schema of the provider, and the folders of simulated stacks."""

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from llmops_shared.errors import LlmopsError

logger = logging.getLogger(__name__)

_ARCHIVE = "cdktn_provider_aws/_jsii/*.jsii.tgz"
_DERIVED_BY = ("bindings.py", "javascript.py", "schema.py", "functions.py")


def folder() -> Path:
    """`$LLMOPS_OFFLINE_CACHE`, or `llmops-offline` in the user's cache folder."""
    if given := os.environ.get("LLMOPS_OFFLINE_CACHE"):
        return Path(given).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "llmops-offline"


def schema() -> Path:
    """The schema of the AWS provider that the installed bindings were made for; derived once, in about ten seconds."""
    archive = bindings()
    stat = archive.stat()
    digest = hashlib.sha256(f"{archive.name} {stat.st_size} {int(stat.st_mtime)}".encode())
    for name in _DERIVED_BY:
        digest.update(Path(__file__).with_name(name).read_bytes())
    target = folder() / f"schema-{digest.hexdigest()[:12]}"
    with _made_once(target) as wanted:
        if wanted:
            logger.info("deriving the provider schema from %s (first use)", archive.name)
            from llmops_offline import schema as schemas

            schemas.derive(archive, target)
    return target / "schema.zip"


def bindings() -> Path:
    """The archive of JavaScript in the installed `cdktn-provider-aws`. Raises LlmopsError when there is none."""
    for entry in sys.path:
        for archive in sorted(Path(entry or ".").glob(_ARCHIVE)):
            return archive
    raise LlmopsError(
        "cdktn-provider-aws is not installed, and the provider schema is read from it; the archived cdktf bindings are laid out "
        "differently: pip install cdktn-provider-aws"
    )


@contextlib.contextmanager
def _made_once(target: Path) -> Iterator[bool]:
    """Yields whether `target` has to be made; other processes wait, and a failure leaves nothing."""
    ready = target.with_name(target.name + ".ready")
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready.exists():
            yield False
            return
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        try:
            yield True
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        ready.touch()
