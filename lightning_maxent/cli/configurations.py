"""Built-in configurations: their names, and the files that each name stands for.

A run is an algorithm on a task, with overlays that change parts of it.  The folders under ``configs`` are:

- ``algorithm``: a learner and its data, for any task, such as ``sac``.
- ``recipe``: a published method that is SAC with another critic, such as ``redq``.  The name ``redq`` stands for
  ``algorithm/sac``, ``critic/redq`` and ``recipe/redq``.
- ``task``: an environment and the length of a run, such as ``task/half_cheetah``.
- ``pair``: the settings of an algorithm or a recipe for one task only.  The name ``sac/half_cheetah`` stands for
  ``sac``, ``task/half_cheetah`` and, if it exists, ``pair/sac/half_cheetah``.
- ``critic``, ``trainer``, ``logger``: overlays, such as ``critic/redq``.  Where an overlay differs for rollouts, there
  are two: ``trainer/debug`` for replay, and ``trainer/debug_on_policy``.
- ``compare``: comparisons of several runs.
- ``sweep``: searches for the best settings.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import yaml

from lightning_maxent.errors import MaxEntError
from lightning_maxent.old_names import present_configuration
from lightning_maxent.sharing.addresses import ZOO, zoo_names
from lightning_maxent.sharing.card import mean_and_deviation, read_card

_PACKAGE = Path(__file__).parents[1]
BUILT_IN_CONFIGS = next(path for path in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if path.is_dir())
OVERLAYS = ("critic", "trainer", "logger")
KINDS_OF_ACTIONS = {  # of algorithms that can choose only one kind
    **dict.fromkeys(("sac", "value_sac", "continuous_soft_q", "ddpg", "td3", "reppo"), "continuous"),
    **dict.fromkeys(("soft_q", "discrete_sac", "discrete_value_sac", "dqn"), "finite"),
}
_ON_POLICY = "_on_policy"  # the end of an overlay's name


def find_configs(name: str) -> list[str]:
    """The files that a name stands for; each file overrides those before it.

    Args:
        name: a file, or a built-in name: an algorithm or recipe (``sac``), a task (``task/hopper``), both together
            (``sac/hopper``), or an overlay (``critic/redq``).

    Raises:
        MaxEntError: if there is no such file and no such name; it names near matches, and for an unknown task the
            option that trains on any environment.
    """
    path = Path(name)
    if path.is_dir() and not _built_in(name):
        raise MaxEntError(f"--config {name} is a folder: give a file in it.")
    if path.is_file():
        _check_yaml(path)
        return [name]
    if files := _built_in(name.removesuffix(".yaml")):
        return [str(file) for file in files]
    present = present_configuration(name.removesuffix(".yaml"))
    if present and _built_in(present):
        raise MaxEntError(f"The configuration {name} is now {present}.")
    _check_task(name)
    names = [
        *methods(),
        *pairs(),
        *(f"{kind}/{each}" for kind in ("task", *OVERLAYS, "compare", "sweep") for each in stems(kind)),
    ]
    near = difflib.get_close_matches(name.removesuffix(".yaml"), names, n=3, cutoff=0.4) or [*methods(), "task/…"]
    raise MaxEntError(
        f"There is no configuration {name!r}, neither a file nor built in; try {', '.join(near)}, or see lightning-maxent list."
    )


def contents(settings: Sequence[str]) -> list[Any]:
    """Settings with the names of configurations replaced by the contents of their files."""
    found: list[Any] = []
    for item in settings:
        found += (
            [item] if item.startswith("--") else [yaml.safe_load(Path(file).read_text()) for file in find_configs(item)]
        )
    return found


def find_config(name: str) -> str:
    """The one file that a name stands for.

    Raises:
        MaxEntError: as ``find_configs``, or if the name stands for several files.
    """
    files = find_configs(name)
    if len(files) > 1:
        raise MaxEntError(f"{name} stands for several files ({', '.join(map(_short, files))}): give one of them.")
    return files[0]


def check_overlays(names: Iterable[str]) -> None:
    """Check that the overlays among the names are for the data of the algorithm before them: replay or rollouts.

    Raises:
        MaxEntError: for an overlay that is for the other data; it names the right one.
    """
    data = None
    for name in names:
        data = next(filter(None, map(_data_class, reversed(find_configs(name)))), data)
        overlay = name.removesuffix(".yaml")
        plain = overlay.removesuffix(_ON_POLICY)
        fitting = {"ReplayDataModule": plain, "RolloutDataModule": plain + _ON_POLICY}.get(data or "", overlay)
        if fitting != overlay and _built_in(fitting) and not Path(name).is_file():
            raise MaxEntError(f"{name} is not for the data of this algorithm, a {data}: give {fitting} instead.")


def methods() -> list[str]:
    """Names of algorithms and recipes."""
    return [*stems("algorithm"), *stems("recipe")]


def pairs() -> list[str]:
    """Names of the pairs of a method and a task with their own settings."""
    return sorted(str(path.relative_to(BUILT_IN_CONFIGS / "pair").with_suffix("")) for path in _files("pair/*"))


def stems(kind: str) -> list[str]:
    """Names of the configurations in a folder, without the folder."""
    return sorted(path.stem for path in _files(kind))


def listing() -> str:
    """All built-in configurations, one per line, with the first line of its comment, and the policies of the zoo."""
    titles = {
        "algorithm": "Algorithms, for any task: fit NAME --data.env_id ID, or fit NAME/TASK",
        "recipe": "Recipes: SAC with the critic and the settings of another paper, used like algorithms",
        "task": "Tasks: fit ALGORITHM/NAME, or fit ALGORITHM task/NAME",
        "critic": "Critics, for algorithms with a critic: fit ALGORITHM/TASK critic/NAME",
        "trainer": "Options of the Trainer and shorter runs: fit ALGORITHM/TASK trainer/NAME",
        "logger": "Loggers: fit ALGORITHM/TASK logger/NAME",
        "compare": "Comparisons: compare compare/NAME",
        "sweep": "Searches for the best settings: sweep sweep/NAME",
    }
    blocks = [
        "\n".join([title, *(f"  {path.stem:<20} {_title(path)}" for path in sorted(_files(kind)))])
        for kind, title in titles.items()
    ]
    chosen = {method: [pair.split("/")[1] for pair in pairs() if pair.startswith(f"{method}/")] for method in methods()}
    own = "\n".join(f"  {method:<20} {', '.join(tasks)}" for method, tasks in chosen.items() if tasks)
    return "\n\n".join([*blocks, f"Tasks for which a method has its own settings\n{own}", _zoo()])


def _zoo() -> str:
    lines = ["Trained policies: play --policy NAME"]
    for name in zoo_names():
        training, results = read_card(ZOO / name)
        returns = mean_and_deviation(results.deterministic)
        lines.append(f"  {f'zoo/{name}':<20} {training.algorithm} on {training.env_id}, return {returns}")
    return "\n".join(lines)


def _built_in(name: str) -> list[Path]:
    """The files of a built-in name; an empty list for any other name."""
    folder, _, rest = name.rpartition("/")
    if not folder:
        return _method(name)
    if (file := BUILT_IN_CONFIGS / f"{name}.yaml").is_file():
        return [file]
    task = BUILT_IN_CONFIGS / "task" / f"{rest}.yaml"
    if not (_method(folder) and task.is_file()):
        return []
    own = BUILT_IN_CONFIGS / "pair" / folder / f"{rest}.yaml"
    return [*_method(folder), task, *([own] if own.is_file() else [])]


def _method(name: str) -> list[Path]:
    algorithm, recipe = (BUILT_IN_CONFIGS / kind / f"{name}.yaml" for kind in ("algorithm", "recipe"))
    if algorithm.is_file():
        return [algorithm]
    if recipe.is_file():
        return [BUILT_IN_CONFIGS / "algorithm" / "sac.yaml", BUILT_IN_CONFIGS / "critic" / recipe.name, recipe]
    return []


def _check_task(name: str) -> None:
    """Raise ``MaxEntError`` for an unknown task of a known method, or of ``task``, unless it resembles a known task."""
    method, _, task = name.partition("/")
    if not task or not (_method(method) or method == "task"):
        return
    if difflib.get_close_matches(task, stems("task"), n=1, cutoff=0.8):
        return
    env_id = _newest_id(task)
    fitting = _method_for(env_id, "sac" if method == "task" else method)
    kind = KINDS_OF_ACTIONS.get(_method(fitting)[0].stem)
    why = f"{method} is not for {env_id}, which has {kind} actions; " if fitting != method != "task" else ""
    raise MaxEntError(
        f"There is no task {task!r} among {', '.join(stems('task'))}: {why}to train on any other environment, give its "
        f"Gymnasium id, as in fit {fitting} --data.env_id {env_id or _env_id_for(fitting)}."
    )


def _newest_id(name: str) -> str | None:
    """The newest Gymnasium id with this name, such as ``Walker2d-v5`` for ``walker2d``; None if there is none."""
    if name in gymnasium.registry:
        return name
    plain = re.sub("[_-]", "", name).lower()
    same = [spec for spec in gymnasium.registry.values() if spec.name.replace("_", "").lower() == plain]
    newest = max(same, key=lambda spec: (spec.namespace is None, spec.version or 0), default=None)
    return newest and newest.id


def _method_for(env_id: str | None, method: str) -> str:
    """The method itself, or one for the actions of the environment if these are not of the kind that it can choose."""
    if env_id is None or (kind := KINDS_OF_ACTIONS.get(_method(method)[0].stem)) is None:
        return method
    try:
        env = gymnasium.make(env_id)
        continuous = isinstance(env.action_space, gymnasium.spaces.Box)
        env.close()
    except Exception:  # its package is missing, or it does not start
        return method
    if continuous == (kind == "continuous"):
        return method
    return "sac" if continuous else "soft_q"


def _env_id_for(method: str) -> str:
    """An environment with actions that a method can choose: that of a task with settings for its algorithm."""
    algorithm = _method(method)[0].stem
    task = next(pair.split("/")[1] for pair in pairs() if pair.startswith(f"{algorithm}/"))
    return yaml.safe_load((BUILT_IN_CONFIGS / "task" / f"{task}.yaml").read_text())["data"]["init_args"]["env_id"]


def _files(kind: str) -> list[Path]:
    return list(BUILT_IN_CONFIGS.glob(f"{kind}/*.yaml"))


def _title(path: Path) -> str:
    first = path.read_text().partition("\n")[0]
    return first.removeprefix("# ").rstrip(".") if first.startswith("# ") else ""


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(BUILT_IN_CONFIGS).with_suffix("")) if path.is_relative_to(BUILT_IN_CONFIGS) else file


def _data_class(file: str) -> str | None:
    """The name of the DataModule in a configuration; None if it gives none."""
    data = yaml.safe_load(Path(file).read_text()).get("data")
    path = data.get("class_path") if isinstance(data, dict) else data
    return path.rpartition(".")[2] if isinstance(path, str) else None


def _check_yaml(path: Path) -> None:
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MaxEntError(f"The configuration {path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise MaxEntError(f"The configuration {path} must map options to values, but holds {content!r}.")
    for part in ("model", "data", "trainer", "checkpoint", "training_log"):
        if content.get(part, {}) is None:
            raise MaxEntError(
                f"The configuration {path} has the key {part}, but nothing under it: write options under {part}, or "
                f"leave out the key."
            )
