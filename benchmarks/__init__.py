# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the performance claims rest on: ``python -m benchmarks`` from a checkout, or ``make bench``.

A figure is worth little across machines, and not much across runs on a busy one. So each benchmark
measures what it is compared with in the same run, in turns with the thing itself, and says the
median with the smallest and the largest sample.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / ".cache" / "link"  # made by ``make setup``: the checkout as Ansible finds a collection
COLLECTION = TREE / "ansible_collections" / "watcher" / "config"
SOURCE = COLLECTION / "extensions" / "eda" / "plugins" / "event_source" / "tree.py"

sys.path[:0] = [str(TREE), str(ROOT / "tools")]
