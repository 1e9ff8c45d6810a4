import json
from pathlib import Path

import pytest

from llmops_shared.config import JobConfig
from llmops_shared.contracts import Endpoint, Reference, RetrievalIndex
from llmops_shared.contracts.endpoint import Variant
from llmops_shared.documents import fetch_part, follow, read_document, refer, store_part, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import finished
from llmops_shared.store import store_for

PACKAGE = Reference(uri="../package/package.json", sha256="0" * 64)


def endpoint(reason: str = "deploy") -> Endpoint:
    return Endpoint(
        name="assistant",
        generation=1,
        previous=None,
        reason=reason,
        evidence=None,
        variants=[Variant(name="production", package=PACKAGE)],
        retrieval=None,
        capture=None,
    )


def test_a_document_is_found_by_its_folder_and_by_its_own_name(root):
    write_document(f"{root}/one", endpoint())

    assert read_document(f"{root}/one", Endpoint) == endpoint()
    assert read_document(f"{root}/one/endpoint.json", Endpoint) == endpoint()


def test_a_reference_is_relative_and_survives_a_move(root, tmp_path):
    write_document(f"{root}/one", endpoint())

    reference = refer(f"{root}/one", Endpoint, f"{root}/two")

    assert reference.uri == "../one/endpoint.json"
    assert follow(reference, f"{root}/two", Endpoint) == (f"{root}/one/endpoint.json", endpoint())


def test_a_document_that_changed_after_it_was_referred_to_is_refused(root):
    write_document(f"{root}/one", endpoint())
    reference = refer(f"{root}/one", Endpoint, f"{root}/two")
    write_document(f"{root}/one", endpoint("changed"))

    with pytest.raises(LlmopsError, match="changed since it was referred to"):
        follow(reference, f"{root}/two", Endpoint)


def test_a_damaged_part_is_refused(root):
    part = store_part(root, "parts/a.bin", b"right")
    assert fetch_part(f"{root}/document.json", part).read_bytes() == b"right"

    store_for(root).write(f"{root}/parts/a.bin", b"wrong")
    if root.startswith("s3://"):  # same size: what was fetched before must not be trusted
        store_for(root).fetch(f"{root}/parts/a.bin").write_bytes(b"wrong")

    with pytest.raises(LlmopsError, match="is damaged"):
        fetch_part(f"{root}/document.json", part)


@pytest.mark.parametrize("content", [b'{"name": "assis', b"", b'{"name": "x", "surprise": 1}'])
def test_a_document_that_is_not_complete_says_so(root, content):
    store_for(root).write(f"{root}/endpoint.json", content)

    with pytest.raises(LlmopsError, match=r"endpoint.json: is not a complete Endpoint .* run the stage that writes it again"):
        read_document(root, Endpoint)


def test_a_document_of_a_newer_version_is_refused(root):
    later = json.loads(endpoint().to_json()) | {"schema_version": 2}
    store_for(root).write(f"{root}/endpoint.json", json.dumps(later).encode())

    with pytest.raises(LlmopsError, match="schema_version"):
        read_document(root, Endpoint)


def test_a_missing_document_names_the_stage(root):
    with pytest.raises(LlmopsError, match="there is no such RetrievalIndex; run the stage that writes it"):
        read_document(f"{root}/nothing", RetrievalIndex)


class Job(JobConfig):
    size: int
    """Size."""


def test_finished_work_is_kept_until_settings_or_inputs_change(root):
    job = Job(out=root, size=1)
    assert finished(job, Endpoint, {"dataset": "aa"}) is None
    write_document(root, endpoint())

    assert finished(job, Endpoint, {"dataset": "aa"}) == endpoint()
    with pytest.raises(LlmopsError, match=r"made from other settings or inputs \(inputs.dataset, size\).*choose another out="):
        finished(Job(out=root, size=2), Endpoint, {"dataset": "bb"})
    assert read_document(root, Endpoint) == endpoint()


def test_an_interrupted_job_starts_again_with_any_settings(root):
    assert finished(Job(out=root, size=1), Endpoint, {}) is None

    assert finished(Job(out=root, size=2), Endpoint, {}) is None


def test_a_half_written_document_is_moved_aside_and_the_next_run_starts_afresh(root):
    job = Job(out=root, size=1)
    finished(job, Endpoint, {})
    store_for(root).write(f"{root}/endpoint.json", endpoint().to_json()[:40])

    with pytest.raises(LlmopsError, match=r"half-written .* moved to .*endpoint.json.broken: run the same command again"):
        finished(job, Endpoint, {})

    assert store_for(root).read(f"{root}/endpoint.json.broken") == endpoint().to_json()[:40]
    assert finished(job, Endpoint, {}) is None


def test_a_shadow_needs_one_production_variant_beside_it():
    variants = [Variant(name=name, package=PACKAGE, shadow=name == "c") for name in "abc"]

    with pytest.raises(ValueError, match="exactly one production variant"):
        Endpoint(**{**dict(endpoint()), "variants": variants})
    with pytest.raises(ValueError, match="weight above 0"):
        Endpoint(**{**dict(endpoint()), "variants": variants[2:]})


def test_equal_documents_have_equal_bytes(tmp_path: Path):
    assert endpoint().to_json() == endpoint().to_json()
    assert Endpoint.model_validate_json(endpoint().to_json()).to_json() == endpoint().to_json()
