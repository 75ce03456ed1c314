# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the benchmarks named, or all, and print one table of what came out.

Ends with 0 whatever the figures are, with 1 when something could not be measured.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable

from . import agent, event_source, inventory, lookup, publishing, rulebook
from .figures import Figure, table
from .ground import say

BENCHMARKS: dict[str, Callable[[], list[Figure]]] = {
    "publish": publishing.measure,
    "lookup": lookup.measure,
    "inventory": inventory.measure,
    "source": event_source.measure,
    "rulebook": rulebook.measure,
    "agent": agent.measure,
}


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(BENCHMARKS)}; all without any")
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}, only {', '.join(BENCHMARKS)}")
    figures, failed = [], []
    for name in names:
        try:
            figures += BENCHMARKS[name]()
        except Exception:  # the others can still be measured
            traceback.print_exc()
            failed.append(name)
    print(table(figures))
    if failed:
        say(f"could not be measured: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
