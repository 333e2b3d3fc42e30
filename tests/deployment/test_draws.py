"""The random numbers of a function are found, and can be supplied from outside."""

import numpy as np
import pytest
import torch

from lightning_maxent import MaxEntError
from lightning_maxent.deployment.draws import DISTRIBUTIONS, Draw, Recorded, Supplied, record_draws


def particles(obs):
    """Three particles for each observation, the observation's own beside each other; then one exponential number."""
    noise = torch.randn(obs.shape[0] * 3, 2).unflatten(0, (obs.shape[0], 3))
    return obs.sum(-1) + noise.sum((1, 2)) + torch.empty(obs.shape[0]).exponential_()


def flow(obs):
    """The batch is the second axis, as in zuko."""
    return (torch.empty(4, obs.shape[0], 2).normal_().sum((0, 2)) + torch.rand_like(obs).sum(-1)) * obs.sum(-1)


@pytest.mark.parametrize(
    ("act", "draws"),
    [
        (particles, [Draw("standard_normal", (3, 2), 0), Draw("standard_exponential", (1,), 0)]),
        (flow, [Draw("standard_normal", (4, 1, 2), 1), Draw("random", (1, 5), 0)]),
    ],
)
def test_supplied_numbers_give_each_observation_what_it_gives_alone(act, draws):
    obs = torch.randn(6, 5)
    found, noise = record_draws(act, obs[:2])
    assert found == draws
    alone, rows = [], []
    for each in obs:
        with Recorded() as recorded:
            alone.append(act(each[None]))
        rows.append(recorded.noise())
    assert rows[0].shape == noise.shape
    with Supplied(found, torch.cat(rows)):
        together = act(obs)
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("draw", list(DISTRIBUTIONS), ids=lambda function: function.__name__)
def test_numpy_draws_what_torch_draws(draw):
    size = 200_000
    given = (size,) if draw in (torch.randn, torch.rand) else (torch.empty(size),)
    with Recorded() as recorded:
        draw(*given)
    ((distribution, numbers),) = recorded.drawn
    other = getattr(np.random.default_rng(0), distribution)(size, np.float32)
    quantiles = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(np.quantile(numbers, quantiles), np.quantile(other, quantiles), atol=0.05)


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda obs: torch.randint(3, (obs.shape[0],)), "by randint, which an exported file cannot take from outside"),
        (lambda obs: torch.empty(obs.shape[0]).normal_(1.0, 2.0), "by normal_, which an exported file cannot take"),
        (lambda obs: obs + torch.randn(5), r"the shape \(5,\) for one observation and \(5,\) for two"),
        (lambda obs: sum(torch.randn(1) for _ in obs), "more often for two observations than for one"),
    ],
)
def test_draws_that_cannot_be_supplied_are_refused(act, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        record_draws(act, torch.zeros(2, 5))
