"""Compiled updates give the numbers of eager ones, for every algorithm and critic.

The compiler cannot read the checks of shapes that the other tests run under, so ``test_execution.py`` runs this file in
a process without them.
"""

import copy

import pytest
import torch
from every_algorithm import cut_ends_as_whole
from small_algorithms import ALGORITHMS_AND_CRITICS, batches, built
from torch.testing import assert_close

from lightning_maxent.execution import Compiled

UPDATES = 4  # two with a loss of the policy and two without


@pytest.mark.parametrize(("name", "kind", "critic"), ALGORITHMS_AND_CRITICS)
def test_compiled_updates_give_the_numbers_of_eager_ones(name, kind, critic):
    algorithm = built(name, kind, critic)
    data, copied = batches(algorithm, kind, UPDATES), copy.deepcopy(algorithm)
    compiled = copied._execution = Compiled("eager")  # the backend: one graph, whose operations are not fused
    for each in (algorithm, copied):
        optimizers = each.build_optimizers()
        for seed, batch in enumerate(data):
            torch.manual_seed(seed)
            each.update(batch, optimizers)
    assert not compiled.failed
    assert_close(copied.state_dict(), algorithm.state_dict(), rtol=1e-6, atol=1e-6)
    assert_close(copied.drain_metrics(), algorithm.drain_metrics(), rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_resumed_run_with_compiled_updates_ends_bit_for_bit_as_an_uninterrupted_one(caplog):
    cut_ends_as_whole("TD3", "box", "--execution=Compiled", "--execution.backend=eager")
    assert "cannot be compiled" not in caplog.text
