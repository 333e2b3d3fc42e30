"""Names that changed: whoever uses an old one is told the present one.

To add a name, add a line to one of the tables.
"""

import re
from collections.abc import Iterable

OPTIONS = {
    "value_optimizer": "optimizers.value",
    "critic_optimizer": "optimizers.critic",
    "policy_optimizer": "optimizers.policy",
    "temperature_optimizer": "optimizers.temperature",
    "trust_region_optimizer": "optimizers.trust_region",
    "trace_decay": "gae_lambda",
    "warmup_steps": "learning_starts",
    "caution": "pessimism",
    "smear": "sigma",
}
CLASSES = {
    "TargetCriticSAC": "SAC",
    "StandardisedObservations": "StandardizedObservations",
    "Clipped": "ClippedLogStd",
    "Smooth": "TanhLogStd",
    "Truncated": "TruncatedPooling",
    "Averaged": "MeanPooling",
}
CONFIGURATIONS = {  # the first that a name begins with
    "target_critic_sac/": "sac/",
    "sac_discrete/cartpole_with_value": "discrete_value_sac/cartpole",
    "sac_discrete/": "discrete_sac/",
}
SAC_WITH_VALUE = "SAC with a value network is now ValueSAC"


def renamed_option(name: str, class_name: str = "") -> str | None:
    """A sentence about an option that has another name now; None for any other.

    Args:
        name: of the option, with or without what lies within it, as in ``critic_optimizer.init_args.lr``.
        class_name: of the class that was given the option, where it is known.
    """
    words = name.split(".")
    if class_name == "SAC" and words[0] in ("value", "value_optimizer"):
        return f"{SAC_WITH_VALUE}: choose that class."
    for word in words:
        if word in OPTIONS:
            return f"{word} is now {OPTIONS[word]}."
    return None


def renamed_class(path: str) -> str | None:
    """A sentence about a class of this package that has another name now; None for any other.

    Args:
        path: its name, alone or with its module.
    """
    module, _, name = path.rpartition(".")
    if name in CLASSES and (not module or module.split(".")[0] == __package__):
        return f"{name} is now {CLASSES[name]}."
    return None


def present_configuration(name: str) -> str | None:
    """The present name of a built-in configuration that may have had this one; None for any other."""
    if recipe := re.fullmatch(r"sac/(half_cheetah|hopper)_(\w+)", name):
        return f"{recipe[2]}/{recipe[1]}"
    for old, new in CONFIGURATIONS.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return None


def renamed_maker(algorithm: str | None, tensors: Iterable[str]) -> str | None:
    """A sentence about a checkpoint of an algorithm that has another name now; None for any other.

    Args:
        algorithm: the class that made the checkpoint.
        tensors: names of what the checkpoint holds.
    """
    made_by, now = str(algorithm), CLASSES.get(str(algorithm))
    if algorithm == "SAC" and any(name.startswith("value.") for name in tensors):
        made_by, now = "SAC with a value network", "ValueSAC"
    if now is None:
        return None
    return (
        f"The checkpoint was made by {made_by}, which is now {now}: begin a new run of {now} with its weights by the callback "
        f"WarmStart."
    )
