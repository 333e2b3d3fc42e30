"""A gridworld with two cells that have the same observation but different best actions."""

from typing import Any

import numpy as np
from gymnasium import spaces

from lightning_maxent.environments.tabular import TabularEnv

CELLS = ((0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 2), (1, 4))  # state: row, column
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # action: north, east, south, west
ALIASED = (1, 3)
SKULLS, TREASURE = (5, 7), 6


class AliasedGrid(TabularEnv):
    """A partially observed gridworld in which the best memoryless policy is stochastic.

    ::

        .....     the agent starts in the second or the fourth cell of the corridor;
        X $ X     it should reach the treasure ($) and avoid the skulls (X)

    The agent only observes the walls around it.  The two start cells have the same observation, but the treasure is
    to the east of one and to the west of the other.  A deterministic memoryless policy fails from one of them: it moves
    back and forth until the time limit, or it ends sooner at a skull.  The best one has a return of -0.2.  A policy
    that goes east or west with probability one half always arrives, after 4 steps on average, with a return of 0.6.  At
    a temperature above 0.1 / log 4 = 0.07, the entropy of a step can be worth more than the step costs.  Near a
    discount of 1, the best soft policy then stays in the corridor.

    ======== ==========================================================================================
    obs      whether there is a wall in the north, east, south and west: Box of four floats, 0 or 1
    actions  Discrete(4): north, east, south, west; at a wall, the agent stays
    reward   ``step_reward`` at every step, plus ``treasure_reward`` or ``skull_reward`` in these cells
    ends     at the treasure or a skull; the time limit truncates after 50 steps
    ======== ==========================================================================================

    The states of the table ``P`` are the cells, row by row.  ``observation_labels[state]`` is an integer from zero for
    the observation in each state; cells with the same observation have the same label.

    After Silver, lecture 7 of his course on reinforcement learning (2015), "Aliased Gridworld".  Singh, Jaakkola &
    Jordan 1994 showed that the best memoryless policy may have to be stochastic.

    Args:
        treasure_reward: reward for entering the treasure's cell.
        skull_reward: reward for entering a skull's cell.
        step_reward: reward of every step.
        render_mode: None, or ``"ansi"`` for two lines of text with the agent as ``@``.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012  Gymnasium's own declaration

    def __init__(
        self,
        treasure_reward: float = 1.0,
        skull_reward: float = -1.0,
        step_reward: float = -0.1,
        render_mode: str | None = None,
    ):
        bonus = {TREASURE: treasure_reward} | dict.fromkeys(SKULLS, skull_reward)
        table = {
            state: {
                action: [(1.0, state, 0.0, True)]
                if state in bonus
                else [(1.0, (to := after(state, action)), step_reward + bonus.get(to, 0.0), to in bonus)]
                for action in range(len(MOVES))
            }
            for state in range(len(CELLS))
        }
        start = np.zeros(len(CELLS))
        start[list(ALIASED)] = 1 / len(ALIASED)
        super().__init__(table, start)
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 1, (len(MOVES),), np.float32)
        self._walls = np.array([walls(state) for state in table], dtype=np.float32)
        self.observation_labels = np.unique(self._walls @ (8, 4, 2, 1), return_inverse=True)[1]

    def observe(self, state: int) -> Any:
        return self._walls[state].copy()

    def render(self) -> str:
        rows = [list("....."), list("X $ X")]
        row, column = CELLS[self.state]
        rows[row][column] = "@"
        return "\n".join(map("".join, rows))


def after(state: int, action: int) -> int:
    """The state in which a move ends; the same one if there is no cell."""
    (row, column), (down, right) = CELLS[state], MOVES[action]
    cell = (row + down, column + right)
    return CELLS.index(cell) if cell in CELLS else state


def walls(state: int) -> list[bool]:
    """Whether each move is blocked by a wall."""
    return [after(state, action) == state for action in range(len(MOVES))]
