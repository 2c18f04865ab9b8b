# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sphinx, as docs/build.sh calls it."""

from docutils import nodes

ANSIBLE = "https://docs.ansible.com/ansible/latest/"
# What the reference points to in Ansible's own documentation. Whatever else is not found is an error.
ELSEWHERE = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}

project = "pgfleet.repmgr"
copyright = "The pgfleet authors"
html_title = html_short_title = "pgfleet.repmgr"

extensions = ["myst_parser", "sphinx_antsibull_ext"]
# Only what is a page: the sources of the playbooks' pages are overwritten by the pages themselves.
include_patterns = ["*.md", "playbooks/*.md", "collection/*.rst"]
# Headings have the anchors that the forge gives them, so that links work in both places.
myst_heading_anchors = 4
# A page that is included elsewhere begins with a heading of second level.
suppress_warnings = ["myst.header"]

# Nothing is fetched while the site is built.
intersphinx_mapping = {}

highlight_language = "text"
pygments_style = "ansible"
html_theme = "sphinx_ansible_theme"
html_theme_options = {
    "display_version": False,
    "show_extranav": False,
    "topbar_links": {"Repository": "https://github.com/pgfleet/repmgr"},
}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_use_index = False


def elsewhere(app, env, node, contnode):
    url = ELSEWHERE.get(node["reftarget"])
    if url is None:
        return None
    return nodes.reference("", "", contnode, internal=False, refuri=ANSIBLE + url)


def setup(app):
    app.connect("missing-reference", elsewhere)
    return {"parallel_read_safe": True}
