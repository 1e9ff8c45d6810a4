"""An embedder fitted on the indexed text itself: no model to download, and a question embeds in tens of microseconds.

A text is its TF-IDF vector (sublinear: 1 + log of the count), projected to few dimensions by one matrix with two parts. The
first part are the topics of latent semantic analysis (Deerwester et al. 1990), which bring words of one subject together. It
blurs rare words, and names such as `shutil.copytree` are rare: on the standard library's documentation it alone ranks the
right chunk first for 3 in 10 questions by name. The second part therefore is a sparse random projection (Kane and Nelson 2014),
which keeps the similarity of exact words up to a small error; with it the right chunk is first for more than 9 in 10.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmops_shared.contracts.document import Part
from llmops_shared.documents import fetch_part
from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.words import words

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = NDArray[np.float32]

VOCABULARY = "vocabulary.json"
PROJECTION = "lsa.safetensors"
TOPIC_SHARE = 3  # one dimension in three is a topic
SLOTS = 4  # dimensions that a word touches in the random part
OVERSAMPLES, POWER_ITERATIONS = 8, 2  # more of either ranks no better
TITLE_WEIGHT = 2  # a word in the title of a chunk counts this often


class LsaEmbedder:
    """TF-IDF times a projection; needs numpy only."""

    def __init__(self, vocabulary: list[str], inverse_frequency: Floats, projection: Floats) -> None:
        """`inverse_frequency` has shape [num_words], `projection` [num_words, num_dimensions]."""
        self.vocabulary = {word: place for place, word in enumerate(vocabulary)}
        self.inverse_frequency = inverse_frequency
        self.projection = projection
        self.num_dimensions = projection.shape[1]

    def embed(self, texts: Sequence[str]) -> Floats:
        vectors = np.zeros((len(texts), self.num_dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            counts = count_words(text)
            known = [(self.vocabulary[word], count) for word, count in counts.items() if word in self.vocabulary]
            if known:
                places, numbers = (np.array(column) for column in zip(*known, strict=True))
                weights = (1 + np.log(numbers)) * self.inverse_frequency[places]
                vectors[row] = weights.astype(np.float32) @ self.projection[places]
        return normalise(vectors)

    def embed_questions(self, texts: Sequence[str]) -> Floats:
        return self.embed(texts)

    def save(self, folder: Path) -> list[Path]:
        """Writes the embedder's files."""
        from safetensors.numpy import save_file

        (folder / VOCABULARY).write_text(json.dumps(list(self.vocabulary), ensure_ascii=False), encoding="utf-8")
        # half precision halves the largest file of an index; it moves cosines by less than 0.0001
        tensors = {"inverse_frequency": self.inverse_frequency, "projection": self.projection.astype(np.float16)}
        save_file(tensors, folder / PROJECTION)
        return [folder / VOCABULARY, folder / PROJECTION]


def load_lsa(files: Sequence[Part], uri: str) -> LsaEmbedder:
    """The embedder whose files are parts of the document at `uri`."""
    from safetensors.numpy import load_file

    parts = {Path(part.path).name: part for part in files}
    missing = sorted({VOCABULARY, PROJECTION} - set(parts))
    if missing:
        raise LlmopsError(
            f"{uri}: its lsa embedder has no {' and no '.join(missing)}; run `llmops-preprocess index` again into a new folder"
        )
    vocabulary = json.loads(fetch_part(uri, parts[VOCABULARY]).read_text(encoding="utf-8"))
    tensors = load_file(fetch_part(uri, parts[PROJECTION]))
    return LsaEmbedder(vocabulary, tensors["inverse_frequency"], tensors["projection"].astype(np.float32))


def fit_lsa(texts: Sequence[str], num_dimensions: int, seed: int) -> tuple[LsaEmbedder, Floats]:
    """Learns words, their weights and the projection from texts, and gives the vectors of these texts too.

    Raises LlmopsError when there is no word in them.
    """
    from scipy.sparse import csr_matrix

    counts, vocabulary = count_matrix(texts)
    if not vocabulary:
        raise LlmopsError(f"{len(texts)} chunks: not one word in them to embed; look at the dataset's rows")
    num_texts, num_words = counts.shape
    frequency = np.bincount(counts.indices, minlength=num_words)
    inverse_frequency = (np.log((1 + num_texts) / (1 + frequency)) + 1).astype(np.float32)
    weighted = csr_matrix(counts.multiply(inverse_frequency))
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1))).ravel()
    weighted.data /= np.repeat(np.maximum(lengths, 1e-9), np.diff(weighted.indptr))
    topics = fit_topics(weighted, min(num_dimensions // TOPIC_SHARE, num_texts - 1, num_words - 1), seed)
    projection = np.hstack([topics, random_part(num_words, num_dimensions - topics.shape[1], seed)])
    return LsaEmbedder(vocabulary, inverse_frequency, projection), normalise(np.asarray(weighted @ projection))


def count_matrix(texts: Sequence[str]) -> tuple["csr_matrix", list[str]]:
    """1 + log(count) of each word in each text, [num_texts, num_words], and the words in alphabetical order."""
    from scipy.sparse import csr_matrix

    counted = [count_words(text) for text in texts]
    vocabulary = sorted(set().union(*counted))
    places = {word: place for place, word in enumerate(vocabulary)}
    columns = np.fromiter((places[word] for counts in counted for word in counts), dtype=np.int32)
    values = np.fromiter((count for counts in counted for count in counts.values()), dtype=np.float32)
    starts = np.cumsum([0, *(len(counts) for counts in counted)])
    return csr_matrix((1 + np.log(values), columns, starts), shape=(len(texts), len(vocabulary)), dtype=np.float32), vocabulary


def fit_topics(weighted: "csr_matrix", num_topics: int, seed: int) -> Floats:
    """The strongest right singular vectors, [num_words, num_topics].

    Randomized subspace iteration (Halko, Martinsson and Tropp 2011, algorithm 4.4). scikit-learn's TruncatedSVD is the same,
    and its import alone takes longer than all of this.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if num_topics < 1:
        return np.zeros((weighted.shape[1], 0), dtype=np.float32)
    start = np.random.default_rng(seed).standard_normal((weighted.shape[1], num_topics + OVERSAMPLES), dtype=np.float32)
    # one thread: the same numbers on any number of cores, and on two busy ones a fifth of the time that two threads take
    with threadpool_limits(1, user_api="blas"):
        basis, _ = np.linalg.qr(weighted @ start)
        for _ in range(POWER_ITERATIONS):
            basis, _ = np.linalg.qr(weighted @ np.linalg.qr(weighted.T @ basis)[0])
        _, _, directions = np.linalg.svd((weighted.T @ basis).T, full_matrices=False)
    topics: Floats = directions[:num_topics].T
    return topics


def random_part(num_words: int, num_dimensions: int, seed: int) -> Floats:
    """Each word as SLOTS entries of random sign at random places, a vector of length 1."""
    random = np.random.default_rng(seed)
    matrix = np.zeros((num_words, num_dimensions), dtype=np.float32)
    for _ in range(SLOTS):
        places, signs = random.integers(0, num_dimensions, num_words), random.choice((-1, 1), num_words)
        matrix[np.arange(num_words), places] += signs / np.sqrt(SLOTS)
    return matrix


def count_words(text: str) -> Counter[str]:
    """How often each word occurs; in a text of several lines the first, up to its signature, is the title."""
    counts = Counter(words(text))
    title, newline, _ = text.partition("\n")
    if newline:
        for word in words(title.partition("(")[0]):
            counts[word] += TITLE_WEIGHT - 1
    return counts


def normalise(vectors: Floats) -> Floats:
    """Rows of length 1; zero rows stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit
