from llmops_shared.contracts import Endpoint, Reference, Report
from llmops_shared.contracts.endpoint import Variant
from llmops_shared.contracts.report import Measurement
from llmops_shared.documents import store_part, write_document
from llmops_shared.page import Table, render
from llmops_shared.show import main


def measurement(value, low=None, high=None, **fields):
    return Measurement(name="perplexity", value=value, low=low, high=high, num_rows=9, better="lower", **fields)


def write_report(folder, **fields):
    part = store_part(folder, "report.html", b"<p>")
    whole = {"report": "evaluation", "subjects": {}, "measurements": [], "verdict": None, "reasons": [], "mlflow_run_id": None} | fields
    write_document(folder, Report(parts={"html": part}, **whole))


def test_evaluations_stand_side_by_side_with_verdicts_endpoint_and_pages(tmp_path, capsys):
    write_report(f"{tmp_path}/base", name="base", measurements=[measurement(50.0, 45.0, 55.0)])
    write_report(f"{tmp_path}/tuned", name="tuned", measurements=[measurement(5.25)])
    write_report(f"{tmp_path}/shadow", name="shadow", report="shadow", verdict="promote", reasons=["ROUGE-L rose by 0.2"])
    package = Reference(uri="p", sha256="0" * 64)
    variants = [Variant(name="production", package=package), Variant(name="new", package=package, shadow=True)]
    whole = {"previous": None, "evidence": None, "retrieval": None, "capture": None}
    write_document(f"{tmp_path}/endpoint", Endpoint(name="assistant", generation=2, reason="shadow new", variants=variants, **whole))

    assert main([f"{tmp_path}/{name}" for name in ("base", "tuned", "shadow", "endpoint")]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["base", "tuned"]
    assert lines[1].split(maxsplit=1) == ["perplexity", "50 [45, 55]  5.25"]
    assert "shadow: Promote" in lines
    assert "  ROUGE-L rose by 0.2" in lines
    assert "assistant, generation 2: production, new (shadow) — shadow new" in lines
    assert f"  {tmp_path}/base/report.html" in lines


def test_traffic_is_told_by_window_and_long_reasoning_is_cut(tmp_path, capsys):
    figures = [
        ("plain.requests", 9.0, ""),
        ("plain.latency_p50", 20.5, "ms"),
        ("shifted.requests", 4.0, ""),
        ("answers_per_second", 3.0, "answers/s"),
    ]
    found = [measurement(value, unit=unit).model_copy(update={"name": name}) for name, value, unit in figures]
    write_report(f"{tmp_path}/replay", name="replay", report="replay", measurements=found)
    write_report(f"{tmp_path}/drift", name="drift", report="drift", verdict="drift", reasons=[f"reason {number}" for number in range(7)])

    assert main([f"{tmp_path}/replay", f"{tmp_path}/drift"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index("replay:") + 1 :][:3] == [
        "  plain: requests 9, latency_p50 20.5 ms",
        "  shifted: requests 4",
        "  all: answers_per_second 3 answers/s",
    ]
    assert lines[lines.index("drift: Drift") + 1 :][:6] == [*(f"  reason {number}" for number in range(5)), "  ... and 2 more on its page"]


def test_a_folder_without_a_report_is_named(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "holds neither report.json nor endpoint.json" in capsys.readouterr().err


def test_what_models_say_is_never_markup():
    page = render("A <b>title</b>", "", [measurement(1.0, unit="<i>")], "keep", ["<script>"], [Table("T", ["<a>"], [["<img src=x>"]])])

    assert not any(tag in page for tag in ("<b>", "<i>", "<script>", "<a>", "<img"))
    assert "&lt;script&gt;" in page
    assert "Keep what is served" in page
