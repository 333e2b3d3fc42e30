"""The private names of Lightning that a run relies on.  If a test fails, another version of Lightning has changed them."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import nn
from torch.utils.data import DataLoader

from lightning_maxent import lightning_internals as internals


class Doubling(pl.LightningModule):
    """Counts its evaluations; every batch adds one to its weight and moves the clock by seven."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.weight = nn.Parameter(torch.zeros(()))
        self.evaluated, self.follows, self.clock = [], [], 0

    def training_step(self, batch, batch_idx):
        self.optimizers(use_pl_optimizer=False).step()
        self.weight.data += 1
        self.clock += 7
        internals.set_global_step(self.trainer, self.clock)
        self.trainer.should_stop = 0 <= self.trainer.max_steps <= self.clock
        self.log("seen", float(self.clock))

    def on_train_batch_end(self, *args):
        self.follows.append(internals.evaluation_follows(self.trainer))

    def validation_step(self, batch, batch_idx):
        self.evaluated.append((self.trainer.global_step, self.trainer.validating, float(self.weight)))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def train_dataloader(self):
        return DataLoader(torch.zeros(3))

    def val_dataloader(self):
        return DataLoader(torch.zeros(1))


def trainer(tmp_path, **options) -> pl.Trainer:
    fixed = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    defaults = {"max_epochs": 2, "log_every_n_steps": 1, "accelerator": "cpu", "enable_checkpointing": False}
    return pl.Trainer(**(fixed | defaults | options), default_root_dir=str(tmp_path))


def test_the_clock_is_global_step_and_stops_the_run_and_evaluations_follow_the_last_batch(tmp_path):
    model, run = Doubling(), trainer(tmp_path, max_epochs=-1, max_steps=35)
    run.fit(model)
    assert run.global_step == model.clock == 35
    assert model.follows == [False, False, True, False, True]
    assert [step for step, _, _ in model.evaluated] == [21, 35]


def test_an_extra_evaluation_runs_as_part_of_fit_and_restores_the_state(tmp_path):
    class Early(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            internals.evaluate_now(trainer)
            assert trainer.training

        def on_fit_end(self, trainer, pl_module):
            internals.evaluate_now(trainer)

    model, run = Doubling(), trainer(tmp_path, max_epochs=1, callbacks=Early())
    run.fit(model)
    assert model.evaluated == [(0, True, 0.0), (21, True, 3.0), (21, True, 3.0)]
    assert run.current_epoch == 1


def test_epochs_of_a_resumed_run_follow_the_clock(tmp_path):
    epochs = []

    class Resumes(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            internals.set_global_step(trainer, 63)
            internals.continue_epochs(trainer, 21, 7)
            pl_module.clock = 63

        def on_train_epoch_start(self, trainer, pl_module):
            epochs.append(trainer.current_epoch)

    run = trainer(tmp_path, max_epochs=-1, max_steps=105, callbacks=Resumes())
    run.fit(Doubling())
    assert epochs == [3, 4]


def test_averaged_weights_are_swapped_in_and_restored(tmp_path):
    class Look(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *args):
            with internals.averaged_weights_exchanged(trainer):
                self.averaged = float(pl_module.weight.detach())
            self.learned = float(pl_module.weight.detach())

    look = Look()
    average = EMAWeightAveraging(decay=0.5)
    trainer(tmp_path, max_epochs=1, callbacks=[average, look]).fit(Doubling())
    assert look.learned == 3.0
    assert look.averaged < 3.0


def test_a_dry_run_and_the_callbacks_are_those_the_trainer_was_given(tmp_path):
    look = pl.Callback()
    run = trainer(tmp_path, fast_dev_run=2, callbacks=look)
    assert internals.is_dry_run(run)
    assert not internals.is_dry_run(trainer(tmp_path))
    assert look in internals.callbacks_of(run)
