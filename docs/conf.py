"""How the documentation is built: ``python -m sphinx -W docs docs/_build``. Nothing here needs the network."""

from importlib import import_module
from pathlib import Path

import mcstat
from mcstat.core.registry import methods

HERE = Path(__file__).resolve().parent
GENERATED = HERE / "api" / "generated"
PACKAGE = Path(mcstat.__file__).parent

project = "mcstat"
author = "The mcstat founders"
version = release = mcstat.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
myst_enable_extensions = ["colon_fence"]
autosummary_generate = True
numpydoc_show_class_members = False
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "download_all_examples": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "mcstat"
html_show_sourcelink = False
html_sidebars = {page: [] for page in ("index", "choose", "guide/*", "developing")}
html_theme_options = {
    "show_prev_next": False,
    "header_links_before_dropdown": 3,
    "secondary_sidebar_items": ["page-toc"],
}


def write_generated() -> None:
    """Write what the stubs and the method cards know: the API's list and the table of methods."""
    GENERATED.mkdir(parents=True, exist_ok=True)
    table = methods()._repr_html_() if methods() else "<p>No method has a card yet.</p>"
    (GENERATED / "methods.html").write_text(f'<div class="pst-scrollable-table-container">{table}</div>')
    rooms = [stub.parent.relative_to(PACKAGE.parent).parts for stub in PACKAGE.rglob("__init__.pyi")]
    pages = ["API", "===", ""]
    for room in sorted(".".join(parts) for parts in rooms):
        pages += room_listing(room)
    (GENERATED / "index.rst").write_text("\n".join(pages))


def room_listing(room: str) -> list[str]:
    """One section of the API page: the room's docstring and its public names, submodules left out."""
    module = import_module(room)
    names = [name for name in module.__all__ if hasattr(getattr(module, name), "__qualname__")]
    if not names:
        return []
    head = [room, "-" * len(room), "", (module.__doc__ or "").strip(), "", f".. currentmodule:: {room}", ""]
    return [*head, ".. autosummary::", "   :toctree: .", "", *(f"   {name}" for name in names), ""]


write_generated()
