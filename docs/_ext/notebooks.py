"""Runs the code of some pages when the site is built, and writes these pages as Jupyter notebooks too.

A page of ``NOTEBOOKS`` is plain Markdown.  Its blocks say what happens to them:

=======================================  ===================================================
```` ```python run ````                  runs in the kernel of the page; its output is shown
```` ```bash run ````                    runs in the folder of the page; its output is shown
beginning with ``# my_*.py`` or .yaml    is written to that file, or added to it
every other block                        is shown only
=======================================  ===================================================

A cell that fails fails the build.  The notebooks are ``notebooks/*.ipynb`` in the folder of the site.  They have no
outputs.  The workflow puts them on a branch of their own, from which Colab opens them.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
from pages import LINK, repository
from sphinx.application import Sphinx

NOTEBOOKS = (
    "choose_a_temperature",
    "compare",
    "deploy",
    "many_environments",
    "offline_data",
    "quickstart",
    "resume",
    "write_a_critic",
    "write_a_policy",
    "write_an_algorithm",
    "your_own_environment",
)
BRANCH = "notebooks"
HEADER = "---\nfile_format: mystnb\nkernelspec: {name: python3}\nlanguage_info: {name: python, pygments_lexer: ipython3}\n---\n"
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (my_\w+\.(py|yaml))\n")
SHELL = """import os, subprocess
env = {{name: value for name, value in os.environ.items() if "COLOR" not in name}}  # the kernel asks for colors
done = subprocess.run(["bash", "-e"], input={commands!r}, capture_output=True, text=True, env=env)
print(done.stdout.replace(os.getcwd() + "/", ""))
assert done.returncode == 0, done.stderr
"""


class Part(NamedTuple):
    """A stretch of a page: what stands in it, and the code of the cell that it becomes, if it is one.

    On the site, the cell may run other code, which it does not show, and then the stretch stands before it.
    """

    shown: str
    code: str | None = None
    on_site: str | None = None
    tag: str | None = None  # of the cell on the site


def parts(page: str) -> Iterator[Part]:
    """The text between the blocks, and the blocks, in their order."""
    end, files = 0, set()
    for fence in FENCE.finditer(page):
        yield Part(page[end : fence.start()])
        end, (info, body) = fence.end(), fence.groups()
        file = FILE.match(body)
        if file:
            code = f"%%writefile {'-a ' * (file[1] in files)}{file[1]}\n{body}"
            yield Part(fence[0], code, code, "remove-cell")
            files.add(file[1])
        elif info == "python run":
            yield Part(fence[0], body)
        elif info == "bash run":
            code = "".join(f"!{line}" for line in body.splitlines(keepends=True))
            yield Part(f"```bash\n{body}```\n", code, SHELL.format(commands=body), "remove-input")
        else:
            yield Part(fence[0])
    yield Part(page[end:])


def for_the_site(page: str, name: str) -> str:
    """The page as MyST-NB reads it, with links to its notebook below the title."""
    text = HEADER
    for part in parts(page):
        if part.code is None or part.on_site:
            text += part.shown
        if part.code is not None:
            options = f":tags: [{part.tag}]\n" if part.tag else ""
            text += f"\n```{{code-cell}} ipython3\n{options}{part.on_site or part.code}```\n"
    title, rest = text.split("\n\n", 1)
    return f"{title}\n\n{links(name)}\n\n{rest}"


def links(name: str) -> str:
    """Links that open the notebook in Colab, if the site is built on GitHub, and download it."""
    shown = [f'<a href="notebooks/{name}.ipynb" download>Download as a notebook</a>']
    if on_github := os.environ.get("GITHUB_REPOSITORY"):
        colab = f"https://colab.research.google.com/github/{on_github}/blob/{BRANCH}/{name}.ipynb"
        shown.insert(0, f'<a href="{colab}">Open in Colab</a>')
    return f'<p class="notebook">{" · ".join(shown)}</p>'


def notebook(page: str, docs: Path) -> nbformat.NotebookNode:
    """The page as a notebook, whose first cell installs the package; its links are absolute."""
    new = nbformat.v4
    cells = [new.new_code_cell(f"%pip install -q '{requirement(docs.parent)}'")]
    for part in parts(page):
        if part.code is not None:
            cells.append(new.new_code_cell(part.code.rstrip()))
        elif part.shown.strip():
            text = re.sub(r"^```math\n(.*?)^```$", r"$$\n\1$$", part.shown, flags=re.MULTILINE | re.DOTALL)
            text = LINK.sub(lambda link: f"]({absolute(link[1], docs)})", text)
            cells.append(new.new_markdown_cell(text.strip()))
    for place, cell in enumerate(cells):
        cell["id"] = f"cell-{place}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def requirement(checkout: Path) -> str:
    """What pip installs: the commit from which GitHub builds the site; on another machine, the checkout."""
    server, name, commit = (os.environ.get(f"GITHUB_{each}") for each in ("SERVER_URL", "REPOSITORY", "SHA"))
    source = f"git+{server}/{name}@{commit}" if server and name and commit else checkout.as_uri()
    return f"lightning-maxent[export,video] @ {source}"


def absolute(link: str, docs: Path) -> str:
    """The address of a link of a page when the page stands alone."""
    path, mark, anchor = link.partition("#")
    if not path or ":" in path:
        return link
    return f"{repository(docs.parent)}/{(docs / path).resolve().relative_to(docs.parent)}{mark}{anchor}"


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Write the notebook of a page, and let MyST-NB run its code."""
    if docname in NOTEBOOKS:
        folder = Path(app.outdir) / "notebooks"
        folder.mkdir(parents=True, exist_ok=True)
        page = (Path(app.srcdir) / f"{docname}.md").read_text()
        nbformat.write(notebook(page, Path(app.srcdir)), folder / f"{docname}.ipynb")
        source[0] = for_the_site(source[0], docname)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx; its changes follow those of ``pages``, which is listed before it."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
