"""The rules of the layers, as functions from a source tree to a list of what breaks them."""

import re
import sys
from collections.abc import Iterable
from itertools import chain

import layers
from source_tree import PACKAGE, Import, SourceTree, cycles, within

MOST_LINES_OF_A_FILE = 500
MOST_LINES_OF_A_FUNCTION = 60
MOST_PARAMETERS = 8

STANDARD = sys.stdlib_module_names | layers.STANDARD_LATER

LAYER_OF = {name: number for number, names in layers.LAYERS.items() for name in names}


def short(module: str) -> str:
    """The module's name without the package's."""
    return module.removeprefix(PACKAGE).removeprefix(".")


def layer_of(module: str) -> int | None:
    """The layer of a module; None for the root package and for modules without one."""
    return LAYER_OF.get(short(module).partition(".")[0])


def without_layer(tree: SourceTree) -> list[str]:
    return [
        f"{name} has no layer: give it one in tests/support/layers.py"
        for name in tree.modules
        if name != PACKAGE and layer_of(name) is None
    ]


def excepted(each: Import) -> bool:
    doors = chain(layers.IMPORT_EXCEPTIONS, layers.PLANNED_DOORS)
    return any(
        within(short(each.importer), importer) and within(short(each.target), target)
        for importer, target in doors
    )


def upward(tree: SourceTree) -> list[str]:
    found = []
    for each in tree.internal():
        if each.importer == PACKAGE or excepted(each):
            continue
        if each.target == PACKAGE:
            found.append(_told(each, "imports names from the root, which knows every layer"))
            continue
        above, own = layer_of(each.target), layer_of(each.importer)
        if above is not None and own is not None and above > own:
            found.append(_told(each, f"layer {own} imports from layer {above}"))
    return found


def circular(tree: SourceTree) -> list[str]:
    low = {name for name in tree.modules if layer_of(name) in layers.WITHOUT_CYCLES}
    edges: dict[str, set[str]] = {name: set() for name in low}
    for each in tree.internal():
        if each.importer in low and each.target in low:
            edges[each.importer].add(each.target)
    return [f"know each other: {', '.join(group)}" for group in cycles(edges)]


def eager_root(tree: SourceTree) -> list[str]:
    """The root may import the package only for type checkers: at run time it is lazy."""
    return [
        _told(each, "is imported when the package is; use the table of names")
        for each in tree.internal()
        if each.importer == PACKAGE and each.module_level
    ]


def concrete_stores(tree: SourceTree) -> list[str]:
    found = []
    for store in layers.CONCRETE_STORES:
        home = f"{PACKAGE}.stores.{store}"
        found += [
            _told(each, "names a concrete store; use stores.connect(url)")
            for each in tree.internal()
            if within(each.target, home)
            and each.importer != f"{PACKAGE}.stores"
            and not within(each.importer, home)
            and not excepted(each)
        ]
    return found


def siblings(tree: SourceTree) -> list[str]:
    """Worker and beat, and the files of contrib, do not know each other."""
    families = [[f"{PACKAGE}.{name}" for name in layers.LAYERS[5]]]
    contrib = f"{PACKAGE}.contrib."
    parts = {
        contrib + name.removeprefix(contrib).partition(".")[0]
        for name in tree.modules
        if name.startswith(contrib)
    }
    families.append(sorted(parts))
    return [
        _told(each, "is a sibling; siblings do not import each other")
        for family in families
        for each in tree.internal()
        for importer in family
        for target in family
        if importer != target
        and within(each.importer, importer)
        and within(each.target, target)
        and not excepted(each)
    ]


def web_sees_control_only(tree: SourceTree) -> list[str]:
    web, control = f"{PACKAGE}.web", f"{PACKAGE}.control"
    return [
        _told(each, "is not control; the dashboard uses the package through control only")
        for each in tree.internal()
        if within(each.importer, web) and not within(each.target, web)
        and not within(each.target, control)
    ]  # fmt: skip


def third_parties(tree: SourceTree) -> list[str]:
    found = []
    for each in tree.third_party(STANDARD):
        package = each.target.partition(".")[0]
        own = layer_of(each.importer)
        if package in layers.EVERYWHERE_ABOVE_0 and own is not None and own > 0:
            continue
        homes = layers.THIRD_PARTY.get(package, ())
        if not any(within(short(each.importer), home) for home in homes):
            where = ", ".join(homes) or "nowhere"
            found.append(_told(each, f"may be imported in: {where}"))
    return found


def undeclared(tree: SourceTree, requirements: Iterable[str]) -> list[str]:
    declared = {re.split(r"[^A-Za-z0-9_.-]", each)[0].lower() for each in requirements}
    return [
        _told(each, "is not declared in pyproject.toml")
        for each in tree.third_party(STANDARD)
        if each.target.partition(".")[0] not in declared
    ]


def too_long_files(tree: SourceTree) -> dict[str, str]:
    return {
        short(name): f"{name} has {module.lines} lines"
        for name, module in tree.modules.items()
        if module.lines > MOST_LINES_OF_A_FILE
    }


def too_long_functions(tree: SourceTree) -> dict[str, str]:
    return {
        f"{short(each.module)}:{each.name}": f"{each.module}:{each.line} {each.name} has "
        f"{each.length} lines"
        for module in tree.modules.values()
        for each in module.callables()
        if each.length > MOST_LINES_OF_A_FUNCTION
    }


def too_wide_constructors(tree: SourceTree) -> dict[str, str]:
    return {
        f"{short(each.module)}:{each.name.removesuffix('.__init__')}": f"{each.module}:{each.line} "
        f"{each.name} takes {each.parameters} parameters"
        for module in tree.modules.values()
        for each in module.callables()
        if each.name.endswith("__init__") and each.parameters > MOST_PARAMETERS
    }


def _told(each: Import, why: str) -> str:
    return f"{each.importer}:{each.line} {each.target}: {why}"
