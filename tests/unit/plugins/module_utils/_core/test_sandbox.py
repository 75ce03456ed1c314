# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile templates: nothing of Python is in reach, and nothing lasts for ever."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import budget
from ansible_collections.watcher.config.plugins.module_utils._core.budget import MAX_WORK
from ansible_collections.watcher.config.plugins.module_utils._core.render import Renderer, rendered
from ansible_collections.watcher.config.plugins.module_utils._core.values import STEP
from ansible_collections.watcher.config.tests.unit.templates import VALUES, error, project, text

TOO_MUCH = "it makes too much work: loops without end, or text beyond measure"
DOUBLE = "{% set ns = namespace(x='12345678', y=['1'], z=['1']) %}{% for i in range(60) %}"
NULLS = "[" + "0," * 9_000 + "]"
MANY = "{% set many = range(9999) | list %}"


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Note whatever a template might reach for."""
    touched: list[str] = []
    text("")  # jinja2 itself, which is imported by the first template, may reach for it

    def spy(name: str) -> object:
        def called(*_arguments: object, **_more: object) -> None:
            touched.append(name)

        return called

    monkeypatch.setattr(os, "system", spy("system"))
    monkeypatch.setattr(os, "popen", spy("popen"))
    monkeypatch.setattr(subprocess, "Popen", spy("Popen"))
    monkeypatch.setattr(builtins, "eval", spy("eval"))
    yield touched
    assert touched == []


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ '' | attr('__class__') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ ().__class__.__base__.__subclasses__() }}",
        "{{ [].__class__.__base__.__subclasses__() }}",
        "{{ {}.__class__.__init__.__globals__ }}",
        "{{ (1).__class__ }}",
        "{{ [''] | map(attribute='__class__') | list }}",
        "{{ [''] | map('attr', '__class__') | list }}",
        "{{ [''] | selectattr('__class__') | list }}",
        "{{ ['', ''] | sort(attribute='__class__') }}",
        "{{ [''] | groupby('__class__') }}",
        "{{ [''] | sum(attribute='__class__') }}",
        "{{ [''] | join(attribute='__class__') }}",
        "{{ [''] | unique(attribute='__class__') | list }}",
        "{{ ['', ''] | max(attribute='__class__') }}",
        "{{ '{0.__class__}'.format('') }}",
        "{{ '{0[__class__]}'.format('') }}",
        "{{ '{}'.format(1) }}",
        "{{ '{:10000000000}'.format(1) }}",
        "{{ '{a}'.format_map({'a': 1}) }}",
        "{{ ('{}' | safe)['format'](1) }}",
        "{{ '{a.__class__}'.format_map({'a': ''}) }}",
        "{{ ('{0.__class__}' | safe).format('') }}",
        "{{ [''] | map('{0.__class__}'.format) | list }}",
        "{% set f = '{0.__class__}' | attr('format') %}{{ f('') }}",
        "{{ '%(x.__class__)s' % {'x': ''} }}",
        "{{ getv.__globals__ }}",
        "{{ getv.__func__.__globals__ }}",
        "{{ getv.__self__ }}",
        "{{ getv.im_self }}",
        "{{ cycler.__init__.__globals__.os.system('id') }}",
        "{{ joiner.__init__.__globals__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ lipsum.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ self._TemplateReference__context.environment }}",
        "{% macro m() %}{% endmacro %}{{ m._environment }}",
        "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
        "{% macro m() %}{% endmacro %}{{ m.__call__.__globals__ }}",
        "{% for x in [1] %}{{ loop._iterable }}{{ loop.__init__.__globals__ }}{% endfor %}",
        "{% import 'z.j2' as z %}{{ z.__init__.__globals__ }}",
        "{% import 'z.j2' as z %}{{ z._body_stream }}",
        "{% block b %}{{ self.b.__globals__ }}{% endblock %}",
        "{{ gets('*').__class__ }}",
        "{{ gets('/services/web/*')[0]._replace(key='x') }}",
        "{{ gets('/services/web/*')[0]._asdict() }}",
        "{{ dict.mro() }}",
        "{{ dict.fromkeys([1]) }}",
        "{{ range(1).__reduce__() }}",
        "{{ policy.update(deployPath='/') }}",
        "{{ policy.pop('deployPath') }}",
        "{{ policy.clear() }}",
        "{{ policy['setdefault']('x', 1) }}",
        "{{ [1].append(2) }}",
        "{{ ''.encode() }}",
        "{{ (5).to_bytes(100, 'big') }}",
        "{{ 'a'.translate({97: 'b' * 9}) }}",
        "{{ nope.__class__ }}",
        "{{ nope.__init__.__globals__ }}",
        "{{ environment }}",
        "{{ request }}{{ config }}{{ os }}{{ open }}{{ lookup }}{{ __import__('os') }}",
        "{{ debug() }}",
        "{% debug %}",
        "{% do [] %}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os.system('id') }}",
        "{{ [1, 2] | random }}",
        "{{ 1 | pprint }}",
        "{{ 'a' | urlize }}",
        "{{ 'a' is filter }}{{ 'upper' is callable }}",
    ],
)
def test_no_way_out(source: str, untouched: list[str]) -> None:
    """Whatever leads to Python itself, or changes a value, is refused."""
    error(source, z="z")
    assert "Renderer" not in error(source, z="z")


def test_a_policy_cannot_be_changed() -> None:
    """What one template is given, the next one gets, too."""
    files = {
        "a.j2": "{% set policy = {'deployPath': '/x'} %}{{ policy.deployPath }}",
        "b.j2": "{{ policy.deployPath }}",
    }
    done = rendered(Renderer(), project(files), VALUES)
    assert (done.files["a"].content, done.files["b"].content) == (b"/x", b"/srv")
    assert done.policy is not None and done.policy.deploy_path == "/srv"


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        MANY + "{% for a in many %}{% for b in many %}{% endfor %}{% endfor %}",
        MANY + "{% for a in many if a in many %}{% endfor %}",
        MANY + "{% for a in many %}{{ many | sort | first }}{% endfor %}",
        MANY + "{% for a in many %}{{ many | map('string') | join | length }}{% endfor %}",
        MANY + "{% for a in many %}{% if many == many[:] %}{% endif %}{% endfor %}",
        MANY + "{% for a in many %}{% if many is eq(many + [1]) %}{% endif %}{% endfor %}",
        MANY + "{% for a in many %}{% if many[1:] %}{% endif %}{% endfor %}",
        MANY + "{% for x in [1, 1] recursive %}{{ loop(many) if loop.depth < 3 else '' }}{% endfor %}",
        MANY + "{% for x in many recursive %}{% if loop.depth0 %}{% else %}{{ loop(many) }}{% endif %}{% endfor %}",
        "{% set x %}{% for a in range(99999) %}" + "x" * 10_000 + "{% endfor %}{% endset %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ ls('/services') | first }}{% endfor %}{% endfor %}",
        "{{ 'x' * 10 ** 10 }}",
        "{{ 10 ** 10 * 'x' }}",
        "{{ [1] * 10 ** 10 }}",
        "{{ 'x' * 99999999 * 99999999 }}",
        "{{ 'x'.ljust(10000000000) }}",
        "{{ 'x'.rjust(10000000000) }}",
        "{{ 'x'.center(10000000000) }}",
        "{{ 'x'.zfill(10000000000) }}",
        "{{ '\t'.expandtabs(10000000000) }}",
        "{{ 'x' | center(10000000000) }}",
        "{{ 'x' | indent(10000000000, true) }}",
        "{{ ('\n' * 1000000) | indent('x' * 1000000) }}",
        "{{ [1] | batch(10000000000, 'x') | list }}",
        "{{ [1] | slice(10000000000) | list }}",
        "{{ range(9) | slice(10000000000) | list }}",
        "{{ range(9) | map('string') | batch(10000000000, 'x') | list }}",
        "{{ [1] | tojson(indent=10000000000) }}",
        "{{ 1.5 | round(1000000000) }}",
        "{{ 1.5 | round(-1000000000) }}",
        "{{ 'a b' | wordwrap(1, true, 'x' * 100000000) }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ '%.10000000000f' % 1 }}",
        "{{ '%*d' % (10000000000, 1) }}",
        "{{ '%10000000000d' | format(1) }}",
        "{{ '%(a)s' * 1000000 % {'a': 'x' * 1000000} }}",
        "{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}",
        "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
        "{{ ('b' * 1000000).join('a' * 1000000) }}",
        "{{ ('a' * 1000000) | join('b' * 1000000) }}",
        "{{ ['a' * 1000000] * 1000000 }}",
        "{{ (['a' * 1000000] * 1000000) | join }}",
        "{{ (['a' * 1000000] * 1000000) | max }}",
        "{% set x = ['a' * 1000000] * 1000000 %}{{ x ~ x }}",
        "{% set x = ['a' * 1000000] * 1000000 %}{{ x | string | length }}",
        "{% set x = ['a' * 1000000] * 1000000 %}{{ '%s' % (x,) }}",
        DOUBLE + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        DOUBLE + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
        DOUBLE + "{% set ns.x = ns.x * 2 %}{% endfor %}",
        DOUBLE + "{% set ns.x = '%s%s' % (ns.x, ns.x) %}{% endfor %}",
        DOUBLE + "{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}",
        DOUBLE + "{% set ns.x = ''.join([ns.x, ns.x]) %}{% endfor %}",
        DOUBLE + "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
        DOUBLE + "{% set ns.x = ns.x.replace('1', '11').replace('2', '22') %}{% endfor %}" + "{{ ns.x ~ ns.x }}" * 99,
        DOUBLE + "{% set ns.y = ns.y + ns.y %}{% endfor %}",
        DOUBLE + "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.y }}",
        DOUBLE + "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.y | tojson }}",
        DOUBLE + "{% set ns.y = {'a': ns.y, 'b': ns.y} %}{% endfor %}{{ ns.y | string }}",
        DOUBLE + "{% set ns.y = dict(a=ns.y, b=ns.y) %}{% endfor %}{{ ns.y }}",
        DOUBLE + "{% set ns.y = [ns.y, ns.y] %}{% set ns.z = [ns.z, ns.z] %}{% endfor %}{{ ns.y == ns.z }}",
        DOUBLE + "{% set ns.y = [ns.y, ns.y] %}{% set ns.z = [ns.z, ns.z] %}{% endfor %}{{ ns.y in [ns.z] }}",
        DOUBLE + "{% set ns.y = [ns.y, ns.y] %}{% set ns.z = [ns.z, ns.z] %}{% endfor %}{{ ns.y is eq ns.z }}",
        DOUBLE + "{% set ns.y = [ns.y, ns.y] %}{% set ns.z = [ns.z, ns.z] %}{% endfor %}{{ [ns.y, ns.z] | unique }}",
        "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}" + DOUBLE + "{% set ns.x = m(ns.x) %}{% endfor %}",
        pytest.param("{% for a in range(99999) %}{% set b = " + NULLS + " %}{% endfor %}", id="long body"),
        pytest.param("{% for a in range(99999) if " + NULLS + " and 0 %}{% endfor %}", id="long condition"),
        pytest.param("{% macro m() %}{{ " + NULLS + " | first }}{% endmacro %}" + "{{ m() }}" * 9999, id="long macro"),
        pytest.param(
            "{% block b %}" + "{% if 0 %}{% endif %}" * 9999 + "{% endblock %}" + "{{ self.b() }}" * 999, id="block"
        ),
        "{% for a in range(999) %}{% set b = cycler(*range(99999)) %}{% endfor %}",
        "{% set x = [0] * 10000000 %}",
        MANY + "{% for a in many %}{% set b = many.count(-1) %}{% endfor %}",
        "{{ range(99999) | map('string') | map('list') | sum(start=[]) | length }}",
        "{{ ([[1]] * 50000) | sum(start=[]) | length }}",
        "{{ ('x' * 1000000) | wordwrap(1) | length }}",
        "{{ (['a'] * 1000) | map(attribute='0.' * 100000 ~ '0') | list }}",
        "{{ gets('[' * 30000) }}",
        "{{ ('<' * 1000000) | striptags }}",
        "{{ ('a' * 1000000).find('a' * 250000 ~ 'b' ~ 'a' * 250000) }}",
        "{{ gets('?' * 1000000) }}",
        DOUBLE + "{% set ns.y = ns.y + ['a' * 9999999] %}{% endfor %}",
        DOUBLE + "{% set ns.y = ns.y + [ns.x * 999999, ('x' * 9999999)[1:]] %}{% endfor %}",
    ],
)
def test_too_much(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is counted: what would take hours, or all of the memory, is refused with line and reason."""
    monkeypatch.setattr(budget, "MAX_WORK", MAX_WORK // 8)
    assert error(source) == f"x.j2, line {1 + source.count(chr(10))}: {TOO_MUCH}"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% for i in range(1000000) %}{% endfor %}", "Range too big"),
        ("{% set ns = namespace(x=9) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}", "4096 bits"),
        ("{{ 10 ** 10 ** 10 ** 10 ** 10 }}", "4096 bits"),
        ("{{ 9 ** 99999999999 }}", "4096 bits"),
        ("{{ ('9' * 1000000) | int }}", "a number has 1000000 digits"),
        ("{{ ('9' * 4000) | int }}", "a number has 4000 digits"),
        ("{{ 1.5 | round(9000, 'ceil') }}", "4096 bits"),
        ("{{ ('é' * 9000000) | urlencode }}", "a text has 9000000 characters, urlencode takes 8388608"),
        ("{{ ('é ' * 9000000).split() }}", "a text has 18000000 characters, split takes 8388608"),
        ("{{ 9.0 ** 999999 }}", "OverflowError"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "it calls or includes itself without end"),
        ("{% include 'x.j2' %}", "it calls or includes itself without end"),
        ("{% include 'z.j2' %}", "it calls or includes itself without end"),
        ("{% extends 'x.j2' %}", "it calls or includes itself without end"),
        ("{% import 'x.j2' as x %}", "it calls or includes itself without end"),
        ("{% for x in [[]] recursive %}{{ loop([x]) }}{% endfor %}", "it calls or includes itself without end"),
        ("{{ " + "(" * 50_000 + ")" * 50_000 + " }}", "it calls or includes itself without end"),
        ("{{ 1" + " + 1" * 50_000 + " }}", "it calls or includes itself without end"),
        ("{% for a in [1] %}" * 60 + "{% endfor %}" * 60, "Error"),
    ],
)
def test_beyond_measure(source: str, said: str) -> None:
    """Recursion and numbers end, too."""
    assert said in error(source, z="{% include 'x.j2' %}")


def test_what_is_much_but_not_too_much() -> None:
    """A configuration file of ten thousand services, used in several ways, is no hostile template."""
    items = {f"/services/web/{number:05}": b"10.0.0.1:80" for number in range(10_000)}
    source = (
        "{% for s in gets('/services/web/*') %}\n"
        "server {{ s.value }} # {{ s.key | upper }} {{ loop.index }}\n"
        "{% endfor %}"
        "{{ getvs('/services/web/*') | unique | join(',') }}{{ ls('/services/web') | sort(reverse=true) | first }}\n"
    )
    lines = text(source, type(VALUES)(VALUES.own, VALUES.watched, items)).splitlines()
    assert (len(lines), lines[-1]) == (10_001, "10.0.0.1:8009999")


def test_lists_may_grow_one_by_one() -> None:
    """As users of Ansible are used to: what is in the lists counts once, however often they are copied."""
    item = "{'a': {'b': 'c' * 99}}"
    source = (
        "{% set ns = namespace(x=[]) %}{% for i in range(3000) %}{% set ns.x = ns.x + [" + item + "] %}{% endfor %}"
    )
    assert text(source + "{{ ns.x | length }}") == "3000"


@pytest.mark.parametrize("name", ["string", "upper", "e", "trim", "replace('0x', '')", "length", "urlencode"])
def test_generators_are_no_text(name: str) -> None:
    """The text of one is where it lies in memory, which is somewhere else each time."""
    for source in ("{{ ['a'] | map('upper') | %s }}", "{%% for a in [1] %%}{{ loop | %s }}{%% endfor %%}"):
        if "loop | length" not in source % name:
            assert "a generator is used as text; add |list or |join to it" in error(source % name)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% set _ = [1].append(2) %}", "append of a list is not in reach of templates; add lists with +"),
        (
            "{{ '{}'.format(1) }}",
            "format of a str is not in reach of templates; use the operator % or the filter format",
        ),
        ("{{ {}.update(a=1) }}", "update of a dict is not in reach of templates; use dict(old, name=value)"),
        ("{{ 'a'.encode() }}", "encode of a str is not in reach of templates"),
    ],
)
def test_what_to_write_instead(source: str, said: str) -> None:
    """What works in Python or Ansible is refused with what works here."""
    assert error(source) == f"x.j2, line 1: {said}"


def test_all_templates_of_a_project_share() -> None:
    """A thousand templates may not do a thousand times as much."""
    loops = MAX_WORK // STEP // 99_999 // 2
    one = "{% for a in range(" + str(loops) + ") %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    wanted = project({f"{number}.j2": one for number in range(9)})
    done = rendered(Renderer(), wanted, VALUES)
    assert done.render_error.endswith(TOO_MUCH)
    assert "template 0.j2" not in done.render_error


@pytest.mark.parametrize(
    ("piece", "size"),
    [("{{1}}", 100_000), ("{%if 1%}{%endif%}", 200_000), ("{#" + "1," * 9_000 + "#}", 800_000)],
)
def test_reading_templates_is_work(piece: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates that take minutes to read are too much, whether they are known or not."""
    monkeypatch.setattr(budget, "MAX_WORK", MAX_WORK // 64)
    few, many = (piece * (length // len(piece)) for length in (20_000, size))
    renderer = Renderer()
    for _unused in range(2):
        assert rendered(renderer, project({"x.j2": few}), VALUES).render_error == ""
        assert rendered(renderer, project({"x.j2": many}), VALUES).render_error.endswith(f"line 1: {TOO_MUCH}")


def test_the_next_render_begins_anew() -> None:
    """What one render has used up is there for the next; a hostile project costs others nothing."""
    renderer = Renderer()
    for _unused in range(2):
        done = rendered(renderer, project({"x.j2": "{{ 'x' * 10 ** 10 }}"}), VALUES)
        assert done.render_error.endswith(TOO_MUCH)
        assert rendered(renderer, project({"y.j2": "{{ 'x' * 9 }}"}), VALUES).files["y"].content == b"x" * 9


CODE = """
import sys
from {package}.model import File, Project
from {package}.policy import Policy
from {package}.render import Renderer
from {package}.values import Values
policy = Policy.from_data({{"deployPath": "/srv", "render": True}}, "")
source = b"{{{{ {{'b': 1, 'a': 2}} }}}} {{{{ {{'b': 1, 'a': 2}} | tojson }}}} {{{{ ls('/s') }}}}"
source += b" {{{{ ['b', 'a', 'b'] | unique | list }}}}"
values = Values("/s/", (), {{f"/s/{{name}}/x": b"" for name in "zyxwv"}})
done = Renderer().render(Project("h", "p", 1, 1, policy, files={{"x.j2": File.of(source)}}), values)
sys.stdout.write(done.files["x"].content.decode())
"""


def test_each_process_makes_the_same() -> None:
    """Nothing depends on how a process hashes text."""
    package = Renderer.__module__.rpartition(".")[0]
    made = set()
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", CODE.format(package=package)]
        made.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert made == {"{'b': 1, 'a': 2} {\"a\": 2, \"b\": 1} ['v', 'w', 'x', 'y', 'z'] ['b', 'a']"}
