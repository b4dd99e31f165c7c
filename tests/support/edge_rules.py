"""What must have become of the parts of a workflow, worked out from the parts before each.

Not by ``finish``, which it is there to judge. *run* knows ``headers`` by id, ``joins`` by id and,
in ``runs``, what ran: (id, generation).
"""

import re

from celeriac import states


def check_as_the_edges_say(run, records):
    for id, header in run.headers.items():
        edges = header.edges
        if edges is None:
            continue
        parent = records[id]
        by_itself = failed_by_itself(records, parent)
        failed = parent.state != states.SUCCEEDED and not parent.reason.startswith("not needed:")
        for child in edges.success:
            ran(run, records, child, parent.state == states.SUCCEEDED)
        for child in edges.failure:
            ran(run, records, child, failed)
        for child in edges.own:
            ran(run, records, child, failed and by_itself)
    for join in run.joins.values():
        members = [
            id
            for id, header in run.headers.items()
            if header.edges is not None
            and header.edges.join is not None
            and header.edges.join[0] == join.id
        ]
        body = records[join.body]
        replaced = run.headers[body.id].edges.gathers != join.id
        if replaced and any(records[each].generation for each in members):
            continue  # the join went as the body was replaced, and opens no more with its members
        done = all(records[each].state == states.SUCCEEDED for each in members)
        if join.id.startswith("R"):  # what it took the place of ran before
            # An errback that was replaced runs on with the results there are once it is reopened.
            assert done or body.generation or body.state != states.SUCCEEDED
        else:
            ran(run, records, body.id, done)


def failed_by_itself(records, record):
    """Not because of a record before it, or before the member that failed its join."""
    member = re.match(r"ChordError: member (?:\d+|added later) \((\S+)\) ended", record.reason)
    if member is not None:
        return failed_by_itself(records, records[member[1]])
    return not record.reason.startswith(("UpstreamFailed:", "not needed:"))


def ran(run, records, id, expected):
    """Whether a part ran, in its generation, is what its only releaser's end says."""
    revoked = records[id].reason.startswith("TaskRevokedError")
    at = id, records[id].generation
    edges = run.headers[id].edges
    if expected and edges is not None and (edges.gathers or "").startswith("R"):
        return  # its turn came when it was replaced, which may have been a generation before
    if not (revoked and at not in run.runs):  # else it was revoked before its turn came
        told = f"{at}: {records[id].state} {records[id].reason!r}, should run: {expected}"
        assert (at in run.runs) == expected, told
