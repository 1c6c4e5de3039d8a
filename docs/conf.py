"""Sphinx configuration; `make docs` builds the pages and runs the examples of the gallery."""

import os
import re

import tomolearn

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks on small images: more threads wait for each other

project = "tomolearn"
author = "tomolearn developers"
copyright = "tomolearn developers"
release = version = tomolearn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "generated/gallery/*.ipynb", "generated/gallery/*.py"]
autosummary_generate = True
autodoc_typehints = "none"  # the docstrings hold the types, with shapes
numpydoc_show_class_members = False
default_role = "autolink"

html_theme = "alabaster"
html_theme_options = {"description": "scikit-learn for X-ray tomography", "page_width": "70em"}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "generated/gallery",
    # These run. Scripts with a command line of their own write files, take longer or need data: they are only shown.
    "filename_pattern": r"/plot_(?!raw_scan|low_dose_scan|pictures)",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "remove_config_comments": True,
}


def unlink(app, what, name, obj, options, lines):
    """Links of methods that scikit-learn's classes give: their labels stand on scikit-learn's pages."""
    if (getattr(obj, "__module__", None) or "").startswith("sklearn"):
        lines[:] = [re.sub(r":ref:`([^<`]+) <[^>]+>`", r"\1", line) for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", unlink)
