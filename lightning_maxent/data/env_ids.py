"""Environment ids: imports the module in an id, and checks that the id is registered."""

import difflib
import importlib

import gymnasium as gym
from gymnasium.envs.registration import find_highest_version, parse_env_id

from lightning_maxent.errors import MaxEntError, errors_of

# Prefixes of ids, the pip package that provides them, and the module that registers them on import.
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
    """Import the module of ``module:Id``, if there is one, and return the registered id.

    Raises:
        MaxEntError: if the module cannot be imported or the id is not registered; the message gives near matches or the
            package to install.
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
            if error.name and f"{module}.".startswith(f"{error.name}."):  # the module itself, not an import inside it
                known = next((pip for pip, registers in PACKAGES.values() if registers == module), None)
                way_out = f"pip install {known!r}" if known else "install it, or put it into the working directory"
                raise MaxEntError(
                    f"env_id {env_id!r} names a module that cannot be imported: {error}; check its spelling, or {way_out}."
                ) from error
            raise


def _is_registered(name: str) -> bool:
    """Whether ``gymnasium.make`` finds the id; an id without a version stands for the newest one."""
    try:
        namespace, plain, version = parse_env_id(name)
    except gym.error.Error:  # not a valid id
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
