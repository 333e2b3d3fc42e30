"""Renamed options, classes and configurations: the use of an old name is an error that gives the new name.

To add a name, add a line to one of the tables.  A class whose module was renamed needs no line, because it is searched.
"""

import re
from collections.abc import Iterable
from pathlib import Path

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
    "max_grad_norm": "optimizers.max_grad_norm",
}
CLASSES = {
    "TargetCriticSAC": "SAC",
    "Returns": "ReturnDistribution",
    "StandardisedObservations": "StandardizedObservations",
    "Clipped": "ClippedLogStd",
    "Smooth": "TanhLogStd",
    "Truncated": "TruncatedPooling",
    "Averaged": "MeanPooling",
    "RecordVideo": "EpisodeVideos",
}
CONFIGURATIONS = {  # prefixes; the first one that matches counts
    "target_critic_sac/": "sac/",
    "sac_discrete/cartpole_with_value": "discrete_value_sac/cartpole",
    "sac_discrete/": "discrete_sac/",
}
SAC_WITH_VALUE = "SAC with a value network is now ValueSAC"


def renamed_option(name: str, class_name: str = "") -> str | None:
    """A sentence with the new name of a renamed option; None for any other option.

    Args:
        name: the option, possibly with nested keys, as in ``critic_optimizer.init_args.lr``.
        class_name: the class that was given the option, if it is known.
    """
    words = name.split(".")
    if class_name == "SAC" and words[0] in ("value", "value_optimizer"):
        return f"{SAC_WITH_VALUE}: choose that class."
    for word in words:
        if word in OPTIONS and f"{OPTIONS[word]}." not in f"{name}.":
            return f"{word} is now {OPTIONS[word]}."
    return None


def renamed_class(path: str) -> str | None:
    """A sentence with the new name of a renamed class of this package; None for any other class.

    Args:
        path: the name of the class, with or without its module.
    """
    module, _, name = path.rpartition(".")
    if name in CLASSES and (not module or module.split(".")[0] == __package__):
        return f"{name} is now {CLASSES[name]}."
    return None


def moved_class(path: str) -> str | None:
    """A sentence with the present path of a class or function of this package; None if no module of it has the name.

    Args:
        path: the name with a module of this package that does not have it.
    """
    module, _, name = path.rpartition(".")
    if module.split(".")[0] != __package__:
        return None
    package = Path(__file__).parent
    for file in sorted(package.rglob("*.py")):
        if re.search(rf"^(?:class|def) {re.escape(name)}\b", file.read_text(), re.MULTILINE):
            parts = file.relative_to(package.parent).with_suffix("").parts
            present = ".".join(part for part in parts if part != "__init__")
            return f"The class {name} is not in {module}: write {present}.{name}."
    return None


def present_configuration(name: str) -> str | None:
    """The new name of a renamed built-in configuration; None for any other name."""
    if recipe := re.fullmatch(r"sac/(half_cheetah|hopper)_(\w+)", name):
        return f"{recipe[2]}/{recipe[1]}"
    for old, new in CONFIGURATIONS.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return None


def renamed_maker(algorithm: str | None, tensors: Iterable[str]) -> str | None:
    """A sentence with the new name of the algorithm that made a checkpoint; None if it was not renamed.

    Args:
        algorithm: the class that made the checkpoint.
        tensors: names of the tensors in the checkpoint.
    """
    made_by, now = str(algorithm), CLASSES.get(str(algorithm))
    if algorithm == "SAC" and any(name.startswith("value.") for name in tensors):
        made_by, now = "SAC with a value network", "ValueSAC"
    if now is None:
        return None
    return (
        f"The checkpoint was made by {made_by}, which is now {now}: start a new run of {now} from its weights with the "
        f"callback WarmStart."
    )
