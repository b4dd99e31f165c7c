"""The package's source as data: which module imports which, how long things are.

Reads with `ast` and imports nothing, so that a module that cannot be imported is still judged,
and so that a rule can be shown to bite on a made-up tree.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "celeriac"


@dataclass(frozen=True)
class Import:
    """One module named by an import statement or a literal `import_module` call."""

    importer: str
    target: str  # a module, in full
    line: int
    module_level: bool


@dataclass(frozen=True)
class Callable:
    """A function or method."""

    module: str
    name: str  # Class.method
    line: int
    length: int  # lines without decorators and docstring
    parameters: int  # without self or cls


@dataclass(frozen=True)
class Module:
    name: str
    text: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    def callables(self) -> Iterator[Callable]:
        yield from self._callables(self.tree, "")

    def _callables(self, node: ast.AST, prefix: str) -> Iterator[Callable]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                name = prefix + child.name
                yield Callable(
                    self.name, name, child.lineno, _length(child), _parameters(child, bool(prefix))
                )
                yield from self._callables(child, f"{name}.")
            elif isinstance(child, ast.ClassDef):
                yield from self._callables(child, f"{prefix}{child.name}.")
            else:
                yield from self._callables(child, prefix)


@dataclass(frozen=True)
class SourceTree:
    """All modules of the package by full name."""

    modules: dict[str, Module] = field(default_factory=dict)

    @classmethod
    def of_package(cls) -> "SourceTree":
        base = ROOT / "src" / PACKAGE
        return cls.of_files(
            {str(path.relative_to(base)): path.read_text("utf-8") for path in base.rglob("*.py")}
        )

    @classmethod
    def of_files(cls, files: dict[str, str]) -> "SourceTree":
        """A tree from paths relative to the package, and texts."""
        modules = {}
        for path, text in sorted(files.items()):
            parts = [PACKAGE, *Path(path).with_suffix("").parts]
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            modules[name] = Module(name, text, is_package)
        return cls(modules)

    @cached_property
    def imports(self) -> list[Import]:
        """Every import anywhere in the package, those for type checkers included."""
        return [each for module in self.modules.values() for each in self._imports_of(module)]

    def internal(self) -> list[Import]:
        return [each for each in self.imports if within(each.target, PACKAGE)]

    def third_party(self, standard: Iterable[str]) -> list[Import]:
        ours = {PACKAGE, *standard}
        return [each for each in self.imports if each.target.partition(".")[0] not in ours]

    def _imports_of(self, module: Module) -> Iterator[Import]:
        top = {id(node) for node in module.tree.body}
        for node in ast.walk(module.tree):
            for target in self._targets(module, node):
                yield Import(module.name, target, getattr(node, "lineno", 0), id(node) in top)

    def _targets(self, module: Module, node: ast.AST) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            source = _absolute(module, node)
            # `from package import x` names the module x if there is one, else the package.
            return [
                full if (full := f"{source}.{alias.name}") in self.modules else source
                for alias in node.names
                # The version is text in the root file and loads nothing.
                if (source, alias.name) != (PACKAGE, "__version__")
            ]
        if isinstance(node, ast.Call) and _name(node.func) == "import_module" and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                return [first.value]
        return []


def within(module: str, package: str) -> bool:
    """Whether `module` is `package` or lies in it."""
    return module == package or module.startswith(package + ".")


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(edges.get(node, ())):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            at = stack.index(node)
            group = sorted(stack[at:])
            del stack[at:]
            if len(group) > 1 or node in edges.get(node, ()):
                found.append(group)

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    up = node.level - 1 if module.is_package else node.level
    base = parts[: len(parts) - up]
    return ".".join([*base, node.module] if node.module else base)


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    length = node.end_lineno - node.lineno + 1
    first = node.body[0]
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        assert first.end_lineno is not None
        length -= first.end_lineno - first.lineno + 1
    return length


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, in_class: bool) -> int:
    arguments = node.args
    count = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
    static = any(_name(each) == "staticmethod" for each in node.decorator_list)
    return count - 1 if in_class and not static and count else count
