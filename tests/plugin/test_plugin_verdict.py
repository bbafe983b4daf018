"""The verdict on a job, from what was seen of it and when; and Slurm's states and codes in words."""

import pytest

from snakemake_executor_plugin_submitit import reasons
from snakemake_executor_plugin_submitit.cluster import DONE, Status, Unsettled
from snakemake_executor_plugin_submitit.commands import rows, slurm_message
from snakemake_executor_plugin_submitit.verdict import ABSENT, LOST, Row, Sight, judge


def verdicts(*sights):
    """What is said of a job that is seen so, each so many seconds after the first."""
    unsettled, answer = None, []
    for seconds, sight in sights:
        status, unsettled = judge(sight, unsettled, 1000.0 + seconds)
        answer.append(status.verdict)
    return answer


def seen(accounted=None, queued=None, reason="None", asked=None, **more):
    row = Row(queued, reason) if queued else None
    return Sight(Row(accounted) if accounted else None, row, queued is not None if asked is None else asked, **more)


@pytest.mark.parametrize(
    ("sights", "expected"),
    [
        ([(0, seen("COMPLETED"))], ["done"]),
        ([(0, seen("RUNNING"))], ["active"]),
        ([(0, seen("RUNNING", "COMPLETED"))], ["done"]),
        ([(0, seen("FAILED", asked=True))], ["failed"]),
        ([(0, seen("CANCELLED by 0", asked=True))], ["failed"]),
        ([(0, seen("FAILED", "PENDING"))], ["active"]),  # it is queued again
        # The queue does not answer: a failure stands if it persists.
        ([(0, seen("FAILED")), (20, seen("FAILED")), (31, seen("FAILED"))], ["active", "active", "failed"]),
        # Passing states count if they persist; another time begins anew.
        ([(0, seen("NODE_FAIL")), (20, seen("NODE_FAIL")), (31, seen("NODE_FAIL"))], ["active", "active", "failed"]),
        ([(0, seen("NODE_FAIL")), (20, seen("PENDING")), (40, seen("NODE_FAIL"))], ["active"] * 3),
        # Nobody has heard of it yet.
        ([(0, seen()), (100, seen())], ["active", "active"]),
        ([(0, seen(result=DONE))], ["done"]),
        ([(0, seen(asked=True, result=Status("failed", "x")))], ["failed"]),
    ],
)
def test_states(sights, expected):
    assert verdicts(*sights) == expected


def test_an_absence_never_overrules_a_running():
    absent = seen("RUNNING", asked=True)
    assert verdicts((0, absent), (1000, absent)) == ["active", "active"]
    known = seen("RUNNING", asked=True, unknown=False)
    assert verdicts((0, absent), (1000, known)) == ["active", "active"]


@pytest.mark.parametrize("accounted", ["RUNNING", None])
def test_a_job_that_the_controller_does_not_know_is_lost(accounted):
    absent, unknown = seen(accounted, asked=True), seen(accounted, asked=True, unknown=True)
    assert verdicts((0, absent), (30, unknown), (61, unknown)) == ["active", "active", "failed"]
    assert judge(unknown, Unsettled(ABSENT, 0.0), 100.0)[0] == LOST
    left = seen("RUNNING", asked=True, unknown=True, result=DONE)
    assert judge(left, Unsettled(ABSENT, 0.0), 100.0)[0] == DONE


def test_a_reason_counts_if_the_queue_gives_it_and_it_persists():
    never = seen("PENDING", "PENDING", "BadConstraints")
    unasked = Sight(Row("PENDING", "BadConstraints"))
    assert verdicts((0, unasked), (40, never), (50, unasked), (71, never)) == ["active"] * 3 + ["failed"]


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("JobHeldUser", "scontrol release"),
        ("AssocGrpGRES", "smaller than what the job asks for"),
        ("QOSMaxCpuPerUserLimit", "of this user"),
        ("ReqNodeNotAvail, UnavailableNodes:node1", "down, drained or reserved"),
        ("Priority", ""),
        ("Resources", ""),
    ],
)
def test_a_pending_jobs_reason_is_said_in_words(reason, word):
    status, _ = judge(seen("PENDING", "PENDING", reason), None, 0.0)
    assert (status.verdict, word in status.remark, bool(status.remark)) == ("active", True, bool(word))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("1:0", "exit status 1"),
        ("137:0", "killed by SIGKILL (exit status 137)"),
        ("0:15", "killed by SIGTERM (exit code 0:15)"),
        ("0:53", "exit code 0:53: Slurm could not write the job's output; does the node see the submission's folder?"),
        ("255:0", "exit status 255"),
    ],
)
def test_exit_codes_in_words(code, words):
    assert reasons.exit_code(code) == words


@pytest.mark.parametrize(
    ("job_id", "elements"),
    [
        ("7", ["7"]),
        ("7_3", ["7_3"]),
        ("7_[0-2]", ["7_0", "7_1", "7_2"]),
        ("7_[0,2,5%3]", ["7_0", "7_2", "7_5"]),
        ("7_[0-8:4,20-21]", ["7_0", "7_4", "7_8", "7_20", "7_21"]),
        ("7_[0,2,...]", ["7_0", "7_2"]),
    ],
)
def test_array_elements_are_read_as_slurm_writes_them(job_id, elements):
    assert dict(rows(f"{job_id}|PENDING|None\n")) == dict.fromkeys(elements, Row("PENDING", "None"))


def test_slurms_words_are_found_among_others():
    assert slurm_message("hello\nsbatch: error: no\n at line 3") == "sbatch: error: no"
    assert slurm_message("hello\nTraceback\n  x\n\n") == "x"
