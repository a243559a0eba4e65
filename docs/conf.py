"""Sphinx's settings; `python -m tools.docs` builds the site."""

import importlib.metadata
import os
import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
os.environ["JAX_PLATFORMS"] = "cpu"

project = "gen_models"
author = "the gen_models authors"
release = importlib.metadata.version("gen_models")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
default_role = "code"  # docstrings have `names` in single backticks

html_theme = "sphinx_book_theme"
html_title = "gen_models"
html_static_path = ["_static"]
html_css_files = ["gen_models.css"]
html_copy_source = False
html_theme_options = {"show_toc_level": 2, "home_page_in_toc": True, "use_download_button": False}
html_math_renderer = "mathml"


def setup(app: Any) -> None:
    """Formulas are MathML, which browsers draw by themselves: the site needs no script for them and no network."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("autodoc-process-docstring", _plain_text, priority=400)  # before napoleon reads Args and Raises
    app.connect("autodoc-skip-member", _skipped)


def _inline(writer: Any, node: Any) -> None:
    from docutils.nodes import SkipNode

    writer.body.append(convert(node.astext()))
    raise SkipNode


def _block(writer: Any, node: Any) -> None:
    from docutils.nodes import SkipNode

    writer.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    raise SkipNode


def _plain_text(app: Any, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: what reStructuredText would read as marks is escaped, formulas stay as they are.

    A model's functions, which are listed after "Its functions:" as arguments are after "Args:", become a list.
    """
    text, inside = [], False
    for line in _listed(lines):
        if line.startswith("    ") and not (inside or (text and text[-1].strip())):
            text += [".. code-block:: text", ""]
            inside = True
        elif line.strip() and not line.startswith("    "):
            inside = False
        text.append(line if inside else _escaped(line))
    lines[:] = text


def _listed(lines: list[str]) -> list[str]:
    """The lines, in which those after "Its functions:" are items of a list up to the next empty line."""
    found, inside = [], False
    for line in lines:
        if inside and line.startswith("    "):
            found.append(line[2:])  # goes on with the item
        elif inside and line.strip():
            item = re.match(r"  [a-z_]+(\(.*\))?: ", line)
            found += ["", f"- {line.strip()}"] if item else ["", line.strip()]
        else:
            found.append(line)
        inside = line.strip() != "" and (inside or line.strip() == "Its functions:")
    return found


def _escaped(line: str) -> str:
    """Marks outside of backticks, escaped."""
    parts = line.split("`")
    parts[::2] = [re.sub(r"([*|]|\w_(?=\W|$))", lambda m: m[0][:-1] + "\\" + m[0][-1], part) for part in parts[::2]]
    return "`".join(parts)


def _skipped(app: Any, what: str, name: str, of: Any, skip: bool, options: Any) -> bool | None:
    """Whether a member says nothing: a field of a named tuple, whose docstring is "Alias for field number 0"."""
    return True if type(of).__name__ == "_tuplegetter" else None
