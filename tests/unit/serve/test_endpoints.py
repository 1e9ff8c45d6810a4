"""Endpoint documents: deploy, shadow, promote."""

import json

import pytest

from llmops_serve.cli import main
from llmops_shared.contracts import DatasetManifest, Endpoint, ModelPackage, Reference, Report, RetrievalIndex
from llmops_shared.contracts.dataset import Tokenizer
from llmops_shared.contracts.document import Part
from llmops_shared.contracts.index import Embedder, VectorStore
from llmops_shared.contracts.package import RegisteredModel
from llmops_shared.documents import follow, read_document, refer, write_document
from llmops_shared.store import exists, join


def write_package(folder, name, version=None):
    package = ModelPackage(
        name=name,
        run=Reference(uri="../run/run.json", sha256="0" * 64),
        evaluation=None,
        layout="merged",
        files=[],
        architecture="LlamaForCausalLM",
        num_parameters=1,
        max_context_tokens=16,
        dtype="float32",
        registered_model=RegisteredModel(name="assistant", version=version) if version else None,
    )
    write_document(folder, package)


def write_report(root, verdict="promote", endpoint="two", name="report", **changes):
    place = f"{root}/{endpoint}/endpoint.json"
    document = read_document(place, Endpoint)
    subjects = {"endpoint": refer(place, Endpoint, f"{root}/{name}")}
    for variant in document.variants:
        subjects["shadow" if variant.shadow else "production"] = refer(
            follow(variant.package, f"{root}/{endpoint}", ModelPackage)[0], ModelPackage, f"{root}/{name}"
        )
    report = Report(
        report="shadow",
        name=name,
        subjects=subjects,
        measurements=[],
        verdict=verdict,
        reasons=["rouge_l rose by 0.21 [0.18, 0.24]."],
        parts={},
        mlflow_run_id=None,
    ).model_copy(update=changes)
    write_document(f"{root}/{name}", report)


@pytest.fixture
def scene(tmp_path):
    """Two packages, generation 1 with `base` and generation 2 with `tuned` as its shadow."""
    return write_scene(str(tmp_path / "a folder"))


@pytest.fixture
def stored_scene(root):
    """The same, on a disk and in S3."""
    return write_scene(root)


def write_scene(root):
    write_package(f"{root}/base", "base", "1")
    write_package(f"{root}/tuned", "tuned", "2")
    assert main(["deploy", "name=assistant", f"package={root}/base", f"capture={root}/exchanges", f"out={root}/one"]) == 0
    assert main(["shadow", f"endpoint={root}/one", f"package={root}/tuned", f"out={root}/two"]) == 0
    return root


def promote(root, *words):
    return main(["promote", f"endpoint={root}/two", f"report={root}/report", f"out={root}/three", *words])


def test_deploy_writes_generation_one_with_a_production_variant(stored_scene):
    endpoint = read_document(f"{stored_scene}/one", Endpoint)

    assert (endpoint.name, endpoint.generation, endpoint.previous, endpoint.reason) == ("assistant", 1, None, "deploy base")
    assert [(variant.name, variant.shadow) for variant in endpoint.variants] == [("production", False)]
    assert follow(endpoint.variants[0].package, f"{stored_scene}/one", ModelPackage)[1].name == "base"
    assert join(f"{stored_scene}/one", endpoint.capture.uri) == f"{stored_scene}/exchanges"


def test_deploy_refers_to_the_index(scene):
    manifest = DatasetManifest(
        name="text",
        view="text",
        sources=[],
        counts=[],
        sequence_length=1,
        tokenizer=Tokenizer(files=[], vocab_size=1),
        splits={},
        dead_letter=None,
    )
    write_document(f"{scene}/text", manifest)
    index = RetrievalIndex(
        name="docs",
        dataset=refer(f"{scene}/text", DatasetManifest, f"{scene}/index"),
        num_documents=0,
        num_chunks=0,
        max_chunk_tokens=1,
        chunks=Part(path="chunks.jsonl", size_bytes=0, sha256=""),
        embedder=Embedder(kind="lsa", model="", files=[], num_dimensions=1),
        store=VectorStore(uri="pgserver:pg", table="docs"),
    )
    write_document(f"{scene}/index", index)

    assert main(["deploy", "name=rag", f"package={scene}/base", f"index={scene}/index", "retrieval.num_chunks=2", f"out={scene}/rag"]) == 0

    endpoint = read_document(f"{scene}/rag", Endpoint)
    assert endpoint.retrieval.num_chunks == 2
    assert follow(endpoint.retrieval.index, f"{scene}/rag", RetrievalIndex)[1] == index


def test_shadow_writes_the_next_generation_and_keeps_what_was(scene):
    before, after = read_document(f"{scene}/one", Endpoint), read_document(f"{scene}/two", Endpoint)

    assert (after.generation, after.reason) == (2, "shadow tuned")
    assert follow(after.previous, f"{scene}/two", Endpoint)[1] == before
    assert [(variant.name, variant.shadow) for variant in after.variants] == [("production", False), ("shadow", True)]
    assert join(f"{scene}/two", after.capture.uri) == f"{scene}/exchanges"


def test_references_hold_in_a_folder_of_another_depth(stored_scene):
    assert main(["shadow", f"endpoint={stored_scene}/one", f"package={stored_scene}/tuned", f"out={stored_scene}/history/of/endpoint"]) == 0

    folder = f"{stored_scene}/history/of/endpoint"
    endpoint = read_document(folder, Endpoint)
    assert [follow(variant.package, folder, ModelPackage)[1].name for variant in endpoint.variants] == ["base", "tuned"]
    assert join(folder, endpoint.capture.uri) == f"{stored_scene}/exchanges"


def test_promote_puts_the_shadows_package_into_production(stored_scene, capsys):
    write_report(stored_scene)
    capsys.readouterr()

    assert promote(stored_scene) == 0

    endpoint = read_document(f"{stored_scene}/three", Endpoint)
    assert json.loads(capsys.readouterr().out) == json.loads(endpoint.to_json())
    assert (endpoint.generation, [variant.name for variant in endpoint.variants]) == (3, ["production"])
    assert endpoint.shadow() is None
    assert follow(endpoint.variants[0].package, f"{stored_scene}/three", ModelPackage)[1].name == "tuned"
    assert endpoint.reason == "promote tuned: rouge_l rose by 0.21 [0.18, 0.24]."
    assert follow(endpoint.evidence, f"{stored_scene}/three", Report)[1].verdict == "promote"
    assert follow(endpoint.previous, f"{stored_scene}/three", Endpoint)[1].generation == 2


def test_a_promotion_is_kept_when_nothing_changed(scene):
    write_report(scene)
    assert promote(scene) == 0
    before = read_document(f"{scene}/three", Endpoint)

    assert promote(scene) == 0

    assert read_document(f"{scene}/three", Endpoint) == before


@pytest.mark.parametrize("verdict", ["keep", "not_enough_data"])
def test_any_other_verdict_exits_with_3_and_writes_nothing(scene, verdict, capsys):
    write_report(scene, verdict=verdict)
    capsys.readouterr()

    assert promote(scene) == 3

    printed = capsys.readouterr()
    assert printed.out == ""
    assert (
        printed.err == f"llmops-serve promote: {scene}/report/report.json: the verdict is {verdict}: rouge_l rose by 0.21 [0.18, 0.24].\n"
    )
    assert not exists(f"{scene}/three/endpoint.json")


def test_a_report_about_another_package_is_refused(scene, capsys):
    write_package(f"{scene}/other", "other")
    assert main(["shadow", f"endpoint={scene}/one", f"package={scene}/other", f"out={scene}/aside"]) == 0
    write_report(scene, endpoint="aside")

    assert promote(scene) == 2

    assert "is about another endpoint" in capsys.readouterr().err
    assert not exists(f"{scene}/three/endpoint.json")


@pytest.mark.parametrize("role", ["production", "shadow"])
def test_a_report_with_another_packages_digest_is_refused(scene, role, capsys):
    write_report(scene)
    report = read_document(f"{scene}/report", Report)
    write_report(scene, subjects={**report.subjects, role: Reference(uri="../x/package.json", sha256="f" * 64)})

    assert promote(scene) == 2

    assert f"is about another {role} (../x/package.json, sha256 ffffffffffff" in capsys.readouterr().err


def test_a_report_that_names_no_packages_is_refused(scene, capsys):
    write_report(scene, subjects={})

    assert promote(scene) == 2
    assert "does not say which endpoint it is about" in capsys.readouterr().err


def test_a_report_of_another_kind_is_refused(scene, capsys):
    write_report(scene, report="evaluation")

    assert promote(scene) == 2
    assert "is a report of kind evaluation" in capsys.readouterr().err


def test_an_endpoint_without_a_shadow_cannot_be_promoted(scene, capsys):
    write_report(scene)

    assert main(["promote", f"endpoint={scene}/one", f"report={scene}/report", f"out={scene}/three"]) == 2
    assert "has no shadow variant to promote" in capsys.readouterr().err


def test_a_package_that_changed_after_it_was_deployed_is_refused(scene, capsys):
    write_report(scene)
    write_package(f"{scene}/tuned", "tampered")

    assert promote(scene) == 2
    assert "tuned/package.json: changed since it was referred to" in capsys.readouterr().err


def test_a_second_shadow_is_refused(scene, capsys):
    assert main(["shadow", f"endpoint={scene}/two", f"package={scene}/tuned", f"out={scene}/three"]) == 2
    assert "has the shadow variant shadow already" in capsys.readouterr().err


def test_a_shadow_with_productions_name_is_refused(scene, capsys):
    assert main(["shadow", f"endpoint={scene}/one", f"package={scene}/tuned", "name=production", f"out={scene}/three"]) == 2
    assert "has a variant production already" in capsys.readouterr().err


def test_a_package_that_is_missing_is_named(scene, capsys):
    assert main(["deploy", "name=x", f"package={scene}/nowhere", f"out={scene}/x"]) == 2
    assert f"{scene}/nowhere/package.json: there is no such ModelPackage" in capsys.readouterr().err


def test_other_settings_for_the_same_folder_are_refused(scene, capsys):
    assert main(["deploy", "name=other", f"package={scene}/base", f"out={scene}/one"]) == 2
    assert "was made from other settings or inputs" in capsys.readouterr().err


def test_a_name_sagemaker_would_refuse_is_refused(scene, capsys):
    assert main(["deploy", "name=my_endpoint", f"package={scene}/base", f"out={scene}/x"]) == 2
    assert "name: " in capsys.readouterr().err


@pytest.mark.slow
def test_the_champion_is_what_is_in_production(tmp_path, capsys):
    """With MLflow: every generation is a run of the stage `serve`, and the alias moves with the promotion."""
    from mlflow import MlflowClient

    from llmops_shared.config import Tracking
    from llmops_shared.tracking import tracked

    root, uri = str(tmp_path), f"sqlite:///{tmp_path}/mlflow.db"
    with tracked(Tracking(uri=uri), "package", "packages") as run:
        for alias in ("challenger", "challenger"):
            run.register("assistant", root, {}, alias)
    write_package(f"{root}/base", "base", "1")
    write_package(f"{root}/tuned", "tuned", "2")
    client = MlflowClient(tracking_uri=uri)
    tracking = f"tracking.uri={uri}"

    def champion():
        return str(client.get_model_version_by_alias("assistant", "champion").version)

    assert main(["deploy", "name=assistant", f"package={root}/base", f"out={root}/one", tracking]) == 0
    first = champion()
    assert main(["shadow", f"endpoint={root}/one", f"package={root}/tuned", f"out={root}/two", tracking]) == 0
    write_report(root)
    assert promote(root, tracking) == 0

    assert (first, champion()) == ("1", "2")
    runs = client.search_runs([client.get_experiment_by_name("llmops").experiment_id], "tags.`llmops.stage` = 'serve'")
    assert sorted((run.info.run_name, run.data.params["reason"].split(":")[0]) for run in runs) == [
        ("assistant-1", "deploy base"),
        ("assistant-2", "shadow tuned"),
        ("assistant-3", "promote tuned"),
    ]
    write_package(f"{root}/unknown", "unknown", "9")
    assert main(["deploy", "name=other", f"package={root}/unknown", f"out={root}/other", tracking]) == 2
    assert "cannot point champion at version 9 of assistant" in capsys.readouterr().err
    assert not exists(f"{root}/other/endpoint.json")
