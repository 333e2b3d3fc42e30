"""Lightning's callbacks that average weights: which of the two sets of weights the model holds."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging


@contextmanager
def averaged_weights_exchanged(trainer: pl.Trainer) -> Iterator[None]:
    """The model holds the averaged weights in place of those that learn, or the other way round, where there are any."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    averages = [each for each in callbacks if isinstance(each, WeightAveraging) and each._average_model is not None]
    for average in averages:
        average._swap_models(trainer.lightning_module)
    try:
        yield
    finally:
        for average in averages:
            average._swap_models(trainer.lightning_module)
