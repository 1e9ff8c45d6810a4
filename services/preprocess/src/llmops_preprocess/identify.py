"""py3langid over many texts at once: its automaton takes one step in all of them together, which NumPy does many times as fast.

The tables and the arithmetic are those of `LanguageIdentifier` of py3langid 0.4 (Lui and Baldwin 2012); a test holds both equal.
"""

import functools
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TEXTS_AT_ONCE = 1024


class Tables(NamedTuple):
    """What the identifier knows, as arrays."""

    rows: NDArray[np.int32]
    """Of each state where its row begins in `moves`."""
    moves: NDArray[np.int32]
    """The next state, of each row by the next byte."""
    outputs: NDArray[np.int32]
    """The feature that a state ends, or -1."""
    weights: NDArray[np.float32]
    """Of each feature and label."""
    prior: NDArray[np.float32]
    """Of each label."""


def probabilities(texts: Sequence[str]) -> NDArray[np.float32]:
    """Of each text and each of the identifier's `nb_classes`, shape [texts, classes]; a label that has two has all in its first."""
    empty = np.zeros((0, len(tables().prior)), dtype=np.float32)
    return np.concatenate([empty, *(of_batch(texts[first : first + TEXTS_AT_ONCE]) for first in range(0, len(texts), TEXTS_AT_ONCE))])


def of_batch(texts: Sequence[str]) -> NDArray[np.float32]:
    """The probabilities of some texts."""
    from scipy.sparse import csr_array

    contents = [encoded(text) for text in texts]
    document, feature = features(contents)
    counts = csr_array((np.ones(len(feature), dtype=np.float32), (document, feature)), shape=(len(texts), len(tables().weights)))
    counts.sum_duplicates()
    counts.data = np.log1p(counts.data)
    scores: NDArray[np.float32] = counts @ tables().weights + tables().prior
    scores[np.diff(counts.indptr) == 0] = 0.0  # nothing seen: every language is as likely
    sizes = np.array([len(content) or 1 for content in contents])
    scores *= (1.0 / np.sqrt(sizes)).astype(np.float32)[:, None]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    labels = identifier().nb_classes
    for alias, label in enumerate(labels):
        if (first := labels.index(label)) != alias:
            scores[:, first] += scores[:, alias]
            scores[:, alias] = 0.0
    return scores


def features(contents: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """(number of the text, feature) wherever a text has one."""
    order = sorted(range(len(contents)), key=lambda number: -len(contents[number]))
    sizes = np.array([len(contents[number]) for number in order], dtype=np.int64)
    longest = int(sizes.max(initial=0))
    letters = np.zeros((len(contents), longest), dtype=np.uint8)
    for place, number in enumerate(order):
        letters[place, : sizes[place]] = np.frombuffer(contents[number], dtype=np.uint8)
    steps = np.ascontiguousarray(letters.T).astype(np.int32)
    running = np.searchsorted(-sizes, -np.arange(longest))  # the texts that are longer than so many bytes come first
    rows, moves, outputs, *_ = tables()
    states = np.zeros(len(contents), dtype=np.int32)
    seen = np.full((longest, len(contents)), -1, dtype=np.int32)
    for step, count in enumerate(running.tolist()):
        states = moves[rows[states[:count]] + steps[step, :count]]
        seen[step, :count] = outputs[states]
    step_of, place_of = np.nonzero(seen >= 0)
    return np.array(order, dtype=np.int64)[place_of], seen[step_of, place_of]


def encoded(text: str) -> bytes:
    """As the identifier takes it."""
    lower = text.lower() if text.isupper() else text
    return unicodedata.normalize("NFC", lower).encode("utf8", errors="surrogatepass")


@functools.cache
def tables() -> Tables:
    """Those of the identifier."""
    model = identifier()
    return Tables(
        rows=np.array(model.tk_row, dtype=np.int32) << 8,
        moves=np.array(model.tk_nextmove, dtype=np.int32),
        outputs=np.array(model.tk_output, dtype=np.int32),
        weights=np.asarray(model.nb_ptc, dtype=np.float32),
        prior=np.asarray(model.nb_pc, dtype=np.float32),
    )


@functools.cache
def identifier() -> Any:
    """py3langid's identifier with probabilities that sum to 1; it takes a second to load."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
