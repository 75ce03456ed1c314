# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The INI file of an agent: the contract's example, the old daemon's, defaults, and every bad value."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core.connection import Connection
from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.rules import Rules
from ansible_collections.watcher.config.plugins.module_utils._core.settings import (
    NAMES,
    Beat,
    Endpoints,
    Logs,
    Settings,
    read_rules,
)
from ansible_collections.watcher.config.tests.unit.site import unprivileged

# Section 7 of the contract, word for word.
EXAMPLE = """\
[local]
prefix = /watcher
force = true            ; at start, compare every file with the tree and repair what drifted
hostname =              ; default: this host's name
state_dir = /var/lib/watcher

[etcd]
endpoints = 10.0.0.1:2379, https://etcd2.example.com:2379
timeout = 5
username =
password =
password_file =
ca_cert =
client_cert =
client_key =

[logs]
name = watcher
path = ./logs/
filename = watcher
level = debug

[heartbeat]
domain = http://127.0.0.1:9091
interval = 30

[security]
deploy_roots = /etc/nginx, /srv      ; a policy may deploy below these only; * = anywhere
commands = nginx -t, systemctl reload nginx   ; a policy may run exactly these; * = any, empty = none
run_as =                             ; user that commands run as
"""
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def name_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call this host web01."""
    monkeypatch.setattr(socket, "gethostname", lambda: "web01")


def load(folder: Path, text: str, mode: int = 0o600) -> Settings:
    """Return the settings of this text as a file."""
    return Settings.load(written(folder, text, mode))


def written(folder: Path, text: str, mode: int = 0o600) -> str:
    """Write this text as a file, and return its path."""
    path = folder / "watcher.ini"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return str(path)


def test_the_contracts_example(tmp_path: Path) -> None:
    """It is understood word for word, with its comments."""
    path = str(tmp_path / "watcher.ini")
    assert load(tmp_path, EXAMPLE) == Settings(
        path,
        "web01",
        True,
        "/var/lib/watcher",
        300.0,
        Connection(("10.0.0.1:2379", "https://etcd2.example.com:2379"), "/watcher", timeout=5.0),
        Logs("watcher", "./logs/", "watcher", "debug"),
        Beat("http://127.0.0.1:9091", 30.0),
        Rules(("/etc/nginx", "/srv"), ("nginx -t", "systemctl reload nginx"), "", path),
        Endpoints(),
    )


def test_a_file_of_the_old_daemon(tmp_path: Path) -> None:
    """Without [security] a policy may do anything, with a warning at every start."""
    settings = load(tmp_path, EXAMPLE.partition("[security]")[0])
    assert (settings.rules.roots, settings.rules.commands, settings.rules.run_as) == (None, None, "")
    (warning,) = settings.warnings
    assert re.match(rf"{tmp_path}/watcher.ini has no section \[security\]: policies may deploy anywhere", warning)


def test_nothing_said(tmp_path: Path) -> None:
    """Everything has a default, and an empty [security] is closed."""
    settings = load(tmp_path, "[security]\n")
    assert settings.connection == Connection()
    assert (settings.host, settings.force, settings.state_dir) == ("web01", True, "/var/lib/watcher")
    assert (settings.logs, settings.heartbeat, settings.metrics) == (None, None, Endpoints())
    assert (settings.rules.roots, settings.rules.commands) == ((), ())
    assert [re.sub(r".*(has no \w+),.*", r"\1", warning) for warning in settings.warnings] == [
        "has no deploy_roots",
        "has no commands",
    ]
    assert load(tmp_path, "[security]\ndeploy_roots =\ncommands =\n").warnings == ()
    assert load(tmp_path, "[logs]\n[heartbeat]\ninterval = 5\n").logs == Logs(folder="")
    assert load(tmp_path, "[logs]\n[heartbeat]\ninterval = 5\n").heartbeat is None


def test_everything_said(tmp_path: Path) -> None:
    """Each name arrives where it belongs."""
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}:#; x\n")
    secret.chmod(0o600)
    text = f"""
[local]
prefix = /other
force = no
hostname = db-1
state_dir = /srv//state/
resync = 60.5
[etcd]
endpoints = https://a:1,
    https://b:2  # another
timeout = 0.5
username = agent
password_file = {secret}
ca_cert = {secret}
client_cert = {secret}
client_key = {secret}
[logs]
level = WARN
[security]
deploy_roots =
    /srv/a, b
    # a comment
    /etc//nginx/
commands =
    a, b
    run x=1
run_as = root
[metrics]
listen = [::1]:9101
textfile = /run/watcher.prom
"""
    settings = load(tmp_path, text)
    assert settings.connection == Connection(
        ("https://a:1", "https://b:2"), "/other", "agent", f"{SECRET}:#; x", str(secret), str(secret), str(secret), 0.5
    )
    assert (settings.host, settings.force, settings.state_dir, settings.resync) == ("db-1", False, "/srv/state", 60.5)
    assert settings.logs == Logs(level="warn")
    assert settings.rules == Rules(("/srv/a, b", "/etc/nginx"), ("a, b", "run x=1"), "root", settings.path)
    assert settings.metrics == Endpoints("[::1]:9101", "/run/watcher.prom")
    assert settings.warnings == ()
    assert SECRET not in repr(settings)


def test_stars(tmp_path: Path) -> None:
    """A star alone is anything, also on a line of its own."""
    for star in ("*", "\n    *", "* ; any"):
        rules = read_rules(written(tmp_path, f"[security]\ndeploy_roots = {star}\ncommands = {star}\n"))
        assert rules is not None and (rules.roots, rules.commands) == (None, None)
    commands = load(tmp_path, "[security]\ndeploy_roots = /srv\ncommands = ls *\n").rules.commands
    assert commands == ("ls *",)


SECONDS = "a number of seconds from"
LISTEN = "a loopback address and a port, such as 127.0.0.1:9101"
ROOTS = "absolute folders without . or .. segments"
SEGMENT = "one segment of A-Z a-z 0-9 . _ - of at most 255 characters"
BAD = [
    ("local", "prefix", "watcher", "a path such as /watcher"),
    ("local", "prefix", "/watcher/", "a path such as /watcher"),
    ("local", "force", "maybe", "true or false"),
    ("local", "hostname", "web 01", SEGMENT),
    ("local", "hostname", "..", SEGMENT),
    ("local", "hostname", "x" * 256, SEGMENT),
    ("local", "state_dir", "state", "an absolute path"),
    ("local", "state_dir", "/var/../etc", "an absolute path"),
    ("local", "resync", "0", f"{SECONDS} 1 to 86400"),
    ("local", "resync", "never", f"{SECONDS} 1 to 86400"),
    ("etcd", "timeout", "0", f"{SECONDS} 0.1 to 3600"),
    ("etcd", "timeout", "5s", f"{SECONDS} 0.1 to 3600"),
    ("etcd", "password_file", "/no/file", "a file that can be read, and this one cannot: No such file or directory"),
    ("etcd", "password_file", "/etc", "a file that can be read, and this one cannot: Is a directory"),
    ("etcd", "password_file", "/dev/null", "a file with the password alone, one line of UTF-8 text"),
    ("etcd", "ca_cert", "/no/file", "a file that can be read, and this one cannot: No such file or directory"),
    ("etcd", "client_cert", "/no/file", "a file that can be read, and this one cannot: No such file or directory"),
    ("etcd", "client_key", "/no/file", "a file that can be read, and this one cannot: No such file or directory"),
    ("logs", "path", "a\x1b", "a folder"),
    ("logs", "filename", "../watcher", "the name of a file in path, such as watcher"),
    ("logs", "filename", "x" * 200, "the name of a file in path, such as watcher"),
    ("logs", "level", "loud", "one of debug, info, warn, warning, error"),
    ("heartbeat", "domain", "127.0.0.1:9091", "an http:// or https:// URL"),
    ("heartbeat", "interval", "0", f"{SECONDS} 1 to 86400"),
    ("heartbeat", "interval", "86401", f"{SECONDS} 1 to 86400"),
    ("security", "deploy_roots", "etc", ROOTS),
    ("security", "deploy_roots", "/srv, *", ROOTS),
    ("security", "deploy_roots", "/srv/..", ROOTS),
    ("security", "commands", "true, *", "commands, separated by commas or one a line; or * alone for any"),
    ("security", "run_as", "no such user", "the name or number of a user whom this host has"),
    ("security", "run_as", "4294967290", "the name or number of a user whom this host has"),
    ("security", "run_as", "9" * 30, "the name or number of a user whom this host has"),
    ("metrics", "listen", "0.0.0.0:9101", LISTEN),
    ("metrics", "listen", "9101", LISTEN),
    ("metrics", "textfile", "watcher.prom", "an absolute path"),
    ("metrics", "textfile", "/run/watcher.txt", "an absolute path that ends with .prom"),
]


@pytest.mark.parametrize(("section", "name", "value", "allowed"), BAD)
def test_bad_values(tmp_path: Path, section: str, name: str, value: str, allowed: str) -> None:
    """The message names file, section, name, value and what is allowed."""
    with pytest.raises(InvalidError) as caught:
        load(tmp_path, f"[{section}]\n{name} = {value}\n")
    found = repr(value) if len(value) <= 200 else repr(value[:200] + "...")
    assert str(caught.value).startswith(
        f"{tmp_path}/watcher.ini: section [{section}], {name} is {found}; allowed is {allowed}"
    )


def test_every_name_has_a_bad_value_or_takes_any() -> None:
    """The table above is complete; of a secret no value is ever shown, and others take any text."""
    others = {("etcd", name) for name in ("endpoints", "username", "password")} | {("logs", "name")}
    tested = {(section, name) for section, name, _value, _allowed in BAD}
    assert tested | others == {(section, name) for section, names in NAMES.items() for name in names}
    assert not tested & others


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("endpoints = ftp://a", "endpoints: 'ftp://a' is not an endpoint, which is host, host:port, "),
        (f"endpoints = http://u:{SECRET}@a:1", "endpoints: 'http://***@a:1' is not an endpoint, which is host, "),
        ("username = a", "username is set and password is not: set both or none of them"),
        (f"password = {SECRET}", "password is set and username is not: set both or none of them"),
        (
            f"username = a\npassword = {SECRET}\npassword_file = /proc/version",
            "password and password_file '/proc/version' are both given; allowed is one of them",
        ),
        ("ca_cert = /proc/version", "ca_cert: '/proc/version' has no effect, for no endpoint starts with https://"),
        ("endpoints = https://a\nclient_key = /proc/version", "client_key is set and client_cert is not: set both"),
        (f"username = a\npassword = x\n  {SECRET}", "password has 2 lines; allowed is one"),
        ("endpoint = a", "unknown name 'endpoint'; allowed are endpoints, timeout, username, password, "),
    ],
)
def test_bad_connections(tmp_path: Path, lines: str, said: str) -> None:
    """What does not fit together is named with file, section and name, without a secret."""
    with pytest.raises(InvalidError) as caught:
        load(tmp_path, f"[etcd]\n{lines}\n")
    assert str(caught.value).startswith(f"{tmp_path}/watcher.ini: section [etcd], {said}")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("content", [b"two\nlines\n", b"\xff\n", b"\n", b"", b"\nx", b"carriage return\r\n"])
def test_bad_password_files(tmp_path: Path, content: bytes) -> None:
    """A file that is no password is named, without what is in it."""
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(InvalidError) as caught:
        load(tmp_path, f"[etcd]\nusername = a\npassword_file = {tmp_path}/secret\n")
    said = f"password_file is '{tmp_path}/secret'; allowed is a file with the password alone, one line of UTF-8 text"
    assert str(caught.value) == f"{tmp_path}/watcher.ini: section [etcd], {said}"


def test_a_host_without_a_usable_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that cannot be in the tree under its own name needs hostname."""
    monkeypatch.setattr(socket, "gethostname", lambda: "my host")
    said = "section [local], hostname is not given, and the name of this host is 'my host'; allowed is one segment"
    with pytest.raises(InvalidError, match=re.escape(said)):
        load(tmp_path, "[local]\nhostname =\n")
    assert load(tmp_path, "[local]\nhostname = a\n").host == "a"


def test_commas_at_the_ends_of_lines(tmp_path: Path) -> None:
    """With one item a line a comma would belong to it: a slip, which is said."""
    for name, item in (("deploy_roots", "/srv"), ("commands", "true")):
        with pytest.raises(InvalidError, match="separated by commas or one a line"):
            load(tmp_path, f"[security]\n{name} = {item},\n    {item}\n")


def warned(folder: Path, text: str, mode: int = 0o600) -> list[str]:
    """Return the warnings about a file that says what is allowed."""
    security = "" if "[security]" in text else "[security]\ndeploy_roots =\ncommands =\n"
    return list(load(folder, text + security, mode).warnings)


def test_warnings_about_modes(tmp_path: Path) -> None:
    """Who may read a password or write what the host allows is told."""
    with_password = f"[etcd]\nusername = a\npassword = {SECRET}\n"
    assert warned(tmp_path, with_password) == warned(tmp_path, "", 0o644) == []
    (reading,) = warned(tmp_path, with_password, 0o640)
    assert "watcher.ini holds a password and others may read it: its mode is 0640; give it 0600" in reading
    assert SECRET not in reading
    (writing,) = warned(tmp_path, "", 0o602)
    assert "watcher.ini: others may change what this host allows: its mode is 0602; give it 0600" in writing
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o604)
    (reading,) = warned(tmp_path, f"[etcd]\nusername = a\npassword_file = {secret}\n")
    assert f"{secret} holds a password and others may read it: its mode is 0604" in reading


def test_warnings_about_roots(tmp_path: Path) -> None:
    """A deploy root that holds what limits it, also by way of a link, is told."""
    (tmp_path / "link").symlink_to(tmp_path)
    text = f"[security]\ndeploy_roots = {tmp_path}/link, {tmp_path}x\ncommands =\n[local]\nstate_dir = {tmp_path}x/s\n"
    first, second = warned(tmp_path, text)
    assert first.startswith(f"{tmp_path}/watcher.ini is below {tmp_path}/link, one of deploy_roots")
    assert second.startswith(f"{tmp_path}x/s is below {tmp_path}x, one of deploy_roots")


def test_rules_for_the_module(tmp_path: Path) -> None:
    """Without a file nothing is limited; with one only [security] must be right, and all sections and names known."""
    assert read_rules(str(tmp_path / "none")) is None
    path = written(tmp_path, EXAMPLE.replace("interval = 30", "interval = often").replace("run_as =", "run_as = gone"))
    assert read_rules(path) == Rules(
        ("/etc/nginx", "/srv"), ("nginx -t", "systemctl reload nginx"), "gone", str(tmp_path / "watcher.ini")
    )
    assert read_rules(written(tmp_path, "[local]\nforce = true\n")) == Rules(source=path)
    (tmp_path / "link").symlink_to("nowhere")
    for bad in ("[securty]\n", "[security]\ndeploy_root =\n", "[security]\ndeploy_roots = x\n", "[security\n"):
        with pytest.raises(InvalidError, match=r"watcher\.ini"):
            read_rules(written(tmp_path, bad))
    for unreadable in (f"{tmp_path}/link", str(tmp_path), f"{path}/below"):
        with pytest.raises(InvalidError, match="cannot be read"):
            read_rules(unreadable)


def test_rules_in_a_folder_that_is_closed(tmp_path: Path) -> None:
    """What cannot be looked at is no proof that nothing is there."""

    def act() -> None:
        with pytest.raises(InvalidError, match="cannot be read: Permission denied"):
            read_rules(f"{tmp_path}/watcher.ini")

    tmp_path.chmod(0)
    try:
        unprivileged(act)
    finally:
        tmp_path.chmod(0o700)
