"""A sampler: a network that maps noise to actions, without a density."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.networks import MLP, NetworkBuilder
from lightning_maxent.networks.layers import float32_or_more
from lightning_maxent.policies.base import AbstractSampler


class SteinSampler(AbstractSampler):
    """``a = tanh(noise + f(s, noise))`` with Gaussian noise of the action's size.  Haarnoja et al. 2017, section 3.3.

    It can have any number of modes, but its density is unknown; ``SteinUpdate`` trains it.  In the paper the action is
    ``f(s, noise)`` alone.  Its first samples are then close together and all move to the same mode, because the others
    are outside the range of the kernel.  Here the first samples are about the noise itself, spread over the whole box.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: size of the action and of the noise.
        network: builds the network, whose input is the observation and the noise.
    """

    def __init__(self, obs_dim: int, action_dim: int, network: NetworkBuilder = MLP):
        super().__init__()
        self.action_dim = action_dim
        self.network = network(1, obs_dim + action_dim, action_dim)

    def unsquashed(self, obs: Float[Tensor, "batch obs_dim"], count: int) -> Float[Tensor, "batch particle action_dim"]:
        noise = torch.randn(obs.shape[0] * count, self.action_dim, device=obs.device)
        pair = torch.cat((obs.repeat_interleave(count, dim=0), noise), dim=-1)
        return (noise + float32_or_more(self.network(pair.unsqueeze(0)).squeeze(0))).unflatten(0, (obs.shape[0], count))
