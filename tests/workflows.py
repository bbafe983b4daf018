"""The workflow in a folder of its own."""

import re

import forked
from conftest import BIN, ROOT


class Workflow:
    """Snakemake in a folder of its own, with the repository's rules and the profile `local`.

    What `run` and `start` run is forked, its jobs' programs too; `command` is for those that are to start as users
    start it.
    """

    def __init__(self, folder, snakefile=ROOT / "workflow" / "Snakefile"):
        self.folder = folder
        self.snakefile = snakefile

    def arguments(self, experiment, *more):
        where = ["--snakefile", self.snakefile, "--directory", self.folder, "--profile", ROOT / "local"]
        return [*map(str, [*more, *where, "--configfile", experiment])]

    def command(self, experiment, *more):
        return [str(BIN / "snakemake"), *self.arguments(experiment, *more)]

    def run(self, experiment, *more):
        return forked.snakemake(self.arguments(experiment, *more))

    def start(self, experiment, *more):
        return forked.started_snakemake(self.arguments(experiment, *more))

    def planned(self, experiment, *more):
        """The jobs of a dry run: (rule, run or None)."""
        done = self.run(experiment, "--dry-run", *more)
        assert done.returncode == 0, done.stderr
        jobs = re.split(r"\n(?:local)?rule ", done.stdout + done.stderr)[1:]
        # The name of a grid's rule ends in the hash of how it is sampled.
        names = [re.sub(r"^(grid_steps\d+)_.*", r"\1", job.partition(":")[0]) for job in jobs]
        runs = [re.search(r"wildcards: .*?run=([^,\n]+)", job) for job in jobs]
        return [(name, run.group(1) if run else None) for name, run in zip(names, runs, strict=True)]

    def rules(self, experiment, *more):
        return {rule for rule, _ in self.planned(experiment, *more)}
