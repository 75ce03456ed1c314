# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: what it takes, how it ends, and what it does not load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import VERSION, cli, commands, settings
from ansible_collections.watcher.config.plugins.module_utils._core.errors import (
    DeniedError,
    DeployError,
    InvalidError,
    UnavailableError,
)

CORE = Path(cli.__file__).resolve().parent


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the INI file of a host of which nothing is known."""
    path = tmp_path / "watcher.ini"
    path.write_text(f"[local]\nhostname = web01\nstate_dir = {tmp_path}/state\n[security]\n")
    return path


def python(tmp_path: Path, code: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Run a program that has the library as the package ``watcher``, as on a host."""
    (tmp_path / "watcher").symlink_to(CORE)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_default_file() -> None:
    """Both places that name it say the same."""
    assert cli.CONFIG == settings.CONFIG
    assert tuple(commands.COMMANDS) == cli.COMMANDS


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """It is the library's."""
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"watcher {VERSION}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["start"], "invalid choice: 'start'"),
        (["--dry-run", "status"], "--dry-run has no meaning for status"),
        (["doctor", "--json"], "--json has no meaning for doctor"),
        (["run", "--config"], "--config: expected one argument"),
        (["status", "a.com"], "status takes 0 to 0 names, not 1"),
    ],
)
def test_wrong_command_lines(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They end with 2 and what is wrong."""
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidError("bad"), 2),
        (UnavailableError("bad"), 3),
        (DeniedError("bad"), 1),
        (DeployError("bad"), 1),
    ],
)
def test_errors_are_one_line(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong outside of the program is told in one sentence."""
    monkeypatch.setitem(commands.COMMANDS, "status", raising(error))
    assert cli.main(["status"]) == code
    assert capsys.readouterr() == ("", "watcher: bad\n")


def raising(error: BaseException) -> Callable[..., int]:
    """Return a command that ends with an error."""

    def command(_options: object) -> int:
        raise error

    return command


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever presses Ctrl-C knows why it ends."""
    monkeypatch.setitem(commands.COMMANDS, "status", raising(KeyboardInterrupt()))
    assert cli.main(["status"]) == 128 + signal.SIGINT
    assert capsys.readouterr() == ("", "")


def test_an_error_of_the_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is shown with where it happened."""
    monkeypatch.setitem(commands.COMMANDS, "status", raising(ZeroDivisionError("oops")))
    assert cli.main(["status"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing INI file is the user's mistake, in each command and on either side of it."""
    for command in cli.COMMANDS:
        names = ["name"] * cli.TAKES.get(command, (0, 0))[0]
        assert cli.main([command, *names, "--config", str(tmp_path / "no")]) == 2
        assert cli.main(["--config", str(tmp_path / "no"), command, *names]) == 2
        assert f"{tmp_path}/no" in capsys.readouterr().err


def test_status_of_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A host that has deployed nothing is well, and asking makes no folder."""
    assert cli.main(["status", "--config", str(config)]) == 0
    assert "no agent runs; 0 projects" in capsys.readouterr().out
    assert not (config.parent / "state").exists()


@pytest.mark.parametrize("arguments", [["--version"], ["status"]])
def test_what_is_not_loaded(arguments: list[str], config: Path, tmp_path: Path) -> None:
    """Nobody waits for gRPC, protobuf and the agent to see a version or a table."""
    code = f"""
import sys
from watcher.cli import main
try:
    main([*{arguments!r}, "--config", {str(config)!r}])
finally:
    loaded = sys.modules.keys() & {{"grpc", "google.protobuf", "etcd3", "watcher.agent", "watcher.doctor"}}
    assert not loaded, loaded
"""
    done = python(tmp_path, code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_reader_that_goes_away(config: Path, tmp_path: Path) -> None:
    """``watcher status | true`` shows no traceback, and the exit code is that of the status."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        code = f"import sys; from watcher.cli import main; sys.exit(main(['status', '--config', {str(config)!r}]))"
        done = python(tmp_path, code, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
