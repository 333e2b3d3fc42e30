"""The gradient step under Lightning's hooks and precisions, against the step without a Trainer."""

import copy
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from helpers import made_up, named_optimizers
from pytorch_lightning.plugins import MixedPrecision
from torch.amp import GradScaler
from torch.testing import assert_close

from lightning_maxent import MLP, SAC, BoxActions, Optimizers, Round, SquashedGaussian, Transition, TwinCritic
from lightning_maxent.data.data_module import RoundStream

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")

OBS, ACTIONS, BATCH, UPDATES = 3, BoxActions(2), 16, 4
SMALL = partial(MLP, hidden_dims=(16,))
HOOKS = ["on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step"]


class InMemory(pl.LightningDataModule):
    """Four updates, one after each environment step, on the same batch each."""

    def __init__(self, batch: Transition):
        super().__init__()
        self.batch, self.env_steps = batch, 0

    def _next_round(self) -> Round:
        self.env_steps += 1
        return Round(Transition(*(each.unsqueeze(0) for each in self.batch)), self.env_steps)

    def train_dataloader(self) -> RoundStream:
        return RoundStream(self._next_round, UPDATES)

    def metrics(self) -> dict[str, float]:
        return {}


class Recorder(pl.Callback):
    """Notes each hook with the gradients of the critic at that time."""

    def __init__(self):
        self.heard: list[str] = []
        self.gradients: list[torch.Tensor] = []

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        self.heard.append("on_before_zero_grad")

    def on_before_backward(self, trainer, pl_module, loss):
        self.heard.append("on_before_backward")

    def on_after_backward(self, trainer, pl_module):
        self.heard.append("on_after_backward")

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.heard.append("on_before_optimizer_step")
        self.gradients.append(gradient(pl_module))


def gradient(model) -> torch.Tensor:
    return torch.cat([each.grad.flatten() for each in model.critic.parameters()]).clone()


def learner(kind: type[SAC] = SAC, **options) -> SAC:
    torch.manual_seed(0)
    critic, policy = partial(TwinCritic, network=SMALL), partial(SquashedGaussian, network=SMALL)
    return kind(OBS, ACTIONS, critic=critic, policy=policy, **options)


def weights(model) -> torch.Tensor:
    return torch.cat([each.detach().double().flatten() for each in model.parameters()])


def fitted(trainer: pl.Trainer, model: SAC) -> SAC:
    torch.manual_seed(1)
    trainer.fit(model, InMemory(made_up(OBS, ACTIONS, BATCH)))
    return model


def updated(model: SAC, batch: Transition) -> SAC:
    """The same four updates without a Trainer."""
    optimizers = named_optimizers(model)
    torch.manual_seed(1)
    for _ in range(UPDATES):
        model.update(batch, optimizers)
    return model


@pytest.fixture
def one_epoch(quiet_trainer):
    return partial(quiet_trainer, max_epochs=1)


def test_hooks_of_callbacks_fire_around_every_step_and_change_no_weight(one_epoch):
    recorder = Recorder()
    model = fitted(one_epoch(callbacks=[recorder]), learner())
    before = ["on_before_zero_grad"] * 3
    assert recorder.heard == UPDATES * [*before, HOOKS[1], HOOKS[2], *["on_before_optimizer_step"] * 3]
    assert torch.equal(weights(model), weights(updated(learner(), made_up(OBS, ACTIONS, BATCH))))


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_of_the_module_fires_alone(one_epoch, hook):
    calls = []

    class Listening(SAC):
        pass

    setattr(Listening, hook, lambda self, *args: calls.append(hook))
    fitted(one_epoch(), learner(Listening))
    assert len(calls) == UPDATES * (1 if "backward" in hook else 3)


def test_a_backward_of_the_module_replaces_that_of_torch(one_epoch):
    class Doubled(SAC):
        def backward(self, loss, *args, **kwargs):
            (2 * loss).backward()

    doubled, plain = Recorder(), Recorder()
    fitted(one_epoch(callbacks=[doubled]), learner(Doubled))
    fitted(one_epoch(callbacks=[plain]), learner())
    assert_close(doubled.gradients[0], 2 * plain.gradients[0])


def test_where_nobody_listens_lightning_is_not_called(one_epoch, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("a call of Lightning in an update")

    monkeypatch.setattr(pl.LightningModule, "manual_backward", fail)
    monkeypatch.setattr("lightning_maxent.algorithms.gradient_step.call_hook", fail)
    fitted(one_epoch(), learner())


def test_a_hook_that_changes_gradients_changes_the_step(one_epoch):
    class Stop(pl.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            for each in pl_module.critic.parameters():
                each.grad.zero_()

    model = fitted(one_epoch(callbacks=[Stop()]), learner())
    assert torch.equal(weights(model.critic), weights(learner().critic))
    assert not torch.equal(weights(model.policy), weights(learner().policy))


def test_clipping_comes_after_the_hook_and_is_per_network(one_epoch):
    recorder, optimizers = Recorder(), Optimizers(partial(torch.optim.SGD, lr=1.0), max_grad_norm=1e-3)
    model, start = learner(optimizers=optimizers), learner()
    batch = InMemory(made_up(OBS, ACTIONS, BATCH))
    one_epoch(callbacks=[recorder], limit_train_batches=1).fit(model, batch)
    assert recorder.gradients[0].norm() > 0.1
    for name in model.networks:
        moved = weights(model.get_submodule(name)) - weights(start.get_submodule(name))
        assert_close(moved.norm(), torch.tensor(1e-3, dtype=torch.float64), rtol=1e-3, atol=0)


def test_a_copy_of_a_trained_model_updates_without_the_trainer_and_its_hooks(one_epoch):
    recorder = Recorder()
    model = fitted(one_epoch(callbacks=[recorder]), learner(optimizers=Optimizers(max_grad_norm=1e-3)))
    heard, copied = len(recorder.heard), copy.deepcopy(model)
    updated(copied, made_up(OBS, ACTIONS, BATCH))
    assert len(recorder.heard) == heard
    assert gradient(copied).norm() <= 1.001e-3


# ---- precisions -----------------------------------------------------------------------------------------------------


def half(scale: float = 2.0**10, growth_interval: int = 2000) -> MixedPrecision:
    """16-mixed on the CPU, for which Lightning would choose bf16-mixed."""
    return MixedPrecision("16-mixed", "cpu", GradScaler("cpu", init_scale=scale, growth_interval=growth_interval))


def test_16_mixed_unscales_the_gradients_of_every_network(one_epoch):
    recorder, plain = Recorder(), Recorder()
    model = fitted(one_epoch(plugins=[half()], callbacks=[recorder]), learner())
    reference = fitted(one_epoch(callbacks=[plain]), learner())
    assert_close(recorder.gradients[0], plain.gradients[0], rtol=0.05, atol=0.02)
    assert (weights(model) - weights(reference)).abs().max() < 2.5 * UPDATES * 3e-4  # Adam takes steps of about 3e-4
    assert not torch.equal(weights(model), weights(reference))


def test_16_mixed_changes_its_scale_once_per_update_after_all_networks(one_epoch):
    plugin = half(scale=2.0**10, growth_interval=1)
    fitted(one_epoch(plugins=[plugin]), learner())
    assert plugin.scaler.get_scale() == 2.0 ** (10 + UPDATES)


def test_16_mixed_leaves_out_the_step_of_a_network_whose_gradient_overflowed(one_epoch):
    class Overflow(pl.Callback):
        def on_after_backward(self, trainer, pl_module):
            next(pl_module.critic.parameters()).grad.fill_(torch.inf)

    plugin = half()
    model = fitted(one_epoch(plugins=[plugin], callbacks=[Overflow()]), learner())
    assert torch.equal(weights(model.critic), weights(learner().critic))
    assert not torch.equal(weights(model.policy), weights(learner().policy))
    assert plugin.scaler.get_scale() == 2.0 ** (10 - UPDATES)


def test_64_true_computes_every_loss_in_float64(one_epoch):
    kinds = set()

    class Look(pl.Callback):
        def on_before_backward(self, trainer, pl_module, loss):
            kinds.add(loss.dtype)

    double = fitted(one_epoch(precision="64-true", callbacks=[Look()]), learner())
    assert kinds == {torch.float64}
    assert all(each.dtype == torch.float64 for each in double.parameters())
    assert double.act(torch.zeros(2, OBS)).dtype == double.explore(torch.zeros(2, OBS)).dtype == torch.float32


def test_the_learning_rate_monitor_names_the_networks(one_epoch, tmp_path):
    logger, monitor = pl.loggers.CSVLogger(tmp_path), pl.callbacks.LearningRateMonitor()
    fitted(one_epoch(logger=logger, callbacks=[monitor], log_every_n_steps=1), learner())
    assert {name.rpartition("/")[2] for name in monitor.lrs} == {"critic", "policy", "temperature"}


def test_each_update_of_a_round_casts_the_weights_of_the_last_step_to_bfloat16():
    """Autocast keeps 16-bit copies of weights until its context ends, which is the end of the round."""
    batch, ended = made_up(OBS, ACTIONS, BATCH), []
    for contexts in (1, UPDATES):
        torch.manual_seed(0)
        algorithm = SAC(OBS, ACTIONS, partial(TwinCritic, network=SMALL), partial(SquashedGaussian, network=SMALL))
        optimizers = named_optimizers(algorithm)
        for _ in range(contexts):
            with torch.autocast("cpu", torch.bfloat16):
                for _ in range(UPDATES // contexts):
                    algorithm.update(batch, optimizers)
        ended.append(algorithm.state_dict())
    assert_close(*ended, rtol=0, atol=0)
