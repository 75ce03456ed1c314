# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands of the command line share: what they print, and the settings and agent of an INI file."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import TYPE_CHECKING

from . import logs
from .settings import Settings

if TYPE_CHECKING:  # what few commands need is loaded by them: status is asked for often
    from .agent import Agent

logger = logging.getLogger(__name__)


def say(text: str) -> None:
    """Print one line; who reads may go away, the exit code counts all the same."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def settings_of(options: argparse.Namespace) -> Settings:
    """Return what an INI file says, with the log where that says; a dry run does not even write a log file."""
    settings = Settings.load(options.config)
    logs.setup(None if options.dry_run else settings.logs)
    for warning in settings.warnings:
        logger.warning("%s", warning)
    return settings


def agent_of(settings: Settings, *, dry_run: bool = False) -> Agent:
    """Return the agent of these settings."""
    from .wire import load_grpc

    load_grpc(forks=True)  # before anybody else loads it
    from .agent import Agent

    return Agent(settings, dry_run=dry_run)
