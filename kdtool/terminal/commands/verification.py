"""What `kdtool verify` prints: what was compared, what differs, what could not be checked."""

from rich.console import Console

from kdtool.format import plural, printable
from kdtool.results.commands.verification import Mismatch, Verification
from kdtool.terminal.text import new_table, plain_text, print_table, print_text

MOST_SHOWN = 40  # mismatches; --json has all of them
SHORT = 12  # characters of a SHA-256


def show_verification(console: Console, found: Verification) -> None:
    """Print what was compared of a study, each mismatch, and what could not be checked."""
    table = new_table()
    table.add_column("compared")
    for head in ("values", "differ"):
        table.add_column(head, justify="right")
    for part in found.parts:
        if part.num_compared:
            numbers = (f"{part.num_compared:,}", f"{len(part.mismatches):,}")
            cells = (plain_text(console, one) for one in (part.name, *numbers))
            table.add_row(*cells)
    print_table(console, table)
    for one in found.mismatches[:MOST_SHOWN]:
        print_text(console, plain_text(console, f"does not match: {mismatch_text(one)}", "red"))
    if len(found.mismatches) > MOST_SHOWN:
        rest = len(found.mismatches) - MOST_SHOWN
        print_text(console, plain_text(console, f"and {rest:,} more; --json lists all"))
    for text in found.not_checked:
        print_text(console, plain_text(console, f"not checked: {printable(text)}", "yellow"))
    if found.passed:
        text = f"All {found.num_compared:,} files and values that were compared match."
        print_text(console, plain_text(console, text, "bold"))


def mismatch_text(one: Mismatch) -> str:
    """Return one mismatch as a line."""
    stored, found = one.stored, one.found
    if one.field == "SHA-256":
        stored, found = (text[:SHORT] if _is_hash(text) else text for text in (stored, found))
    return printable(f"{one.file}, {one.field}: {stored} on record, found {found}")


def failure_text(found: Verification) -> str:
    """Return how much does not match, and what to do."""
    count, files = len(found.mismatches), {one.file for one in found.mismatches}
    return (
        f"{plural(count, 'value')} in {plural(len(files), 'file')} of {printable(found.study)} "
        f"{'does' if count == 1 else 'do'} not match; put the original files back, or run the "
        "study's command again: what does not match its SHA-256 is made again"
    )


def _is_hash(text: str) -> bool:
    return len(text) == 64 and text.isalnum()
