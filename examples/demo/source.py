"""What one Python source file holds, and what many of them add up to."""

import ast
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

#: Fields of statements that hold further statements (or an ``except`` or ``case`` that does).
BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")


def library() -> Path:
    """The folder of the standard library of the Python that runs."""
    return Path(sysconfig.get_path("stdlib"))


def files(root: Path) -> list[Path]:
    """The Python files below *root* in order, installed packages left out."""
    foreign = {"site-packages", "dist-packages"}
    found = (path for path in root.rglob("*.py") if foreign.isdisjoint(path.parts))
    return sorted(path for path in found if path.is_file())


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
    rows = list(measures)
    total = Counter[str]()
    imported = Counter[str]()
    functions = []
    for row in rows:
        name = str(Path(row["path"]).relative_to(root))
        total.update({key: row.get(key, 0) for key in ("lines", "functions", "classes")})
        imported.update(row.get("imports", {}).keys())
        if row.get("longest"):
            functions.append((*row["longest"], name))
    largest = sorted(rows, key=lambda row: -row["lines"])[:5]
    unreadable = [row for row in rows if "unreadable" in row]
    python = ".".join(map(str, sys.version_info[:3]))
    sums = ", ".join(f"{total[key]:,} {key}" for key in ("lines", "classes", "functions"))
    lines = [
        f"Python {python}: {len(rows):,} files, {sums}",
        _line("largest files", ((Path(row["path"]).name, row["lines"]) for row in largest)),
        _line("longest functions", ((each[1], each[0]) for each in sorted(functions)[:-6:-1])),
        _line("imported by most", imported.most_common(6)),
    ]
    if unreadable:
        names = ", ".join(Path(row["path"]).name for row in unreadable[:3])
        more = f" and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
        lines.append(f"  {'no valid Python':18}  {names}{more}")
    return "\n".join(lines)


def _line(title: str, entries: Iterable[tuple[str, int]]) -> str:
    return f"  {title:18}  " + ", ".join(f"{name} {number:,}" for name, number in entries)
