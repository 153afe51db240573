"""Label Studio's JSON-MIN: a flat record for each annotation, turned back into tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# The control of Label Studio's own template for classes: of a text under any other name it
# cannot be told whether it is a chosen class or came with the task.
CHOICE = "choice"


def is_minimal(record: Mapping[str, Any]) -> bool:
    """Whether it is a record of JSON-MIN, and not a task."""
    return "annotations" not in record and "annotation_id" in record


def join_minimal(
    records: Iterable[tuple[str, Mapping[str, Any]]],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Records with the place where they stand; those of JSON-MIN as tasks, in their order.

    The annotations of one task are put together. What is neither a list of regions nor a
    choice is taken to be data of the task.
    """
    joined: dict[Any, tuple[str, dict[str, Any]]] = {}
    for where, record in records:
        if not is_minimal(record):
            yield where, record
            continue
        annotation = {"id": record["annotation_id"], "result": list(_read_results(record))}
        key = record.get("id", where)
        if key not in joined:
            joined[key] = where, {"id": key, "data": dict(record), "annotations": []}
        joined[key][1]["annotations"].append(annotation)
    yield from joined.values()


def _read_results(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, value in record.items():
        if name == CHOICE and isinstance(value, str):
            yield {"type": "choices", "value": {"choices": [value]}}
        for part in value if isinstance(value, list) else ():
            if not isinstance(part, Mapping):
                continue
            # A rectangle has its labels under the name of its tag, or none.
            kind = next((kind for kind in ("choices", "labels") if kind in part), None)
            is_rectangle = {"x", "y", "width", "height"} <= part.keys()
            yield {"type": kind or ("rectanglelabels" if is_rectangle else name), "value": part}
