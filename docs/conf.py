"""Sphinx configuration; `make docs` builds the pages."""

import tomolearn

project = "tomolearn"
author = "tomolearn developers"
copyright = "tomolearn developers"
release = version = tomolearn.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc"]
exclude_patterns = ["_build"]
autosummary_generate = True
autodoc_typehints = "none"  # the docstrings hold the types, with shapes
numpydoc_show_class_members = False
default_role = "autolink"

html_theme = "alabaster"
html_theme_options = {"description": "scikit-learn for X-ray tomography", "page_width": "70em"}
