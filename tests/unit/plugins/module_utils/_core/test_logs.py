# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log lines on standard error and in a file that is rotated, whatever happens to the disk."""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import logs as module
from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.logs import OLD, setup
from ansible_collections.watcher.config.plugins.module_utils._core.settings import Logs

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
logger = logging.getLogger("watcher.test")


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Leave the root logger as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for handler in handlers:  # setup closes what it finds
        root.removeHandler(handler)
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def test_file_and_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both get the same lines, from the level on; the file is closed to others, its folder is made."""
    setup(Logs(folder=f"{tmp_path}/a/b", filename="agent", level="warn"))
    logger.info("not this")
    logger.warning("this: \u00e9")
    file = tmp_path / "a" / "b" / "agent.log"
    for text in (file.read_text(encoding="utf-8"), capsys.readouterr().err):
        assert re.fullmatch(f"{TIME} WARNING this: \u00e9\n", text)
    logger.warning("not text: \udcff")
    assert r"not text: \udcff" in file.read_text(encoding="utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o750


def test_times_are_utc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the host is."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XXX-7")
        time.tzset()
        setup(Logs(folder=str(tmp_path)), stderr=False)
        logger.info("line")
    time.tzset()
    said = datetime.fromisoformat((tmp_path / "watcher.log").read_text().split("Z")[0]).replace(tzinfo=timezone.utc)
    assert abs((datetime.now(timezone.utc) - said).total_seconds()) < 60


def test_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the old daemon; and it is not written to another file when that changes later."""
    monkeypatch.chdir(tmp_path)
    setup(Logs(folder="./logs/"), stderr=False)
    monkeypatch.chdir("/")
    logger.info("line")
    assert "INFO line" in (tmp_path / "logs" / "watcher.log").read_text()


@pytest.mark.parametrize("logs", [None, Logs()])
def test_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logs: Logs | None
) -> None:
    """Without a folder there is standard error only, from info on."""
    monkeypatch.chdir(tmp_path)
    setup(logs)
    logger.debug("not this")
    logger.info("this")
    assert re.fullmatch(rf"{TIME} INFO this\n", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_a_second_setup_replaces_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No line comes twice, and nothing goes to the old file."""
    setup(Logs(folder=str(tmp_path / "old")))
    setup(Logs(folder=str(tmp_path / "new")))
    logger.info("line")
    assert capsys.readouterr().err.count("line") == 1
    assert (tmp_path / "old" / "watcher.log").read_text() == ""
    assert (tmp_path / "new" / "watcher.log").read_text().count("line") == 1


def test_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its own clock, and is told the priority of each line, but only if standard error goes there."""
    with (tmp_path / "journal").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        setup(None)
        try:
            raise ValueError("why")
        except ValueError:
            logger.exception("what")
        logger.warning("one\ntwo")
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
        setup(None)
        logger.info("dated")
    first, *rest, one, two, dated = (tmp_path / "journal").read_text().splitlines()
    assert (first, rest[-1], one, two) == ("<3>what", "<3>ValueError: why", "<4>one", "<4>two")
    assert all(line.startswith("<3>") for line in rest)
    assert re.fullmatch(f"{TIME} INFO dated", dated)


def test_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old files are kept up to a number, each as closed as the first."""
    monkeypatch.setattr(module, "SIZE", 200)
    setup(Logs(folder=str(tmp_path)), stderr=False)
    for number in range(100):
        logger.info("line %d %s", number, "x" * 50)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["watcher.log", *[f"watcher.log.{number}" for number in range(1, OLD + 1)]]
    assert all(path.stat().st_size <= 200 for path in tmp_path.iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}
    assert "line 99" in (tmp_path / "watcher.log").read_text()


def test_rotation_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file grows, and no line is lost."""
    monkeypatch.setattr(module, "SIZE", 200)
    for number in range(1, OLD + 1):
        (tmp_path / f"watcher.log.{number}").mkdir()  # in the way
        (tmp_path / f"watcher.log.{number}" / "file").touch()
    setup(Logs(folder=str(tmp_path)), stderr=False)
    for number in range(10):
        logger.info("line %d %s", number, "x" * 50)
    assert (tmp_path / "watcher.log").read_text().count("line") == 10
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told once, and once when there is room again; everything else works on."""
    setup(Logs(folder=str(tmp_path)))
    file = tmp_path / "watcher.log"
    logger.info("first")
    (tmp_path / "room").touch()
    file.rename(tmp_path / "old")
    file.symlink_to("/dev/full")
    logging.getLogger().handlers[1].close()
    for number in range(3):
        logger.info("line %d", number)
    file.unlink()
    file.symlink_to("room")
    logger.info("last")
    said = capsys.readouterr().err.splitlines()
    told = [line for line in said if "log file" in line]
    assert told == [
        f"the log file {file} cannot be written, which is tried on: [Errno 28] No space left on device",
        f"the log file {file} can be written again",
    ]
    assert len(said) == 7 and "Traceback" not in "".join(said)
    assert (tmp_path / "room").read_text().count("\n") == 1


def test_a_broken_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake of this program costs its line, not the process."""
    setup(Logs(folder=str(tmp_path)))
    logger.info("%d", "text")
    logger.info("next")
    assert "next" in (tmp_path / "watcher.log").read_text()
    assert "Traceback" not in capsys.readouterr().err


def test_standard_error_that_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads it any more: the file gets the lines."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        setup(Logs(folder=str(tmp_path)))
        logger.info("line")
        assert "line" in (tmp_path / "watcher.log").read_text()
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # what is left in its buffer


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The start is refused, in a sentence that says what and why."""
    (tmp_path / "file").touch()
    (tmp_path / "watcher.log").mkdir()
    for folder, why in ((tmp_path / "file", "File exists"), (tmp_path, "Is a directory")):
        said = re.escape(f"the log file {folder}/watcher.log (path and filename in [logs]) cannot be written: {why}; ")
        with pytest.raises(InvalidError, match=said):
            setup(Logs(folder=str(folder)))
    assert capsys.readouterr().err == ""
