"""Where the entropy of the state at hand and that of the whole trajectory part ways."""

import numpy as np

from lightning_maxent.environments.tabular import TabularEnv

FORK, NARROW, WIDE, END = range(4)


class NarrowOrWide(TabularEnv):
    """A fork: one way pays more, on the other it does not matter what one does.

    =======  ============================================================
    fork     actions 0 and 1 lead to narrow, 2 and 3 to wide; both pay 0
    narrow   action 0 pays 1, the others pay -2; then the end
    wide     every action pays 0.8; then the end
    =======  ============================================================

    A policy that is paid for the entropy of the state at hand alone has ``pi(a|s) = exp(Q(s,a)/alpha) / Z(s)`` with
    the plain Q, and at the fork it prefers narrow, worth ``V = E_pi r`` = 0.978 at ``alpha`` = 0.5, to wide, worth 0.8:
    narrow to wide as ``exp((0.978 - 0.8) / 0.5)`` = 1.43 : 1.  One that is paid for the entropy of the whole trajectory
    looks ahead to the entropy of the next state too: narrow is worth ``0.5 log(exp(2) + 3 exp(-4))`` = 1.004, wide
    ``0.8 + 0.5 log 4`` = 1.493, and wide is preferred, 2.66 : 1.  Both for a discount of 1.

    ======== ==========================================================================================
    shows    the state: Discrete(4), fork, narrow, wide, end
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
