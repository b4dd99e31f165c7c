"""What is known of a record, as names and texts: what ``why`` rests on.

Layer 4. Pure.
"""

from __future__ import annotations

from celeriac import states
from celeriac.control.phrases import clip, duration, moment, plural
from celeriac.control.reading import header_of, reason_of
from celeriac.records import Record
from celeriac.stamps import keys_of

__all__ = ["facts_of", "limits_of", "stamps_of"]


def facts_of(record: Record, now: float) -> list[tuple[str, str]]:
    """What is known of *record*, as names and texts; *now* is the reader's wall clock."""
    facts = [
        ("task", clip(record.task)),
        ("state", f"{states.visible(record.state, record.retries)} ({record.state})"),
        ("queue", f"{record.queue}, priority {record.priority}"),
        ("sent", moment(record.enqueued_at, now)),
    ]
    for name, then in (("due", record.due), ("expires", record.expires)):
        if then is not None and record.state not in states.TERMINAL:
            facts.append((name, moment(then, now)))
    for name, then in (("started", record.started_at), ("ended", record.ended_at)):
        if then is not None:
            facts.append((name, moment(then, now)))
    counters = [f"attempt {record.attempt}"] if record.attempt else []
    for noun, count in (
        ("retry", record.retries),
        ("crash", record.crashes),
        ("loss", record.losses),
    ):
        if count:
            counters.append(plural(count, noun, {"retry": "retries"}.get(noun, f"{noun}es")))
    if record.generation:
        counters.append(f"reopened {plural(record.generation, 'time')}")
    if counters:
        facts.append(("counted", ", ".join(counters)))
    if limits := limits_of(record):
        facts.append(("limits", limits))
    if stamps := stamps_of(record):
        facts.append(("stamps", stamps))
    if record.reason:
        facts.append(("reason", reason_of(record, 500)))
    if record.cause:
        facts.append(("caused by", record.cause))
    if record.drop_at is not None:
        facts.append(("kept until", moment(record.drop_at, now)))
    return facts


def stamps_of(record: Record) -> str:
    """What its call was stamped with; "" for nothing."""
    header = header_of(record)
    stamps = None if header is None else header.stamps
    return clip(", ".join(keys_of(stamps)), 500) if stamps else ""


def limits_of(record: Record) -> str:
    """The time limits that its call was sent with; "" for none."""
    header = header_of(record)
    if header is None:
        return ""
    parts = []
    if header.soft_time_limit:
        parts.append(f"soft {duration(header.soft_time_limit)}")
    if header.time_limit:
        parts.append(f"hard {duration(header.time_limit)}")
    return ", ".join(parts)
