"""Jobs on a real Slurm: what they ask for, how they end, and what happens when parts of it fail."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from cluster import SNAKEMAKE, Main, started, until
from conftest import BIN, ROOT

from ayt.base import paths, weights
from ayt.experiment import load
from ayt.plan.plan import Plan

pytestmark = pytest.mark.slurm
TINY = ROOT / "tests" / "experiments" / "tiny.yaml"


@pytest.fixture(scope="module")
def slurm():
    with started() as cluster:
        yield cluster


# Memory: a Snakemake that starts a shell counts twice for a moment, when the processes' memory is added up.
SHAPES = """
rule all:
    input:
        expand("out/{i}", i=range(6)),
        expand("out/{name}", name=["gpu", "impossible", "broken", "hungry", "long", "late", "here"]),
        expand("out/{name}", name=["ranks", "wide", "bare"])
localrules: here
rule here:
    output: "out/here"
    shell: "echo ${{SLURM_JOB_ID:-none}} > {output}"
rule one:
    output: "out/{i}"
    log: "logs/{i}.log"
    resources: runtime=5, mem_mb=600
    shell: "echo {wildcards.i} > {log}; echo $SLURM_ARRAY_JOB_ID > {output}"
rule gpu:
    output: "out/gpu"
    resources: runtime=5, mem_mb=600, gpu=2
    threads: 3
    shell: "echo $CUDA_VISIBLE_DEVICES $(nproc) $SLURM_CPUS_PER_TASK > {output}"
rule ranks:
    output: "out/ranks"
    resources: runtime=5, mem_mb=600, tasks=3, mpi="srun"
    shell: "{resources.mpi} -n {resources.tasks} bash -c 'echo rank $SLURM_PROCID' > {output}; echo once >> {output}"
rule wide:
    output: "out/wide"
    resources: runtime=5, mem_mb=600, nodes=2
    shell: "srun --nodes 2 --ntasks 2 bash -c 'echo node $SLURM_NODEID' > {output}; echo once >> {output}"
rule bare:
    output: "out/bare"
    resources: runtime=5, mem_mb=600, slurm_export="PYTHONPATH"
    shell: "echo ${{OMP_PROC_BIND-unset}} > {output}"
rule impossible:
    output: "out/impossible"
    resources: runtime=5, mem_mb=600, gpu=7
    shell: "touch {output}"
rule broken:
    output: "out/broken"
    log: "logs/broken.log"
    resources: runtime=5, mem_mb=600
    shell: "echo what is wrong > {log}; exit 3"
rule hungry:
    output: "out/hungry"
    retries: 1
    resources: runtime=5, mem_mb=lambda wildcards, attempt: 600 if attempt == 1 else 1600
    shell: "python3 -c 'import time; x = bytearray(700_000_000); time.sleep(6)'; touch {output}"
rule late:
    output: "out/late"
    resources: runtime=1, mem_mb=600
    shell: "sleep 200; touch {output}"
rule long:
    output: "out/long"
    resources: runtime=5, mem_mb=600
    shell: "sleep 200; touch {output}"
"""


@pytest.fixture(scope="module")
def shapes(slurm, tmp_path_factory):
    """One Snakemake with a job of every kind; ``long`` is cancelled by hand."""
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "Snakefile").write_text(SHAPES)
    main = Main(folder, slurm.environment, "--submitit-signal-seconds", 30, "--submitit-array-parallelism", 4)
    job = until(lambda: main.submitted().get("long"), "the submission")
    until(lambda: f"{job} RUNNING long" in slurm.queue(), "long to run")
    slurm.ask("scancel", job)
    assert main.wait(300) == 1
    return main


def errors(main):
    """What Snakemake says of each failed job, by name."""
    parts = main.output.split("    message: ")[1:]
    return {part.split(":")[0]: part.split("For further error details")[0] for part in parts}


def test_what_could_be_done_was_done(shapes):
    assert sorted(path.name for path in (shapes.folder / "out").iterdir()) == [
        *map(str, range(6)),
        *("bare", "gpu", "here", "hungry", "ranks", "wide"),
    ]


def test_equal_jobs_are_one_array(shapes, slurm):
    arrays = {(shapes.folder / "out" / str(i)).read_text() for i in range(6)}
    assert len(arrays) == 1 and arrays != {"\n"}
    assert (arrays.pop().strip() + "_0", "one") in {(row[0], row[1]) for row in slurm.accounts()}


def test_what_is_left_of_submissions_is_that_of_failures(shapes):
    kept = list((shapes.folder / ".snakemake" / "submitit").rglob("submission.sh"))
    names = {line for path in kept for line in path.read_text().splitlines() if line.startswith("#SBATCH --job-name")}
    assert names == {f"#SBATCH --job-name={name}" for name in ("broken", "hungry", "late", "long")}


def test_a_command_starts_its_ranks_itself_and_runs_once(shapes):
    for name, what in (("ranks", {"rank 0", "rank 1", "rank 2"}), ("wide", {"node 0", "node 1"})):
        lines = (shapes.folder / "out" / name).read_text().splitlines()
        assert (set(lines[:-1]), len(lines), lines[-1]) == (what, len(what) + 1, "once")


def test_nothing_is_exported_where_that_is_asked_for(shapes):
    assert (shapes.folder / "out" / "bare").read_text() == "unset\n"


def test_local_rules_stay_outside(shapes):
    assert (shapes.folder / "out" / "here").read_text() == "none\n"


def test_gpus_and_threads_arrive(shapes):
    devices, _, cpus = (shapes.folder / "out" / "gpu").read_text().split()
    assert (devices, cpus) == ("0,1", "3")


def test_the_impossible_fails_at_once_in_slurms_words(shapes):
    assert "Requested node configuration is not available" in errors(shapes)["impossible"]


def test_a_failed_job_shows_the_end_of_its_log(shapes):
    assert "what is wrong" in errors(shapes)["broken"]
    assert "exit status 1 on node" in errors(shapes)["broken"]


def test_logs_lie_beside_the_rules_log(shapes):
    (log,) = (shapes.folder / "logs").glob("0.slurm-*.log")
    assert "restarts: 0" in log.read_text()


def test_out_of_memory_is_said_and_the_next_attempt_has_more(shapes):
    assert "memory" in errors(shapes)["hungry"]
    assert (shapes.folder / "out" / "hungry").exists()


def test_a_cancelled_job_is_said_to_be_cancelled(shapes):
    assert "CANCELLED by" in errors(shapes)["long"]


def test_a_limit_too_short_to_begin_with_is_said(shapes):
    assert "TIMEOUT: did not leave before its time limit of 00:01:00" in errors(shapes)["late"]


SLEEP = """
rule all:
    input: expand("out/{i}", i=range(3))
rule one:
    output: "out/{i}"
    resources: runtime=10, mem_mb=600
    shell: "echo start >> started.{wildcards.i}; sleep 12; touch {output}"
"""


def sleepers(folder, environment, *arguments):
    (folder / "Snakefile").write_text(SLEEP)
    return Main(folder, environment, *arguments)


def running(main):
    return len(list(main.folder.glob("started.*"))) == 3


def assert_each_ran_once(main):
    assert [path.read_text() for path in sorted(main.folder.glob("started.*"))] == ["start\n"] * 3
    assert len(list((main.folder / "out").iterdir())) == 3


def failing(folder, command, times):
    """A folder for PATH, whose ``command`` fails so many times in the way that a busy controller makes it fail."""
    folder.mkdir()
    script = f"""#!/bin/bash
count=$(cat {folder}/count 2>/dev/null || echo 0)
echo $((count + 1)) > {folder}/count
if ((count < {times})); then
    echo "{command}: error: Socket timed out on send/recv operation" >&2
    exit 1
fi
exec {shutil.which(command)} "$@"
"""
    (folder / command).write_text(script)
    (folder / command).chmod(0o755)
    return folder


def with_path(slurm, folder):
    return {**slurm.environment, "PATH": f"{folder}:{slurm.environment['PATH']}"}


def test_refused_submissions_are_tried_again(slurm, tmp_path):
    main = sleepers(tmp_path, with_path(slurm, failing(tmp_path / "bin", "sbatch", 3)))
    assert main.wait() == 0, main.output
    assert main.output.count("Submission refused (sbatch: error: Socket timed out") == 3
    assert_each_ran_once(main)


def test_a_job_whose_answer_never_came_is_cancelled_before_the_next_try(slurm, tmp_path):
    """The controller took it, but sbatch said that it did not; on hold, so that nothing but scancel ends it."""
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(
        f"""#!/bin/bash
if mkdir {tmp_path}/asked 2>/dev/null; then
    {shutil.which("sbatch")} --hold "$@" > {tmp_path}/answer
    echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
    exit 1
fi
exec {shutil.which("sbatch")} "$@"
"""
    )
    sbatch.chmod(0o755)
    main = sleepers(tmp_path, with_path(slurm, sbatch.parent))
    assert main.wait() == 0, main.output
    assert_each_ran_once(main)
    (lost,) = re.findall(r"\d+", (tmp_path / "answer").read_text())
    assert not [job for job in slurm.queue() if re.match(rf"{lost}[_ ]", job)], "it is still on hold"


def test_accounting_that_fails_is_replaced_by_the_queue(slurm, tmp_path):
    main = sleepers(tmp_path, with_path(slurm, failing(tmp_path / "bin", "sacct", 10**6)))
    assert main.wait() == 0, main.output
    assert_each_ran_once(main)


def test_accounting_that_lags_is_waited_for_when_a_job_fails(slurm, tmp_path):
    (tmp_path / "Snakefile").write_text(
        "rule a:\n    output: 'a'\n    resources: runtime=5, mem_mb=600\n    shell: 'touch ended; exit 3'\n"
    )
    sacct = tmp_path / "bin" / "sacct"
    sacct.parent.mkdir()
    sacct.write_text(
        f"""#!/bin/bash
ended=$(stat -c %Y {tmp_path}/ended 2>/dev/null) && (($(date +%s) - ended > 6)) && exec {shutil.which("sacct")} "$@"
"""
    )
    sacct.chmod(0o755)
    main = Main(tmp_path, with_path(slurm, sacct.parent))
    assert main.wait() == 1
    assert "FAILED: exit status 1 on node" in main.output


def test_a_killed_main_process_takes_its_jobs_over(slurm, tmp_path):
    main = sleepers(tmp_path, slurm.environment)
    until(lambda: running(main), "the jobs to run")
    main.kill()
    unlocked = sleepers(tmp_path, slurm.environment, "--unlock")
    assert unlocked.wait() == 0
    again = sleepers(tmp_path, slurm.environment)
    assert again.wait() == 0, again.output
    assert again.output.count("taken over from an earlier run") == 3
    assert_each_ran_once(again)


def test_jobs_that_ended_unseen_are_not_run_again(slurm, tmp_path):
    main = sleepers(tmp_path, slurm.environment)
    until(lambda: running(main), "the jobs to run")
    main.kill()
    until(lambda: len(list((tmp_path / "out").glob("*"))) == 3, "the jobs to end")
    assert sleepers(tmp_path, slurm.environment, "--unlock").wait() == 0
    again = sleepers(tmp_path, slurm.environment)
    assert again.wait() == 0, again.output
    assert_each_ran_once(again)


def test_an_edited_job_takes_the_place_of_the_old_one(slurm, tmp_path):
    rules = (
        "rule a:\n    output: 'a'\n    params: word={!r}\n    resources: runtime=5, mem_mb=600\n"
        "    shell: 'echo begin {{params.word}} >> began; sleep {{params.word}}; echo {{params.word}} > {{output}}'\n"
    )
    (tmp_path / "Snakefile").write_text(rules.format("200"))
    main = Main(tmp_path, slurm.environment)
    until((tmp_path / "began").exists, "the job to begin")
    main.kill()
    (old,) = main.submitted().values()
    (tmp_path / "Snakefile").write_text(rules.format("1"))
    again = Main(tmp_path, slurm.environment, "--nolock")
    assert again.wait() == 0, again.output
    assert [row[2] for row in slurm.accounts() if row[0] == old] == ["CANCELLED by 0"]
    assert ((tmp_path / "a").read_text(), (tmp_path / "began").read_text()) == ("1\n", "begin 200\nbegin 1\n")


def test_ctrl_c_cancels_and_says_so(slurm, tmp_path):
    main = sleepers(tmp_path, slurm.environment)
    until(lambda: running(main), "the jobs to run")
    main.interrupt()
    assert main.wait() != 0
    assert "Cancelling 3 jobs" in main.output
    until(lambda: not any(line.endswith(" one") for line in slurm.queue()), "an empty queue")
    assert not list((tmp_path / "out").glob("*"))


def test_a_controller_that_stands_still_loses_nothing(slurm, tmp_path):
    main = sleepers(tmp_path, slurm.environment)
    until(lambda: running(main), "the jobs to run")
    os.kill(slurm.pid("slurmctld"), signal.SIGTERM)
    time.sleep(60)
    slurm.control("start")
    assert main.wait() == 0, main.output
    assert_each_ran_once(main)


def test_from_within_a_job(slurm, tmp_path):
    inside = {"SLURM_JOB_ID": "1", "SLURM_CPU_BIND": "mask_cpu:0x1", "SLURM_NTASKS": "7", "SBATCH_MEM_BIND": "nowhere"}
    main = sleepers(tmp_path, {**slurm.environment, **inside})
    assert main.wait() == 0, main.output
    assert_each_ran_once(main)


@pytest.mark.parametrize(
    ("arguments", "resources", "message"),
    [
        (
            ["--submitit-cluster", "slrum"],
            "runtime=5",
            "--submitit-cluster slrum: unknown; choices: slurm, local, debug",
        ),
        ([], "runtime=5, partition='nowhere'", "invalid partition specified: nowhere"),
        ([], "runtime=5, nodes=2, gpu=3", "gpu=3 cannot be spread evenly over nodes=2"),
        ([], "runtime=5, nodes=9", "Slurm can never start it: PartitionNodeLimit"),
    ],
)
def test_mistakes_are_one_line(slurm, tmp_path, arguments, resources, message):
    (tmp_path / "Snakefile").write_text(f"rule a:\n    output: 'a'\n    resources: {resources}\n    shell: 'touch a'\n")
    main = Main(tmp_path, slurm.environment, *arguments)
    assert main.wait() == 1
    assert message in main.output
    assert "Traceback" not in main.output


def test_no_sbatch_on_path(slurm, tmp_path):
    (tmp_path / "Snakefile").write_text("rule a:\n    output: 'a'\n    shell: 'touch a'\n")
    for command in ("bash", "python3"):
        (tmp_path / command).symlink_to(shutil.which(command))
    main = Main(tmp_path, {**slurm.environment, "PATH": str(tmp_path)})
    assert main.wait() == 1
    assert "sbatch, srun, squeue, scancel, scontrol: not on PATH" in main.output
    assert "Traceback" not in main.output


def snakemake(slurm, folder, *more):
    """``snakemake --profile slurm`` as it is in the repository, for smaller nodes than a cluster's."""
    command = [SNAKEMAKE, "--snakefile", ROOT / "workflow" / "Snakefile", "--directory", folder]
    command += ["--profile", ROOT / "slurm", "--configfile", TINY]
    command += [
        "--default-resources",
        "runtime=10",
        "mem_mb=2000 * attempt",
        "--seconds-between-status-checks",
        2,
        *more,
    ]
    environment = {**slurm.environment, "PATH": f"{BIN}:{slurm.environment['PATH']}"}
    return subprocess.run(
        [*map(str, command)], env=environment, capture_output=True, text=True, check=False, timeout=500
    )


@pytest.fixture(scope="module")
def experiment(slurm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dag")
    begin = time.strftime("%Y-%m-%dT%H:%M:%S")
    done = snakemake(slurm, folder, "--config", "execution={device: auto, log_every: 2}")
    assert done.returncode == 0, done.stderr
    fields = "JobID,JobName,State,ReqTRES,Submit"
    rows = [row for row in slurm.accounts(fields) if row[4] >= begin]
    # What went wrong before a retry succeeded is in Snakemake's output only.
    assert not [row for row in rows if row[2] != "COMPLETED"], done.stderr
    return folder, rows


def test_the_whole_chain_runs(experiment):
    folder, _ = experiment
    scores = pd.read_csv(folder / "results" / "tiny" / "scores.csv")
    assert set(scores["method"]) == {"ect", "ayt"}


def test_trainings_ask_for_a_gpu_and_tables_stay_here(experiment):
    _, rows = experiment
    names = {row[1].split(".")[0] for row in rows}
    assert any(name.startswith("train_") for name in names)
    assert not names & {"prepare", "gather", "figure", "table", "about"}
    without = [row[1].split(".")[0] for row in rows if "gres/gpu=1" not in row[3]]
    assert without == ["analyse"]  # the toy experiment, which is too small for one


def test_equal_jobs_are_arrays_and_a_segments_scores_one_job(experiment):
    _, rows = experiment
    arrays = {row[0] for row in rows if "_" in row[0]}
    assert len(arrays) >= 4
    segments = 2 * 2 * 2  # methods, batch sizes, segments
    scoring = [row for row in rows if row[1].startswith("score")]
    assert len(scoring) == segments


def test_nothing_is_left_to_do(slurm, experiment):
    again = snakemake(slurm, experiment[0], "--config", "execution={device: auto, log_every: 2}")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_two_tasks_train_what_one_trains(slurm, experiment, tmp_path):
    """The same run, by two tasks on two nodes; its last segment by one task again."""
    alone = experiment[0]
    options = "execution={device: auto, log_every: 2, processes: 2, nodes: 2}"
    run = next(run for run in Plan(load([TINY])).trained if run.name.startswith("ayt-bs8"))
    half, end = paths.snapshot(run.folder, 4), paths.snapshot(run.folder, 8)
    done = snakemake(slurm, tmp_path, "--config", options, "--until", "train_0_to_4_by_2")
    assert done.returncode == 0, done.stderr
    peers = list(tmp_path.rglob("*.1.log"))
    assert peers, "no second task has left a log"
    done = snakemake(
        slurm, tmp_path, "--config", "execution={device: auto, log_every: 2}", "--until", "train_4_to_8_by_2"
    )
    assert done.returncode == 0, done.stderr
    start = weights.read(alone / paths.snapshot(Plan(load([TINY])).pretrained.folder, 8), "snapshot")[0]
    for snapshot in (half, end):
        one, two = (weights.read(Path(root) / snapshot, "snapshot")[0] for root in (alone, tmp_path))
        moved = sum((one[name] - start[name]).abs().sum() for name in one)
        assert moved > 0
        assert sum((one[name] - two[name]).abs().sum() for name in one) < 1e-3 * moved
