"""How the pages are built: `make docs`. Nothing is fetched, at build time or by a reader."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from celeriac import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Celeriac"
author = "The Celeriac authors"
project_copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
root_doc = "index"

html_theme = "furo"
html_title = "Celeriac"
html_copy_source = True
html_show_sourcelink = True

# -- Markdown ------------------------------------------------------------------------------------

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
suppress_warnings: list[str] = []

# -- the reference of the API, from docstrings ---------------------------------------------------

nitpicky = True
# Links between pages are all checked. Types in signatures have no page of their own, unless they
# are public; those of other packages are not looked up, which would need the internet.
nitpick_ignore_regex = [(r"py:.*", r"(?!celeriac\.exceptions\.[A-Z]).*")]
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": True}
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

_ELSEWHERE = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"'](?:https?:)?//[^\"']+"
    r"|<link\b[^>]*\brel=[\"'](?:stylesheet|preload|preconnect|icon)[\"'][^>]*(?:https?:)?//[^\"']+"
)
_STYLE = re.compile(r"@import\s+[\"']?(?:url\()?[\"']?(?:https?:)?//|url\([\"']?(?:https?:)?//")


def _check_alone(app: Sphinx, error: Exception | None) -> None:
    """Raise if a page that was built fetches something from elsewhere when it is read."""
    if error is not None or app.builder.format != "html":
        return
    found = [
        f"{path.relative_to(app.outdir)}: {match[0]}"
        for path in sorted(Path(app.outdir).rglob("*"))
        if path.suffix in {".html", ".css"}
        for match in (_STYLE if path.suffix == ".css" else _ELSEWHERE).finditer(
            path.read_text("utf-8")
        )
    ]
    if found:
        raise RuntimeError("These pages fetch something when they are read:\n" + "\n".join(found))


def _draw(
    _app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Have drawings in docstrings of modules kept as they are: what is indented is literal."""
    if what != "module":
        return
    before = ""
    for at, line in reversed(list(enumerate(lines))):
        before = next((each for each in reversed(lines[:at]) if each.strip()), "")
        starts = line.startswith("    ") and before and not before.startswith(" ")
        if starts and not before.endswith("::"):
            lines[at:at] = ["::", ""]


_kept: dict[str, list[str]] = {}


def _keep(
    _app: Sphinx, what: str, name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    if what in {"attribute", "data", "property"}:
        _kept[name] = list(lines)


def _restore(
    _app: Sphinx, _what: str, name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Undo what napoleon makes of "Commands: …" in the docstring of an attribute: it takes what
    stands before a colon for a type."""
    if name in _kept:
        lines[:] = _kept.pop(name)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _keep, priority=400)
    app.connect("autodoc-process-docstring", _restore, priority=600)
    app.connect("autodoc-process-docstring", _draw)
    app.connect("build-finished", _check_alone)
