"""An MDP in which the current-state and the trajectory entropy objective have different best policies."""

import numpy as np

from lightning_maxent.environments.tabular import TabularEnv

FORK, NARROW, WIDE, END = range(4)


class NarrowOrWide(TabularEnv):
    """A fork between a state with one good action and a state in which all actions are equally good.

    =======  ============================================================
    fork     actions 0 and 1 lead to narrow, 2 and 3 to wide; both pay 0
    narrow   action 0 pays 1, the others pay -2; then the episode ends
    wide     every action pays 0.8; then the episode ends
    =======  ============================================================

    The following numbers are for ``alpha`` = 0.5 and a discount of 1.  With the current-state objective, the best
    policy is ``pi(a|s) = exp(Q(s,a)/alpha) / Z(s)`` with Q without entropy.  At the fork it prefers narrow, with the
    value ``V = E_pi r`` = 0.978, to wide, with the value 0.8.  The ratio of their probabilities is
    ``exp((0.978 - 0.8) / 0.5)`` = 1.43 : 1.  With the trajectory objective, values include the entropy in the next
    state.  The soft value of narrow is ``0.5 log(exp(2) + 3 exp(-4))`` = 1.004, that of wide is ``0.8 + 0.5 log 4`` =
    1.493.  So the best policy prefers wide, 2.66 : 1.

    ======== ==========================================================================================
    obs      the state: Discrete(4), fork, narrow, wide, end
    actions  Discrete(4)
    reward   as above
    ends     after two steps
    ======== ==========================================================================================
    """

    def __init__(self):
        reward = {NARROW: (1.0, -2.0, -2.0, -2.0), WIDE: (0.8, 0.8, 0.8, 0.8), END: (0.0, 0.0, 0.0, 0.0)}
        table = {FORK: {action: [(1.0, NARROW if action < 2 else WIDE, 0.0, False)] for action in range(4)}}
        table |= {state: {a: [(1.0, END, pay, True)] for a, pay in enumerate(pays)} for state, pays in reward.items()}
        super().__init__(table, np.eye(4)[FORK])
