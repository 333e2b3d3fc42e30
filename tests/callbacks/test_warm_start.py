from functools import partial
from unittest.mock import Mock

import torch
from pytorch_lightning import Trainer
from torch.testing import assert_close

from lightning_maxent import A2C, AnnealedTemperature, Gaussian, LinearSchedule
from lightning_maxent.actions import BoxActions
from lightning_maxent.callbacks.warm_start import WarmStart


def test_warm_start_loads_weights_and_starts_the_clock_at_zero(tmp_path):
    old, new = (
        A2C(3, BoxActions(1), Gaussian, temperature=partial(AnnealedTemperature, alpha=LinearSchedule(1.0, 0.0, 100)))
        for _ in range(2)
    )
    old.temperature.alpha.advance(100)
    path = tmp_path / "other.ckpt"
    torch.save({"pytorch-lightning_version": "2.6.6", "global_step": 0, "state_dict": old.state_dict()}, path)
    WarmStart(str(path)).on_fit_start(Mock(spec=Trainer, ckpt_path=None, datamodule=Mock()), new)
    assert_close(new.policy.state_dict(), old.policy.state_dict(), rtol=0, atol=0)
    assert float(new.temperature()) == 1.0
