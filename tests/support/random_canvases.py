"""Random workflows as plain data: built into canvases, written as code, and evaluated directly.

A *tree* is JSON: dicts with ``k``, the kind. :func:`evaluate` is the reference: it walks a tree as
the documentation describes what a canvas does, and knows nothing of plans, edges and stores.
"""

import hashlib
import json
import pprint
from dataclasses import dataclass, field

from celeriac import chain, chord, group
from celeriac.records import INLINE_RESULT_MAX

#: How a part ends; most succeed. The first ones do so in every run.
WELL = ["ok"] * 10 + ["retry"]
ILL = ["fail", "give_up", "soft", "expire", "revoke"]
#: For processes alone: what ends, or is ended with, the process that it runs in.
DEADLY_WELL, DEADLY_ILL = ["crash"], ["lost", "hard"]
HASTY = "hasty"
#: Fails until somebody has mended what is wrong.
MENDABLE = "mendable"
#: A queue that no worker takes from: what expires or is revoked there never ran.
UNSERVED = "unserved"


def mixed(number, *values):
    """A value that says how it came about: short, or, of every eleventh part, too long to travel
    with the delivery of what takes it."""
    digest = hashlib.blake2b(json.dumps([number, *values]).encode(), digest_size=6).hexdigest()
    return digest + "." * (INLINE_RESULT_MAX if number % 11 == 0 else 0)


# -- trees ---------------------------------------------------------------------------------------


class Maker:
    """Makes one tree. *pick* chooses (``random.Random``)."""

    def __init__(self, pick, name, *, processes=False, ill=0.12):
        self.pick = pick
        self.name = name
        self.ill = ill
        self.well_kinds = WELL + (DEADLY_WELL if processes else [])
        self.ill_kinds = ILL + (DEADLY_ILL if processes else [])
        self.number = 0
        self.revoked = False

    def tree(self, depth=3):
        """A tree that begins with one part, so that something is released by something."""
        return {"k": "chain", "of": [self.part(), self.some(depth), self.part()], "err": []}

    def fresh(self):
        self.number += 1
        return self.number

    def some(self, depth, fixed=True):
        kinds = ["part"] * 3 if depth <= 0 else ["chain"] * 4 + ["group"] * 3 + ["chord"] * 3
        if depth > 0:
            kinds += ["part", "swap", "swap", "chunks"]
        return getattr(self, self.pick.choice(kinds))(depth, fixed=fixed)

    def part(self, _depth=0, fixed=True):
        """One call. Without *fixed* its id will be another one's: nobody can revoke it."""
        ill = self.pick.random() < self.ill
        kinds = [each for each in (self.ill_kinds if ill else self.well_kinds)
                 if each != "revoke" or (fixed and not self.revoked)]  # fmt: skip
        do = self.pick.choice(kinds)
        # One at most: it ends when it is stored, and of two the one could end the other first.
        self.revoked |= do == "revoke"
        return {
            "k": "part",
            "n": self.fresh(),
            "do": do,
            "imm": self.pick.random() < 0.2,
            "link": self.noted(0.1),
            "err": self.noted(0.2),
        }

    def noted(self, often):
        return [self.fresh()] if self.pick.random() < often else []

    def chain(self, depth, fixed=True):
        count = self.pick.randint(2, 4)
        of = [self.some(depth - 1, fixed or at < count - 1) for at in range(count)]
        # Of a chain that ends side by side, each member would have the errbacks.
        err = self.noted(0.3) if of[-1]["k"] in ("part", "swap") else []
        if err:  # a part that is revoked ends at once, so two parts of the chain could fail
            for each in parts_of({"k": "chain", "of": of}):
                each["do"] = "fail" if each["do"] == "revoke" else each["do"]
        return {"k": "chain", "of": of, "err": err}

    def group(self, depth, fixed=True):
        """Of two or more: in a chain, a group of one is that one."""
        return {"k": "group", "of": [self.some(depth - 1) for _ in range(self.pick.randint(2, 4))]}

    def chord(self, depth, fixed=True):
        of = [
            self.grow() if self.pick.random() < 0.2 else self.some(depth - 1)
            for _ in range(self.pick.randint(1, 4))
        ]
        return {"k": "chord", "of": of, "body": self.part(fixed=fixed)}

    def grow(self):
        """A member that adds others."""
        return {"k": "grow", "n": self.fresh(), "add": [self.added() for _ in range(2)]}

    def added(self):
        return {**self.part(), "link": [], "err": []}

    def swap(self, depth, fixed=True):
        """A part that something else takes the place of."""
        to = self.some(depth - 1, fixed=False)
        return {"k": "swap", "n": self.fresh(), "to": to, "err": self.noted(0.3)}

    def chunks(self, _depth, fixed=True):
        return {"k": "chunks", "calls": [[self.fresh(), 0] for _ in range(self.pick.randint(1, 5))]}


def hasten(tree, pick):
    """Let some parts of *tree* expire if they do not run soon: what comes of it is open."""
    for each in parts_of(tree):
        if each["do"] == "ok" and pick.random() < 0.3:
            each["do"] = HASTY
    return tree


def mendable(tree):
    """*tree*, all parts of which that fail do so until they are mended."""
    made = json.loads(json.dumps(tree))
    for each in parts_of(made):
        each["do"] = each["do"] if each["do"] in WELL + DEADLY_WELL else MENDABLE
    return made


def mended(tree):
    """What a tree that is mendable is once it is mended."""
    made = json.loads(json.dumps(tree))
    for each in parts_of(made):
        each["do"] = "ok" if each["do"] == MENDABLE else each["do"]
    return made


def parts_of(tree):
    """Yield all parts that have an id of their own."""
    if tree["k"] == "part":
        yield tree
    for each in (*tree.get("of", ()), *tree.get("add", ())):
        yield from parts_of(each)
    for name in ("body", "to"):
        if name in tree:
            yield from parts_of(tree[name])


def placed(tree, name, id=None):
    """Yield all parts, each with the id of its record: what takes the place of another, or its last
    part, has the *id* of that one."""
    if tree["k"] == "part":
        yield tree, id or f"{name}.{tree['n']}"
    elif tree["k"] == "swap":
        yield from placed(tree["to"], name, id or f"{name}.{tree['n']}")
    *early, last = (*tree.get("of", ()), *tree.get("add", ()), None)
    if tree["k"] == "chain":
        *early, last = early
    for each in early:
        yield from placed(each, name)
    for each in filter(None, (last, tree.get("body"))):
        yield from placed(each, name, id)


def errbacks_of(tree):
    """Numbers of all errbacks in *tree*."""
    found = set(tree.get("err", ()))
    for each in (*tree.get("of", ()), *tree.get("add", ())):
        found |= errbacks_of(each)
    for name in ("body", "to"):
        if name in tree:
            found |= errbacks_of(tree[name])
    return found


def revoked_ids(tree, name):
    """Ids of the parts that are to be revoked."""
    return [f"{name}.{each['n']}" for each in parts_of(tree) if each["do"] == "revoke"]


def as_code(tree, name):
    """A regression test of this workflow, as code."""
    shown = pprint.pformat(tree, width=92, compact=True, sort_dicts=False)
    return f"TREE = {shown}\n\ndef test_it(scene):\n    scene.check([({name!r}, TREE)])\n"


# -- canvases ------------------------------------------------------------------------------------


def build(app, tree, name):
    """The canvas of *tree*; its parts have ids that begin with *name*."""
    return getattr(_Builder(app, name), tree["k"])(tree)


class _Builder:
    def __init__(self, app, name):
        self.app = app
        self.name = name

    def any(self, tree):
        return getattr(self, tree["k"])(tree)

    def task(self, kind, *args, **kwargs):
        return self.app.tasks[kind].s(*args, **kwargs)

    def notes(self, numbers, kind):
        return [self.task(kind, n=number, name=self.name) for number in numbers]

    def part(self, tree):
        do, number = tree["do"], tree["n"]
        task = {"soft": "soft", "hard": "hard", "lost": "lost"}.get(do, "part")
        made = self.task(task, n=number, do=do, name=self.name)
        options = {"task_id": f"{self.name}.{number}", "immutable": tree["imm"]}
        if do in ("expire", "revoke"):
            options["queue"] = UNSERVED
        if do in ("expire", HASTY):
            options["expires"] = 0.2 if do == "expire" else 1.0
        made.set(**options)
        for each in self.notes(tree["link"], "note"):
            made.link(each)
        return made.on_error(*self.notes(tree["err"], "mourn")) if tree["err"] else made

    def chain(self, tree):
        made = chain(*map(self.any, tree["of"]))
        return made.on_error(*self.notes(tree["err"], "mourn")) if tree["err"] else made

    def group(self, tree):
        return group(list(map(self.any, tree["of"])))

    def chord(self, tree):
        return chord(list(map(self.any, tree["of"])), self.any(tree["body"]))

    def grow(self, tree):
        return self.task("grow", n=tree["n"], add=tree["add"], name=self.name)

    def swap(self, tree):
        made = self.task("swap", n=tree["n"], to=tree["to"], name=self.name)
        return made.on_error(*self.notes(tree["err"], "mourn")) if tree["err"] else made

    def chunks(self, tree):
        return self.app.tasks["mix"].chunks(tree["calls"], 2)


# -- the reference -------------------------------------------------------------------------------


class _Bad(str):
    """Not a value."""

    __slots__ = ()


#: What something is given: nothing; the failure of what is before it; of a member of its header.
NOTHING, FAILED, HEADER = _Bad("nothing"), _Bad("failed"), _Bad("header")


@dataclass
class Expected:
    """What must have come of a tree: its value, and the numbers of what has run."""

    value: object = None
    ran: set = field(default_factory=set)
    added: list = field(default_factory=list)
    revoked: int = 0


def evaluate(tree):
    """Return what comes of *tree*; its ``value`` is FAILED if it fails."""
    made = Expected()
    made.value = _value(tree, NOTHING, made)
    return made


def _bad(value):
    return value is FAILED or value is HEADER


def _value(tree, given, made):
    return _KINDS[tree["k"]](tree, given, made)


def _part(tree, given, made):
    do = tree.get("do", "ok")
    if do == "revoke":  # before it was stored: it ends there and then, whatever is before it
        made.revoked += 1
        made.ran.update(tree["err"])
        return FAILED
    if _bad(given):
        if given is HEADER:
            made.ran.update(tree.get("err", ()))
        return FAILED
    if do != "expire":
        made.ran.add(tree["n"])
    if do not in WELL + DEADLY_WELL:
        made.ran.update(tree["err"])
        return FAILED
    made.ran.update(tree.get("link", ()))
    return mixed(tree["n"], *([] if given is NOTHING or tree.get("imm") else [given]))


def _chain(tree, given, made):
    value = given
    for each in tree["of"]:
        value = _value(each, value, made)
    if value is FAILED and given is not FAILED:
        made.ran.update(tree["err"])
    return HEADER if value is HEADER else value


def _group(tree, given, made):
    """The list; what follows is the body of a join of its members."""
    if _bad(given):
        before = made.revoked
        for each in tree["of"]:
            _value(each, FAILED, made)
        return FAILED if made.revoked == before else HEADER
    values = [_value(each, given, made) for each in tree["of"]]
    return HEADER if any(map(_bad, values)) else values


def _chord(tree, given, made):
    before, made.added = made.added, []
    header = _group(tree, given, made)
    added = [_value(each, NOTHING, made) for each in made.added]
    made.added = before
    if header is not FAILED and any(map(_bad, added)):
        header = HEADER
    elif not _bad(header):
        header += added
    return _value(tree["body"], header, made)


def _grow(tree, given, made):
    value = _part(tree, given, made)
    if value is not FAILED:
        made.added += tree["add"]
    return value


def _swap(tree, given, made):
    if _bad(given):
        return _part(tree, given, made)
    made.ran.add(tree["n"])
    value = _value(tree["to"], NOTHING, made)
    if _bad(value):
        made.ran.update(tree["err"])
        return FAILED
    return value


def _chunks(tree, given, made):
    if _bad(given):
        return FAILED
    calls = [mixed(*each) for each in tree["calls"]]
    return [calls[at : at + 2] for at in range(0, len(calls), 2)]


_KINDS = {
    "part": _part,
    "chain": _chain,
    "group": _group,
    "chord": _chord,
    "grow": _grow,
    "swap": _swap,
    "chunks": _chunks,
}
