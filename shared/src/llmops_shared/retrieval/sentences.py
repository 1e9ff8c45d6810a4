"""An embedder that is a sentence-transformers model: a directory, an `s3://` prefix or a Hugging Face id."""

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from llmops_shared.errors import LlmopsError
from llmops_shared.store import store_for

Floats = NDArray[np.float32]

# Everything such a model needs; pickled weights and Python code of the repository are never fetched
FETCHED = ["*.json", "*.txt", "*.model", "*.safetensors"]
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


class SentenceEmbedder:
    """A model of sentence-transformers on one thread, which for small models is faster than many that wait for each other."""

    def __init__(self, model: str) -> None:
        """Loads the model; takes seconds. Raises LlmopsError when it is not there or has no safetensors weights."""
        folder = model_folder(model)
        try:
            import torch
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise LlmopsError(
                "embedder.kind sentence-transformers: is not installed; pip install 'llmops-shared[sentence-transformers]', or choose lsa"
            ) from error
        torch.set_num_threads(1)
        self._model = SentenceTransformer(
            str(folder), trust_remote_code=False, local_files_only=True, model_kwargs={"use_safetensors": True}
        )
        self.num_dimensions = len(self.embed(["dimensions"])[0])

    def embed(self, texts: Sequence[str]) -> Floats:
        return self._unit(self._model.encode_document, texts)

    def embed_questions(self, texts: Sequence[str]) -> Floats:
        """With the prompt for questions that the model's own configuration has, if it has one."""
        return self._unit(self._model.encode_query, texts)

    def _unit(self, encode: Callable[..., Floats], texts: Sequence[str]) -> Floats:
        return encode(list(texts), normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True).astype(np.float32)


def model_folder(model: str) -> Path:
    """A local folder with the model; one from the Hugging Face Hub is downloaded without anything that can run code."""
    folder = store_for(model).fetch(model) if urlsplit(model).scheme or Path(model).exists() else download(model)
    weights = list(folder.rglob("*.safetensors"))
    pickled = [path for path in folder.rglob("*") if path.suffix in PICKLED and not list(path.parent.glob("*.safetensors"))]
    if not weights or pickled:
        found = ", ".join(str(path.relative_to(folder)) for path in pickled) or "no weights"
        raise LlmopsError(f"model {model}: only safetensors weights are loaded, and it has {found}; convert it first")
    return folder


def download(model: str) -> Path:
    """The model's files from the Hub's cache, or from the Hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=FETCHED))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise LlmopsError(f"model {model}: is no local folder, and the Hugging Face Hub has not given it ({error})") from error
