"""What the loop tells whoever looks at a run, and the figures that come of it."""

from llmops_train.checkpoint.progress import Window
from llmops_train.watching.meter import Meter


class Watch:
    """Looks at one run. Without more knowledge of it there is the meter alone."""

    def start(self, num_steps: int, first_step: int) -> Meter:
        """Begins at `first_step`, of a resumed run the steps it has taken."""
        return Meter(num_steps, first_step)

    def figures(self, window: Window) -> dict[str, float]:
        """Figures of the steps since the last point of the curves."""
        return {}

    def evaluated(self, step: int) -> None:
        """The validation loss after a step was measured."""
