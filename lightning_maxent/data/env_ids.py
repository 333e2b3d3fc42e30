"""What an environment's id names: a module to import, and what is registered."""

import difflib
import importlib

import gymnasium as gym
from gymnasium.envs.registration import find_highest_version, parse_env_id

from lightning_maxent.errors import MaxEntError, errors_of

# Beginnings of ids, the package that has them, and its module that registers them when it is imported.
PACKAGES = {
    "ALE/": ("ale-py", "ale_py"),
    "dm_control/": ("shimmy[dm-control]", "shimmy"),
    "MiniGrid-": ("minigrid", "minigrid"),
    "BabyAI-": ("minigrid", "minigrid"),
    "Fetch": ("gymnasium-robotics", "gymnasium_robotics"),
    "AdroitHand": ("gymnasium-robotics", "gymnasium_robotics"),
    "FrankaKitchen": ("gymnasium-robotics", "gymnasium_robotics"),
    "highway-": ("highway-env", "highway_env"),
}


def registered_name(env_id: str) -> str:
    """The name under which ``env_id`` is registered, once the module that it may name is imported.

    Raises:
        MaxEntError: if the module cannot be imported, or nothing is registered under the name; says what is near it, or
            what to install.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        _import(env_id, module)
    if not _is_registered(name):
        raise MaxEntError(f"There is no environment {env_id!r}; {_way_out(module, name)}")
    return name


def _import(env_id: str, module: str) -> None:
    with errors_of(f"Importing the module {module} of env_id {env_id!r}"):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and f"{module}.".startswith(f"{error.name}."):  # itself, and nothing that it imports
                known = next((pip for pip, registers in PACKAGES.values() if registers == module), None)
                way_out = f"pip install {known!r}" if known else "install it, or put it into the working directory"
                raise MaxEntError(
                    f"env_id {env_id!r} names a module that cannot be imported: {error}; check its spelling, or {way_out}."
                ) from error
            raise


def _is_registered(name: str) -> bool:
    """As ``gymnasium.make`` sees it: without a version, the newest is meant."""
    try:
        namespace, plain, version = parse_env_id(name)
    except gym.error.Error:  # no possible id
        return False
    return name in gym.registry or (version is None and find_highest_version(namespace, plain) is not None)


def _way_out(module: str, name: str) -> str:
    package = next((PACKAGES[start] for start in PACKAGES if name.startswith(start)), None)
    if package and not module:
        return f"pip install {package[0]!r}, and name the module that registers it: {package[1]}:{name}."
    near = difflib.get_close_matches(name, list(gym.registry), n=3, cutoff=0.5)
    namespace = name.rpartition("/")[0]
    if namespace and not any(each.startswith(f"{namespace}/") for each in gym.registry):
        return f"no module that registers {namespace}/... was imported: name it, as in a_module:{name}."
    if near:
        return f"did you mean {' or '.join(f'{module}:{each}' if module else each for each in near)}?"
    return "gymnasium.pprint_registry() lists all ids."
