"""Table of published scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ayt.base.errors import UserError
from ayt.datasets.base import DATASETS
from ayt.experiment.outputs import TABLES, Description, Mistakes, Table

if TYPE_CHECKING:
    import pandas as pd

    from ayt.plan.plan import Plan


@TABLES.register
class PublishedTable(Table):
    """FIDs that others have published on the dataset, with their sources."""

    name: ClassVar[str] = "published"
    description: ClassVar[Description] = Description(
        shown="FIDs that others have published on this dataset, with their sources. Nothing here was measured by this"
        " workflow.",
        in_the_paper="its comparison with other methods; rows whose source is the paper, or another repository, say"
        " so.",
    )

    def check(self, mistakes: Mistakes) -> None:
        """Report a dataset on which nothing is published."""
        if not mistakes.experiment.dataset.of_the_paper:
            known = ", ".join(name for name, dataset in DATASETS.kinds.items() if dataset.of_the_paper)
            mistakes.report(TABLES.key, self.name, f"what is published is of {known}")

    def inputs(self, plan: Plan) -> list[Path]:
        """None: the numbers are the package's own."""
        return []

    def make(self, plan: Plan, place: str, out: Path) -> None:
        """Write what is published."""
        from ayt.reporting.published import fids

        tabulate_published(fids(plan.experiment.dataset), out, self.title)


def tabulate_published(published: pd.DataFrame, out: Path, title: str) -> None:
    """Write a table of FIDs as others have published them.

    Args:
        published: as `ayt.reporting.published.fids` gives.
        out: where to, without ending.
        title: of the table.

    Raises:
        UserError: nothing is published on the dataset.
    """
    from ayt.reporting.table_files import write_table

    if published.empty:
        raise UserError(f"{out.name}: no FID is published on this dataset")
    text = published.assign(fid=[f"{fid:.2f}" for fid in published["fid"]]).astype(object)
    cells = text.where(published.notna(), "–").set_index("method").astype(str)
    caption = "As their authors print them; not measured here. nfe: evaluations of the network for one image."
    write_table(out, published, cells, title, caption)
