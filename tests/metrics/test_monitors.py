from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from lightning_maxent.callbacks.checkpoint import BestCheckpoint
from lightning_maxent.errors import MaxEntError
from lightning_maxent.metrics.monitors import Monitors


def watched(*callbacks, **measured):
    return Monitors(callbacks, ["critic"]), Mock(spec=pl.Trainer, callback_metrics=dict(measured))


def test_monitored_values_of_a_row_are_cleared_after_the_check_and_those_of_evaluations_stay():
    monitors, trainer = watched(**{"eval/return_mean": torch.tensor(1.0)})
    monitors.show(trainer, {"loss/critic": 2.0})
    monitors.remove_seen(trainer)
    assert trainer.callback_metrics["loss/critic"].item() == 2
    monitors.check(trainer)
    monitors.remove_seen(trainer)
    assert list(trainer.callback_metrics) == ["eval/return_mean"]


def test_callbacks_are_paused_until_their_column_appears_and_restored_unchanged():
    stop, loose = EarlyStopping("loss/critic"), EarlyStopping("no_such", strict=False)
    keep, best, plain = ModelCheckpoint(monitor="loss/critic", save_top_k=3), BestCheckpoint(), ModelCheckpoint()
    monitors, trainer = watched(stop, loose, keep, best, plain)
    monitors.allow_saves(trainer)
    assert (stop.strict, loose.strict) == (False, False)
    assert (keep.save_top_k, best.save_top_k, plain.save_top_k) == (0, 1, 1)
    monitors.show(trainer, {"loss/critic": 2.0})
    monitors.allow_saves(trainer)
    assert keep.save_top_k == 3
    monitors.check(trainer)
    monitors.remove_seen(trainer)
    monitors.allow_saves(trainer)
    assert keep.save_top_k == 0
    monitors.release()
    assert (stop.strict, loose.strict, keep.save_top_k) == (True, False, 3)


@pytest.mark.parametrize(
    ("monitor", "rows", "comes"),
    [
        ("loss/critic", [{"speed": 1.0}], True),
        ("entropy", [{"loss/critic": 1.0}], True),  # of a policy that is updated rarely
        ("entropy", 2 * [{"loss/critic": 1.0}], False),
        ("entropy", [{"speed": 1.0}] * 9, True),  # before the first update
        ("train/return_mean", 2 * [{"loss/critic": 1.0}], True),  # before the first episode has ended
        ("train/return", [{"train/return_mean": 1.0}], False),
        ("eval/return", [], False),
        ("eval/return_mean", [], True),
    ],
)
def test_a_monitored_column_is_awaited_while_it_can_still_appear(monitor, rows, comes):
    monitors, trainer = watched(EarlyStopping(monitor), **{"eval/return_mean": torch.tensor(1.0)})
    for row in rows:
        monitors.show(trainer, row)
    if comes:
        monitors.check(trainer)
    else:
        with pytest.raises(MaxEntError, match=f"EarlyStopping monitors '{monitor}', but there is no such column"):
            monitors.check(trainer)
