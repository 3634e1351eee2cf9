"""Footnotes that only some rows of a table have."""

from collections.abc import Mapping, Sequence


def name_owners(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """A table's footnotes, each once, in the order of the rows.

    Args:
        notes: row -> its footnotes.

    Returns:
        Those of all rows as they are; those of some behind the names of these rows: `A; B: footnote`.
    """
    owners: dict[str, list[str]] = {}
    for row, own in notes.items():
        for note in own:
            owners.setdefault(note, []).append(row)
    return [note if len(rows) == len(notes) else f"{'; '.join(rows)}: {note}" for note, rows in owners.items()]
