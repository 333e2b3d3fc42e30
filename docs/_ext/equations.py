"""Writes equations as MathML, which browsers show without a script: so the site loads nothing from other sites."""

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

CONVERTER = LatexToMathML()
LOGGER = logging.getLogger(__name__)


def mathml(node: nodes.Element) -> str:
    """The equation of a node; one that is wrong is a warning with its page and line, and stays as it is written."""
    try:
        return CONVERTER.convert_with_local_state(node.astext(), displaystyle=isinstance(node, nodes.math_block))
    except LatexError as error:
        LOGGER.warning("Wrong equation: %s", error, location=node)
        return f"<code>{node.astext()}</code>"


def add_inline(writer: HTML5Translator, node: nodes.Element) -> None:
    """Write an equation within a line."""
    writer.body.append(mathml(node))
    raise nodes.SkipNode


def add_block(writer: HTML5Translator, node: nodes.Element) -> None:
    """Write an equation in lines of its own, which scrolls if it is too wide."""
    writer.body.append(f'<div class="equation">{mathml(node)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (add_inline, None), (add_block, None))
    return {"parallel_read_safe": True}
