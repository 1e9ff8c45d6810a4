"""TER's edits: sacreBLEU's own search for shifts over a faster edit distance that gives the same numbers."""

from typing import Any

BEAM = 24  # sacreBLEU looks no further than this from the diagonal


class Distances:
    """Edit distances of hypotheses to one reference, callable as sacreBLEU's `BeamEditDistance` is.

    Most calls only want the number: it comes from bit vectors (Myers 1999; Hyyrö 2003). It is sacreBLEU's where no best path
    can leave its beam; elsewhere sacreBLEU's own is asked. A path of d edits that strays s words from the diagonal also has to
    come back, so 2 s is no more than d and the difference in length.
    """

    def __init__(self, reference: list[str]) -> None:
        from sacrebleu.metrics.lib_ter import BeamEditDistance

        self.beam: Any = BeamEditDistance(reference)
        self.num_words = len(reference)
        self.places: dict[str, int] = {}
        for index, word in enumerate(reference):
            self.places[word] = self.places.get(word, 0) | 1 << index

    def __call__(self, words: list[str]) -> tuple[int, Any]:
        distance = self.distance(words)
        gap = abs(len(words) - self.num_words)
        if (distance + gap) // 2 + gap + 2 > BEAM:  # the beam's own diagonal runs between the two lengths
            return self.beam(words)  # type: ignore[no-any-return]
        return distance, Trace(self.beam, words)

    def distance(self, words: list[str]) -> int:
        """Levenshtein distance in words."""
        everything, last = (1 << self.num_words) - 1, 1 << (self.num_words - 1)
        plus, minus, distance = everything, 0, self.num_words
        for word in words:
            matches = self.places.get(word, 0)
            diagonal = (((matches & plus) + plus) ^ plus) | matches | minus
            raised, lowered = minus | (everything & ~(diagonal | plus)), plus & diagonal
            if raised & last:
                distance += 1
            elif lowered & last:
                distance -= 1
            raised, lowered = (raised << 1) | 1, lowered << 1
            plus, minus = (lowered | ~(diagonal | raised)) & everything, raised & diagonal & everything
        return distance


class Trace:
    """The edits on a best path, worked out by sacreBLEU when they are looked at."""

    def __init__(self, beam: Any, words: list[str]) -> None:
        self.beam = beam
        self.words = words

    def translate(self, table: dict[int, int]) -> str:
        """As `str.translate`."""
        trace: str = self.beam(self.words)[1]
        return trace.translate(table)


def edits(hypothesis: list[str], reference: list[str]) -> int:
    """Shifts and word edits that make the reference of the hypothesis (Snover et al. 2006), as sacreBLEU counts them."""
    from sacrebleu.metrics import lib_ter

    if not reference:
        return len(hypothesis)
    distances = Distances(reference)
    words, shifts, checked = hypothesis, 0, 0
    while True:
        gain, shifted, checked = lib_ter._shift(words, reference, distances, checked)
        if checked >= lib_ter._MAX_SHIFT_CANDIDATES or gain <= 0:
            return shifts + distances(words)[0]
        shifts, words = shifts + 1, shifted
