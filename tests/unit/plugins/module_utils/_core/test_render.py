# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What templates make, and what is said of those that make nothing."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ansible_collections.watcher.config.plugins.module_utils._core import sandbox
from ansible_collections.watcher.config.plugins.module_utils._core.errors import DeployError
from ansible_collections.watcher.config.plugins.module_utils._core.model import File
from ansible_collections.watcher.config.plugins.module_utils._core.render import (
    MAX_RENDERED,
    Renderer,
    is_template,
    rendered,
    target,
)
from ansible_collections.watcher.config.plugins.module_utils._core.values import Values
from ansible_collections.watcher.config.tests.unit.templates import OWN, VALUES, error, project, text

UPSTREAM = """\
upstream app {
{% for service in gets("/services/web/*") %}
    server {{ service.value }};  # {{ loop.index }} of {{ loop.length }}: {{ service.key }}
{% else %}
    server 127.0.0.1:1;
{% endfor %}
}
"""


def test_files_are_replaced() -> None:
    """Templates give way to what they make; other files stay as they are, bytes and all."""
    wanted = project({"a.j2": "{{ getv('port') }}", "sub/b.conf.j2": "b", "plain": b"\xff{{ x", "j2": "", "x.j2x": ""})
    done = Renderer().render(wanted, VALUES)
    assert {path: file.content for path, file in done.files.items()} == {
        "a": b"80",
        "sub/b.conf": b"b",
        "plain": b"\xff{{ x",
        "j2": b"",
        "x.j2x": b"",
    }
    assert done.files["a"] == File.of(b"80")
    assert replace(done, files=wanted.files, published="") == wanted


def test_the_digest_stays_that_of_the_tree() -> None:
    """What others compare a status with are the files as they are published."""
    wanted = project({"a.j2": "{{ getv('port') }}"})
    done = Renderer().render(wanted, VALUES)
    assert done.published == done.digest == wanted.digest
    assert replace(done, published="").digest != wanted.digest


def test_only_when_asked() -> None:
    """Without the field, or a policy, a template is a file like others."""
    off = project({"a.j2": "{{ nope }}"}, render=False)
    for wanted in (off, replace(off, policy=None)):
        assert Renderer().render(wanted, VALUES) is wanted


def test_a_manifest_names_what_is_published() -> None:
    """Rendering waits until the tree has what it names; what is made then is what it names."""
    plain = project({"a.j2": "{{ getv('port') }}", "b": "b"})
    manifest = {path: file.digest for path, file in plain.files.items()}
    wanted = project({"a.j2": "{{ getv('port') }}", "b": "b"}, files=manifest)
    done = Renderer().render(wanted, VALUES)
    assert done.policy is not None and done.policy.files == {"a": File.of(b"80").digest, "b": manifest["b"]}
    assert done.unmatched == ""
    half = project({"a.j2": "{{ nope }}"}, files=manifest)
    assert half.unmatched and Renderer().render(half, VALUES) is half


def test_bad_templates_keep_what_they_made() -> None:
    """A key that cannot be taken is no wish to remove the file that was made before."""
    wanted = replace(project({}), kept=frozenset(["big.conf.j2", "big"]))
    assert Renderer().render(wanted, VALUES).kept == {"big.conf", "big"}


def test_names() -> None:
    """A template knows where it is, and the policy as far as it was given."""
    assert (
        text("{{ host }} {{ project }} {{ policy.deployPath }} {{ policy.watch }}") == "web01 a.com /srv ['/services']"
    )
    assert "'dict object' has no attribute 'owner'" in error("{{ policy.owner }}")
    assert text("{{ policy.owner | default('root') }}") == "root"


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("", ""),
        ("x", "x"),
        ("x\n", "x\n"),
        ("x\n\n\n", "x\n\n\n"),
        ("x\r\ny\rz\r\n", "x\ny\nz\n"),
        ("{% if 1 %}\nx\n{% endif %}\ny\n", "x\ny\n"),
        ("  {% if 1 %}\nx\n  {% endif %}\ny", "  x\n  y"),
        ("  {%- if 1 %}\nx\n  {%- endif %}\ny", "xy"),
        ("{# a\nb #}\nx\n", "x\n"),
        ("{{ 1 }}\nx\n", "1\nx\n"),
        ("\u00fc {{ '\u00fc' }} \U0001f600\n", "\u00fc \u00fc \U0001f600\n"),
        ("<{{ '<&>\"' }}>", '<<&>">'),
        ("# a\n## {% raw %}{{ x }}{% endraw %}\n", "# a\n## {{ x }}"),
    ],
)
def test_text_around(source: str, made: str) -> None:
    """Line ends and blanks are those of Ansible's template module; nothing is escaped."""
    assert text(source) == made


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("{{ getv('port') }} {{ getv('no', 'd') }} {{ getv('no', 5) + 1 }}", "80 d 6"),
        ("{{ getv('port') | int + 1 }}", "81"),
        ("{{ getv('/services/web/2').split(':')[0] }}", "10.0.0.2"),
        ("{{ getvs('/services/*/*') | join(',') }}", "10.0.0.1:80,10.0.0.2:80"),
        ("{% for name in ls('/services/web') %}{{ name }};{% endfor %}", "1;2;"),
        ("{{ lsdir('/services') | first }}", "web"),
        ("{% if exists('port') and not exists('no') %}yes{% endif %}", "yes"),
        ("{% set db = json('db') %}{{ db.a[1].b }} {{ db['z'] }} {{ db.n is none }} {{ db.t }}", "c 1 True True"),
        ("{{ json('db') | tojson }}", '{"a": [1, {"b": "c"}], "n": null, "t": true, "z": 1}'),
        ("{% for key, value in json('db').items() %}{{ key }} {% endfor %}", "z a n t "),
        ("{% for key, value in json('db') | dictsort %}{{ key }} {% endfor %}", "a n t z "),
        ("{{ gets('/services/web/*') | map(attribute='key') | join(' ') }}", "/services/web/1 /services/web/2"),
        ("{{ gets('/services/web/*') | selectattr('value', 'eq', '10.0.0.1:80') | list | length }}", "1"),
        ("{{ '%s:%05d' % ('a', 7) }} {{ 'a' ~ 1 ~ none }} {{ 'ab' * 2 }} {{ 2 ** 10 }} {{ 7 // 2 }}",
         "a:00007 a1None abab 1024 3"),
        ("{{ 'abcdef'[1:3] }} {{ [1, 2, 3][-1] }} {{ [1] + [2] }} {{ (1, 2) }}", "bc 3 [1, 2] (1, 2)"),
        ("{{ 'b' in 'abc' }} {{ 3 > 2 > 1 }} {{ 'x' if 1 == 2 else 'y' }}", "True True y"),
        ("{{ ', '.join(['a', 'b'] | map('upper')) }} {{ 'a'.center(3, '-') }}", "A, B -a-"),
        ("{{ 'ab\ncd' | indent(2) }} {{ 'x' | center(5) }} {{ 3.14159 | round(2) }}", "ab\n  cd   x   3.14"),
        ("{% for row in range(5) | batch(2, '-') %}{{ row | join }};{% endfor %}", "01;23;4-;"),
        ("{% set ns = namespace(n=0) %}{% for i in range(5) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "10"),
        ("{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, b=3) }}", "1-2 1-3"),
        ("{% macro m(context, target) %}{{ context }}{{ target }}{% endmacro %}{{ m(context='b', target='c') }}", "bc"),
        ("{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}x{% endcall %}", "<x>"),
        ("{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}", "123"),
        ("{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}", "aba"),
        ("{% set j = joiner(',') %}{% for i in range(3) %}{{ j() }}{{ i }}{% endfor %}", "0,1,2"),
        ("{{ dict(a=1).a }} {{ dict(a=1) | items | list }}", "1 [('a', 1)]"),
        ("{{ [3, 1, 2] | sort | last }} {{ [1, 1] | unique | list }} {{ [1, 2] | sum }}", "3 [1] 3"),
        ("{% for g in [{'a': 1}, {'a': 2}] | groupby('a') %}{{ g.grouper }}={{ g.list | length }} {% endfor %}",
         "1=1 2=1 "),
        ("{% filter upper %}x{% endfilter %}{% set b %}y{% endset %}{{ b }}", "Xy"),
        ("{% include 'head.j2' %}{% include 'no.j2' ignore missing %}{% include ['no.j2', 'head.j2'] %}", "hh"),
        ("{% from 'tools.j2' import twice %}{{ twice('x') }}", "xx"),
        ("{% import 'tools.j2' as tools %}{{ tools.twice('x') }}", "xx"),
        ("{% extends 'base.j2' %}{% block body %}mine {{ super() }}{% endblock %}", "[mine yours]"),
    ],
)  # fmt: skip
def test_made(source: str, made: str) -> None:
    """What users of jinja2 know works."""
    others = {
        "head": "h",
        "tools": "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}",
        "base": "[{% block body %}yours{% endblock %}]",
    }
    assert text(source, VALUES, **others) == made


def test_a_list_of_services() -> None:
    """It grows and shrinks with what is there, in the order of the keys."""
    two = "    server {}:80;  # {} of 2: /services/web/{}\n"
    assert text(UPSTREAM) == f"upstream app {{\n{two.format('10.0.0.1', 1, 1)}{two.format('10.0.0.2', 2, 2)}}}\n"
    assert text(UPSTREAM, Values(OWN, ("/services",))) == "upstream app {\n    server 127.0.0.1:1;\n}\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a\n\n{{ nope }}", "x.j2, line 3: 'nope' is undefined"),
        ("{{ nope() }}", "x.j2, line 1: 'nope' is undefined"),
        ("{{ nope.a.b }}", "x.j2, line 1: 'nope' is undefined"),
        ("{% for x in nope %}{% endfor %}", "x.j2, line 1: 'nope' is undefined"),
        ("{% if nope %}{% endif %}", "x.j2, line 1: 'nope' is undefined"),
        ("{{ nope ~ '' }}", "x.j2, line 1: 'nope' is undefined"),
        ("{{ 'a' == nope }}", "x.j2, line 1: 'nope' is undefined"),
        ("{{ [nope] | join }}", "x.j2, line 1: 'nope' is undefined"),
        ("\n{{ json('db').nope }}", "x.j2, line 2: 'dict object' has no attribute 'nope'"),
        ("{{ [1][5] }}", "x.j2, line 1: list object has no element 5"),
        ("\n{{ getv('no') }}", f"x.j2, line 2: key '{OWN}no' is not in the tree; put it there, or give getv a default"),
        ("{{ json('port2') }}", f"x.j2, line 1: key '{OWN}port2' is not in the tree"),
        ("{{ getv('latin') }}", f"x.j2, line 1: the value of key '{OWN}latin' is not UTF-8 text"),
        ("{{ getv('/other') }}", "x.j2, line 1: key '/other' is outside of what the project sees"),
        ("x\n{% if %}", "x.j2, line 2: Expected an expression, got 'end of statement block'"),
        ("x\n{{ 'a' \n", "x.j2, line 2: unexpected end of template"),
        ("{% for x in y %}\n", "x.j2, line 1: Unexpected end of template."),
        ("{{ 'a' | nope }}", "x.j2, line 1: No filter named 'nope'."),
        ("{{ 'a' is nope }}", "x.j2, line 1: No test named 'nope'."),
        ("{% include 'nope.j2' %}", "x.j2, line 1: template 'nope.j2' is not in the project"),
        ("{% include '../../etc/passwd' %}", "x.j2, line 1: template '../../etc/passwd' is not in the project"),
        ("{% include '/etc/passwd' %}", "x.j2, line 1: template '/etc/passwd' is not in the project"),
        ("\n\n{% include 'z.j2' %}", "z.j2, line 2: 'inner' is undefined"),
        ("\n\n{% import 'z.j2' as z %}", "z.j2, line 2: 'inner' is undefined"),
        ("{% include 'y.j2' %}", "y.j2, line 3: unexpected '}'"),
        ("{{ 1 / 0 }}", "x.j2, line 1: division by zero (ZeroDivisionError)"),
        ("{{ 'a' + 1 }}", 'x.j2, line 1: can only concatenate str (not "int") to str (TypeError)'),
        ("{% for x in 5 %}{% endfor %}", "x.j2, line 1: 'int' object is not iterable (TypeError)"),
        ("{{ getv() }}", "(TypeError)"),
        ("{{ ls('a', 'b') }}", "(TypeError)"),
        ("{{ getv }}", "x.j2, line 1: a function is used as text; call it, with parentheses"),
        ("{{ '' ~ ls }}", "x.j2, line 1: a function is used as text; call it, with parentheses"),
        ("{{ [1] | map('string') }}", "x.j2, line 1: a generator is used as text; add |list or |join to it"),
        ("{{ '%s' % [getv] }}", "x.j2, line 1: a function is used as text; call it, with parentheses"),
        ("{{ namespace() }}", "x.j2, line 1: a Namespace is used as text"),
        ("{{ getv('no\n\u2028x', getv('no\n\u2028x')) }}", f"key '{OWN}no\\\\n\\\\u2028x' is not in the tree"),
        ("{{ getv('" + "n" * 100_000 + "') }}", "nnn"),
    ],
)  # fmt: skip
def test_what_is_said(source: str, said: str) -> None:
    """One sentence of bounded length: host, project, template, line, name or key."""
    found = error(source, z="\n{{ inner }}", y="\n\n{{ } }}")
    assert said in found
    assert len(found) < 1000


def test_no_text() -> None:
    """A template that is no text is none."""
    assert error(b"\n\xff{{ 1 }}") == "x.j2: it is not UTF-8 text (invalid start byte)"


def test_content_that_is_not_there() -> None:
    """Nothing is rendered from a digest."""
    wanted = project({"x.j2": "x"})
    wanted = replace(wanted, files={"x.j2": replace(wanted.files["x.j2"], content=None)})
    with pytest.raises(DeployError, match=r"template x\.j2: its content is not at hand"):
        Renderer().render(wanted, VALUES)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["a.j2", "a"], "a.j2: it would be deployed as a, which a is in the way of"),
        (["a.j2", "a/b"], "a.j2: it would be deployed as a, which a/b is in the way of"),
        (["a.j2", "a/b.j2"], "a.j2: it would be deployed as a, which a/b.j2 is in the way of"),
        (["a/b/c.j2", "a/b.j2"], "a/b.j2: it would be deployed as a/b, which a/b/c.j2 is in the way of"),
        (["a.j2/b.j2", "a.j2.j2"], "a.j2.j2: it would be deployed as a.j2, which a.j2/b.j2 is in the way of"),
        (["a/b/c.j2", "a/b"], "a/b/c.j2: it would be deployed as a/b/c, which a/b is in the way of"),
        ([".j2"], ".j2: without .j2, file '' cannot be deployed: it has an empty segment"),
        (["a/.j2"], "a/.j2: without .j2, file 'a/' cannot be deployed: it has an empty segment"),
        (["...j2"], "...j2: without .j2, file '..' cannot be deployed: it has a segment . or .."),
    ],
)
def test_no_place_for_it(files: list[str], said: str) -> None:
    """Two files for one path, or a file for a folder, are refused by both names."""
    found = rendered(Renderer(), project(dict.fromkeys(files, "x")), VALUES)
    assert found.render_error == f"host web01, project a.com, template {said}"


def test_places_beside_each_other() -> None:
    """Names that only look alike do not stand in each other's way."""
    files = ["a.j2", "ab", "a.j2.j2x", "b.j2.j2", "c/d.j2", "c/e", "c.d.j2"]
    done = Renderer().render(project(dict.fromkeys(files, "x")), VALUES)
    assert set(done.files) == {"a", "ab", "a.j2.j2x", "b.j2", "c/d", "c/e", "c.d"}


def test_one_error_is_all_of_it() -> None:
    """A project with one bad template has none rendered: it is as published, with the reason."""
    wanted = project({"a.j2": "good", "b.j2": "{{ nope }}"})
    done = rendered(Renderer(), wanted, VALUES)
    assert done == replace(wanted, render_error="host web01, project a.com, template b.j2, line 1: 'nope' is undefined")
    assert done.digest == wanted.digest
    with pytest.raises(DeployError, match=r"^host web01, project a\.com, template b\.j2, line 1: 'nope' is undefined$"):
        Renderer().render(wanted, VALUES)


def test_what_it_makes_has_a_limit() -> None:
    """A file may be as large as the limit, and no larger."""
    megabyte = "x" * (1 << 20)
    most = MAX_RENDERED >> 20
    assert len(text(f"{{% for i in range({most}) %}}{megabyte}{{% endfor %}}")) == MAX_RENDERED
    assert f"it becomes larger than {MAX_RENDERED} bytes" in error(
        f"{{% for i in range({most}) %}}{megabyte}{{% endfor %}}x"
    )


def test_lone_surrogates() -> None:
    """What UTF-8 cannot hold is an error, not a crash."""
    assert "x.j2, line 2: a text has half of a character" in error(
        "\n{{ json('s') }}", replace(VALUES, items={OWN + "s": b'"\\ud800"'})
    )


def test_a_renderer_remembers_code_and_no_values() -> None:
    """The same template gives what the values say now; a changed one what it says now."""
    renderer = Renderer()
    source = project({"x.j2": "{{ getv('port') }} {{ host }}"})
    for port in (b"1", b"2"):
        done = renderer.render(source, Values(OWN, (), {OWN + "port": port}))
        assert done.files["x"].content == port + b" web01"
    assert renderer.render(replace(source, host="web02"), VALUES).files["x"].content == b"80 web02"
    done = renderer.render(project({"x.j2": "{% include 'y.j2' %}", "y.j2": "new"}), VALUES)
    assert done.files["x"].content == b"new"
    done = renderer.render(project({"x.j2": "{% include 'y.j2' %}", "y.j2": "newer"}), VALUES)
    assert done.files["x"].content == b"newer"


def test_equal_templates_share_code() -> None:
    """Each still goes by its own name."""
    renderer = Renderer()
    source = "\n{{ getv('port') }}"
    renderer.render(project({"a.j2": source, "b.j2": source}), VALUES)
    assert renderer._codes.get(source) is not None
    found = rendered(renderer, project({"c.j2": source}), Values(OWN)).render_error
    assert found.startswith("host web01, project a.com, template c.j2, line 2: key ")


def test_a_renderer_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project whose templates change for ever does not fill the memory."""
    monkeypatch.setattr(sandbox, "MAX_KEPT", 3 * 8192 + 100)
    renderer = Renderer()
    known = []
    for number in range(10):
        assert renderer.render(project({"x.j2": f"{number}"}), VALUES).files["x"].content == b"%d" % number
        known.append([other for other in range(10) if renderer._codes.get(f"{other}") is not None])
    assert known == [[0], [0, 1], [0, 1, 2], [3], [3, 4], [3, 4, 5], [6], [6, 7], [6, 7, 8], [9]]


def test_threads_share_a_renderer() -> None:
    """Each gets its own values, and its own limits."""
    renderer = Renderer()
    source = project({"x.j2": "{% for i in range(3000) %}{{ getv('port') }}{% endfor %}"})

    def one(number: int) -> bytes | None:
        return renderer.render(source, Values(OWN, (), {OWN + "port": b"%d," % number})).files["x"].content

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(40))) == [b"%d," % number * 3000 for number in range(40)]


@pytest.mark.parametrize("seed", range(3))
def test_the_order_is_always_the_same(seed: int) -> None:
    """Neither the order in which keys came nor that of files matters."""
    names = [f"k{(number * 7 + seed * 3) % 20:02}" for number in range(20)]
    values = Values(OWN, (), {OWN + name: name.encode() for name in names})
    source = "{{ getvs('*') | join }}{{ ls(policy.deployPath[:0] ~ '" + OWN + "') | join }}"
    done = Renderer().render(project({f"{name}.j2": source for name in names}), values)
    wanted = "".join(sorted(names)) * 2
    assert {file.content for file in done.files.values()} == {wanted.encode()}


def test_without_jinja2(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without it says so, for projects that need it only."""
    sandbox._classes.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    said = error("x")
    assert said.startswith("x.j2: templates need the Python package jinja2, which cannot be imported here (")
    plain = project({"x": "{{"})
    assert rendered(Renderer(), plain, VALUES).files == plain.files
    monkeypatch.undo()
    assert text("{{ 1 }}") == "1"


@pytest.mark.parametrize("version", ["2.11.3", "3.0.3"])
def test_an_old_jinja2(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """One that does things differently is not used."""
    sandbox._classes.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", SimpleNamespace(__version__=version, sandbox=None))
    assert error("x") == f"x.j2: templates need jinja2 3.1 or newer, here is {version}; install it"
    monkeypatch.undo()
    assert text("{{ 1 }}") == "1"


@pytest.mark.parametrize(("path", "name"), [("a.j2", "a"), ("a", "a"), ("a.j2/b", "a.j2/b"), ("a.J2", "a.J2")])
def test_targets(path: str, name: str) -> None:
    """Only the end of a path makes a template."""
    assert target(path) == name
    assert is_template(path) == (path != name)
