"""The executor plugin without a Slurm: what it asks for, and jobs on submitit's local cluster."""

import os
import re
import signal
import subprocess

import pytest
from cluster import SNAKEMAKE, Main, until

from snakemake_executor_plugin_submitit.ledger import Ledger
from snakemake_executor_plugin_submitit.request import RequestError, request


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
        "slurm_srun_args": ["--cpus-per-task=4", "--kill-on-bad-exit=1"],
    }


def test_other_options_are_passed_on_by_name():
    found = ask(gpu=2, gpu_model="a100", reservation="r", nice=10, slurm_mail_type="END", constraint="c")
    assert found["slurm_additional_parameters"] == {
        "gpus-per-node": "a100:2",
        "reservation": "r",
        "nice": 10,
        "mail-type": "END",
    }
    assert found["slurm_constraint"] == "c"


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"runtime": None}, "resource runtime is needed"),
        ({"runtime": 2}, "runtime=2 (minutes) leaves no time to work"),
        ({"gpu": "two"}, "resource gpu='two' is not a whole number"),
        ({"nodes": 2, "tasks": 3}, "tasks=3 cannot be spread evenly over nodes=2"),
        ({"gpu_model": "a100"}, "gpu_model=a100 without gpu: how many?"),
        ({"mem_mb": 1, "mem_mb_per_cpu": 1}, "exclude each other"),
        ({"colour": "red"}, "resource colour=red means nothing to the cluster"),
    ],
)
def test_what_cannot_be_asked_for_is_said(resources, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        ask(**resources)


def test_limits_of_this_snakemake_are_not_the_clusters():
    request({"runtime": 60, "licence": 1}, 1, name="n", limited=["licence"])


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
    shell: "python3 {workflow.basedir}/long.py {output} >> {log} 2>&1"
"""

# Counts to 30 in half seconds; asked to leave, it notes where it is and leaves.
LONG = """
import pathlib, signal, sys, time
state = pathlib.Path("state")
at = int(state.read_text()) if state.exists() else 0
print("begins at", at, flush=True)
def leave(number, frame):
    state.write_text(str(at))
    sys.exit(128 + number)
signal.signal(signal.SIGUSR2, leave)
while at < 30:
    time.sleep(0.5)
    at += 1
pathlib.Path(sys.argv[1]).touch()
"""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    (folder / "long.py").write_text(LONG)
    main = local(folder, JOBS)
    assert main.wait(120) == 1
    return main


def test_jobs_run_and_failures_show_their_log(jobs):
    assert sorted(path.name for path in (jobs.folder / "out").iterdir()) == ["long", "one", "tasks"]
    assert "broken: local job" in jobs.output
    assert "what is wrong" in jobs.output
    assert (jobs.folder / "logs" / "one.log").read_text() == "works\n"


def test_a_job_near_its_limit_is_asked_to_leave_and_goes_on(jobs):
    """Only the task that submitit runs gets the signal; Snakemake and the shell between wait for the program."""
    starts = (jobs.folder / "logs" / "long.log").read_text().split("begins at ")[1:]
    assert starts[0].strip() == "0"
    assert len(starts) > 1
    assert int(starts[1]) > 0
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
