"""A conditional normalizing flow, squashed by tanh to the box of actions."""

from collections.abc import Callable, Sequence

import torch
import zuko
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.networks.layers import float32_or_more
from lightning_maxent.policies.base import AbstractSquashedPolicy


class FlowPolicy(AbstractSquashedPolicy):
    """``a = tanh(u)``, where invertible transforms that depend on the state map Gaussian noise to ``u``.

    The policy can have any number of modes, and its density is exact.  The transforms are monotonic rational-quadratic
    splines in coupling layers (Durkan et al. 2019, arXiv 1906.04032), from the library zuko.  The networks compute the
    direction from noise to ``u``, the only one that is needed here.  So a sample with its density takes one pass (as in
    inverse autoregressive flows, Kingma et al. 2016, arXiv 1606.04934).  In zuko's usual direction, it would take two
    passes for the sample and one for its density.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: size of the action.
        transforms: number of transforms.
        bins: number of pieces of every spline between -5 and 5; outside, the spline is the identity.
        hidden_dims: widths of the hidden layers of the networks that compute the parameters of the splines.
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        transforms: int = 3,
        bins: int = 8,
        hidden_dims: Sequence[int] = (128, 128),
    ):
        super().__init__()
        steps: Callable[..., torch.nn.Module] = zuko.flows.NSF
        way_back = steps(
            action_dim,
            obs_dim,
            bins=bins,
            transforms=transforms,
            hidden_features=tuple(hidden_dims),
            passes=min(2, action_dim),  # coupling layers: two halves, each conditioned on the other
        )
        self.flow = zuko.flows.Flow(way_back.transform.inv, way_back.base)

    def unsquashed_with_log_prob(
        self, obs: Float[Tensor, "batch obs_dim"], count: int
    ) -> tuple[Float[Tensor, "batch particle action_dim"], Float[Tensor, "batch particle"]]:
        with torch.autocast(obs.device.type, enabled=False):  # rounding could select a wrong piece of a spline
            u, log_prob = self.flow(float32_or_more(obs)).rsample_and_log_prob((count,))
        return u.transpose(0, 1), log_prob.transpose(0, 1)
