"""Results: which are kept."""

from __future__ import annotations


def keeps(asked: bool | None, task: bool | None, setting: bool, backend: bool) -> bool:
    """Whether a run's result is kept.

    *asked* is ``ignore_result`` of the call, *task* of the task, *setting* is
    ``task_ignore_result``: the first that says something counts. Without a *backend* nothing is.
    """
    if not backend:
        return False
    ignored = asked if asked is not None else task if task is not None else setting
    return not ignored
