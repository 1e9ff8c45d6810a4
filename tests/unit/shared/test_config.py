import pytest
from pydantic import Field

from llmops_shared.config import Config, load_config, merge, parse_words
from llmops_shared.errors import LlmopsError


class Optimizer(Config):
    learning_rate: float = Field(default=1e-3, gt=0)
    """Step size."""


class Job(Config):
    out: str = Field(min_length=1)
    """Folder."""
    steps: int = Field(default=10, ge=1)
    """Steps."""
    optimizer: Optimizer = Field(default=Optimizer())
    """Optimizer."""


def test_words_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("steps: 20\noptimizer: {learning_rate: 1e-4}\n")

    job = load_config(Job, str(path), ["out=x y", "steps=30"], {"steps": 1, "out": "default"})

    assert job == Job(out="x y", steps=30, optimizer=Optimizer(learning_rate=1e-4))


def test_every_bad_field_is_named_with_its_value_and_the_way_out(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("step: 3\noptimizer: {learning_rate: -1}\n")

    with pytest.raises(LlmopsError) as error:
        load_config(Job, str(path), ["steps=zero"])

    message = str(error.value)
    assert f"{path}: 4 bad settings" in message
    assert "step: unknown key; did you mean steps?" in message
    assert "optimizer.learning_rate: Input should be greater than 0 (got -1)" in message
    assert "steps: Input should be a valid integer" in message
    assert "out: required, but not given" in message


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"- a\n- b\n", "must hold `key: value` lines, found a list"), (b"a: [1\n", "not valid YAML"), (b"\xff\xfe", "cannot be read")],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, content, complaint):
    path = tmp_path / "job.yaml"
    path.write_bytes(content)

    with pytest.raises(LlmopsError, match=complaint):
        load_config(Job, str(path), [])


def test_words_nest_and_are_read_as_yaml():
    assert parse_words(["a.b=1", "a.c=[x, y]", "d=null", "e=a=b", "f="]) == {
        "a": {"b": 1, "c": ["x", "y"]},
        "d": None,
        "e": "a=b",
        "f": None,
    }


@pytest.mark.parametrize("word", ["steps", "=3"])
def test_a_word_that_is_no_setting_is_refused(word):
    with pytest.raises(LlmopsError, match="settings are written key=value"):
        parse_words([word])


def test_only_mappings_merge():
    assert merge({"a": {"b": 1}, "c": [1]}, {"a": {"d": 2}, "c": [2]}) == {"a": {"b": 1, "d": 2}, "c": [2]}


def test_a_name_may_look_like_a_date_or_a_number():
    class Named(Config):
        name: str

    assert load_config(Named, None, ["name=2026-11-25"]).name == "2026-11-25"
    assert load_config(Named, None, ["name=2026"]).name == "2026"
