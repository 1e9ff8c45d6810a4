"""Library entries as facts: what a module, class or function is called, takes, raises and says of itself."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["module", "class", "function", "method", "property", "topic"]
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Definition:
    """One documented name."""

    module: str
    """Module it is imported from."""
    qualified_name: str
    """Dotted name, the module included."""
    kind: Kind
    """What it is."""
    docstring: str
    """What it says of itself, dedented; empty when it says nothing."""
    signature: str | None = None
    """Dotted name with parameters; None where it takes none or they are not known."""
    parameters: tuple[tuple[str, str | None], ...] = ()
    """Name and default of each parameter, `self` left out; None: no default."""
    raises: tuple[str, ...] = ()
    """Exceptions it raises by its source or its docstring, sorted."""
    methods: tuple[str, ...] = ()
    """Public methods a class defines itself, in order."""
    code: str = ""
    """Source without docstring; empty where there is none."""

    @property
    def name(self) -> str:
        """The last part of the dotted name."""
        return self.qualified_name.rpartition(".")[2]

    @property
    def is_private(self) -> bool:
        """Whether a part of the name starts with an underscore."""
        return any(part.startswith("_") for part in self.qualified_name.split("."))


def definitions(module: str, source: str) -> Iterator[Definition]:
    """The module itself, then its classes and functions, nested classes included. Raises SyntaxError.

    What is private counts as one definition, whatever it holds.
    """
    unread = Definition(module, module, "module", "")
    if unread.is_private:
        yield unread
        return
    tree = ast.parse(source)
    lines = source.split("\n")  # not splitlines(), which also breaks at form feeds, where ast counts no line
    yield replace(unread, docstring=docstring_of(tree))
    for node in entries(tree.body):
        yield from entry(node, module, module, lines, in_class=False)


def entries(body: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """Classes and functions of a body, those under `if` and `try` too (platforms, optional accelerators)."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node
            case ast.If():
                yield from entries([*node.body, *node.orelse])
            case ast.Try():
                yield from entries([*node.body, *(inner for handler in node.handlers for inner in handler.body), *node.orelse])


def entry(node: Function | ast.ClassDef, module: str, parent: str, lines: list[str], in_class: bool) -> Iterator[Definition]:
    """The definition of a node, and of what a class holds."""
    name = f"{parent}.{node.name}"
    kind: Kind = "class" if isinstance(node, ast.ClassDef) else "method" if in_class else "function"
    docstring = docstring_of(node)
    if node.name.startswith("_"):
        yield Definition(module, name, kind, docstring)
        return
    if not isinstance(node, ast.ClassDef):
        yield function(node, module, name, docstring, lines, in_class) if docstring else Definition(module, name, kind, "")
        return
    inner = list(entries(node.body))
    functions = [item for item in inner if not isinstance(item, ast.ClassDef)]
    yield class_definition(node, module, name, docstring, functions)
    for item in inner:
        yield from entry(item, module, name, lines, in_class=True)


def class_definition(node: ast.ClassDef, module: str, name: str, docstring: str, functions: list[Function]) -> Definition:
    """The definition of a class; it is called with the parameters of its `__init__`."""
    initialiser = next((item for item in functions if item.name == "__init__"), None)
    return Definition(
        module=module,
        qualified_name=name,
        kind="class",
        docstring=docstring,
        signature=render_signature(name, initialiser, bound=True) if initialiser else None,
        parameters=parameters_of(initialiser.args, bound=True) if initialiser else (),
        raises=raises_of(initialiser, docstring) if initialiser else (),
        methods=tuple(dict.fromkeys(item.name for item in functions if not item.name.startswith("_") and not is_property(item))),
    )


def function(node: Function, module: str, name: str, docstring: str, lines: list[str], in_class: bool) -> Definition:
    """The definition of a function, a method or a property."""
    bound = in_class and "staticmethod" not in decorators(node)
    takes = not (in_class and is_property(node))
    return Definition(
        module=module,
        qualified_name=name,
        kind="property" if not takes else "method" if in_class else "function",
        docstring=docstring,
        signature=render_signature(name, node, bound) if takes else None,
        parameters=parameters_of(node.args, bound) if takes else (),
        raises=raises_of(node, docstring),
        code=code_of(node, lines),
    )


def docstring_of(node: ast.Module | ast.ClassDef | Function) -> str:
    """The dedented docstring, or nothing."""
    return ast.get_docstring(node, clean=True) or ""


def decorators(node: Function) -> set[str]:
    """Last names of the decorators: `property`, `setter`, `staticmethod`, ..."""
    targets = (item.func if isinstance(item, ast.Call) else item for item in node.decorator_list)
    return {target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "") for target in targets}


def is_property(node: Function) -> bool:
    """Whether it is read like an attribute."""
    return not decorators(node).isdisjoint({"property", "cached_property", "setter", "getter", "deleter", "DynamicClassAttribute"})


def render_signature(name: str, node: Function, bound: bool) -> str:
    """`shutil.copytree(src, dst, symlinks=False)`, with the annotations it has."""
    arguments = ast.unparse(without_self(node.args) if bound else node.args)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{name}({arguments}){returns}"


def without_self(arguments: ast.arguments) -> ast.arguments:
    """The arguments of a method as a caller sees them."""
    positional_only, positional = arguments.posonlyargs, arguments.args
    if positional_only:
        positional_only = positional_only[1:]
    else:
        positional = positional[1:]
    defaults = arguments.defaults[-(len(positional_only) + len(positional)) or len(arguments.defaults) :]
    return ast.arguments(
        positional_only, positional, arguments.vararg, arguments.kwonlyargs, arguments.kw_defaults, arguments.kwarg, defaults
    )


def parameters_of(arguments: ast.arguments, bound: bool) -> tuple[tuple[str, str | None], ...]:
    """Name and default of each parameter; `*args` and `**kwargs` with their stars."""
    arguments = without_self(arguments) if bound else arguments
    positional = [*arguments.posonlyargs, *arguments.args]
    padding: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = [*zip(positional, [*padding, *arguments.defaults], strict=True)]
    found = [(item.arg, ast.unparse(default) if default else None) for item, default in pairs]
    if arguments.vararg:
        found.append((f"*{arguments.vararg.arg}", None))
    found += [
        (item.arg, ast.unparse(default) if default else None)
        for item, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    if arguments.kwarg:
        found.append((f"**{arguments.kwarg.arg}", None))
    return tuple(found)


DOCUMENTED_RAISE = re.compile(r"\b[Rr]aises?\s+(?:an?\s+)?`{0,2}([A-Z]\w*(?:Error|Exception|Interrupt|Iteration|Exit))\b")


def raises_of(node: Function, docstring: str) -> tuple[str, ...]:
    """Exception names of its own `raise` statements and of `Raises X` in its docstring."""
    found = set(DOCUMENTED_RAISE.findall(docstring))
    for item in walk_own(node):
        if isinstance(item, ast.Raise) and item.exc is not None:
            raised = item.exc.func if isinstance(item.exc, ast.Call) else item.exc
            name = raised.attr if isinstance(raised, ast.Attribute) else getattr(raised, "id", "")
            if name[:1].isupper():  # a lower-case name is a variable that holds an exception
                found.add(name)
    return tuple(sorted(found))


def walk_own(node: Function) -> Iterator[ast.AST]:
    """The nodes of a function that run when it is called: none of the functions and classes inside it."""
    waiting: list[ast.AST] = list(node.body)
    while waiting:
        item = waiting.pop()
        yield item
        if not isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda | ast.expr):
            waiting.extend(ast.iter_child_nodes(item))


def code_of(node: Function, lines: list[str]) -> str:
    """The source lines from `def` on, without the docstring, dedented."""
    start, end = node.lineno - 1, node.end_lineno or node.lineno
    body = node.body[0]
    is_docstring = isinstance(body, ast.Expr) and isinstance(body.value, ast.Constant) and isinstance(body.value.value, str)
    if not is_docstring:
        kept = lines[start:end]
    elif len(node.body) == 1 or body.lineno == node.lineno:
        return ""  # nothing but a docstring, or all of it on one line
    else:
        kept = lines[start : body.lineno - 1] + lines[body.end_lineno : end]
    return inspect.cleandoc("\n" + "\n".join(kept)).strip()
