"""What one Python source file holds, and what many of them add up to."""

import ast
import sysconfig
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Folders that are not the library itself: installed packages, and tests, which many
#: installations lack.
FOREIGN = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test"})
#: What modules that are in no package count for.
SINGLE = "single modules"
#: Fields of statements that hold further statements (or an ``except`` or ``case`` that does).
BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")


def library() -> Path:
    """The folder of the standard library of the Python that runs."""
    return Path(sysconfig.get_path("stdlib"))


def files(root: Path) -> list[Path]:
    """The Python files below *root*, in order, without what is FOREIGN."""
    found = (path for path in root.rglob("*.py") if path.is_file())
    return sorted(path for path in found if FOREIGN.isdisjoint(path.relative_to(root).parts))


def measure(path: Path, encoding: str | None = None) -> dict[str, Any]:
    """Measure one file. What cannot be parsed is counted in lines and says why.

    Without *encoding* the file says it itself, as Python has it: in a comment, else it is UTF-8.
    Raises UnicodeDecodeError (SyntaxError if the first two lines tell) if that is not so.
    """
    found: dict[str, Any] = {"path": str(path), "lines": count_lines(path.read_bytes())}
    with path.open(encoding=encoding) if encoding else tokenize.open(path) as file:
        text = file.read()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in the strings of old modules
            tree = ast.parse(text, filename=str(path))
    except (SyntaxError, ValueError) as error:
        return found | {"unreadable": f"{type(error).__name__}: {error}"}
    functions, classes, imports = [], 0, Counter[str]()
    for node in statements(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            functions.append((length, node.name, node.lineno))
        elif isinstance(node, ast.ClassDef):
            classes += 1
        elif isinstance(node, ast.Import):
            imports.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            imports[node.module.partition(".")[0]] += 1
    return found | {
        "functions": len(functions),
        "classes": classes,
        "longest": max(functions, default=None),
        "imports": dict(imports),
    }


def count_lines(text: bytes) -> int:
    """Lines as an editor counts them."""
    return text.count(b"\n") + (not text.endswith(b"\n") and bool(text))


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Every statement below *tree*. Expressions hold none, so nobody looks into them."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        for block in BLOCKS:
            inner = getattr(node, block, None)
            if isinstance(inner, list):
                todo.extend(inner)


@dataclass
class Package:
    """What the files of one package add up to; a module that is in none is one of SINGLE."""

    name: str
    files: int = 0
    lines: int = 0
    functions: int = 0
    classes: int = 0

    def add(self, measure: Mapping[str, Any]) -> None:
        """Count one file."""
        self.files += 1
        self.lines += measure["lines"]
        self.functions += measure.get("functions", 0)
        self.classes += measure.get("classes", 0)


@dataclass
class Summary:
    """What many files add up to."""

    whole: Package
    packages: list[Package]  # the largest first
    longest: list[tuple[str, int]]  # functions and their lines, the longest first
    imported: list[tuple[str, int]]  # modules and how many files import them, the most first
    unreadable: list[str]


def summary(measures: Iterable[Mapping[str, Any]], root: Path) -> Summary:
    """Add up what :func:`measure` found in files below *root*, and in others."""
    whole, packages = Package("all"), dict[str, Package]()
    functions, imported, unreadable = [], Counter[str](), []
    for measure in measures:
        name = _name(Path(measure["path"]), root)
        package = name.partition("/")[0] if "/" in name else SINGLE
        for each in (whole, packages.setdefault(package, Package(package))):
            each.add(measure)
        imported.update(measure.get("imports", {}).keys())
        if measure.get("longest"):
            length, function, _ = measure["longest"]
            functions.append((f"{name}: {function}", length))
        if "unreadable" in measure:
            unreadable.append(name)
    return Summary(
        whole,
        sorted(packages.values(), key=lambda each: (-each.lines, each.name)),
        sorted(functions, key=lambda each: (-each[1], each[0])),
        sorted(imported.items(), key=lambda each: (-each[1], each[0])),
        sorted(unreadable),
    )


def _name(path: Path, root: Path) -> str:
    """The path below *root*; of a file that is elsewhere its name."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
