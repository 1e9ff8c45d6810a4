"""Split, promotion by an A/B Report, rollback along the history, engines and adapters in the document."""

import pytest

from llmops_serve.cli import main
from llmops_shared.contracts import Endpoint, ModelPackage, Reference, Report
from llmops_shared.documents import follow, read_document, refer, write_document
from llmops_shared.store import exists


def write_package(folder, name, **changes):
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
        registered_model=None,
    )
    write_document(folder, package.model_copy(update=changes))


@pytest.fixture
def scene(tmp_path):
    """Two packages and generation 1 with `base`."""
    root = str(tmp_path / "a folder")
    write_package(f"{root}/base", "base")
    write_package(f"{root}/tuned", "tuned")
    assert main(["deploy", "name=assistant", f"package={root}/base", f"capture={root}/exchanges", f"out={root}/one"]) == 0
    return root


def split(root, out="two", *words):
    return main(["split", f"endpoint={root}/one", f"package={root}/tuned", "share=0.25", f"out={root}/{out}", *words])


def write_report(root, endpoint="two", verdict="promote", **changes):
    place = f"{root}/{endpoint}/endpoint.json"
    document = read_document(place, Endpoint)
    subjects = {"endpoint": refer(place, Endpoint, f"{root}/report")}
    for role, variant in zip(("control", "treatment"), document.production(), strict=True):
        package, _ = follow(variant.package, f"{root}/{endpoint}", ModelPackage)
        subjects[role] = refer(package, ModelPackage, f"{root}/report")
    report = Report(
        report="ab",
        name="ab",
        subjects=subjects,
        measurements=[],
        verdict=verdict,
        reasons=["rouge_l is 0.10 [0.05, 0.15] higher."],
        parts={},
        mlflow_run_id=None,
    ).model_copy(update=changes)
    write_document(f"{root}/report", report)


def promote(root):
    return main(["promote", f"endpoint={root}/two", f"report={root}/report", f"out={root}/three"])


def serving(root, name):
    """(variant, weight, package) of a generation's production."""
    endpoint = read_document(f"{root}/{name}", Endpoint)
    return [
        (variant.name, variant.weight, follow(variant.package, f"{root}/{name}", ModelPackage)[1].name) for variant in endpoint.production()
    ]


def test_split_shares_the_traffic_between_two_packages(scene):
    assert split(scene) == 0

    endpoint = read_document(f"{scene}/two", Endpoint)
    assert (endpoint.generation, endpoint.reason) == (2, "split 0.25 to tuned")
    assert serving(scene, "two") == [("production", 0.75, "base"), ("treatment", 0.25, "tuned")]


def test_a_share_is_changed_without_naming_the_package_again(scene):
    assert split(scene) == 0

    assert main(["split", f"endpoint={scene}/two", "share=0.5", f"out={scene}/three"]) == 0

    assert serving(scene, "three") == [("production", 0.5, "base"), ("treatment", 0.5, "tuned")]


def test_what_cannot_be_split_is_refused(scene, capsys):
    assert main(["split", f"endpoint={scene}/one", "share=0.5", f"out={scene}/x"]) == 2
    assert "has no variant treatment; give its package=" in capsys.readouterr().err
    assert main(["shadow", f"endpoint={scene}/one", f"package={scene}/tuned", f"out={scene}/shadowed"]) == 0
    assert main(["split", f"endpoint={scene}/shadowed", f"package={scene}/tuned", "share=0.5", f"out={scene}/x"]) == 2
    assert "has a shadow variant" in capsys.readouterr().err
    assert split(scene) == 0
    assert main(["split", f"endpoint={scene}/two", f"package={scene}/tuned", "name=third", "share=0.5", f"out={scene}/x"]) == 2
    assert "needs one production variant beside third (has production, treatment)" in capsys.readouterr().err
    assert main(["split", f"endpoint={scene}/two", f"package={scene}/base", "share=0.5", f"out={scene}/x"]) == 2
    assert "has a variant treatment already" in capsys.readouterr().err
    assert not exists(f"{scene}/x/endpoint.json")


def test_an_ab_report_promotes_the_treatment(scene):
    assert split(scene) == 0
    write_report(scene)

    assert promote(scene) == 0

    endpoint = read_document(f"{scene}/three", Endpoint)
    assert serving(scene, "three") == [("production", 1.0, "tuned")]
    assert endpoint.reason == "promote tuned: rouge_l is 0.10 [0.05, 0.15] higher."
    assert follow(endpoint.evidence, f"{scene}/three", Report)[1].report == "ab"


@pytest.mark.parametrize("verdict", ["keep", "rollback", "not_enough_data"])
def test_any_other_verdict_of_an_ab_report_exits_with_3(scene, verdict, capsys):
    assert split(scene) == 0
    write_report(scene, verdict=verdict)

    assert promote(scene) == 3

    assert f"the verdict is {verdict}" in capsys.readouterr().err
    assert not exists(f"{scene}/three/endpoint.json")


def test_an_ab_report_about_other_packages_is_refused(scene, capsys):
    assert split(scene) == 0
    write_report(scene)
    report = read_document(f"{scene}/report", Report)
    write_report(scene, subjects={**report.subjects, "treatment": Reference(uri="../x/package.json", sha256="f" * 64)})

    assert promote(scene) == 2

    assert "is about another treatment (../x/package.json, sha256 ffffffffffff)" in capsys.readouterr().err


def test_rollback_returns_to_what_was_in_production_before(scene):
    assert split(scene) == 0
    write_report(scene)
    assert promote(scene) == 0

    assert main(["rollback", f"endpoint={scene}/three", "generation=1", "reason=answers got worse", f"out={scene}/four"]) == 0

    endpoint = read_document(f"{scene}/four", Endpoint)
    assert (endpoint.generation, endpoint.reason) == (4, "rollback to generation 1: answers got worse")
    assert follow(endpoint.previous, f"{scene}/four", Endpoint)[1].generation == 3
    assert serving(scene, "four") == [("production", 1.0, "base")]


def test_rollback_without_a_generation_passes_over_what_changed_nothing_for_clients(scene):
    """Generation 2 only added a shadow, so that going back from 3, which promoted it, means what 1 and 2 had in production."""
    assert main(["shadow", f"endpoint={scene}/one", f"package={scene}/tuned", f"out={scene}/two"]) == 0
    place = f"{scene}/two/endpoint.json"
    subjects = {"endpoint": refer(place, Endpoint, f"{scene}/report")}
    for role, package in (("production", "base"), ("shadow", "tuned")):
        subjects[role] = refer(f"{scene}/{package}", ModelPackage, f"{scene}/report")
    empty = {"measurements": [], "reasons": ["better."], "parts": {}, "mlflow_run_id": None}
    report = Report.model_validate({"report": "shadow", "name": "x", "subjects": subjects, "verdict": "promote", **empty})
    write_document(f"{scene}/report", report)
    assert promote(scene) == 0

    assert main(["rollback", f"endpoint={scene}/three", f"report={scene}/report", f"out={scene}/deeper/four"]) == 0

    endpoint = read_document(f"{scene}/deeper/four", Endpoint)
    assert (endpoint.reason, endpoint.shadow()) == ("rollback to generation 2", None)
    assert serving(scene, "deeper/four") == [("production", 1.0, "base")]
    assert follow(endpoint.evidence, f"{scene}/deeper/four", Report)[1] == report


def test_a_generation_that_never_was_and_a_history_without_change_are_told(scene, capsys):
    assert main(["rollback", f"endpoint={scene}/one", f"out={scene}/x"]) == 2
    assert "no earlier generation had anything else in production" in capsys.readouterr().err
    assert split(scene) == 0
    assert main(["rollback", f"endpoint={scene}/two", "generation=7", f"out={scene}/x"]) == 2
    assert "generation 7: is not in the history" in capsys.readouterr().err


def test_a_history_that_was_changed_is_not_followed(scene, capsys):
    assert split(scene) == 0
    first = read_document(f"{scene}/one", Endpoint)
    write_document(f"{scene}/one", first.model_copy(update={"reason": "tampered"}))

    assert main(["rollback", f"endpoint={scene}/two", f"out={scene}/x"]) == 2
    assert "one/endpoint.json: changed since it was referred to" in capsys.readouterr().err


def test_a_document_holds_engine_servers_settings_facts_and_adapters(packages, tmp_path):
    words = ["engine=vllm", "urls=[http://a:8000, sagemaker://assistant]", "settings.quantize=nf4", "settings.tensor_parallel=2"]
    assert main(["deploy", "name=x", f"package={packages}/first", *words, f"adapters.law={packages}/second", f"out={tmp_path}/x"]) == 0

    (variant,) = read_document(f"{tmp_path}/x", Endpoint).variants
    assert (variant.engine, variant.urls) == ("vllm", ["http://a:8000", "sagemaker://assistant"])
    assert (variant.settings.quantize, variant.settings.tensor_parallel) == ("nf4", 2)
    assert (variant.model.num_layers, variant.model.num_key_value_heads, variant.model.head_size) == (2, 2, 8)
    assert [(one.name, follow(one.package, f"{tmp_path}/x", ModelPackage)[1].name) for one in variant.adapters] == [("law", "second")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["urls=[http://a]"], "in-process runs in the server itself"),
        (["engine=tgi", "urls=[ftp://a]"], "urls ftp://a: must begin with"),
        (["engine=tgi"], "has no model/config.json, by which engine tgi is sized"),
        (["engine=llama.cpp"], "engine: Input should be 'in-process'"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(scene, words, message, capsys):
    assert main(["deploy", "name=x", f"package={scene}/base", *words, f"out={scene}/x"]) == 2
    assert message in capsys.readouterr().err


def test_an_adapter_of_virtual_tokens_is_for_our_own_engine(tmp_path, capsys):
    write_package(str(tmp_path / "prompted"), "prompted", layout="adapter", mergeable=False)

    assert main(["deploy", "name=assistant", f"package={tmp_path}/prompted", "engine=vllm", f"out={tmp_path}/one"]) == 2

    assert "which engine vllm cannot load and nobody can merge; use engine=in-process" in capsys.readouterr().err
    assert main(["deploy", "name=assistant", f"package={tmp_path}/prompted", f"out={tmp_path}/one"]) == 0
