"""How the documentation is built: HTML, and a man page for each command, from the same Markdown.

`make docs` builds both, with every warning an error. Nothing is loaded from elsewhere.
"""

from __future__ import annotations

from docutils import nodes  # type: ignore[import-untyped]
from sphinx.application import Sphinx

from gateway import __version__

project = "cts"
author = "the cts authors"
project_copyright = f"{author}; MIT licence"
version = release = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
nitpicky = True

html_theme = "alabaster"
html_theme_options = {"description": "Container jobs from S3 to S3 on Slurm", "page_width": "64em"}
html_copy_source = False
html_show_sphinx = False

# Each page begins with a NAME section of its own, hence no descriptions here.
_COMMANDS = {"cts": 1, "ctsbatch": 1, "ctsqueue": 1, "ctscancel": 1, "ctsacct": 1, "ctsd": 8}
man_pages = [
    *((f"commands/{name}", name, "", author, section) for name, section in _COMMANDS.items()),
    ("configuration", "gateway.toml", "", author, 5),
]


def _plain_references(app: Sphinx, doctree: nodes.document, _docname: str) -> None:
    """Leave the text of links in man pages, which have nowhere to lead."""
    if app.builder.format == "man":
        for link in list(doctree.findall(nodes.reference)):
            link.replace_self(nodes.Text(link.astext()))


def setup(app: Sphinx) -> None:
    """Add what Sphinx has no setting for."""
    app.connect("doctree-resolved", _plain_references)
