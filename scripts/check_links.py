"""Check the links of the built site that lead into it, or to files of the checkout: ``check_links.py build/site``.

A page, a picture, a script or an anchor that does not exist is printed, and the exit status is 1.  Links to other sites
are not followed; ``sphinx-build -b linkcheck docs build/links`` does that.
"""

import argparse
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
            elif value and (name == "id" or (tag == "a" and name == "name")):
                self.anchors.add(value)


def broken(site: Path) -> list[str]:
    """One line for every link of the site that leads to nothing."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    return [
        f"{path.relative_to(site.resolve())}: {link}"
        for path, page in pages.items()
        for link in sorted(page.links)
        if not leads_somewhere(link, path, pages)
    ]


def leads_somewhere(link: str, source: Path, pages: dict[Path, Page]) -> bool:
    """Whether a link of the page ``source`` has a target, or leads to another site."""
    parts = urlsplit(link)
    if parts.scheme not in ("", "file") or parts.netloc:
        return True
    target = (source.parent / unquote(parts.path)).resolve() if parts.path else source
    if target not in pages:
        return target.exists()
    return not parts.fragment or unquote(parts.fragment) in pages[target].anchors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, help="the folder that sphinx-build wrote")
    site = parser.parse_args().site
    found = broken(site)
    print(*found, f"{len(found)} broken links in {site}", sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
