# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source's door: what it takes, what it refuses, and what it documents."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.watcher.config.plugins.module_utils._core.errors import InvalidError
from ansible_collections.watcher.config.plugins.module_utils._core.source_options import ENVIRONMENT, SourceOptions

ROOT = Path(__file__).resolve().parents[6]
SOURCE = ROOT / "extensions" / "eda" / "plugins" / "event_source" / "tree.py"


def door() -> Any:
    """Return the source's module, outside any package as ansible-rulebook runs it."""
    spec = importlib.util.spec_from_file_location("tree", SOURCE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parse(**args: Any) -> SourceOptions:
    """Return the options of these arguments, without an environment."""
    return SourceOptions.parse(args, {"ANSIBLE_HOME": "/home"})


def test_defaults() -> None:
    """Nothing has to be said."""
    options = parse()
    assert (options.projects, options.hosts, options.batch, options.parallel, options.hold) == ((), (), 0.2, 4, 60.0)
    assert options.connection.endpoints == ("127.0.0.1:2379",)
    assert options.position_file.startswith("/home/watcher/position-")
    assert not options.replay


def test_none_is_the_default() -> None:
    """A rulebook hands on variables that are not set as none."""
    assert parse(**dict.fromkeys([*ENVIRONMENT, "projects", "hosts", "batch", "hold", "position_file"])) == parse()


def test_what_is_told_is_taken() -> None:
    """Lists may be strings with commas."""
    options = parse(
        endpoints="a:1, b:2", prefix="/w", projects=["a.com"], hosts="web01, web02", batch=0, parallel=1, hold=0,
        position_file="", replay=True,
    )  # fmt: skip
    assert options.connection.endpoints == ("a:1", "b:2")
    assert options == SourceOptions(options.connection, ("a.com",), ("web01", "web02"), 0.0, 1, 0.0, "", True)


def test_the_environment_is_read() -> None:
    """As etcdctl does; an argument comes first."""
    environ = {
        "ETCDCTL_ENDPOINTS": "https://a:1,https://b:2",
        "ETCDCTL_USER": "root:secret",
        "ETCDCTL_CACERT": "/ca",
        "ETCDCTL_CERT": "/cert",
        "ETCDCTL_KEY": "/key",
        "HOME": "/home",
    }
    connection = SourceOptions.parse({"ca_cert": "/mine", "prefix": ""}, environ).connection
    assert connection.endpoints == ("https://a:1", "https://b:2")
    assert (connection.username, connection.password) == ("root", "secret")
    assert (connection.ca_cert, connection.client_cert, connection.client_key) == ("/mine", "/cert", "/key")
    assert connection.prefix == "/watcher"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"endpoint": "x"}, "endpoint: no such option; there are batch, ca_cert, "),
        ({"feedback": True}, "feedback: no such option"),
        ({"connection": "x"}, "connection: no such option"),
        ({"endpoints": 5}, "endpoints: 5 is not"),
        ({"endpoints": "ftp://x"}, "endpoints: 'ftp://x' is not"),
        ({"prefix": "watcher"}, "prefix 'watcher': it must start with /"),
        ({"timeout": "soon"}, "timeout: 'soon' is not a number of seconds"),
        ({"password": "x"}, "password is set and username is not"),
        ({"projects": {"a": 1}}, "projects: {'a': 1} is not a list of names, such as [project1]; empty means all"),
        ({"projects": ["a/b"]}, "projects: project 'a/b': a project is one segment of"),
        ({"hosts": [1]}, "hosts: [1] is not a list of names"),
        ({"hosts": ["all"]}, "hosts: 'all' is no host of the tree"),
        ({"batch": 3}, "batch: 3 is not a number of seconds from 0 to 2"),
        ({"batch": "0.2"}, "batch: '0.2' is not a number of seconds from 0 to 2"),
        ({"batch": True}, "batch: True is not a number"),
        ({"batch": float("nan")}, "batch: nan is not a number"),
        ({"parallel": 0}, "parallel: 0 is not a whole number from 1 to 1000"),
        ({"parallel": 1.5}, "parallel: 1.5 is not a whole number"),
        ({"hold": -1}, "hold: -1 is not a number of seconds from 0 to 86400"),
        ({"position_file": 5}, "position_file: 5 is not the path of a file; the empty string means none"),
        ({"replay": "yes"}, "replay: 'yes' is neither true nor false"),
        ({"standby": "a/b"}, "standby: 'a/b' is not a name of A-Z a-z 0-9 . _ -; the empty string means none"),
        ({"standby": ".."}, "standby: '..' is not a name"),
        ({"standby": 5}, "standby: 5 is not a name"),
        ({"standby": "pair", "position_file": "/x"}, "position_file: with standby the position is kept in etcd;"),
        ({"standby": "pair", "position_file": ""}, "position_file: with standby the position is kept in etcd;"),
    ],
)
def test_a_wrong_argument_is_refused(args: dict[str, Any], message: str) -> None:
    """One sentence names the option, what was found and what is allowed."""
    with pytest.raises(InvalidError) as caught:
        parse(**args)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_one_of_several_has_no_position_file() -> None:
    """Its position is in etcd; without a name all is as without the option."""
    options = parse(standby="pair", position_file=None)
    assert (options.standby, options.position_file) == ("pair", "")
    assert parse(standby="") == parse()


def test_each_selection_has_a_position_of_its_own() -> None:
    """The order of a list makes no difference, all else does."""
    base = parse(endpoints="a,b", projects="p,q").position_file
    assert parse(endpoints="b,a", projects="q,p", batch=1).position_file == base
    others = [parse(endpoints="a,b"), parse(endpoints="a", projects="p,q"), parse(endpoints="a,b", hosts="p,q")]
    assert len({base, *(other.position_file for other in others)}) == 4


def test_the_door_raises_what_is_wrong() -> None:
    """The rulebook prints it and ends."""
    with pytest.raises(InvalidError, match=r"^batch: "):
        asyncio.run(door().main(asyncio.Queue(), {"batch": "x"}))


def test_the_documentation_agrees() -> None:
    """It names each option, with its default."""
    documented = yaml.safe_load(door().DOCUMENTATION)["options"]
    defaults = {"projects": [], "hosts": [], "batch": 0.2, "parallel": 4, "hold": 60, "replay": False, "standby": ""}
    assert set(documented) == {*ENVIRONMENT, *defaults, "position_file"}
    assert {name: option["default"] for name, option in documented.items() if "default" in option} == defaults


@pytest.mark.parametrize("example", yaml.safe_load(door().EXAMPLES))
def test_the_examples_are_valid(example: dict[str, Any]) -> None:
    """Their arguments are taken."""
    for source in example["sources"]:
        parse(**source["watcher.config.tree"])


def test_the_rulebook_is_valid() -> None:
    """Each of the shipped rulebook's arguments is an option."""
    text = (ROOT / "extensions" / "eda" / "rulebooks" / "deploy.yml").read_text(encoding="utf-8")
    for source in yaml.safe_load(text)[0]["sources"]:
        parse(**dict.fromkeys(source["watcher.config.tree"]))
