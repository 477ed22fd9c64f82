"""README's table of results, made from saved ones. No file is read or written here."""

from collections.abc import Iterator, Mapping

from logbox_pipeline.benchmark.measured import Measured, promised, spread
from logbox_pipeline.benchmark.results import Newest
from logbox_pipeline.benchmark.rows import where

NOTHING = "No results are saved yet."
BEGIN = "<!-- results: made from the newest saved ones -->"
END = "<!-- /results -->"


def markdown(newest: Mapping[str, Newest]) -> str:
    """The newest figures of each part, and where, when and by which command they were measured."""
    if not newest:
        return NOTHING
    return "\n".join([*_runs(newest), "", *_table(newest)])


def put_into(text: str, table: str) -> str:
    """README's text with the table between its marks. Raises ValueError without them."""
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return f"{text[:begin]}\n{table}\n{text[end:]}"


def _runs(newest: Mapping[str, Newest]) -> Iterator[str]:
    runs = {one.results.measured_at: one.results for one in newest.values()}
    for measured_at, results in sorted(runs.items(), reverse=True):
        parts = [name for name, one in newest.items() if one.results is results]
        of_which = "" if len(runs) == 1 else f" ({', '.join(parts)})"
        minutes = sum(newest[name].part.seconds for name in parts) / 60
        yield (
            f"`{results.command}`{of_which}, {measured_at:%Y-%m-%d %H:%M} UTC, "
            f"{minutes:.0f} minutes: {where(results)}."
        )


def _table(newest: Mapping[str, Newest]) -> Iterator[str]:
    yield "| part | work | measured | beside it | bar |"
    yield "|---|---|---|---|---|"
    for name, found in newest.items():
        part = name
        rows: dict[str, list[Measured]] = {}
        for one in found.part.measured:
            rows.setdefault(one.name, []).append(one)
        for same in rows.values():
            cells = (part, *_cells(same))
            yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
            part = ""


def _cells(same: list[Measured]) -> tuple[str, str, str, str]:
    """Of one figure, or of one that grows with something: at all of its sizes in one row."""
    first = same[0]
    if len(same) == 1:
        return first.title, f"**{spread(first)}** {first.unit}", first.beside, _bar(first)
    sizes = " / ".join(f"{one.at:,}" for one in same)
    values = " / ".join(spread(one) for one in same)
    bars = "; ".join(f"{bar} at {one.at:,}" for one in same if (bar := _bar(one)))
    return f"{first.what}; {sizes} {first.of}", f"**{values}** {first.unit}", first.beside, bars


def _bar(one: Measured) -> str:
    return f"{promised(one)}, **missed**" if one.is_met is False else promised(one)
