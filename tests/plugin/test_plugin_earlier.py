"""What is done about jobs that an earlier run left, decision by decision."""

import logging
from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_submitit.cluster import ACTIVE, DONE, Status, Submitted
from snakemake_executor_plugin_submitit.clusters import host
from snakemake_executor_plugin_submitit.earlier import Earlier
from snakemake_executor_plugin_submitit.identity import Identity
from snakemake_executor_plugin_submitit.ledger import Entry, Ledger


class Cluster:
    """One that says what the test wants."""

    def __init__(self, name):
        self.name, self.answer, self.there, self.stopped = name, ACTIVE, {}, []

    def statuses(self, jobs):
        return {job.id: self.answer for job in jobs}

    def queue(self):
        return self.there

    def cancel(self, jobs):
        self.stopped += [job.id for job in jobs]


OURS = Identity(frozenset({"/out"}), "same")
JOB = SimpleNamespace(attempt=1, is_group=lambda: False, output=[], input=[])


@pytest.fixture
def left(tmp_path):
    """What a dead Snakemake left: one job; the cluster, the ledger, and who looks after it."""

    def make(cluster="slurm"):
        dead = Ledger(tmp_path, "/work", cluster)
        dead.note_submitted("t", [Entry(Submitted("7", "n", tmp_path / "token", 1.0), OURS, 1, cluster, host())])
        dead._guard.close()
        made = {name: Cluster(name) for name in ("slurm", "local")}
        made[cluster].there = {"7": "token"}
        ledger = Ledger(tmp_path, "/work", "slurm")
        clusters = SimpleNamespace(own=made["slurm"], get=made.get)
        return Earlier(ledger, clusters, logging.getLogger()), made, ledger

    return make


def test_the_same_job_is_taken_over_once(left):
    earlier, _, ledger = left()
    earlier.look([OURS])
    assert earlier.find_same(JOB, OURS).job.id == "7"
    assert earlier.find_same(JOB, OURS) is None
    assert len(ledger.entries()) == 1


def test_another_job_for_the_same_file_is_cancelled_and_waited_for(left):
    earlier, made, ledger = left()
    other = Identity(OURS.products, "other")
    earlier.look([other])
    assert earlier.find_same(JOB, other) is None
    claimed = earlier.claim(other)
    assert earlier.try_to_cancel(claimed) == claimed and made["slurm"].stopped == ["7"]
    made["slurm"].there = {}
    assert earlier.try_to_cancel(claimed) == [] and ledger.entries() == []


def test_a_job_on_another_cluster_is_never_taken_over(left):
    earlier, made, _ = left("local")
    earlier.look([OURS])
    assert earlier.find_same(JOB, OURS) is None
    assert earlier.try_to_cancel(earlier.claim(OURS)) and made["local"].stopped == ["7"]


def test_a_job_of_other_files_is_left_alone(left):
    earlier, made, ledger = left()
    other = Identity(frozenset({"/other"}), "other")
    earlier.look([other])
    assert (earlier.find_same(JOB, other), earlier.claim(other), made["slurm"].stopped) == (None, [], [])
    assert len(ledger.entries()) == 1


def test_a_job_that_failed_unseen_is_over(left):
    earlier, made, ledger = left()
    made["slurm"].answer = Status("failed", "x")
    earlier.look([OURS])
    assert (earlier.find_same(JOB, OURS), earlier.claim(OURS), ledger.entries()) == (None, [], [])


def test_another_job_with_its_number_is_not_it(left):
    earlier, made, ledger = left()
    made["slurm"].there = {"7": "another"}
    earlier.look([OURS])
    assert (earlier.find_same(JOB, OURS), ledger.entries()) == (None, [])


def test_a_job_that_ended_well_and_nobody_asks_for_is_forgotten(left):
    earlier, made, ledger = left()
    made["slurm"].answer = DONE
    earlier.look([])
    earlier.forget_the_done()
    assert ledger.entries() == []
