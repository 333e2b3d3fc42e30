"""Recorded data are replayed exactly: the transitions and the ends of episodes."""

import pytest
import torch
from stub_trainer import rounds, started

from lightning_maxent import Transition
from lightning_maxent.data.recorded_transitions import Recording


def met(data) -> Transition:
    rows = data.buffer.storage[: len(data.buffer)]
    return Transition(*(rows[name] for name in Transition._fields))


@pytest.mark.parametrize("ends", ["truncated", "terminated"])
@pytest.mark.parametrize("envs", [1, 2])
def test_a_recording_gives_the_recorded_transitions(envs, ends):
    data = started(num_envs=envs, steps_per_round=4, env_kwargs={"ends": ends})
    ended = []
    step = data._step

    def noted(runner, passed):
        row = step(runner, passed)
        ended.append(row.done)
        return row

    data._step = noted
    rounds(data, 6)
    recording = Recording(met(data), envs, 0)
    again, dones = zip(*(recording.step(torch.zeros(envs, 2)) for _ in range(24 // envs)))
    for field, told in zip(met(data), zip(*again)):
        assert torch.equal(torch.cat(told), field)
    # That the very last step ended an episode by a time limit cannot be seen: nothing follows it.
    assert [done.tolist() for done in dones][:-1] == [done.tolist() for done in ended][:-1]
    assert any(done.any() for done in dones)


def test_a_recording_resumes_at_the_clock():
    data = started()
    rounds(data, 12)
    recording = Recording(met(data), 1, 5)
    assert torch.equal(recording.obs, met(data).obs[5:6])
    transition, _ = recording.step(torch.zeros(1, 2))
    assert torch.equal(transition.next_obs, met(data).next_obs[5:6])
    assert torch.equal(recording.obs, met(data).obs[6:7])
    assert recording.drain_returns() == []
