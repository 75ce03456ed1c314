# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands: time limit, output limit, what they leave behind, what they see."""

from __future__ import annotations

import os
import pwd
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import command as module
from ansible_collections.watcher.config.plugins.module_utils._core.command import MAX_OUTPUT, Account, run
from ansible_collections.watcher.config.plugins.module_utils._core.model import CommandResult
from ansible_collections.watcher.config.tests.unit.site import unprivileged


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where orphans are reaped late, their group seems alive until KILL; do not wait long for that."""
    monkeypatch.setattr(module, "GRACE", 0.3)


@pytest.fixture
def begun() -> Iterator[float]:
    """Yield the time, and fail a test that takes long."""
    begun = time.monotonic()
    yield begun
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("line", ["", "  ", "\n"])
def test_not_configured(line: str) -> None:
    """No command is a success."""
    assert run("beforeCmd", line, 1, {}) == CommandResult()
    assert CommandResult().to_json() == {"success": True, "out": "", "err": None, "msg": ""}


@pytest.mark.parametrize(
    ("line", "out", "problem"),
    [
        ("echo a; echo b >&2", "a\nb\n", ""),
        ("echo why; exit 3", "why\n", "beforeCmd failed with exit status 3: why"),
        ("false", "", "beforeCmd failed with exit status 1"),
        ("kill -9 $$", "", "beforeCmd was killed by SIGKILL"),
        ("kill -40 $$", "", "beforeCmd was killed by signal 40"),
        ("/no/such/program 2>/dev/null", "", "beforeCmd failed with exit status 127"),
        ("printf '\\377\\0x'", "\ufffd\0x", ""),
        ("printf 'a\\n\\033[2Jb'; exit 1", "a\n\x1b[2Jb", "beforeCmd failed with exit status 1: a / [2Jb"),
        ("cat; pwd", "/\n", ""),
        ("echo $X", "it's here\n", ""),
    ],
)
def test_outcomes(line: str, out: str, problem: str) -> None:
    """Output and the reason of a failure are kept; messages are one printable line."""
    result = run("beforeCmd", line, 5, {"X": "it's here"})
    assert (result.out, result.problem) == (out, problem)
    assert len(result.problem.splitlines()) <= 1


@pytest.mark.parametrize(
    ("line", "limit", "code"),
    [
        ("true", 5, 0),
        ("exit 3", 5, 3),
        ("/no/such/program 2>/dev/null", 5, 127),
        ("/etc 2>/dev/null", 5, 126),
        ("kill -9 $$", 5, -signal.SIGKILL),
        ("sh -c 'kill -9 $$'; exit $?", 5, 128 + signal.SIGKILL),
        ("sleep 60", 0.1, -signal.SIGTERM),
        ("trap '' TERM; while :; do sleep 0.05; done", 0.1, -signal.SIGKILL),
        ("trap 'exit 4' TERM; sleep 60 & wait", 0.1, 4),
        ("true\0", 5, None),
        ("", 5, None),
    ],
)
def test_exit_codes(line: str, limit: float, code: int | None) -> None:
    """How a command ended is always told: its exit status, or less than zero the signal; None of one that never ran."""
    result = run("afterCmd", line, limit, {})
    assert result.code == code
    assert bool(result.problem) == (line not in ("true", ""))


LONG = "x" * 600


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("printf 'a\\nb\\n\\nc \\n d'", "b / c / d"),
        ("printf '[emerg] unknown directive\\nconfiguration file test failed\\n\\n'",
         "[emerg] unknown directive / configuration file test failed"),
        (f"echo {LONG}", "x" * 500),
        (f"echo first; echo {LONG}", "x" * 500),
        (f"echo {LONG}; echo why", "x" * 494 + " / why"),
        (f"head -c 100000 /dev/zero | tr '\\0' '\\n'; head -c {MAX_OUTPUT} /dev/zero | tr '\\0' y; echo; echo why",
         "y" * 494 + " / why"),
    ],
)  # fmt: skip
def test_last_words(line: str, words: str) -> None:
    """A message has the last lines of the output, however much there was, and not more than fits."""
    assert run("afterCmd", f"{line}; exit 1", 5, {}).problem == f"afterCmd failed with exit status 1: {words}"


def test_failure_in_watchers_fields() -> None:
    """A failed command fills Watcher's four fields."""
    said = "afterCmd failed with exit status 1"
    assert run("afterCmd", "false", 1, {}).to_json() == {"success": False, "out": "", "err": said, "msg": said}


def has_ended(file: Path) -> bool:
    """Return whether the process goes, or is a zombie that nobody has reaped yet; KILL takes effect a moment later."""
    state = Path(f"/proc/{file.read_text().strip()}/stat")
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            if state.read_text().rpartition(") ")[2].startswith("Z"):
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


@pytest.mark.usefixtures("begun")
def test_time_limit_ends_the_group(tmp_path: Path) -> None:
    """All processes of a command's group are gone when its time is over; what it said is kept."""
    line = f"echo started; (sleep 60; touch {tmp_path}/late) & echo $! >{tmp_path}/pid; sleep 60"
    result = run("checkCmd", line, 0.2, {})
    assert result.out == "started\n"
    assert result.problem == "checkCmd was ended after 0.2 s, its time limit (cmdTimeout): started"
    assert has_ended(tmp_path / "pid")


@pytest.mark.usefixtures("begun")
def test_a_group_that_does_not_obey_is_killed(tmp_path: Path) -> None:
    """TERM may be ignored, KILL may not, by any process of the group."""
    line = f"trap '' TERM; (echo $(exec sh -c 'echo $PPID') >{tmp_path}/pid; while :; do sleep 0.05; done) & wait; wait"
    assert "was ended after 0.2 s" in run("checkCmd", line, 0.2, {}).problem
    assert has_ended(tmp_path / "pid")


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize(
    "line",
    [
        "trap '' TERM; {child} & echo $! >{pid}; trap - TERM; sleep 60",  # the shell obeys, the child does not
        "timeout 60 sh -c 'echo $$ >{pid}; while :; do sleep 0.05; done'; true",  # in a process group of its own
        "( {child} & echo $! >{pid} ); sleep 60",  # its parent is gone
    ],
)
def test_children_in_other_places_are_ended(tmp_path: Path, line: str) -> None:
    """What the shell started is found by its session, whatever became of its parent and of its process group."""
    line = line.format(child="sh -c 'while :; do sleep 0.05; done'", pid=tmp_path / "pid")
    assert "was ended after 1 s" in run("checkCmd", line, 1, {}).problem
    assert has_ended(tmp_path / "pid")


@pytest.mark.usefixtures("begun")
def test_a_session_of_its_own_is_left_alone(tmp_path: Path) -> None:
    """What was started with setsid outlives the time limit, as a daemon does."""
    line = f"setsid sh -c 'echo $$ >{tmp_path}/pid; exec sleep 60' & sleep 60"
    assert "was ended after 1 s" in run("checkCmd", line, 1, {}).problem
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)  # it is there


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands see the contract's variables and ours, but for secrets and what concerns only us."""
    hidden = (
        "ETCDCTL_PASSWORD",
        "ETCDCTL_USER",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHER_FAILPOINT",
        "WATCHER_STAGED",
        "LISTEN_FDS",
        "CREDENTIALS_DIRECTORY",
    )
    for name in hidden:
        monkeypatch.setenv(name, "hidden")
    monkeypatch.setenv("NO_SECRET", "shown")
    seen = run("afterCmd", "env", 5, {"WATCHER_HOST": "web01"}).out.splitlines()
    assert {"WATCHER_HOST=web01", "NO_SECRET=shown", f"PATH={os.environ['PATH']}"} <= set(seen)
    assert [line for line in seen if "hidden" in line] == []


def test_nothing_is_inherited(tmp_path: Path) -> None:
    """Of our open files a command has none, not even inheritable ones; its input is empty."""
    with (tmp_path / "secret").open("w") as stream:
        os.set_inheritable(stream.fileno(), True)
        result = run("afterCmd", "for fd in /proc/$$/fd/*; do readlink $fd; done", 5, {})
    names = [line for line in result.out.splitlines() if not line.startswith("/proc/")]
    assert names[0] == "/dev/null"
    assert all(name.startswith("pipe:") for name in names[1:]), names
    assert len(names) == 3


@pytest.mark.usefixtures("begun")
def test_a_group_that_proc_does_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc hides the processes of others, at least the shell's own process group is ended."""
    monkeypatch.setattr("os.access", lambda *_unused: False)
    monkeypatch.setattr("os.listdir", lambda _path: [])
    line = f"trap '' TERM; (while :; do sleep 0.05; done) & echo $! >{tmp_path}/pid; wait"
    assert "was ended after 1 s" in run("checkCmd", line, 1, {}).problem
    assert has_ended(tmp_path / "pid")


def test_term_gives_time_to_clean_up() -> None:
    """A command that obeys TERM ends in its own way."""
    result = run("checkCmd", "trap 'echo cleaned; exit 0' TERM; sleep 60 & wait", 0.2, {})
    assert (result.out, result.code) == ("cleaned\n", 0)
    assert "was ended" in result.problem


@pytest.mark.parametrize(("size", "more"), [(MAX_OUTPUT, 0), (MAX_OUTPUT + 1, 1), (5_000_000, 5_000_000 - MAX_OUTPUT)])
def test_output_is_bounded(size: int, more: int) -> None:
    """At most 64 KiB are kept, the rest is counted, and the command is never stopped by it."""
    result = run("afterCmd", f"head -c {size} /dev/zero | tr '\\0' x", 5, {})
    assert result.problem == ""
    assert result.out == "x" * min(size, MAX_OUTPUT) + (f"\n[{more} more bytes]" if more else "")


@pytest.mark.parametrize(
    "daemon",
    ["sleep 60", "setsid sleep 60", "while :; do echo noise; done", "setsid sh -c 'while :; do echo noise; done'"],
)
@pytest.mark.usefixtures("begun")
def test_a_daemon_left_behind(tmp_path: Path, daemon: str) -> None:
    """A daemon that holds the output open, silent or not, does not keep us; it is left alive."""
    result = run("afterCmd", f"echo first; {daemon} & echo $! >{tmp_path}/pid", 30, {})
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    assert result.out.startswith("first\n") or "noise" in result.out
    assert result.problem == ""


@pytest.mark.usefixtures("begun")
def test_output_closed_early() -> None:
    """A command that closes its output and works on is waited for."""
    assert run("afterCmd", "exec >&- 2>&-; sleep 0.2; exit 4", 5, {}).problem == "afterCmd failed with exit status 4"
    assert "time limit" in run("afterCmd", "exec >&- 2>&-; sleep 60", 0.2, {}).problem


def test_endless_output_is_ended() -> None:
    """A command that never stops talking meets its time limit."""
    result = run("afterCmd", "yes", 0.3, {})
    assert "time limit" in result.problem
    assert "more bytes]" in result.out


@pytest.mark.parametrize("environment", [{"X": "x" * 200_000}, {"X": "a\0b"}])
def test_cannot_be_started(environment: dict[str, str]) -> None:
    """A command that the system refuses is a failure, not a crash."""
    said = run("afterCmd", "true", 1, environment).problem
    assert said in (
        "afterCmd could not be started: Argument list too long",
        "afterCmd could not be started: embedded null byte",
    )


def nobody() -> Account:
    """Return the account that owns nothing."""
    user = pwd.getpwnam("nobody")
    return Account("nobody", user.pw_uid, user.pw_gid, (user.pw_gid, 1), "/nonexistent", "/bin/false")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_run_as(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command is its account in all: ids, groups, what a login sets; the rest of the environment stays."""
    monkeypatch.setenv("HOME", "/root")
    monkeypatch.setenv("OTHER", "here")
    account = nobody()
    line = 'id -u; id -g; id -G; echo "$HOME $USER $LOGNAME $SHELL $OTHER $WATCHER_HOST"'
    result = run("afterCmd", line, 5, {"WATCHER_HOST": "web01"}, account)
    assert result.problem == ""
    said = "/nonexistent nobody nobody /bin/false here web01"
    assert result.out.splitlines() == [str(account.uid), str(account.gid), f"{account.gid} 1", said]
    assert "not permitted" in run("afterCmd", "kill -0 1", 5, {}, account).problem
    assert run("afterCmd", "id -u", 5, {}).out == "0\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.usefixtures("begun")
def test_run_as_meets_its_time_limit(tmp_path: Path) -> None:
    """Processes of another account are ended like our own."""
    tmp_path.chmod(0o777)
    result = run("afterCmd", "trap '' TERM; sleep 60 & echo $!; wait", 1, {}, nobody())
    assert "time limit" in result.problem
    (tmp_path / "pid").write_text(result.out)
    assert has_ended(tmp_path / "pid")


def test_run_as_without_the_right_to() -> None:
    """What only root may is a failure, not a crash."""

    def act() -> None:
        root = replace(nobody(), uid=0, gid=0)
        for account in (root, replace(nobody(), uid=1, gid=1)):
            said = run("afterCmd", "true", 5, {}, account).problem
            assert said.startswith("afterCmd could not be started as user nobody: ")

    unprivileged(act)
