# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the agent: what was asked for, and how it ends. `commands` has the rest.

That is loaded once it is known what to do: ``--version`` and a wrong command line take no time.
"""

from __future__ import annotations

import argparse
import io
import signal
import sys
import traceback
from collections.abc import Sequence

from . import VERSION
from .errors import InvalidError, UnavailableError, WatcherError
from .exits import AWAY, BUG, ILL, KILLED, WRONG

PROGRAM = "watcher"
CONFIG = "/etc/watcher/watcher.ini"  # as settings has it; a test holds them together
COMMANDS = ("run", "once", "retry", "check", "status", "doctor", "backups", "restore")
TAKES = {"retry": (0, 1000), "backups": (0, 2), "restore": (2, 3)}  # how many names may follow
EPILOG = """\
commands:
  run      keep this host at what the tree says, until SIGTERM; SIGHUP compares everything
  once     bring this host up to date and end
  retry    try the projects that failed at once, or those that are named: retry [PROJECT ...]
  check    say whether the INI file, etcd and the tree's projects fit together
  status   show what is deployed, and what is not and since when; etcd is not needed
  doctor   look at everything that an operator would look at first
  backups  list the backups of a project's files: backups [PROJECT [FILE]]
  restore  put a backup back, the newest or the one that is named: restore PROJECT FILE [BACKUP];
           it stays until the file is published anew, or is itself published with --publish

exit codes:
  0  all is well
  1  a deployment failed or is pending, or something is not as it should be
  2  the command line or the INI file is wrong, or names a project that is unknown
  3  etcd is away (once, check, --publish, and retry without an agent; run waits for it)
"""


def main(arguments: Sequence[str]) -> int:
    """Carry out one command and return the exit code; SystemExit from a wrong command line, --help and --version."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = _options(arguments)
    try:
        from . import commands

        return commands.COMMANDS[options.command](options)
    except WatcherError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return WRONG if isinstance(error, InvalidError) else AWAY if isinstance(error, UnavailableError) else ILL
    except KeyboardInterrupt:
        return KILLED + signal.SIGINT
    except Exception:
        traceback.print_exc()
        return BUG


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s [--config PATH] [--dry-run] [--json] [--publish] [--version] COMMAND [NAME ...]",
        description="Makes the files of this host what the tree in etcd says.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="see below")
    parser.add_argument("names", nargs="*", metavar="NAME", help="what a command is about")
    parser.add_argument("--config", metavar="PATH", default=CONFIG, help="the INI file (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="run, once: only say what would be done")
    parser.add_argument("--json", action="store_true", help="status, backups: for programs")
    parser.add_argument("--publish", action="store_true", help="restore: put it into the tree")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {VERSION}")
    options = parser.parse_args(arguments)
    if options.dry_run and options.command not in ("run", "once"):
        parser.error(f"--dry-run has no meaning for {options.command}, only for run and once")
    if options.json and options.command not in ("status", "backups"):
        parser.error(f"--json has no meaning for {options.command}, only for status and backups")
    if options.publish and options.command != "restore":
        parser.error(f"--publish has no meaning for {options.command}, only for restore")
    least, most = TAKES.get(options.command, (0, 0))
    if not least <= len(options.names) <= most:
        parser.error(f"{options.command} takes {least} to {most} names, not {len(options.names)}; see --help")
    return options


if __name__ == "__main__":  # python -m watcher.cli; Galaxy takes no module_utils called __main__
    raise SystemExit(main(sys.argv[1:]))
