"""Turns the Markdown pages that are read on GitHub into pages of the site, without a word of markup in them.

The table of contents is made from the links of the pages that list others.  Links to files of the repository outside
``docs`` lead to GitHub if the site is built there, elsewhere to the files that it is built from.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

LISTS = ("index", "results/README")  # pages that list others
LINK = re.compile(r"\]\(([^)\s]+)\)")


def adapt(app: Sphinx, docname: str, source: list[str]) -> None:
    """Change the text of a page before it is parsed."""
    page = Path(app.srcdir) / f"{docname}.md"
    if page.is_file():
        listed = contents(source[0]) if docname in LISTS else ""
        source[0] = LINK.sub(lambda link: f"]({address(link[1], page.parent, Path(app.srcdir))})", source[0]) + listed


def contents(page: str) -> str:
    """Hidden tables of contents: one for each section of a page, of the pages that the section links."""
    _, *sections = re.split(r"^## (.+)$", page, flags=re.MULTILINE) if "\n## " in page else ("", "", page)
    trees = []
    for caption, section in zip(sections[::2], sections[1::2]):
        pages = dict.fromkeys(link for link in LINK.findall(section) if re.fullmatch(r"(?!\.\.|https:).+\.md", link))
        title = [f":caption: {caption}"] if caption else []
        trees.append("\n".join(["", "```{toctree}", ":hidden:", *title, "", *pages, "```", ""]))
    return "".join(trees)


def address(link: str, folder: Path, docs: Path) -> str:
    """The address of a link of a page in ``folder``: unchanged, or ``repository:…`` for a file outside ``docs``."""
    path, mark, anchor = link.partition("#")
    target = (folder / path).resolve()
    if not path or ":" in path or target.is_relative_to(docs):
        return link
    return f"repository:{target.relative_to(docs.parent)}{mark}{anchor}"


def repository(checkout: Path) -> str:
    """Where GitHub shows the files of the commit from which it builds the site; on another machine, the checkout."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_SHA")
    server, name, commit = (os.environ.get(each) for each in names)
    return f"{server}/{name}/blob/{commit}" if server and name and commit else checkout.as_uri()


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", adapt)
    return {"parallel_read_safe": True}
