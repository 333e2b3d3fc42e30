"""Settings of the site: ``sphinx-build -W --keep-going -b html docs build/site``."""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

from notebooks import NOTEBOOKS  # noqa: E402
from pages import repository  # noqa: E402

project = "lightning_maxent"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "pages",
    "notebooks",
    "benchmarks",
    "equations",
    "reference",
]

nb_execution_mode = "force"
nb_execution_in_temp = True
if of := os.environ.get("TUTORIALS"):  # "1/4": only every fourth page runs its code, from the second on
    part, parts = map(int, of.split("/"))
    nb_execution_excludepatterns = [f"{name}*" for number, name in enumerate(NOTEBOOKS) if number % parts != part]
nb_execution_show_tb = True  # a cell that fails is a warning with its traceback, which -W makes an error
nb_execution_timeout = 300  # seconds for one cell
nb_merge_streams = True
nb_output_stderr = "remove"  # progress
os.environ |= {  # of the kernels
    "MATPLOTLIBRC": str(DOCS / "_ext"),
    "OMP_NUM_THREADS": "1",
    "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
    "WANDB_MODE": "disabled",
}

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]  # as GitHub writes equations
myst_heading_anchors = 4  # links to headings have GitHub's names
myst_url_schemes = {
    "https": None,
    "http": None,
    "repository": f"{repository(DOCS.parent)}/{{{{path}}}}#{{{{fragment}}}}",
}

add_module_names = False
autodoc_inherit_docstrings = False  # a method that fulfils a contract is documented there
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = project
html_show_copyright = False
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
