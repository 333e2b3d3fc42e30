"""Settings of the site: ``sphinx-build -W --keep-going -b html docs build/site``."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

from pages import repository  # noqa: E402

project = "lightning_maxent"
extensions = ["myst_parser", "sphinx_copybutton", "pages"]

myst_enable_extensions = ["dollarmath"]  # as GitHub writes equations
myst_url_schemes = {
    "https": None,
    "http": None,
    "repository": f"{repository(DOCS.parent)}/{{{{path}}}}#{{{{fragment}}}}",
}
myst_heading_anchors = 4  # links to headings have GitHub's names

html_theme = "furo"
html_title = project
