# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""jinja2's sandbox, made smaller: what a template may use, for a price (see `budget`).

Nothing is in reach that differs from run to run, from host to host or from one version of jinja2 to the next.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple

from .budget import NODE, Budget
from .errors import DeployError
from .values import STEP, Functions, Values

OLDEST = (3, 1)  # of jinja2
MAX_KEPT = 64 << 20  # bytes, about, that compiled templates may have in memory


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FILTERS = _names("""
abs batch capitalize center count d default dictsort e escape filesizeformat first float format groupby indent int items
join last length list lower map max min reject rejectattr replace reverse round safe select selectattr slice sort string
striptags sum title tojson trim truncate unique upper urlencode wordcount wordwrap xmlattr
""")
TESTS = _names("""
boolean defined divisibleby eq equalto even false float ge greaterthan gt in integer iterable le lessthan lower lt
mapping ne none number odd sequence string true undefined upper == != < <= > >=
""")
GLOBALS = _names("cycler dict joiner namespace range")
METHODS: tuple[tuple[type, frozenset[str]], ...] = (
    (
        str,  # not format, which reaches into its arguments; the operator % does the same without that
        _names("""
        capitalize casefold center count endswith expandtabs find index isalnum isalpha isascii isdecimal isdigit
        isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip partition
        removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip
        swapcase title upper zfill
        """),
    ),
    (tuple, _names("count index key value grouper list")),
    (list, _names("count index")),
    (dict, _names("get items keys values")),
)
HINTS = {  # what users of Python and Ansible write, and what they can write here
    "append": "; add lists with +",
    "extend": "; add lists with +",
    "format": "; use the operator % or the filter format",
    "update": "; use dict(old, name=value)",
}


class Codes:
    """Compiled templates by source; when they become too large, all are forgotten. Shared by threads."""

    def __init__(self) -> None:
        """Begin with none."""
        self._codes: dict[bytes, CodeType] = {}
        self._size = 0

    def get(self, source: str) -> CodeType | None:
        """Return the code of a source, if it is known."""
        return self._codes.get(_key(source))

    def keep(self, source: str, code: CodeType) -> None:
        """Keep the code of a source."""
        size = 8192 + 8 * len(source)
        if self._size + size > MAX_KEPT:
            self._codes, self._size = {}, 0
        self._codes[_key(source)] = code
        self._size += size


def _key(source: str) -> bytes:
    return hashlib.sha256(source.encode("utf-8")).digest()


def environment(sources: Mapping[str, str], values: Values, codes: Codes) -> Any:
    """Return a jinja2 environment that knows these templates, by name, and the functions.

    Blocks and line ends are treated as Ansible's template module does by default: the newline after a block
    goes, spaces before it stay, the newline at the end stays, CR LF becomes LF. Raise DeployError without jinja2.
    """
    classes, budget = _classes(), Budget()
    sandbox = classes.sandbox(
        undefined=classes.undefined,
        loader=classes.loader(sources, codes),
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=False,
        newline_sequence="\n",
        optimized=False,
        autoescape=False,
        finalize=budget.printable,
    )
    sandbox.budget, sandbox.concat = budget, budget.concat
    sandbox.filters = {name: budget.guarded(name, sandbox.filters[name]) for name in FILTERS & sandbox.filters.keys()}
    sandbox.filters.update({"(each)": budget.each, "(walk)": budget.walk, "(weighed)": budget.weighed})
    sandbox.tests = {name: budget.checked(sandbox.tests[name]) for name in TESTS & sandbox.tests.keys()}
    sandbox.globals = {name: sandbox.globals[name] for name in GLOBALS}
    sandbox.globals.update(Functions(values, budget.spend).named())
    return sandbox


class _Classes(NamedTuple):
    """What is made of jinja2 once it is there."""

    sandbox: Any
    loader: Any
    undefined: Any


@lru_cache(maxsize=1)
def _classes() -> _Classes:
    """Raise DeployError when jinja2 is missing or too old."""
    try:
        jinja2 = importlib.import_module("jinja2")
        found = str(getattr(jinja2, "__version__", "0"))
        if tuple(map(int, re.findall(r"\d+", found)[:2])) < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise DeployError(f"templates need jinja2 {oldest} or newer, here is {found}; install it")
        sandbox = importlib.import_module("jinja2.sandbox")
    except ImportError as error:
        raise DeployError(
            f"templates need the Python package jinja2, which cannot be imported here ({error}); install it"
        ) from None
    nodes = jinja2.nodes

    class Loader(jinja2.BaseLoader):  # type: ignore[name-defined]
        def __init__(self, sources: Mapping[str, str], codes: Codes) -> None:
            self._sources, self._codes = sources, codes

        def load(self, environment: Any, name: str, globals: Any = None) -> Any:
            """Return a template, compiled once."""
            source = self._sources.get(name)
            if source is None:
                raise jinja2.TemplateNotFound(name)
            # Also where it is known, or others would come further with the same templates. To compile takes up to 70 us
            # for a tag and 10 us for a character.
            environment.budget.spend(STEP * (source.count("{{") + source.count("{%")) + 4 * len(source))
            code = self._codes.get(source)
            if code is None:
                code = environment.compile(_priced(nodes, environment.parse(source, name, name)), name, name)
                self._codes.keep(source, code)
            template = environment.template_class.from_code(environment, code, globals or {})
            template.name = name  # the code may have been another's of the same source
            return template

    class Sandbox(sandbox.ImmutableSandboxedEnvironment):  # type: ignore[name-defined]
        intercepted_binops = frozenset(("+", "*", "**", "%"))
        template_error = jinja2.TemplateError
        syntax_error = jinja2.TemplateSyntaxError
        not_found = jinja2.TemplateNotFound

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            """Return whether an attribute is a value's, or a method that changes nothing and has a price."""
            for kind, names in METHODS:
                if isinstance(obj, kind):
                    return attr in names
            of_jinja = type(obj).__module__.startswith("jinja2.") and not isinstance(obj, type)
            return of_jinja and super().is_safe_attribute(obj, attr, value)

        def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
            """Return what says that an attribute is not in reach, and what to write instead."""
            what = f"{attribute} of a {type(obj).__name__} is not in reach of templates{HINTS.get(attribute, '')}"
            return self.undefined(what, obj=obj, name=attribute, exc=sandbox.SecurityError)

        def getitem(self, obj: Any, argument: Any) -> Any:
            """Return an item, for a price: paths in ``attribute=`` may be long."""
            self.budget.spend(NODE)
            return super().getitem(obj, argument)

        def wrap_str_format(self, value: Any) -> None:
            """Leave the method format to `is_safe_attribute`, which refuses it."""

        def call(self, context: Any, target: Any, /, *args: Any, **kwargs: Any) -> Any:
            """Call something for a price."""
            budget, own = self.budget, getattr(target, "__self__", None)
            if isinstance(own, str):
                args = tuple(list(budget.each(value)) if isinstance(value, Iterator) else value for value in args)
                budget.pay(target.__name__, own, [*args, *kwargs.values()])
            elif isinstance(own, (list, tuple)):
                budget.spend(budget.weigh([own, args]))
            elif isinstance(target, jinja2.runtime.LoopContext):
                args = tuple(map(budget.each, args))
            budget.spend(STEP + 2 * NODE * (len(args) + len(kwargs)))
            return budget.made(super().call(context, target, *args, **kwargs))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            """Operate for a price."""
            self.budget.operate(operator, left, right)
            made = super().call_binop(context, operator, left, right)
            return made if isinstance(made, (list, tuple)) else self.budget.made(made)

    return _Classes(Sandbox, Loader, jinja2.StrictUndefined)


def _priced(nodes: Any, tree: Any) -> Any:
    """Return a parsed template whose loops, macros, and operators that the sandbox does not look at, have a price."""
    bodies = (nodes.Template, nodes.Block, nodes.Macro, nodes.CallBlock, nodes.For)

    def through(name: str, node: Any, *numbers: int) -> Any:
        more = {"lineno": node.lineno, "environment": tree.environment}
        return nodes.Filter(node, name, [nodes.Const(number, **more) for number in numbers], [], None, None, **more)

    def parts(node: Any) -> int:
        """Return how many parts a node has, without those that are gone through on their own."""
        return 1 + sum(parts(child) for child in node.iter_child_nodes() if not isinstance(child, bodies))

    for node in [tree, *tree.find_all(bodies)]:
        if isinstance(node, nodes.For):
            node.iter = through("(each)", node.iter, *([parts(node.test)] if node.test else []))
        count = parts(node)
        if NODE * count > STEP:  # what a step of a loop or a call costs, covers as much
            more = {"lineno": node.lineno, "environment": tree.environment}
            node.body.insert(0, nodes.ExprStmt(through("(walk)", nodes.Const(count, **more)), **more))
    for node in list(tree.find_all((nodes.Concat, nodes.Compare, nodes.Getitem))):
        if isinstance(node, nodes.Concat):
            node.nodes = [through("(weighed)", part) for part in node.nodes]
        elif isinstance(node, nodes.Compare):
            node.expr = through("(weighed)", node.expr)
            for operand in node.ops:
                operand.expr = through("(weighed)", operand.expr)
        elif isinstance(node.arg, nodes.Slice):
            node.node = through("(weighed)", node.node)
    return tree
