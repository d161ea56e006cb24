"""Sphinx's settings; build.py collects the pages and calls Sphinx."""

import camwidgets

project = "camwidgets"
author = "the camwidgets authors"
copyright = f"2026, {author}. MIT licence"
release = version = camwidgets.__version__
language = "en"

extensions = ["myst_nb"]
nb_execution_mode = "off"
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "text/html", 0)]
nb_ipywidgets_js = {}
nb_code_prompt_show = "Show the drawing code"
nb_code_prompt_hide = "Hide the drawing code"
myst_enable_extensions = ["colon_fence", "dollarmath", "html_image", "attrs_inline"]
myst_heading_anchors = 3
mathjax_path = "mathjax/tex-chtml.js"
# Notebooks link to files of the repository and show Python tracebacks, which no lexer reads.
suppress_warnings = ["mystnb.lexer", "misc.highlighting_failure"]

html_theme = "sphinx_book_theme"
html_title = "camwidgets"
html_static_path = ["../build/pages/_static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
