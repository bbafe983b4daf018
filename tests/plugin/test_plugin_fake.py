"""Decisions about jobs on a fake of Slurm's commands, which misbehaves in the ways that real ones were seen to."""

import errno
import logging
import os
import time
from types import SimpleNamespace

import pytest
from fake_slurm import install

from snakemake_executor_plugin_submitit import clusters, commands, slurm, submission
from snakemake_executor_plugin_submitit.batches import Batch, Prepared
from snakemake_executor_plugin_submitit.cluster import NoAnswer, Refused
from snakemake_executor_plugin_submitit.earlier import Earlier
from snakemake_executor_plugin_submitit.files import Files
from snakemake_executor_plugin_submitit.graceful import Remarks
from snakemake_executor_plugin_submitit.identity import Identity
from snakemake_executor_plugin_submitit.ledger import Ledger
from snakemake_executor_plugin_submitit.request import request
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.strays import Strays
from snakemake_executor_plugin_submitit.submission import Habits
from snakemake_executor_plugin_submitit.submitter import Submitter
from snakemake_executor_plugin_submitit.task import Command


@pytest.fixture
def fake(tmp_path, monkeypatch):
    fake, environment = install(tmp_path / "bin")
    monkeypatch.setenv("PATH", environment["PATH"])
    fake.turn(run="hold")
    return fake


@pytest.fixture
def cluster(fake):
    return slurm.Slurm(Habits())


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when told to."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr("time.monotonic", lambda: Clock.now)
    return Clock


def submit(cluster, folder, jobs=1, token="0123456789ab", **resources):
    wanted = request({"runtime": 10, **resources}, 1, name="n")
    return cluster.submit([Command("true", "log")] * jobs, wanted, folder / token)


def verdicts(cluster, jobs):
    return [status.verdict for status in cluster.statuses(jobs).values()]


def test_jobs_of_one_shape_are_one_call_and_each_has_its_pickle(fake, cluster, tmp_path):
    jobs = submit(cluster, tmp_path, 3)
    assert [job.id for job in jobs] == ["101_0", "101_1", "101_2"]
    assert fake.count() == {"sbatch": 1}
    assert all((job.folder / f"{job.id}_submitted.pkl").exists() for job in jobs)
    assert jobs[0].folder.stat().st_mode & 0o077 == 0


def test_a_number_in_sbatchs_chatter_is_no_job(fake, cluster, tmp_path):
    fake.turn(sbatch={"say": "This job 2 project has 100 hours left.\n17\n"})
    (job,) = submit(cluster, tmp_path)
    assert job.id == "101"
    with pytest.raises(Refused, match="printed no job id") as error:
        submission.job_id("Submitted, and good luck\n")
    assert error.value.unanswered


def test_refusals(fake, cluster, tmp_path):
    for words, again, fewer in (
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", True, False),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", False, False),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", True, True),
    ):
        fake.turn(sbatch={"fail": words})
        with pytest.raises(Refused) as error:
            submit(cluster, tmp_path, token=f"{len(fake.calls()):012d}")
        assert (error.value.again, error.value.fewer) == (again, fewer)


def test_a_command_that_hangs_is_no_answer(fake, cluster, tmp_path, monkeypatch):
    (job,) = submit(cluster, tmp_path)
    monkeypatch.setattr(commands, "COMMAND_SECONDS", 1)
    for command, question in (
        ("sbatch", lambda: submit(cluster, tmp_path, token="1" * 12)),
        ("squeue", cluster.queue),
        ("scancel", lambda: cluster.cancel([job])),
    ):
        fake.turn(**{command: {"sleep": 30}, "squeue": {"sleep": 30}})
        begin = time.monotonic()
        with pytest.raises((NoAnswer, Refused), match="no answer in 1 s"):
            question()
        assert time.monotonic() - begin < 10


def test_arrays_are_as_large_as_the_cluster_says(fake, cluster):
    fake.turn(config="MaxArraySize = 5")
    assert cluster.largest_batch(1000) == 5
    assert slurm.Slurm(Habits()).largest_batch(3) == 3


def test_where_arrays_are_switched_off_jobs_go_one_by_one(fake, cluster):
    fake.turn(config="MaxArraySize = 0")
    assert cluster.largest_batch(1000) == 1


def test_the_queue_alone_is_asked_where_nothing_is_accounted(fake, cluster, tmp_path):
    fake.turn(config="AccountingStorageType = accounting_storage/none")
    jobs = submit(cluster, tmp_path, 2)
    fake.set("101_0", state="COMPLETED")
    assert verdicts(cluster, jobs) == ["done", "active"]
    assert "sacct" not in fake.count()


def test_each_verdict_stands_alone(fake, cluster, clock, tmp_path):
    """The queue does not answer, accounting does, and one of the jobs has failed."""
    jobs = submit(cluster, tmp_path, 3)
    fake.turn(squeue={"fail": "squeue: error: Unable to contact slurm controller"})
    fake.set("101_0", state="COMPLETED")
    fake.set("101_1", state="FAILED", exit="3:0")
    fake.set("101_2", state="RUNNING")
    assert verdicts(cluster, jobs) == ["done", "active", "active"]
    clock.now += 31
    statuses = cluster.statuses(jobs)
    assert statuses["101_1"].why == "FAILED: exit status 3 on node1"
    assert statuses["101_2"].verdict == "active"


def test_when_nobody_answers_nothing_is_said(fake, cluster, tmp_path):
    jobs = submit(cluster, tmp_path)
    fake.turn(squeue={"fail": "squeue: error: no"}, sacct={"fail": "sacct: error: no"})
    with pytest.raises(NoAnswer):
        cluster.statuses(jobs)


def test_names_and_filters_in_the_environment_change_nothing(fake, clock, tmp_path, monkeypatch):
    monkeypatch.setenv("LOGNAME", "nobody")
    monkeypatch.setenv("SQUEUE_STATES", "SUSPENDED")
    cluster = slurm.Slurm(Habits())
    jobs = submit(cluster, tmp_path)
    fake.set("101", state="RUNNING")
    for _ in range(25):
        clock.now += 60
        assert verdicts(cluster, jobs) == ["active"]
    assert cluster.queue() == {"101": "0123456789ab"}
    asked = [call for call in fake.calls() if call[0] == "squeue"]
    assert all(str(os.getuid()) in call for call in asked)


def test_a_running_job_that_a_list_omits_is_not_lost(fake, cluster, clock, tmp_path):
    jobs = submit(cluster, tmp_path)
    fake.set("101", state="RUNNING")
    fake.turn(squeue={"hide": ["101"]}, sacct={"hide": ["101"]})
    for _ in range(5):
        clock.now += 61
        assert verdicts(cluster, jobs) == ["active"]


def test_a_job_that_accounting_calls_running_and_the_controller_does_not_know_is_lost(fake, cluster, clock, tmp_path):
    jobs = submit(cluster, tmp_path)
    fake.set("101", state="FORGOTTEN")
    fake.turn(sacct={"states": {"101": "RUNNING"}})
    said = []
    for _ in range(12):
        clock.now += 61
        said += verdicts(cluster, jobs)
    assert said[0] == "active" and said[-1] == "failed"


def test_a_failure_is_explained_when_accounting_knows(fake, cluster, clock, tmp_path):
    jobs = submit(cluster, tmp_path)
    fake.set("101", state="FAILED", exit="0:53")
    fake.turn(sacct={"hide": ["101"]})
    assert verdicts(cluster, jobs) == ["active"]
    fake.turn(sacct={})
    clock.now += 2
    assert "Slurm could not write the job's output" in cluster.statuses(jobs)["101"].why


def test_a_failure_that_nobody_explains_is_one_all_the_same(fake, cluster, clock, tmp_path):
    jobs = submit(cluster, tmp_path)
    fake.set("101", state="FAILED")
    fake.turn(sacct={"hide": ["101"]})
    assert verdicts(cluster, jobs) == ["active"]
    clock.now += 11
    assert cluster.statuses(jobs)["101"].why == "FAILED"


def test_what_can_never_start_fails_and_is_cancelled(fake, cluster, clock, tmp_path):
    jobs = submit(cluster, tmp_path)
    fake.set("101", reason="BadConstraints")
    assert verdicts(cluster, jobs) == ["active"]
    clock.now += 31
    assert cluster.statuses(jobs)["101"].why == "Slurm can never start it: BadConstraints"
    assert fake.jobs() == [("101", "CANCELLED by 0")]


def test_a_held_job_is_remarked(fake, cluster, tmp_path):
    jobs = submit(cluster, tmp_path)
    fake.set("101", reason="JobHeldUser")
    remarks = [cluster.statuses(jobs)["101"].remark for _ in range(3)]
    assert "scontrol release" in remarks[-1]


def test_a_submission_under_way_is_no_stray(fake, tmp_path):
    """Another thread submits while the queue is searched for what an unanswered submission left."""
    made = clusters.Clusters("slurm", Habits())
    ledger = Ledger(tmp_path / "ledgers", tmp_path, "slurm")
    ledger.note_submitting("a" * 12)
    ledger.no_answer("a" * 12)
    ledger.note_submitting("b" * 12)
    submit(made.own, tmp_path, token="a" * 12)
    submit(made.own, tmp_path, token="b" * 12)
    assert Strays(ledger, made).cancel()
    assert fake.jobs() == [("101", "CANCELLED by 0"), ("102", "PENDING")]


def test_jobs_that_a_full_disk_could_not_note_are_submitted_once(fake, tmp_path, monkeypatch):
    made = clusters.Clusters("slurm", Habits())
    ledger = Ledger(tmp_path / "ledgers", tmp_path, "slurm")
    append = ledger._append

    def full(event, sync=True):
        if event["event"] == "submitted":
            raise OSError(errno.ENOSPC, "No space left on device", "ledger")
        append(event, sync)

    monkeypatch.setattr(ledger, "_append", full)
    watched, logger = [], logging.getLogger("submitit")
    submitter = Submitter(
        made.own,
        ledger,
        Earlier(ledger, made, logger),
        Strays(ledger, made),
        Files(tmp_path, 1),
        ExecutorSettings(),
        0.0,
        logger,
        Remarks(logger),
        watch=lambda job, entry: watched.append(entry.job.id),
        fail=lambda job, why: pytest.fail(why),
    )
    rule = SimpleNamespace(name="train")
    job = SimpleNamespace(attempt=1, is_group=lambda: False, rule=rule, wildcards_dict={})
    wanted = request({"runtime": 10}, 1, name="n")
    submitter.submit(Batch([Prepared(job, Identity(frozenset({"/out"}), "same"), wanted, Command("true", "log"))]))
    submitter.submit_due()
    assert watched == ["101"] == [entry.job.id for entry in ledger.entries()]
    assert fake.jobs() == [("101", "PENDING")]


def test_strays_are_not_called_gone_while_the_cluster_is_silent(fake, tmp_path):
    made = clusters.Clusters("slurm", Habits())
    ledger = Ledger(tmp_path / "ledgers", tmp_path, "slurm")
    ledger.no_answer("a" * 12)
    fake.turn(squeue={"fail": "squeue: error: no"})
    assert not Strays(ledger, made).cancel()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SLURM_CLUSTERS", "a,b"), ("SLURM_CLUSTERS", "all"), ("SBATCH_CLUSTERS", "other")],
)
def test_several_clusters_are_refused(fake, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(Refused, match=f"{variable}={value}: jobs of one cluster can be watched"):
        slurm.Slurm(Habits())


@pytest.mark.parametrize(
    ("wanted", "words"),
    [("NONE", "--export=TOKEN"), ("A,B", "--export=A,B,TOKEN"), ("ALL", "--export=ALL"), (None, "--export=ALL")],
)
def test_what_the_workflow_declares_is_exported(fake, tmp_path, wanted, words):
    submit(slurm.Slurm(Habits(variables=("TOKEN",))), tmp_path, slurm_export=wanted)
    assert words in fake.calls()[-1]


def test_variables_that_sbatch_would_prefer_are_hidden(fake, cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("SBATCH_PARTITION", "theirs")
    monkeypatch.setenv("SBATCH_QOS", "theirs")
    variables = submission._variables(request({"slurm_partition": "p"}, 1, name="n"))
    assert "SBATCH_PARTITION" not in variables and variables["SBATCH_QOS"] == "theirs"
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "7")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    variables = submission._variables(request({}, 1, name="n"))
    assert "SLURM_NTASKS" not in variables and variables["SLURM_CONF"] == "/etc/slurm.conf"
