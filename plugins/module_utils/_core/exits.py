# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exit codes of the program."""

from __future__ import annotations

WELL = 0
ILL = 1  # a deployment failed or is pending, or something is not as it should be
WRONG = 2  # the command line or the INI file is wrong
AWAY = 3  # etcd is away
BUG = 70  # an error of this program, shown with its traceback
KILLED = 128  # and the number of the signal
