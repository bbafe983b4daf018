"""The executor plugin on submitit's local cluster."""

import asyncio
import os
import signal
import subprocess
from types import SimpleNamespace

import pytest
from cluster import SNAKEMAKE, Main, until
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from snakemake_executor_plugin_submitit import Executor, ExecutorSettings


def local(folder, rules, *arguments, cluster="local"):
    (folder / "Snakefile").write_text(rules)
    return Main(folder, dict(os.environ), "--submitit-cluster", cluster, "--submitit-signal-seconds", 48, *arguments)


JOBS = """
rule all:
    input: "out/one", "out/broken", "out/replicas", "out/long"
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
rule replicas:
    output: "out/replicas"
    log: err="logs/replicas.log"
    resources: runtime=1, replicas=2
    shell: "echo rank $RANK of $WORLD_SIZE at $MASTER_ADDR > {log.err}; mkdir -p out; touch {output}"
rule long:
    output: "out/long"
    log: "logs/long.log"
    resources: runtime=1
    shell: "python3 {workflow.basedir}/long.py {output} > {log} 2>&1"
"""

# Counts for longer than the 12 s after which a job of one minute is asked to leave: it notes where it is, and leaves.
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
while at < 26:
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
    assert sorted(path.name for path in (jobs.folder / "out").iterdir()) == ["long", "one", "replicas"]
    assert "broken: local job" in jobs.output
    assert "what is wrong" in jobs.output
    assert (jobs.folder / "logs" / "one.log").read_text() == "works\n"


def test_a_job_near_its_limit_is_asked_to_leave_and_goes_on(jobs):
    """Only the task that submitit runs gets the signal; Snakemake and the shell between wait for the program."""
    starts = [int(line) for line in (jobs.folder / "starts").read_text().splitlines()]
    assert starts[0] == 0
    assert len(starts) > 1 and 0 < starts[1] < 26
    (own,) = (jobs.folder / "logs").glob("long.local-*.log")
    assert "SIGUSR2: handed on to the command" in own.read_text()
    assert jobs.output.count("long: local job") == 1


def test_every_replica_knows_its_rank(jobs):
    assert (jobs.folder / "logs" / "replicas.log").read_text().startswith("rank 0 of 2 at ")
    (peer,) = (jobs.folder / "logs").glob("replicas.local-*.1.command.log")
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


def test_jobs_may_be_checked_before_the_interface_returns(tmp_path, monkeypatch):
    # Snakemake's interface starts the thread that checks jobs in its constructor; on a slow file system it is first.
    checked = []

    def begin(self, workflow, logger):
        self.workflow, self.logger = workflow, logger

        async def check():
            checked.extend([info async for info in self.check_active_jobs([])])
            checked.append("checked")

        asyncio.run(check())

    monkeypatch.setattr(RemoteExecutor, "__init__", begin)
    workflow = SimpleNamespace(
        executor_settings=ExecutorSettings(cluster="local", folder=str(tmp_path)),
        main_snakefile="Snakefile",
        overwrite_configfiles=[],
        remote_execution_settings=SimpleNamespace(immediate_submit=False, seconds_between_status_checks=1),
        spawned_job_args_factory=SimpleNamespace(envvars=dict),
    )
    Executor(workflow, SimpleNamespace(info=print, warning=print)).ledger.close()
    assert checked == ["checked"]
