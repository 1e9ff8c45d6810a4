"""What every new generation of an endpoint needs: references seen from its own folder, and a record in MLflow."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from llmops_shared.config import Tracking
from llmops_shared.contracts import Endpoint, ModelPackage, Reference
from llmops_shared.documents import refer
from llmops_shared.store import folder_of, join, relative
from llmops_shared.tracking import tracked


def moved(endpoint: Endpoint, folder: str, to: str) -> Endpoint:
    """The endpoint with its relative URIs, which start at `folder`, rewritten to start at the folder `to`."""

    def move(reference: Reference) -> Reference:
        return reference.model_copy(update={"uri": relative(join(folder, reference.uri), to)})

    variants = [
        variant.model_copy(
            update={
                "package": move(variant.package),
                "adapters": [adapter.model_copy(update={"package": move(adapter.package)}) for adapter in variant.adapters],
            }
        )
        for variant in endpoint.variants
    ]
    retrieval, capture = endpoint.retrieval, endpoint.capture
    if retrieval is not None:
        retrieval = retrieval.model_copy(update={"index": move(retrieval.index)})
    if capture is not None:
        capture = capture.model_copy(update={"uri": relative(join(folder, capture.uri), to)})
    arms = []
    for arm in endpoint.arms:
        own = arm.retrieval
        arms.append(arm if own is None else arm.model_copy(update={"retrieval": own.model_copy(update={"index": move(own.index)})}))
    return endpoint.model_copy(update={"variants": variants, "retrieval": retrieval, "capture": capture, "arms": arms})


def next_generation(before: Endpoint, place: str, folder: str, reason: str) -> Endpoint:
    """The generation after the one at `place`, as a document in `folder` has it; what it changes is for the caller to say."""
    update = {"generation": before.generation + 1, "previous": refer(place, Endpoint, folder), "reason": reason, "evidence": None}
    return moved(before, folder_of(place), folder).model_copy(update=update)


def record(tracking: Tracking, endpoint: Endpoint, packages: Mapping[str, ModelPackage]) -> None:
    """Keeps a generation in MLflow: what changed and why, and the document itself; `packages` are the new ones by variant."""
    with tracked(tracking, "serve", f"{endpoint.name}-{endpoint.generation}") as run:
        variants = {
            variant.name: {
                "package_sha256": variant.package.sha256,
                "weight": variant.weight,
                "shadow": variant.shadow,
                "engine": variant.engine,
            }
            for variant in endpoint.variants
        }
        run.parameters({"endpoint": endpoint.name, "reason": endpoint.reason, "variants": variants})
        run.parameters({f"package.{name}": package.name for name, package in packages.items()})
        run.metrics({"generation": endpoint.generation})
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / endpoint.file_name
            path.write_bytes(endpoint.to_json())
            run.artifact(path)
