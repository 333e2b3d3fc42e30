"""The multi-goal environment: four goals around the origin, which a multimodal policy reaches equally often."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact import MultiGoal
from lightning_maxent.exact.multi_goal import EDGE, GOALS


class MultiGoalEnv(gym.Env[Any, Any]):
    """A point starts near the origin and can move to any of four goals.  Haarnoja et al. 2017, section 5.1.

    ``lightning_maxent.exact.solve_multi_goal`` solves ``env.unwrapped.world``.

    ======== ==========================================================================================
    obs      the position: Box, from -7 to 7 on both axes
    actions  the displacement: Box, from -1 to 1 on both axes; the point stops at the edge of the square
    reward   ``-actuation_cost ||a||^2 - distance_cost min_g ||s' - g||^2``, plus ``goal_reward`` at a goal
    ends     within ``goal_threshold`` of a goal, (5, 0), (-5, 0), (0, 5) or (0, -5); the time limit truncates after
             30 steps (``max_episode_steps`` of ``gymnasium.make``)
    renders  the distance cost, the goals and the path so far: as an array (``rgb_array``) or in a window (``human``)
    ======== ==========================================================================================

    Args:
        actuation_cost: cost per squared length of the action.
        distance_cost: cost per squared distance between the next state and the nearest goal.
        goal_reward: reward for reaching a goal, in addition to both costs.
        goal_threshold: a goal is reached at a smaller distance than this.
        goals: positions of the goals.
        init_sigma: standard deviation of the initial position around the origin, along each axis.
        render_mode: ``rgb_array``, ``human`` or None.

    Raises:
        MaxEntError: if ``MultiGoal`` refuses the arguments, or ``init_sigma`` is negative or not finite.
    """

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 10}  # noqa: RUF012  Gymnasium's own declaration

    def __init__(
        self,
        actuation_cost: float = 30.0,
        distance_cost: float = 1.0,
        goal_reward: float = 10.0,
        goal_threshold: float = 1.0,
        goals: Sequence[Sequence[float]] = GOALS,
        init_sigma: float = 0.1,
        render_mode: str | None = None,
    ):
        if not 0 <= init_sigma < np.inf:
            raise MaxEntError(f"init_sigma must be finite and not negative, but is {init_sigma}.")
        self.world = MultiGoal(actuation_cost, distance_cost, goal_reward, goal_threshold, goals)
        self.init_sigma, self.render_mode = init_sigma, render_mode
        self.observation_space = spaces.Box(-EDGE, EDGE, (2,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.path: list[np.ndarray] = []
        self.window: Any = None  # a pygame window

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        start = self.init_sigma * self.np_random.standard_normal(2)
        self.path = [np.clip(start, -EDGE, EDGE)]
        self._show()
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        state = self.path[-1]
        self.path.append(self.world.after(state, action))
        self._show()
        return (
            self._observe(),
            float(self.world.reward(state, action)),
            bool(self.world.there(self.path[-1])),
            False,
            {},
        )

    def render(self) -> Any:
        return self._picture() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        if self.window is not None:
            import pygame

            pygame.display.quit()
            self.window = None

    def _show(self) -> None:
        """Update the window if ``render_mode`` is ``human``."""
        if self.render_mode != "human":
            return
        import pygame  # prints a message on import

        picture = self._picture().swapaxes(0, 1)
        if self.window is None:
            pygame.display.init()
            self.window = pygame.display.set_mode(picture.shape[:2])
        pygame.surfarray.blit_array(self.window, picture)
        pygame.event.pump()
        pygame.display.flip()
        pygame.time.wait(1000 // self.metadata["render_fps"])

    def _picture(self) -> np.ndarray:
        figure = Figure(figsize=(4, 4), dpi=100)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        draw_rewards(axes, self.world)
        axes.plot(*np.transpose(self.path), color="black", marker=".")
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def _observe(self) -> np.ndarray:
        return self.path[-1].astype(np.float32)


def draw_rewards(axes: Any, world: MultiGoal) -> None:
    """Draw level curves of the distance cost, and the goals, on matplotlib axes."""
    axis = np.linspace(-EDGE, EDGE, 141)
    points = np.stack(np.meshgrid(axis, axis), -1)
    axes.contour(axis, axis, -world.distance_cost * world.goal_distance(points).min(-1) ** 2, levels=20, cmap="viridis")
    axes.plot(*np.transpose(world.goals), linestyle="", marker="o", color="tab:red")
    axes.set_aspect("equal")
    axes.set_xlim(-EDGE, EDGE)
    axes.set_ylim(-EDGE, EDGE)
