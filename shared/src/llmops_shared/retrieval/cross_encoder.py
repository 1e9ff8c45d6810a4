"""A cross-encoder of sentence-transformers that runs here: a directory, an `s3://` prefix or a Hugging Face id."""

import threading
from collections.abc import Sequence

from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.sentences import model_folder


class CrossEncoderReranker:
    """A model on one thread; requests wait for one another, for torch's threads would, too."""

    def __init__(self, model: str) -> None:
        """Loads the model; takes seconds. Raises LlmopsError when it is not there or has no safetensors weights."""
        folder = model_folder(model)
        try:
            import torch
            from sentence_transformers import CrossEncoder
        except ImportError as error:
            raise LlmopsError(
                "reranker cross-encoder: is not installed; pip install 'llmops-shared[sentence-transformers]', or choose tei"
            ) from error
        torch.set_num_threads(1)
        self._model = CrossEncoder(str(folder), trust_remote_code=False, local_files_only=True, model_kwargs={"use_safetensors": True})
        self._one_at_a_time = threading.Lock()

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        with self._one_at_a_time:
            found = self._model.predict([(question, text) for text in texts], show_progress_bar=False, convert_to_numpy=True)
        if found.ndim != 1:
            raise LlmopsError(f"reranker cross-encoder: gives {found.shape[1]} numbers for a pair; choose a model with one")
        return [float(score) for score in found]
