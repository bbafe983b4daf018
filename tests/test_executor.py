"""The executor plugin without a Slurm: what it asks for, and jobs on submitit's local cluster."""

import os
import re
import signal
import subprocess

import pytest
from cluster import SNAKEMAKE, Main, until

from snakemake_executor_plugin_submitit.cluster import Submitted
from snakemake_executor_plugin_submitit.ledger import Ledger
from snakemake_executor_plugin_submitit.request import RequestError, request
from snakemake_executor_plugin_submitit.slurm import _rows, _verdict


def ask(threads=1, **resources):
    return request({"runtime": 60, **resources}, threads, name="n")


def test_standard_resources_become_submitits_parameters():
    found = ask(4, mem_mb=2048, gpu=4, nodes=2, tasks=4, partition="p", slurm_account="a", qos=None)
    assert found == {
        "name": "n",
        "timeout_min": 60,
        "mem_gb": 2.0,
        "nodes": 2,
        "tasks_per_node": 2,
        "cpus_per_task": 4,
        "gpus_per_node": 2,
        "slurm_partition": "p",
        "slurm_account": "a",
        "slurm_signal_delay_s": 120,
        "slurm_srun_args": ["--cpus-per-task=4", "--kill-on-bad-exit=1", "--wait=0"],
        "slurm_additional_parameters": {"requeue": True},
    }


def test_other_options_are_passed_on_by_name():
    found = ask(gpu=2, gpu_model="a100", reservation="r", nice=10, slurm_mail_type="END", constraint="c")
    assert found["slurm_additional_parameters"] == {
        "requeue": True,
        "gpus-per-node": "a100:2",
        "reservation": "r",
        "nice": 10,
        "mail-type": "END",
    }
    assert found["slurm_constraint"] == "c"
    # A profile's default model means nothing to a job that wants no GPU.
    assert "gpus-per-node" not in ask(gpu=0, gpu_model="a100")["slurm_additional_parameters"]


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"runtime": None}, "resource runtime is needed"),
        ({"runtime": 2}, "runtime=2 (minutes) leaves no time to work"),
        ({"gpu": "two"}, "resource gpu='two' is not a whole number"),
        ({"nodes": 2, "tasks": 3}, "tasks=3 cannot be spread evenly over nodes=2"),
        ({"gpu_model": "a100"}, "gpu_model=a100 without gpu: how many?"),
        ({"mem_mb": 1, "mem_mb_per_cpu": 1}, "exclude each other"),
        ({"slurm_time": "1:00"}, "resource slurm_time=1:00: is set by the executor; use runtime"),
        ({"colour": "red"}, "resource colour=red means nothing to the cluster"),
    ],
)
def test_what_cannot_be_asked_for_is_said(resources, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        ask(**resources)


def test_limits_of_this_snakemake_are_not_the_clusters():
    request({"runtime": 60, "licence": 1}, 1, name="n", limited=["licence"])


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
    assert dict(_rows(f"{job_id}|PENDING|None\n")) == dict.fromkeys(elements, ("PENDING", "None"))


def verdict(job, state, reason="None", queue=None):
    return _verdict(job, (state, reason), queue)[0]


@pytest.fixture
def job(tmp_path):
    return Submitted("7", "n", tmp_path, 0.0)


def test_passing_states_must_last_before_they_count(job, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    assert verdict(job, "NODE_FAIL") == "active"
    now += 20
    assert verdict(job, "PENDING") == "active"
    now += 20
    # It was queued again meanwhile: this is another failure, and its time begins now.
    assert verdict(job, "NODE_FAIL") == "active"
    now += 31
    assert verdict(job, "NODE_FAIL") == "failed"


def test_a_reason_counts_if_the_queue_gives_it_and_it_lasts(job, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    assert verdict(job, "PENDING", "BadConstraints", {"7": ("PENDING", "Priority")}) == "active"
    for expected in ("active", "failed"):
        assert verdict(job, "PENDING", "None", {"7": ("PENDING", "BadConstraints")}) == expected
        assert verdict(job, "PENDING") == "active"
        now += 40


def test_a_job_that_accounting_has_lost_is_not_waited_for(job, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    assert verdict(job, "RUNNING", queue={}) == "active"
    now += 61
    assert verdict(job, "RUNNING", queue={}) == "failed"


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT", "CANCELLED by 0", "OUT_OF_MEMORY"])
def test_final_states_are_final_at_once(job, state):
    assert verdict(job, state) == "failed"


def test_a_ledger_cut_in_the_middle_of_a_line_is_read(tmp_path):
    file = tmp_path / "ledger.jsonl"
    ledger = Ledger(file)
    ledger.submitting("first")
    ledger.refused("first")
    ledger.submitting("second")
    with file.open("a") as stream:
        stream.write('{"event": "submitted", "tok')
    again = Ledger(file)
    assert (again.unanswered, again.open) == ({"second"}, {})


def local(folder, rules, *arguments, cluster="local"):
    (folder / "Snakefile").write_text(rules)
    return Main(folder, dict(os.environ), "--submitit-cluster", cluster, "--submitit-signal-seconds", 50, *arguments)


JOBS = """
rule all:
    input: "out/one", "out/broken", "out/tasks", "out/long"
rule one:
    output: "out/one"
    log: "logs/one.log"
    resources: runtime=1
    shell: "echo works > {log}; touch {output}"
rule broken:
    output: "out/broken"
    log: "logs/broken.log"
    resources: runtime=1
    shell: "echo what is wrong > {log}; exit 3"
rule tasks:
    output: "out/tasks"
    log: "logs/tasks.log"
    resources: runtime=1, tasks=2
    shell: "echo rank $RANK of $WORLD_SIZE at $MASTER_ADDR > {log}; mkdir -p out; touch {output}"
rule long:
    output: "out/long"
    log: "logs/long.log"
    resources: runtime=1
    shell: "python3 {workflow.basedir}/long.py {output} > {log} 2>&1"
"""

# Counts to 80 in half seconds; asked to leave, it notes where it is and leaves.
LONG = """
import pathlib, signal, sys, time
state = pathlib.Path("state")
at = int(state.read_text()) if state.exists() else 0
with open("starts", "a") as starts:
    print(at, file=starts)
def leave(number, frame):
    state.write_text(str(at))
    sys.exit(128 + number)
signal.signal(signal.SIGUSR2, leave)
while at < 80:
    time.sleep(0.5)
    at += 1
pathlib.Path(sys.argv[1]).touch()
"""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    (folder / "long.py").write_text(LONG)
    main = local(folder, JOBS)
    assert main.wait(200) == 1
    return main


def test_jobs_run_and_failures_show_their_log(jobs):
    assert sorted(path.name for path in (jobs.folder / "out").iterdir()) == ["long", "one", "tasks"]
    assert "broken: local job" in jobs.output
    assert "what is wrong" in jobs.output
    assert (jobs.folder / "logs" / "one.log").read_text() == "works\n"


def test_a_job_near_its_limit_is_asked_to_leave_and_goes_on(jobs):
    """Only the task that submitit runs gets the signal; Snakemake and the shell between wait for the program."""
    starts = [int(line) for line in (jobs.folder / "starts").read_text().splitlines()]
    assert starts[0] == 0
    assert len(starts) > 1 and 0 < starts[1] < 80
    (own,) = (jobs.folder / "logs").glob("long.local-*.log")
    assert "SIGUSR2: handed on to the command" in own.read_text()
    assert jobs.output.count("long: local job") == 1


def test_every_task_knows_its_rank(jobs):
    assert (jobs.folder / "logs" / "tasks.log").read_text().startswith("rank 0 of 2 at ")
    (peer,) = (jobs.folder / "logs").glob("tasks.local-*.1.command.log")
    assert peer.read_text().startswith("rank 1 of 2 at ")


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    rules = (
        "rule one:\n    output: 'out'\n    resources: runtime=5\n    shell: 'touch begun; sleep 987; touch {output}'\n"
    )
    main = local(tmp_path, rules)
    until((tmp_path / "begun").exists, "the job to begin")
    os.killpg(main.process.pid, signal.SIGINT)
    assert main.wait(60) != 0
    assert "Cancelling 1 jobs" in main.output

    def gone():
        return "sleep 987" not in subprocess.run(["ps", "ax"], capture_output=True, text=True, check=True).stdout

    until(gone, "the job to be gone", 40)
    assert not (tmp_path / "out").exists()


def test_the_cluster_debug_runs_in_this_process(tmp_path):
    rules = "rule one:\n    output: 'out'\n    resources: runtime=5\n    shell: 'touch {output}'\n"
    main = local(tmp_path, rules, cluster="debug")
    assert main.wait(60) == 0, main.output
    assert (tmp_path / "out").exists()


def test_an_unknown_key_of_a_profile_is_one_line(tmp_path):
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "config.yaml").write_text("executor: submitit\nsubmitit-partiton: gpu\njobs: 1\n")
    (tmp_path / "Snakefile").write_text("rule one:\n    output: 'out'\n    shell: 'touch {output}'\n")
    command = [SNAKEMAKE, "--profile", "profile"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "--submitit-partiton" in done.stderr
    assert "Traceback" not in done.stderr
