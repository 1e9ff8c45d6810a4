"""`view: chat` over conversations that are given as JSON lines, and what MLflow is told."""

import json

import pytest

from llmops_shared.store import join, store_for


def conversation(question, answer, *before):
    turns = [*before, ("user", question), ("assistant", answer)]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def test_conversations_keep_their_turns_and_bad_ones_are_told_apart(root, paragraphs, preprocess, write_lines, read_rows):
    good = [conversation(f"What is said of number {number}?", text[:150]) for number, text in enumerate(paragraphs)]
    told = conversation(
        "And this?", "It is the second answer.", ("system", "Be brief."), ("user", "What is it?"), ("assistant", "A thing.")
    )
    bad = [
        {"messages": "none"},
        {"messages": []},
        {"messages": [{"role": "user", "content": "Only a question?"}]},
        {"messages": [{"role": "robot", "content": "Who?"}]},
        {"messages": [{"role": "user"}]},
        conversation("Twice?", "No.", ("user", "Asked?")),
    ]
    write_lines(join(root, "raw.jsonl"), [told, *good, *bad])

    manifest = preprocess(root, view="chat", max_bad=6, sequence_length=256)

    out = join(root, "out")
    rows = [row for name in manifest.splits for row in read_rows(out, manifest, name)]
    reasons = [json.loads(line)["reason"] for line in store_for(out).read(join(out, "dead_letter.jsonl")).splitlines()]
    assert manifest.view == "chat"
    assert told["messages"] in [row["messages"] for row in rows]
    assert len({row["id"] for row in rows}) == len(rows) == manifest.counts[-1].rows_out
    assert [count.stage for count in manifest.counts][-2:] == ["near_duplicates", "tokenize"]
    assert reasons[0] == "field 'messages' must be a list, this is a str"
    assert [reason.split(":")[0] for reason in reasons[3:5]] == ["not a message"] * 2
    assert all("user and assistant in turn" in reason for reason in [*reasons[1:3], reasons[5]])


@pytest.mark.slow
def test_mlflow_has_settings_counts_and_the_dataset(tmp_path, paragraphs, preprocess, write_lines):
    from mlflow import MlflowClient

    write_lines(str(tmp_path / "raw.jsonl"), [{"text": text} for text in [*paragraphs, paragraphs[0]]])
    tracking = {"uri": f"sqlite:///{tmp_path}/mlflow.db", "experiment": "tried"}

    manifest = preprocess(str(tmp_path), tracking=tracking)

    client = MlflowClient(tracking["uri"])
    (run,) = client.search_runs([client.get_experiment_by_name("tried").experiment_id])
    assert (run.info.run_name, run.info.status, run.data.tags["llmops.stage"]) == ("small", "FINISHED", "preprocess")
    assert run.data.params["splits.train"] == "0.9"
    assert run.data.params["source.kind"] == "jsonl"
    assert run.data.metrics["rows_train"] == manifest.splits["train"].num_rows
    assert run.data.metrics["tokens_test"] == manifest.splits["test"].num_tokens
    assert run.data.metrics["dropped_exact_duplicates_exact_duplicate"] == 1
    assert 0.9 < run.data.metrics["packing_fill"] <= 1
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["dataset.json"]
    assert [(item.dataset.name, item.tags[0].value) for item in run.inputs.dataset_inputs] == [("small", "output")]
