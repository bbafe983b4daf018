"""All figures and tables of an experiment from incomplete results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ayt.base import paths
from ayt.base.errors import LONGEST, UserError, escape_unprintable, shorten
from ayt.base.files import write_text
from ayt.experiment.outputs import Output
from ayt.plan.plan import Plan
from ayt.reporting import style, table_files
from ayt.reporting.pages import index_page
from ayt.reporting.scores import gather_scores, write_scores


def draw_what_is_there(plan: Plan) -> list[str]:
    """Gather the existing scores, and draw all figures and tables from what exists, into `paths.partial_name`.

    What cannot be made yet is replaced by a page that says why; ``index.html`` links to all pages.

    Returns:
        What could not be drawn, one line each.
    """
    experiment = plan.experiment
    place = paths.partial_name(experiment.name)
    write_scores(paths.scores_table(place), gather_scores(plan, partial=True))
    problems = [
        *_make_all(plan, "figure", experiment.figures, paths.figure, style.write_placeholder),
        *_make_all(plan, "table", experiment.tables, paths.table, table_files.write_placeholder),
    ]
    links = {
        heading: {name: options.title or name for name, options in named.items()}
        for heading, named in (("figures", experiment.figures), ("tables", experiment.tables))
    }
    write_text(paths.experiment_folder(place) / "index.html", index_page(f"{experiment.name}, so far", links, problems))
    return problems


def _make_all(
    plan: Plan,
    what: str,
    named: Mapping[str, Output],
    path: Callable[[str, str, str], Path],
    write_placeholder: Callable[[Path, str, str], None],
) -> Iterator[str]:
    """Make what can be made, and placeholders for the rest; yields what could not be made."""
    place = paths.partial_name(plan.experiment.name)
    for name, output in named.items():
        out = path(place, name, "csv").with_suffix("")
        try:
            output.make(plan, place, out)
        except UserError as error:
            write_placeholder(out, output.title, f"Not there yet: {error}.")
            yield f"{what} {name}: {error}"
        except Exception as error:  # our own bug: it costs only this one
            told = shorten(escape_unprintable(" ".join(f"{type(error).__name__}: {error}".split())), LONGEST)
            write_placeholder(out, output.title, f"Could not be made, by a fault of the program: {told}.")
            yield f"{what} {name}: {told}; `ayt {what}` of it alone shows where"
