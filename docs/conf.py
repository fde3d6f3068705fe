"""How the site is built: ``make docs``. Why with Sphinx: docs/design.md."""

from importlib.metadata import version as version_of

project = "axiom-persistence"
author = "the axiom-persistence authors"
version = release = version_of(project)
project_copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

# Anchors as GitHub makes them, so that one spelling of a link works in both places.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
# Two classes may have one name, in two faces: such a name in a signature is then no link.
suppress_warnings = ["ref.python"]
add_module_names = False
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = "axiom-persistence"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
templates_path = []
pygments_style = "default"
pygments_dark_style = "monokai"
