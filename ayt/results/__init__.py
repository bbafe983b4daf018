"""Reading results from Python: an experiment's scores as a table, its snapshots by name."""

from ayt.results.reading import Results, SnapshotFile

__all__ = ["Results", "SnapshotFile"]
