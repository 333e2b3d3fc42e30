"""Small environments with known solutions; importing this package registers them with Gymnasium."""

import gymnasium as gym

gym.register("lightning_maxent/RandomMDP-v0", "lightning_maxent.environments.tabular:RandomMDP", max_episode_steps=100)
gym.register(
    "lightning_maxent/MatchingPennies-v0",
    "lightning_maxent.environments.matching_pennies:MatchingPennies",
    max_episode_steps=20,
)
gym.register(
    "lightning_maxent/AliasedGrid-v0", "lightning_maxent.environments.aliased_grid:AliasedGrid", max_episode_steps=50
)
gym.register("lightning_maxent/NarrowOrWide-v0", "lightning_maxent.environments.narrow_or_wide:NarrowOrWide")
gym.register(
    "lightning_maxent/LinearQuadratic-v0",
    "lightning_maxent.environments.linear_quadratic:LinearQuadraticEnv",
    max_episode_steps=50,
)
gym.register(
    "lightning_maxent/MultiGoal-v0", "lightning_maxent.environments.multi_goal:MultiGoalEnv", max_episode_steps=30
)
