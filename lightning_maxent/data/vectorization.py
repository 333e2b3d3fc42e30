"""Vectorization: how the parallel copies of an environment run."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import gymnasium as gym
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from lightning_maxent.errors import ForeignError, MaxEntError, errors_of

EnvMaker = Callable[[], gym.Env]
"""Makes one copy of an environment."""

VectorizationBuilder = Callable[[Sequence[EnvMaker]], VectorEnv]
"""Builds a vector environment from functions that make one copy each.

It has one copy of each function, in this order.  It resets a copy in the step that ends an episode
(``AutoresetMode.SAME_STEP``) and then has the last observation of the episode in ``info["final_obs"]``.  ``reset`` with
a seed gives every copy another seed.  ``close`` closes all copies.
"""


class OneProcess(SyncVectorEnv):
    """The copies run one after another in the process of the run.  This is the default.

    Args:
        env_fns: functions that make one copy each.

    Raises:
        MaxEntError: if a copy cannot be made, or the copies have different spaces; all copies are closed then.
    """

    def __init__(self, env_fns: Sequence[EnvMaker]):
        with ExitStack() as made:
            envs = [_made(make, made) for make in env_fns]
            check_same_spaces([(env.observation_space, env.action_space) for env in envs])
            super().__init__([partial(_itself, env) for env in envs], autoreset_mode=AutoresetMode.SAME_STEP)
            made.pop_all()

    def close_extras(self, **kwargs: object) -> None:
        """Close all copies, also if one of them raises an error."""
        with ExitStack() as stack:
            for env in reversed(self.envs):
                stack.callback(env.close)


def _made(make: EnvMaker, stack: ExitStack) -> gym.Env:
    env = make()
    stack.callback(env.close)
    return env


def _itself(env: gym.Env) -> gym.Env:
    return env


def check_same_spaces(of_copies: Sequence[tuple[spaces.Space, spaces.Space]]) -> None:
    """Raise ``MaxEntError`` unless all copies have the same observation space and the same action space."""
    for copy, own in enumerate(of_copies):
        for kind, first, here in zip(("observations", "actions"), of_copies[0], own):
            if here != first:
                raise MaxEntError(
                    f"Copy {copy} has {kind} in {here}, but copy 0 has them in {first}: all copies need the same spaces."
                )


def _with_autoreset_mode(vectorization: VectorizationBuilder) -> VectorizationBuilder:
    """The builder with ``autoreset_mode=SAME_STEP``, if it is a class that takes this argument and no mode was chosen.

    Such a class is Gymnasium's ``SyncVectorEnv`` or ``AsyncVectorEnv``, or a ``partial`` of it.
    """
    parts = (vectorization, getattr(vectorization, "func", None), *getattr(vectorization, "args", ()))
    classes = [part for part in parts if inspect.isclass(part) and issubclass(part, VectorEnv)]
    takes_mode = any("autoreset_mode" in inspect.signature(each).parameters for each in classes)
    mode = getattr(vectorization, "keywords", {}).get("autoreset_mode")
    # For jsonargparse, which builds a partial with all defaults, NEXT_STEP is the default; Gymnasium's own text is
    # "NextStep".
    if takes_mode and mode in (None, "NEXT_STEP", "SAME_STEP"):
        build: Callable[..., VectorEnv] = vectorization
        return partial(build, autoreset_mode=AutoresetMode.SAME_STEP)
    return vectorization


def make_vector_env(
    makers: Sequence[EnvMaker], vectorization: VectorizationBuilder = OneProcess, way_out: str = ""
) -> VectorEnv:
    """Parallel copies of an environment; each resets in the step that ends its episode.

    Args:
        makers: functions that make one copy each.
        vectorization: builds the vector environment.
        way_out: advice for the error message if so many copies cannot be open together.

    Raises:
        MaxEntError: if a copy cannot be made, or the vector environment breaks its contract.
    """
    with errors_of(f"Making a vector environment of {len(makers)} copies"):
        try:
            envs = _with_autoreset_mode(vectorization)(makers)
        except ForeignError as error:  # of a copy
            if way_out:
                error.args = (f"{str(error).removesuffix('.')}; {way_out}.",)
            raise
    if not isinstance(envs, VectorEnv):
        raise MaxEntError(
            f"data.vectorization must build a gymnasium.vector.VectorEnv, but it returned an object of the class "
            f"{type(envs).__name__}."
        )
    name, mode = type(envs).__name__, envs.metadata.get("autoreset_mode")
    wrong = None
    if envs.num_envs != len(makers):
        wrong = f"has {envs.num_envs} copies, but was given {len(makers)} functions that make one copy each"
    elif mode != AutoresetMode.SAME_STEP:
        wrong = (
            f"has the autoreset mode {getattr(mode, 'name', mode)}, but must reset in the step that ends an episode: "
            f"set its autoreset_mode to SameStep"
        )
    if wrong:
        envs.close()
        raise MaxEntError(f"The vectorization {name} {wrong}.")
    return envs
