# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's configuration for the HTML documentation; builds without a network."""

project = "watcher.config"
copyright = "the watcher.config authors"
html_title = html_short_title = project
extensions = ["sphinx_antsibull_ext"]
html_theme = "sphinx_ansible_theme"
pygments_style = "ansible"
highlight_language = "YAML+Jinja"
html_use_smartypants = True
html_copy_source = False
default_role = "any"
# Labels of Ansible's own documentation, which a build without a network cannot see.
suppress_warnings = ["ref.ref"]
