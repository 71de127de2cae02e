"""What `kdtool profile --budget` prints: each file against each budget."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from kdtool.format import listed, plural
from kdtool.report.budget import budget_interval, budget_sentences, budget_value
from kdtool.results.decision import BudgetCheck
from kdtool.terminal.text import ascii_table, plain_text, print_table

FITS = {
    "within budget": ("passes", "green"),
    "over budget": ("fails", "red"),
    "not known to be within budget": ("not known", "yellow"),
}


def show_budgets(console: Console, checks: Sequence[BudgetCheck], names: Mapping[str, str]) -> None:
    """Print a row for each file and budget: the value, its interval, the limit, and the result.

    Args:
        console: The output.
        checks: Nothing is printed without any.
        names: The name that is shown for each path.
    """
    if not checks:
        return
    table = ascii_table("file", "budget", "value", "95 % interval", "at most", "result")
    for check in checks:
        word, style = FITS[check.fit]
        value = "-" if check.value is None else budget_value(check, check.value)
        texts = (value, budget_interval(check) or "-", budget_value(check, check.limit))
        cells = [plain_text(console, text.removesuffix(" of memory")) for text in texts]
        budget = check.budget.removeprefix("max_").rpartition("_")[0]
        table.add_row(names[check.file], budget, *cells, Text(word, style))
    print_table(console, table)


def failure_text(checks: Sequence[BudgetCheck], *, with_values: bool) -> str:
    """Return which files fail, and the values of their budgets; at least one check fails."""
    broken = [check for check in checks if check.fit != "within budget"]
    failed = list(dict.fromkeys(check.file for check in broken))
    files = plural(len({check.file for check in checks}), "file")
    text = f"{len(failed)} of {files} failed --budget"
    reasons = " ".join(budget_sentences(broken)).rstrip(".")
    return f"{text}: {reasons if with_values else listed(failed)}"
