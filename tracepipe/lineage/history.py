"""The events behind given ones."""

from collections.abc import Sequence

from tracepipe.store import Event, Input, Store


def ancestors(stores: Sequence[Store], events: Sequence[Event]) -> list[Event]:
    """Return the given events and those of the very versions they were made from, each once.

    Args:
        stores: Where to look, the open store and the withheld one.
        events: Where to begin.
    """
    found: dict[Input, Event] = {}
    waiting = list(events)
    while waiting:
        event = waiting.pop()
        if event.as_input in found:
            continue
        found[event.as_input] = event
        read = [store.version(one) for one in event.inputs for store in stores]
        waiting += [parent for parent in read if parent is not None]
    return list(found.values())
