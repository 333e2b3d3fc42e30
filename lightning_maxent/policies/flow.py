"""A conditional normalizing flow squeezed into the box of actions."""

from collections.abc import Callable, Sequence

import torch
import zuko
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.policies.base import AbstractSquashedPolicy


class FlowPolicy(AbstractSquashedPolicy):
    """``a = tanh(u)`` where ``u`` comes from Gaussian noise by invertible steps that depend on the state.

    As many modes as it needs, with an exact density.  The steps are monotonic rational-quadratic splines in coupling
    layers (Durkan et al. 2019, arXiv 1906.04032), from the library zuko.  They lead from noise to ``u``, which is the way
    that is always gone here: a sample with its density is one pass (inverse autoregressive flow, Kingma et al. 2016, arXiv
    1606.04934), where the other way round it is two for the sample and one more for its density.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: size of the action.
        transforms: steps.
        bins: pieces of every spline, between -5 and 5; beyond, it is the identity.
        hidden_dims: widths of the networks that give the splines' parameters.
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
            passes=min(2, action_dim),  # coupling: two halves, each given the other
        )
        self.flow = zuko.flows.Flow(way_back.transform.inv, way_back.base)

    def unsquashed_with_log_prob(
        self, obs: Float[Tensor, "batch obs_dim"], count: int
    ) -> tuple[Float[Tensor, "batch particle action_dim"], Float[Tensor, "batch particle"]]:
        with torch.autocast(obs.device.type, enabled=False):  # splines are searched: rounding would move the bins
            u, log_prob = self.flow(obs.float()).rsample_and_log_prob((count,))
        return u.transpose(0, 1), log_prob.transpose(0, 1)
