"""What one Python source file holds, and what many of them add up to."""

import ast
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

#: Folders that are not the library itself: installed packages, and tests, which many
#: installations lack.
FOREIGN = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test"})
#: Fields of statements that hold further statements (or an ``except`` or ``case`` that does).
BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")


def library() -> Path:
    """The folder of the standard library of the Python that runs."""
    return Path(sysconfig.get_path("stdlib"))


def files(root: Path) -> list[Path]:
    """The Python files below *root*, in order, without what is FOREIGN."""
    found = (path for path in root.rglob("*.py") if path.is_file())
    return sorted(path for path in found if FOREIGN.isdisjoint(path.relative_to(root).parts))


def measure(path: Path) -> dict[str, Any]:
    """Measure one file. What cannot be parsed is counted in lines and says why."""
    text = path.read_bytes()
    found: dict[str, Any] = {"path": str(path), "lines": count_lines(text)}
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


def report(measures: Iterable[dict[str, Any]], root: Path) -> str:
    """The sums and the top lists, as text."""
    rows = [row | {"name": str(Path(row["path"]).relative_to(root))} for row in measures]
    total, imported = Counter[str](), Counter[str]()
    functions = []
    for row in rows:
        total.update({key: row.get(key, 0) for key in ("lines", "classes", "functions")})
        imported.update(row.get("imports", {}).keys())
        if row.get("longest"):
            length, function, _ = row["longest"]
            functions.append((length, f"{row['name']}:{function}"))
    largest = sorted(rows, key=lambda row: -row["lines"])[:5]
    unreadable = [row["name"] for row in rows if "unreadable" in row]
    python = ".".join(map(str, sys.version_info[:3]))
    sums = ", ".join(f"{number:,} {key}" for key, number in total.items())
    lines = [
        f"Python {python}: {len(rows):,} files, {sums}",
        _line("largest files", ((row["name"], row["lines"]) for row in largest)),
        _line("longest functions", ((name, length) for length, name in sorted(functions)[:-5:-1])),
        _line("imported by most", imported.most_common(6)),
    ]
    if unreadable:
        more = f" and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
        lines.append(f"  {'no valid Python':18}  {', '.join(unreadable[:3])}{more}")
    return "\n".join(lines)


def _line(title: str, entries: Iterable[tuple[str, int]]) -> str:
    return f"  {title:18}  " + ", ".join(f"{name} {number:,}" for name, number in entries)
