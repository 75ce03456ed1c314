# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything the product knows; standard library plus the etcd client, no Ansible."""

from __future__ import annotations

VERSION = "0.1.0"  # galaxy.yml has the same; a test holds them together
