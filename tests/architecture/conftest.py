"""Prints the report of sizes when the architecture tests have run."""

import architecture_rules as rules
from layers import CONCRETE_STORES, LAYERS
from source_tree import PACKAGE, Module, SourceTree, within

# The rules of thumb for whole parts: lines, what counts, what is counted.
SMALL_LAYERS = (0, 1, 3, 4)
MOST_LINES_OF_SMALL_LAYERS = 5_000
MOST_LINES_OF_A_STORE = 2_000


def pytest_terminal_summary(terminalreporter):
    tree = SourceTree.of_package()
    terminalreporter.section("sizes (lines; rules of thumb in brackets)")
    for line in report(tree):
        terminalreporter.write_line(line)


def report(tree):
    for number, names in LAYERS.items():
        modules = [each for each in tree.modules.values() if rules.layer_of(each.name) == number]
        if modules:
            yield _row(f"L{number} {' '.join(names)}", modules)
    small = [each for each in tree.modules.values() if rules.layer_of(each.name) in SMALL_LAYERS]
    small += [each for each in tree.modules.values() if each.name == f"{PACKAGE}.stores.base"]
    yield (
        f"L0, L1, L3, L4 and stores/base: {_lines(small):,} [about {MOST_LINES_OF_SMALL_LAYERS:,}]"
    )
    for store in CONCRETE_STORES:
        own = [
            each for each in tree.modules.values() if within(each.name, f"{PACKAGE}.stores.{store}")
        ]
        if own:
            yield f"store {store}: {_lines(own):,} [under {MOST_LINES_OF_A_STORE:,}]"


def _row(title: str, modules: list[Module]) -> str:
    file = max(modules, key=lambda each: each.lines)
    functions = [each for module in modules for each in module.callables()]
    longest = max(functions, key=lambda each: each.length, default=None)
    text = (
        f"{title[:34]:34} {len(modules):3} files {_lines(modules):6,}  longest file "
        f"{rules.short(file.name)} {file.lines} [{rules.MOST_LINES_OF_A_FILE}]"
    )
    if longest is None:
        return text
    return (
        f"{text}, function {rules.short(longest.module)}:{longest.name} {longest.length} "
        f"[{rules.MOST_LINES_OF_A_FUNCTION}]"
    )


def _lines(modules: list[Module]) -> int:
    return sum(each.lines for each in modules)
