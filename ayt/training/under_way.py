"""What a segment keeps during training: lease, resume state, log, unpublished snapshots.

Declared outputs appear only at the end: a workflow removes them before it restarts a job, and the resume state would be
useless without the snapshots before it. Once they exist, nothing else is kept: a segment that is started again is
retrained.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ayt.base import paths, weights
from ayt.base.errors import UserError
from ayt.base.files import link, remove_parts, write_text
from ayt.base.processes import Processes
from ayt.base.progress import ProgressLine
from ayt.base.stopped import Stopped
from ayt.plan.runs import Segment
from ayt.training.lease import Lease
from ayt.training.log import CsvLog, Sink, open_sinks, write_empty
from ayt.training.state import TrainingState


class UnderWay:
    """The files of one segment of one run during training; only the first process has them.

    Args:
        folder: of the run.
        segment: the segment in training.
        averages: names of the run's averages; the first is empty.
        take_over: stop another process that trains this run.
        processes: the processes that train the run together.
        commit: commit of the running source.
    """

    def __init__(
        self,
        folder: Path,
        segment: Segment,
        averages: Sequence[str],
        take_over: bool,
        processes: Processes,
        commit: str | None,
    ) -> None:
        self.folder = folder
        self.segment = segment
        self.averages = averages
        self.processes = processes
        self.resume = paths.resume_folder(folder)
        # The lease.
        self.lease = Lease(self.resume, take_over) if processes.first else None
        self.state_file = self.resume / "state.safetensors"
        self.log = self.resume / "log.csv"
        self._commit = commit

    def begin(self, state: TrainingState) -> None:
        """Load the latest usable state, in every process; remove what does not belong to this segment."""
        found = self.processes.from_first(self._find_furthest(state.run) if self.lease else None)
        trained_by = state.load(found) if found else []
        resumed = found == self.state_file
        if found and not resumed and state.iteration != self.segment.start:
            raise UserError(f"{found}: is at iteration {state.iteration}, not {self.segment.start}")
        highest = self.processes.highest
        if highest(state.iteration) != -highest(-state.iteration):
            raise UserError(f"{found}: processes read it at different iterations; the file system shows an old file")
        state.commits = trained_by if resumed else []
        if self._commit and state.iteration < self.segment.stop and self._commit not in state.commits[-1:]:
            state.commits = [*state.commits, self._commit]
        if not self.lease:
            return
        if resumed:
            _report(f"{state.run}: resuming at iteration {state.iteration}")
        if trained_by and self._commit and trained_by[-1] != self._commit:
            _report(f"warning: the state was written by commit {trained_by[-1]}, this is {self._commit}")
        wanted = set(self._snapshots(self.resume, state.iteration))
        with self.lease.commit():
            paths.failure(self.folder).unlink(missing_ok=True)
            if not resumed:
                self.log.unlink(missing_ok=True)
            for file in (self.resume / "snapshots").rglob("*.safetensors"):
                if file not in wanted:
                    file.unlink()
            # Only this process writes into these.
            stop = self.segment.stop
            places = [place(self.folder, stop) for place in (paths.state, paths.training_log)]
            for root in (self.folder, self.resume):
                places += [paths.snapshot(root, stop, average) for average in self.averages]
            for folder in (self.resume, *(place.parent for place in places)):
                remove_parts(folder)

    @contextmanager
    def logs(self, state: TrainingState, sinks: list[str]) -> Iterator[Callable[[dict[str, float]], None]]:
        """Yield what takes the rows of the log and shows progress."""
        if not self.lease:
            yield lambda row: None
            return
        with ExitStack() as stack:
            line = stack.enter_context(ProgressLine(state.run, self.segment.stop, state.iteration))
            logs: list[Sink] = [CsvLog(self.log, state.iteration), *open_sinks(sinks, self.folder, state.iteration)]
            for log in logs:
                stack.callback(log.close)

            def write(row: dict[str, float]) -> None:
                for log in logs:
                    log.write(row)
                shown = f"distance {row['distance']:.4g}, {row['images_per_second']:.0f} images/s"
                line.update(int(row["iteration"]), shown)

            yield write

    def end(self, state: TrainingState, failed_at: int, stops: bool) -> None:
        """Move the results into place.

        Args:
            state: at the segment's end, or where it failed.
            failed_at: the iteration at which training failed numerically; below 0: it did not.
            stops: whether a failure stops training instead of raising an error.

        Raises:
            UserError: training failed; a note of it is kept.
        """
        if failed_at < 0:
            self._publish(state)
            return
        reason = f"the loss or its gradient is not finite at iteration {failed_at}"
        if stops:
            self.publish_stop(Stopped(failed_at - 1, reason, diverged=True), state.run, trained=True)
            return
        if self.lease:
            with self.lease.commit():
                note = json.dumps({"iteration": failed_at, "reason": reason})
                write_text(paths.failure(self.folder), note + "\n")
        raise UserError(f"{state.run}: {reason}; the last good state is kept")

    def check(self) -> None:
        """Raise `LeaseLostError` if another process has taken over the run."""
        if self.lease:
            self.lease.check()

    def save_snapshots(self, state: TrainingState) -> None:
        """Save the averaged weights."""
        if self.lease:
            with self.lease.commit():
                state.save_snapshots({n: paths.snapshot(self.resume, state.iteration, n) for n in self.averages})

    def save(self, state: TrainingState) -> None:
        """Save the resume state."""
        if self.lease:
            with self.lease.commit():
                state.save(self.state_file)

    def _publish(self, state: TrainingState) -> None:
        """Move the segment's results into place, and clear this folder."""
        if not self.lease:
            return
        self.save(state)
        kept, published = (self._snapshots(root, self.segment.stop) for root in (self.resume, self.folder))
        with self.lease.commit():
            for snapshot, place in zip(kept, published, strict=True):
                link(snapshot, place)
            link(self.log, paths.training_log(self.folder, self.segment.stop))
            link(self.state_file, paths.state(self.folder, self.segment.stop))
            for file in (self.state_file, self.log, *kept):
                file.unlink()

    def publish_stop(self, stopped: Stopped, run: str, trained: bool = False) -> None:
        """Write the reason in place of the segment's results.

        Args:
            stopped: why.
            run: name of the run.
            trained: whether part of the segment was trained for it: its snapshots are results. Otherwise unfinished
                work is kept: if training continues after all, it resumes.
        """
        if not self.lease:
            return
        say(run, stopped.text)
        with self.lease.commit():
            kept, published = (self._snapshots(root, self.segment.stop) for root in (self.resume, self.folder))
            results = len(self._snapshots(self.resume, stopped.iteration)) if trained else 0
            for snapshot, place in zip(kept[:results], published, strict=False):
                link(snapshot, place)
            for place in published[results:]:
                stopped.write(place)
            log = paths.training_log(self.folder, self.segment.stop)
            if trained:
                link(self.log, log)
            else:
                write_empty(log)
            stopped.write(paths.state(self.folder, self.segment.stop))
            paths.failure(self.folder).unlink(missing_ok=True)
            if trained:
                for file in (self.state_file, self.log, *kept[:results]):
                    file.unlink(missing_ok=True)

    def _find_furthest(self, run: str) -> Path | None:
        """The file of the resume state if usable, otherwise of the state that the segment starts from."""
        if self._is_resumable(run):
            return self.state_file
        return paths.state(self.folder, self.segment.start) if self.segment.start else None

    def _snapshots(self, root: Path, until: int) -> list[Path]:
        """The segment's snapshots up to an iteration, of every average, in the run's folder or the resume folder."""
        iterations = self.segment.snapshots(self.segment.start, until)
        return [paths.snapshot(root, iteration, average) for iteration in iterations for average in self.averages]

    def _is_resumable(self, run: str) -> bool:
        """Whether the resume state is within this segment and all snapshots before it exist and are intact."""
        if not self.state_file.exists():
            return False
        iteration = int(weights.metadata(self.state_file, "state", run)["iteration"])
        if not self.segment.start < iteration <= self.segment.stop:
            return False
        before = self._snapshots(self.resume, iteration)
        if missing := [file for file in before if not file.exists()]:
            _report(f"{missing[0]}: is gone; {run} is trained again from iteration {self.segment.start}")
            return False
        for file in before:
            weights.read(file, "snapshot", run)  # once published, damage could not be told from a result
        if not self.log.exists():
            _report(f"{self.log}: is gone; the log begins anew at iteration {iteration}")
        return True


def say(run: str, text: str) -> None:
    """Print a message for whoever watches the training run."""
    _report(f"{run}: {text}")


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
