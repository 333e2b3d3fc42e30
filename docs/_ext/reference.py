"""Writes the pages of the reference from the code, its docstrings and the built-in configurations.

They are written to ``docs/reference`` before Sphinx reads the pages: one page for each room of the public names, one for
each algorithm and each critic, the list of all configurations, and the options of all commands.
"""

import ast
import inspect
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import yaml
from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

import lightning_maxent
from lightning_maxent import exports
from lightning_maxent.cli.arguments import COMMANDS, OWN_COMMANDS
from lightning_maxent.cli.command import main, settings
from lightning_maxent.cli.configurations import BUILT_IN_CONFIGS, listing, pairs, stems
from lightning_maxent.cli.help import descriptions, short

ROOMS = {  # pages: the modules of the package whose public names they hold
    "algorithms": ("algorithms",),
    "critics": ("critics", "value"),
    "policies": ("policies", "policy_updates", "particles"),
    "networks": ("networks",),
    "temperature": ("temperature", "entropy_objectives", "schedules"),
    "targets": ("targets",),
    "exploration": ("exploration", "noise"),
    "optimizers": ("optimizers",),
    "data": ("data", "transition", "actions"),
    "callbacks": ("callbacks", "videos"),
    "loggers": ("loggers",),
    "execution": ("execution", "strategy"),
    "functions": ("run_trainer", "trained_policy", "deployment", "sharing", "errors"),
}
OWN_PAGES = ("algorithms", "critics")  # rooms whose concrete classes have a page each
ANY_TASK = "--data.env_id=Pendulum-v1"  # for settings that do not depend on the task
MODULES = {
    "equations": ("Equations", "lightning_maxent.objectives"),
    "exact": ("Exact solutions", "lightning_maxent.exact"),
}


def write_pages(app: Sphinx) -> None:
    """Write all pages; those that are as before keep their time, so that Sphinx does not read them again."""
    folder = Path(app.srcdir) / "reference"
    written = pages()
    for path in folder.rglob("*.rst") if folder.exists() else ():
        if str(path.relative_to(folder)) not in written:
            path.unlink()
    for name, text in written.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def pages() -> dict[str, str]:
    """The text of every page by its path in the folder of the reference."""
    written = {"commands.rst": commands(), "configurations.rst": configurations()}
    for room, names in public_names().items():
        alone = [name for name in names if room in OWN_PAGES and has_own_page(name)]
        written[f"{room}.rst"] = room_page(room, names, alone)
        written |= {f"{room}/{name}.rst": class_page(name) for name in alone}
    for page, (title, module) in MODULES.items():
        written[f"{page}.rst"] = _heading(title) + f".. automodule:: {module}\n   :members:\n"
    return written


def public_names() -> dict[str, dict[str, str]]:
    """The public names of every room, with their modules, which stand in the imports of ``exports``."""
    imports = [node for node in ast.parse(inspect.getsource(exports)).body if isinstance(node, ast.ImportFrom)]
    modules = {alias.name: str(node.module) for node in imports for alias in node.names}
    rooms = {module: room for room, modules in ROOMS.items() for module in modules}
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in sorted(exports.__all__):
        room = "functions" if inspect.isfunction(getattr(exports, name)) else rooms[modules[name].split(".")[1]]
        found[room][name] = modules[name]
    return {room: found[room] for room in ROOMS}


def has_own_page(name: str) -> bool:
    """Whether a public name is an algorithm or a critic that can be built."""
    kinds = (lightning_maxent.AbstractAlgorithm, lightning_maxent.AbstractCritic)
    public = getattr(exports, name)
    return inspect.isclass(public) and issubclass(public, kinds) and not inspect.isabstract(public)


def room_page(room: str, names: Mapping[str, str], alone: list[str]) -> str:
    """A page with a table of the classes that have pages of their own, and with all other names of the room."""
    text = _heading(room.capitalize())
    if alone:
        text += table([(f":doc:`{name} <{room}/{name}>`", _first_line(name)) for name in alone])
        text += f".. toctree::\n   :hidden:\n\n{_indented(*(f'{room}/{name}' for name in alone))}\n\n"
        text += _heading("Base classes and parts", "-")
    others = sorted(names.keys() - set(alone), key=lambda name: (is_data(name), name))  # data last: see below
    return text + "".join(directive(name, names[name]) for name in others)


def is_data(name: str) -> bool:
    """Whether a public name is neither a class nor a function.

    Its directive names another module than theirs, and the pages of the source link back by the first name they meet.
    """
    return not (inspect.isclass(getattr(exports, name)) or inspect.isfunction(getattr(exports, name)))


def class_page(name: str) -> str:
    """A page of an algorithm or a critic: its docstring, and the built-in configurations that choose it."""
    kind = "algorithm" if issubclass(getattr(exports, name), lightning_maxent.AbstractAlgorithm) else "critic"
    chosen = [stem for stem in stems(kind) if class_in(kind, stem) == name]
    module = getattr(exports, name).__module__
    return _heading(name) + directive(name, module) + "".join(configuration(kind, stem) for stem in chosen)


def class_in(kind: str, stem: str) -> str:
    """The class of the algorithm or of the critic in a configuration."""
    model = yaml.safe_load((BUILT_IN_CONFIGS / kind / f"{stem}.yaml").read_text())["model"]
    part = model if kind == "algorithm" else model["init_args"]["critic"]
    return part["class_path"].rpartition(".")[2]


def configuration(kind: str, stem: str) -> str:
    """A section with the file of a configuration and the values of all options of the class that it chooses."""
    name = stem if kind == "algorithm" else f"critic/{stem}"
    used = f"fit {stem} --data.env_id ID" if kind == "algorithm" else f"fit sac/half_cheetah {name}"
    text = _heading(f"``{name}``", "-") + f"::\n\n    lightning-maxent {used}\n\n"
    text += f".. literalinclude:: {_file_from_page(kind, stem)}\n   :language: yaml\n\n"
    tasks = [pair.split("/")[1] for pair in pairs() if pair.startswith(f"{stem}/")]
    if kind == "algorithm" and tasks:
        text += f"There are settings of its own for the tasks {', '.join(f'``{task}``' for task in tasks)}.\n\n"
    if kind == "critic" and stem in stems("recipe"):
        text += f"The recipe ``{stem}`` has the other settings of the paper::\n\n    lightning-maxent fit {stem}/half_cheetah\n\n"
        text += f".. literalinclude:: {_file_from_page('recipe', stem)}\n   :language: yaml\n\n"
    model = settings(["fit", *([stem] if kind == "algorithm" else ["sac", name]), ANY_TASK])["model"]
    if kind == "critic":
        model = model["init_args"]["critic"]
    rows = [(f"``{option}``", f"``{value}``", escaped(about)) for option, value, about in options(model)]
    return text + "All its options, with their values in this configuration:\n\n" + table(rows)


def options(part: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Name, value and description of all documented options of a part, and of the parts in it, that have a value.

    Of an optimizer, which torch documents, this is only the learning rate.
    """
    about = descriptions(part["class_path"])
    if re.fullmatch(r"optimizers\.\w+\.", prefix):
        about = {"lr": "learning rate."}
    for name, value in part["init_args"].items():
        if name == "optimizers":
            yield from options({"class_path": "lightning_maxent.Optimizers", "init_args": value}, "optimizers.")
        elif value is not None and name in about:
            yield prefix + name, short(value).removeprefix("lightning_maxent."), about[name]
            if isinstance(value, dict) and "init_args" in value:
                yield from options(value, f"{prefix}{name}.")


def configurations() -> str:
    """The page of what ``lightning-maxent list`` prints."""
    text = _heading("Configurations") + "This is what ``lightning-maxent list`` prints.\n\n"
    for block in listing().split("\n\n"):
        title, *lines = block.splitlines()
        what, _, use = title.partition(": ")
        text += _heading(what, "-") + (f"``{use}``\n\n" if use else "")
        text += table([(f"``{name}``", escaped(about)) for name, about in (line.split(maxsplit=1) for line in lines)])
    return text


def commands() -> str:
    """The page of the help of all commands."""
    text = _heading("Commands") + "The options of every command, as ``--help`` prints them.\n\n"
    for command in (*COMMANDS, *OWN_COMMANDS):
        text += _heading(f"``{command}``", "-") + _literal(help_of(command, "--help"))
    text += _heading("Every option of ``fit``", "-")
    text += "With all options of Lightning's Trainer, as ``lightning-maxent fit --help all`` prints them.\n\n"
    return text + _literal(help_of("fit", "--help", "all").partition("\noptions:\n")[2])


def help_of(*arguments: str) -> str:
    """What the command line prints, in lines of 100 characters."""
    printed, width = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        with redirect_stdout(printed), redirect_stderr(io.StringIO()), suppress(SystemExit):
            main(arguments)
    finally:
        os.environ.pop("COLUMNS")
        if width:
            os.environ["COLUMNS"] = width
    return printed.getvalue()


def directive(name: str, module: str) -> str:
    """The directive of autodoc for a public name."""
    public = getattr(exports, name)
    if inspect.isfunction(public):
        return f".. autofunction:: lightning_maxent.{name}\n\n"
    if is_data(name):
        return f".. autodata:: {module}.{name}\n   :no-value:\n\n"
    fields = ", ".join(getattr(public, "_fields", ()))  # of a named tuple; they stand in its signature
    return f".. autoclass:: lightning_maxent.{name}\n   :members:\n   :exclude-members: {fields}\n\n"


def _file_from_page(kind: str, stem: str) -> str:
    return f"/../{BUILT_IN_CONFIGS.name}/{kind}/{stem}.yaml"


def _first_line(name: str) -> str:
    return (getattr(exports, name).__doc__ or "").partition("\n")[0]


def escaped(text: str) -> str:
    """Plain text, in which a word in backticks is code."""
    return re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", re.sub(r"([*|\\])", r"\\\1", text))


def _heading(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n\n"


def _literal(text: str) -> str:
    return f".. code-block:: text\n\n{_indented(*text.strip().splitlines())}\n\n"


def _indented(*lines: str) -> str:
    return "\n".join(f"   {line}" for line in lines)


def table(rows: list[tuple[str, ...]]) -> str:
    """A table without a head, whose last column holds text."""
    lines = [f"{'*' if not place else ' '} - {cell}" for row in rows for place, cell in enumerate(row)]
    return f".. list-table::\n   :class: described\n\n{_indented(*lines)}\n\n"


def link_pages(app: Sphinx, docname: str, source: list[str]) -> None:
    """List the generated pages on the page of the reference."""
    if docname == "reference":
        names = ["commands", "configurations", *ROOMS, *MODULES]
        source[0] += "\n".join(
            ["", "```{toctree}", ":maxdepth: 1", "", *(f"reference/{name}" for name in names), "```", ""]
        )


def shorten(
    app: Sphinx, what: str, name: str, public: Any, options: Any, arguments: str | None, result: str | None
) -> Any:
    """Shorten a signature: numpy's long union has a name, and ``torch.nn.Module`` takes any arguments."""
    if arguments == "(*args: ~typing.Any, **kwargs: ~typing.Any)":
        return "", ""
    return arguments and arguments.replace(stringify_annotation(ArrayLike, "smart"), "~numpy.typing.ArrayLike"), result


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", link_pages)
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True}
