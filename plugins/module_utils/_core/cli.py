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
COMMANDS = ("run", "once", "check", "status", "doctor")
EPILOG = """\
commands:
  run      keep this host at what the tree says, until SIGTERM; SIGHUP compares everything
  once     bring this host up to date and end
  check    say whether the INI file, etcd and the tree's projects fit together
  status   show what is deployed, and what is not and since when; etcd is not needed
  doctor   look at everything that an operator would look at first

exit codes:
  0  all is well
  1  a deployment failed or is pending, or something is not as it should be
  2  the command line or the INI file is wrong
  3  etcd is away (once and check; run waits for it)
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
        usage="%(prog)s [--config PATH] [--dry-run] [--json] [--version] " + " | ".join(COMMANDS),
        description="Makes the files of this host what the tree in etcd says.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="see below")
    parser.add_argument("--config", metavar="PATH", default=CONFIG, help="the INI file (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="run, once: only say what would be done")
    parser.add_argument("--json", action="store_true", help="status: for programs")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {VERSION}")
    options = parser.parse_args(arguments)
    if options.dry_run and options.command not in ("run", "once"):
        parser.error(f"--dry-run has no meaning for {options.command}, which changes nothing anyway")
    if options.json and options.command != "status":
        parser.error(f"--json has no meaning for {options.command}, only for status")
    return options


if __name__ == "__main__":  # python -m watcher.cli; Galaxy takes no module_utils called __main__
    raise SystemExit(main(sys.argv[1:]))
