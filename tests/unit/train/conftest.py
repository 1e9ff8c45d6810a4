"""Datasets and runs that several tests read; none writes into them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.ranks import Ranks
from unit.train.tiny import train_tiny, write_chat, write_pairs, write_text


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A text dataset."""
    folder = tmp_path_factory.mktemp("datasets")
    return write_text(str(folder / "text"), folder)


@pytest.fixture(scope="session")
def chat(text: str) -> str:
    """A chat dataset with the text dataset's tokenizer."""
    return write_chat(str(Path(text).parent / "chat"), Path(text) / "tokenizer")


@pytest.fixture(scope="session")
def preferences(text: str) -> str:
    """A chat dataset of preference pairs, also with that tokenizer."""
    return write_pairs(str(Path(text).parent / "pairs"), Path(text) / "tokenizer")


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An MLflow database; making one takes seconds, so tests tell their runs apart by experiment."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="session")
def pretrained(text: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A finished pretrain run."""
    return train_tiny(str(tmp_path_factory.mktemp("runs") / "base"), method="pretrain", dataset=text, max_steps=30)


@pytest.fixture(scope="session")
def tuned(chat: str, pretrained: str) -> str:
    """A finished lora run on it."""
    out, lora = str(Path(pretrained).parent / "tuned"), {"rank": 8}
    return train_tiny(out, method="lora", dataset=chat, model=pretrained, lora=lora, max_steps=60, optimizer={"learning_rate": 0.005})


@pytest.fixture(scope="session")
def fluent(chat: str, pretrained: str) -> str:
    """A finished full run on it, which has learnt how answers look and where they end."""
    return train_tiny(str(Path(pretrained).parent / "fluent"), method="full", dataset=chat, model=pretrained, max_steps=60)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """Starts processes of a job, forked from one that has imported what they need."""
    started = Ranks(tmp_path_factory.mktemp("ranks"))
    yield started
    started.close()
