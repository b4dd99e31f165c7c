"""Workflows of any shape, for tests that hold one store against another."""

from celeriac.message import Edges, NewJoin
from celeriac.testing.conformance import message

#: How a part hangs on those before it; most follow a success.
KINDS = ["success"] * 5 + ["failure", "failure", "own", "own", "root", "body", "body"]


def random_plan(pick, fresh, flow):
    """Messages and joins of a workflow; *pick* chooses, *fresh* makes ids.

    Each part waits for one that comes before it, as its successor or one of its errbacks, for a
    join of some of those, or for nothing.
    """
    ids = [fresh("w") for _ in range(pick.randint(2, 8))]
    edges = {id: {} for id in ids}
    joins = []
    for place, id in enumerate(ids[1:], 1):
        kind = pick.choice(KINDS)
        before = ids[:place]
        if kind == "body":
            joins.append(random_join(pick, fresh("J"), id, before, edges))
        elif kind != "root":
            parent = pick.choice(before)
            edges[id]["waits"] = True
            edges[parent][kind] = (*edges[parent].get(kind, ()), id)
            if kind == "success" and pick.random() < 0.5:
                edges[id]["takes"] = parent
            elif kind != "success" and pick.random() < 0.7:
                edges[id]["told"] = parent
            else:
                edges[id]["after"] = parent
    messages = [
        message(
            id,
            queue=pick.choice("qqr"),
            nonce="plan",
            flow=flow,
            edges=Edges(**edges[id]) if edges[id] else None,
        )
        for id in ids
    ]
    if pick.random() < 0.5:
        messages.reverse()
    return messages, joins


def random_join(pick, join, body, before, edges):
    """A join of up to three of the parts *before* its body that are in none yet."""
    free = [id for id in before if "join" not in edges[id]]
    members = pick.sample(free, min(len(free), pick.randint(0, 3)))
    for index, id in enumerate(members):
        edges[id]["join"] = (join, index)
        if pick.random() < 0.8:
            edges[id]["within"] = (join, index)
    edges[body] |= {"waits": True, "gathers": join}
    return NewJoin(join, body, len(members))
