"""In a file of its own: Evidently takes ten seconds to import."""

from pathlib import Path

import pytest

from llmops_monitor.cli import main
from llmops_shared.contracts import Report
from llmops_shared.documents import fetch_part
from support.traffic import code_questions, exchange, good, questions, write_scene

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    exchanges = [exchange(row, number, good) for number, row in enumerate(questions()[:200])]
    exchanges += [exchange(row, 1000 + number, good, metadata={"window": "shifted"}) for number, row in enumerate(code_questions()[:60])]
    return write_scene(str(tmp_path_factory.mktemp("scene")), exchanges).endpoint


def settings(endpoint: str, config: str, out: Path) -> list[str]:
    return ["drift", "--config", f"{Path(__file__).parents[3]}/services/monitor/configs/{config}", f"endpoint={endpoint}", f"out={out}"]


def test_evidently_says_on_which_conditions_traffic_fails(endpoint: str, tmp_path: Path) -> None:
    codes = [main(settings(endpoint, config, tmp_path / config)) for config in ("drift-shifted.yaml", "drift-in-domain.yaml")]

    assert codes == [3, 0]
    shifted, same = (
        Report.model_validate_json((tmp_path / name / "report.json").read_bytes())
        for name in ("drift-shifted.yaml", "drift-in-domain.yaml")
    )
    assert "Evidently: 9 of 11 conditions failed (its report shows which)." in shifted.reasons
    assert "Evidently: 0 of 11 conditions failed (its report shows which)." in same.reasons
    page = fetch_part(str(tmp_path / "drift-shifted.yaml" / "report.json"), shifted.parts["evidently"]).read_text(encoding="utf-8")
    assert "code_sign_share" in page and "Drift" in page
    assert questions()[0].messages[0].content not in page


def test_the_job_is_recorded_and_its_document_has_the_same_bytes_twice(endpoint: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for name in ("one", "two"):
        assert (
            main(
                [*settings(endpoint, "drift-shifted.yaml", tmp_path / name / "report"), f"tracking.uri={uri if name == 'one' else 'null'}"]
            )
            == 3
        )

    one, two = (Report.model_validate_json((tmp_path / name / "report" / "report.json").read_bytes()) for name in ("one", "two"))
    assert one.parts == two.parts
    client = MlflowClient(tracking_uri=uri)
    run = client.get_run(one.mlflow_run_id or "")
    assert run.data.tags["llmops.stage"] == "monitor" and run.info.run_name == "drift-shifted" and run.info.status == "FINISHED"
    assert run.data.metrics == pytest.approx({item.name: item.value for item in one.measurements})
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {"evidently.html", "report.html", "report.json"}
    assert run.data.params["current.metadata.window"] == "shifted"


def test_evidently_s_own_drift_of_texts_and_embeddings_comes_by_a_switch(
    endpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*settings(endpoint, "drift-shifted.yaml", tmp_path / "texts"), "evidently_texts=true"]

    assert main(words) == 3
    assert main([*words[:-1], "evidently_texts=true", "evidently=false", f"out={tmp_path / 'x'}"]) == 2

    report = Report.model_validate_json((tmp_path / "texts" / "report.json").read_bytes())
    assert "Evidently: 10 of 12 conditions failed (its report shows which)." in report.reasons  # the texts' is the twelfth
    page = fetch_part(str(tmp_path / "texts" / "report.json"), report.parts["evidently"]).read_text(encoding="utf-8")
    assert "Drift in embeddings" in page or "embeddings" in page.lower()
    assert "evidently_texts=true needs evidently=true" in capsys.readouterr().err
