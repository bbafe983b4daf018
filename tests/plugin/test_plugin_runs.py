"""Whole runs of Snakemake on a fake of Slurm's commands: what is taken over, what is cancelled, what is said."""

import shutil

import pytest
from cluster import Main, until
from fake_slurm import install, kill, mark

STARTED = []


@pytest.fixture
def fake(tmp_path):
    made = install(tmp_path / "bin")
    yield made
    for main in STARTED:
        if main.process.poll() is None:
            main.kill()
    STARTED.clear()
    kill(mark(made[0], ""))


def start(fake, folder, rules, *arguments):
    folder.mkdir(exist_ok=True)
    (folder / "Snakefile").write_text(rules)
    main = Main(folder, fake[1], "--seconds-between-status-checks", 1, "--latency-wait", 3, "--nolock", *arguments)
    STARTED.append(main)
    return main


def finished(fake, folder, rules, *arguments):
    main = start(fake, folder, rules, *arguments)
    assert main.wait(120) == 0, main.output
    return main


def states(fake):
    return [state for _, state in fake[0].jobs()]


def killed_while_it_runs(fake, folder, rules):
    """A Snakemake that was killed when its job had begun."""
    main = start(fake, folder, rules)
    until((folder / "began").exists, "the job to begin")
    main.kill()
    return main


# Notes when it begins and ends, so that two at a time would be seen; ends when it may.
SCRIPT = """
import os, time
def note(what):
    with open("began", "a") as file:
        print(what, file=file)
note("begin " + snakemake.params.word)
while not os.path.exists("go"):
    time.sleep(0.1)
note("end " + snakemake.params.word)
open(snakemake.output[0], "w").write(snakemake.params.word)
"""
BY_SCRIPT = (
    "rule one:\n    output: 'out'\n    params: word={word!r}\n    resources: runtime=10\n    script: 'work.py'\n"
)
WAIT = "while [ ! -e go ]; do sleep 0.1; done"
BY_SHELL = (
    "rule one:\n    output: 'out'\n    resources: runtime=10\n"
    f"    shell: 'echo begin {{word}} >> began; {WAIT}; echo end {{word}} >> began;"
    " echo -n {word} > {{output}}'\n"
)


def began(folder):
    return (folder / "began").read_text().splitlines() if (folder / "began").exists() else []


def goes_on(main, condition, what):
    """Let the jobs end when something has become true, and the run with them."""
    until(condition, what)
    (main.folder / "go").touch()
    assert main.wait(120) == 0, main.output


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "work.py").write_text(SCRIPT)
    return tmp_path / "w"


def test_the_same_job_is_taken_over(fake, folder):
    rules = BY_SCRIPT.format(word="old")
    killed_while_it_runs(fake, folder, rules)
    again = start(fake, folder, rules)
    goes_on(again, lambda: "taken over from an earlier run, slurm job 101" in again.output, "it to be taken over")
    assert began(folder) == ["begin old", "end old"]
    assert not [path for path in (folder / ".snakemake" / "submitit").rglob("*") if path.is_file()]


@pytest.mark.parametrize("rules", [BY_SCRIPT, BY_SHELL], ids=["params", "shell"])
def test_an_edited_job_takes_the_place_of_the_old_one(fake, folder, rules):
    killed_while_it_runs(fake, folder, rules.format(word="old"))
    again = start(fake, folder, rules.format(word="new"))
    goes_on(again, lambda: len(began(folder)) == 2, "the new job to begin")
    assert (folder / "out").read_text() == "new"
    assert began(folder) == ["begin old", "begin new", "end new"]
    assert states(fake) == ["CANCELLED by 0", "COMPLETED"]


def test_a_job_with_an_edited_input_is_another(fake, folder):
    rules = BY_SCRIPT.format(word="x").replace("    params", "    input: 'in'\n    params")
    (folder / "in").write_text("1")
    killed_while_it_runs(fake, folder, rules)
    (folder / "in").write_text("2")
    again = start(fake, folder, rules)
    goes_on(again, lambda: len(began(folder)) == 2, "the new job to begin")
    assert states(fake) == ["CANCELLED by 0", "COMPLETED"]


# The first two jobs that start, whichever they are, end at once: Snakemake does not order the jobs of a group.
GROUP = """
rule all:
    input: expand("out/{i}", i=range(4))
rule one:
    output: "out/{i}"
    group: "g"
    resources: runtime=10
    shell:
        "if ! mkdir first 2> /dev/null && ! mkdir second 2> /dev/null;"
        " then echo {wildcards.i} >> began; while [ ! -e go ]; do sleep 0.1; done; fi;"
        " echo {wildcards.i} > {output}"
"""


def test_what_is_left_of_a_group_waits_for_the_old_group_to_end(fake, folder):
    together = ["--group-components", "g=4"]
    main = start(fake, folder, GROUP, *together)
    until(lambda: len(list(folder.glob("out/*"))) == 2, "half of the group to end")
    until(lambda: began(folder), "the other half to begin")
    main.kill()
    again = start(fake, folder, GROUP, *together)
    # Not what began: the old group, until it is cancelled, may begin its next job by itself.
    goes_on(again, lambda: len(fake[0].jobs()) == 2, "the rest to be submitted")
    assert "taken over" not in again.output
    assert states(fake) == ["CANCELLED by 0", "COMPLETED"]


def test_a_run_on_another_cluster_cancels_first_what_slurm_still_has(fake, folder):
    rules = BY_SHELL.format(word="same")
    killed_while_it_runs(fake, folder, rules)
    again = start(fake, folder, rules, "--submitit-cluster", "local")
    goes_on(again, lambda: len(began(folder)) == 2, "the new job to begin")
    assert states(fake) == ["CANCELLED by 0"]
    assert began(folder) == ["begin same", "begin same", "end same"]


def test_jobs_that_can_no_longer_be_cancelled_stop_the_run_in_one_line(fake, tmp_path, folder):
    rules = BY_SHELL.format(word="same")
    killed_while_it_runs(fake, folder, rules)
    for command in ("bash", "python3"):
        (tmp_path / command).symlink_to(shutil.which(command))
    elsewhere = (fake[0], {**fake[1], "PATH": str(tmp_path)})
    main = start(elsewhere, folder, rules, "--submitit-cluster", "local")
    assert main.wait(60) == 1
    assert "jobs 101 of an earlier run on the cluster slurm may go on: sbatch" in main.output
    assert "Traceback" not in main.output


def test_two_workflows_with_one_folder_leave_each_other_alone(fake, tmp_path):
    rules, shared = BY_SHELL.format(word="x"), ["--submitit-folder", tmp_path / "shared"]
    first = start(fake, tmp_path / "a", rules, *shared)
    until((tmp_path / "a" / "began").exists, "the first job to begin")
    second = start(fake, tmp_path / "b", rules, *shared)
    until((tmp_path / "b" / "began").exists, "the second job to begin")
    second.interrupt()
    assert second.wait(60) != 0
    assert "Cancelling 1 jobs: 102" in second.output and "taken over" not in second.output
    goes_on(first, lambda: True, "")
    assert states(fake) == ["COMPLETED", "CANCELLED by 0"]


def test_ctrl_c_twice_cancels_without_a_traceback(fake, folder):
    main = start(fake, folder, BY_SHELL.format(word="x"))
    until((folder / "began").exists, "the job to begin")
    fake[0].turn(scancel={"sleep": 3})
    main.interrupt()
    until(lambda: "Cancelling 1 jobs" in main.output, "it to cancel")
    main.interrupt()
    assert main.wait(60) != 0
    assert "once more Ctrl-C leaves them in the queue" in main.output
    assert "Traceback" not in main.output
    assert states(fake) == ["CANCELLED by 0"]


QUICK = "rule one:\n    output: 'out'\n    resources: runtime=10\n    shell: 'echo x >> began; touch {output}'\n"


def test_an_answer_that_never_came_is_cancelled_before_the_next_try(fake, folder):
    """The controller took the job, but sbatch was not told."""
    words = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    fake[0].turn(sbatch={"fail": words, "times": 1, "then": True}, run="hold")
    main = start(fake, folder, QUICK)
    until(lambda: "trying again in 5 s" in main.output, "the refusal")
    fake[0].turn(run="real")
    assert main.wait(120) == 0, main.output
    assert states(fake) == ["CANCELLED by 0", "COMPLETED"]


SECRET = """
envvars: "TOKEN"
rule one:
    output: "out"
    resources: runtime=10, slurm_export={export!r}
    shell: "touch began; while [ ! -e go ]; do sleep 0.2; done; printf %s \\"$TOKEN\\" > {{output}}"
"""


@pytest.mark.parametrize("export", ["ALL", "NONE"])
def test_declared_variables_arrive_as_they_are_and_lie_in_no_file(fake, tmp_path, export):
    """Also when nothing else of the environment is exported, which submitit needs a part of."""
    folder, secret = tmp_path / "w", 'it\'s $HOME "and" more'
    fake[1]["TOKEN"] = secret
    main = start(fake, folder, SECRET.format(export=export))
    until((folder / "began").exists, "the job to begin")
    texts = [path.read_bytes() for path in (folder / ".snakemake").rglob("*") if path.is_file()]
    assert texts and not any(b"it's" in text or b'and" more' in text for text in texts)
    (folder / "go").touch()
    assert main.wait(60) == 0, main.output
    assert (folder / "out").read_text() == secret


def test_submitits_own_words_are_shown_where_the_job_has_none(fake, tmp_path):
    fake[0].turn(srun={"fail": "srun: error: Unable to create step for job"})
    main = start(fake, tmp_path / "w", QUICK)
    assert main.wait(60) == 1
    assert "srun: error: Unable to create step for job" in main.output


HAN, ASCII = "".join(chr(0x4E00 + number) for number in range(80)), "-".join(map(str, range(70)))
MIXED = (
    f"HAN, ASCII = {HAN!r}, {ASCII!r}"
    """
rule all:
    input: expand("{name}.out", name=[HAN, ASCII, "two"])
rule one:
    output: "{name}.out"
    resources: runtime=10, gpu=lambda wildcards: "two" if wildcards.name == "two" else 0
    shell: "touch {output:q}"
"""
)


def test_an_error_of_one_job_is_that_jobs_and_long_names_are_none(fake, folder):
    main = start(fake, folder, MIXED)
    assert main.wait(90) == 1
    assert (folder / f"{HAN}.out").exists() and (folder / f"{ASCII}.out").exists()
    assert "resource gpu='two' is not a whole number" in main.output


def test_nodes_alone_run_the_command_once(fake, folder):
    finished(fake, folder, QUICK.replace("=10", "=10, nodes=2"))
    assert began(folder) == ["x"]


def test_files_of_success_are_gone_and_those_of_failure_are_kept(fake, tmp_path):
    rules = """
rule all:
    input: expand("out/{i}", i=range(8)), "bad"
rule one:
    output: "out/{i}"
    resources: runtime=10
    shell: "touch {output}"
rule bad:
    output: "bad"
    resources: runtime=10
    shell: "echo what is wrong; exit 3"
"""
    main = start(fake, tmp_path / "w", rules, "--jobs", 4)
    assert main.wait(200) == 1, main.output
    assert "    what is wrong" in main.output
    files = [path for path in (tmp_path / "w" / ".snakemake" / "submitit").rglob("*") if path.is_file()]
    assert len(list((tmp_path / "w" / "out").iterdir())) == 8
    assert all("bad" in path.name or "_" in path.name or path.name == "submission.sh" for path in files)
    assert len(files) < 8


def test_a_held_job_is_said_once(fake, tmp_path):
    fake[0].turn(run="hold")
    main = start(fake, tmp_path / "w", BY_SHELL.format(word="x"), "--seconds-between-status-checks", 0)
    until(fake[0].jobs, "the submission")
    fake[0].set("101", reason="JobHeldUser")
    until(lambda: "JobHeldUser" in main.output, "the remark")
    until(lambda: len([call for call in fake[0].calls() if call[0] == "squeue"]) > 2, "more questions")
    assert main.output.count("JobHeldUser: held; `scontrol release 101` lets it start") == 1
    (tmp_path / "w" / "out").touch()
    fake[0].set("101", state="COMPLETED")
    assert main.wait(60) == 0


SERVICE = """
rule all:
    input: "out"
rule serve:
    output: service("socket")
    shell: "touch {output}; sleep 100"
rule use:
    input: "socket"
    output: "out"
    shell: "touch {output}"
"""


@pytest.mark.parametrize(
    ("rules", "arguments", "message"),
    [
        (SERVICE, [], "service jobs (serve) cannot be submitted"),
        (
            BY_SHELL.format(word="x"),
            ["--immediate-submit", "--notemp"],
            "--immediate-submit: jobs are not submitted with",
        ),
        (
            BY_SHELL.format(word="x").replace("=10", "=10, clusters='b'"),
            [],
            "resource clusters=b: jobs on another cluster",
        ),
        (BY_SHELL.format(word="x"), ["--submitit-cluster", "slrum"], "choices: slurm, local, debug"),
        (BY_SHELL.format(word="x"), ["--submitit-folder", "/proc/none"], "--submitit-folder /proc/none: No such file"),
    ],
)
def test_mistakes_are_one_line(fake, tmp_path, rules, arguments, message):
    main = start(fake, tmp_path / "w", rules, *arguments)
    assert main.wait(60) == 1
    assert message in main.output
    assert "Traceback" not in main.output
    assert not fake[0].jobs()


def test_what_can_be_done_without_a_limit_is_done_and_said_once(fake, tmp_path):
    one = "rule one:\n    output: '{x}'\n    resources: load=5\n    shell: 'touch {output}'\n"
    rules = f"rule all:\n    input: 'a', 'b'\n{one}"
    main = finished(fake, tmp_path / "w", rules)
    assert main.output.count("no runtime is given") == 1
    assert main.output.count("resource load means nothing to Slurm and is ignored") == 1


def test_a_sites_habits(fake, folder):
    habits = ["--submitit-job-name-prefix", "me.", "--submitit-log-folder", "logs", "--submitit-srun-args=--mpi=none"]
    rules = QUICK.replace("echo x", "echo $SITE")
    finished(fake, folder, rules, *habits, "--submitit-setup", "export SITE=here", "SITE=$SITE-and-there")
    assert began(folder) == ["here-and-there"]
    assert fake[0].jobs("name") == [("me.one",)]
    assert [path.name for path in (folder / "logs").iterdir()] == ["one.slurm-101.log"]
    assert any("--mpi=none" in call for call in fake[0].calls() if call[0] == "srun")
