"""From a rule's resources to what Slurm is asked for."""

import re

import pytest
from fake_slurm import install

from snakemake_executor_plugin_submitit.request import RequestError, request
from snakemake_executor_plugin_submitit.submission import Habits, script


def ask(threads=1, **resources):
    return request({"runtime": 60, **resources}, threads, name="n")


@pytest.fixture
def text(tmp_path, monkeypatch):
    """The script of a batch; submitit makes none where Slurm's commands are not on PATH."""
    monkeypatch.setenv("PATH", install(tmp_path / "bin")[1]["PATH"])

    def build(threads=1, jobs=1, habits=None, **resources):
        return script(ask(threads, **resources), tmp_path / "token", habits or Habits(), jobs)

    return build


PLAIN = {"nodes": 1, "ntasks-per-node": 1, "cpus-per-task": 1, "requeue": True}


@pytest.mark.parametrize(
    ("resources", "options"),
    [
        ({}, {}),
        ({"mem_mb": 1001}, {"mem": "1001M"}),
        ({"mem_mb": 5}, {"mem": "400M"}),  # Snakemake itself takes more
        ({"mem_mb": 0}, {"mem": "0M"}),  # all of a node's, for Slurm
        ({"mem_mb": 1000, "mem_mb_per_cpu": 500}, {"mem-per-cpu": "500M"}),  # the first is Snakemake's default
        ({"cpus_per_task": 7}, {"cpus-per-task": 7}),
        ({"gpu": 2}, {"gpus-per-node": 2}),
        ({"gpu": 2, "gpu_model": "a100"}, {"gpus-per-node": "a100:2"}),
        ({"gpu": 0, "gpu_model": "a100"}, {}),  # a profile's default, of no meaning here
        ({"slurm_partition": "p", "slurm_account": "a", "qos": None}, {"partition": "p", "account": "a"}),
        ({"constraint": "c", "reservation": "r", "nice": 10}, {"constraint": "c", "reservation": "r", "nice": 10}),
        ({"slurm_mail_type": "END", "slurm_exclusive": True}, {"mail-type": "END", "exclusive": True}),
        ({"tmpdir": "/tmp", "disk_mb": 5, "mem_mib": 5, "_cores": 1, "_nodes": 1}, {}),
        ({"tasks": 1, "nodes": 1}, {}),
    ],
)
def test_resources_become_options(resources, options):
    assert ask(**resources).options == {**PLAIN, **options}


def test_nodes_alone_are_one_task_that_runs_beside_those_it_starts():
    found = ask(nodes=2, gpu=4)
    assert (found.replicas, found.in_batch) == (1, True)
    assert found.options == {**PLAIN, "nodes": 2, "gpus-per-node": 2}


def test_tasks_are_ranks_that_the_command_starts():
    found = ask(threads=2, tasks=10, mpi="srun", gpu=3)
    assert (found.replicas, found.in_batch) == (1, True)
    assert found.options == {"ntasks": 10, "cpus-per-task": 2, "gpus": 3, "requeue": True}
    assert ask(mpi="srun").in_batch
    assert ask(tasks_per_gpu=2, gpu=1).options["ntasks-per-gpu"] == 2
    assert ask(nodes=2, tasks_per_node=4).options["ntasks-per-node"] == 4


def test_replicas_are_spread_over_the_nodes():
    found = ask(replicas=4, nodes=2, gpu=4)
    assert (found.replicas, found.in_batch) == (4, False)
    assert found.options == {**PLAIN, "nodes": 2, "ntasks-per-node": 2, "gpus-per-node": 2}


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"gpu": "two"}, "resource gpu='two' is not a whole number"),
        ({"nodes": 2, "replicas": 3}, "replicas=3 cannot be spread evenly over nodes=2"),
        ({"nodes": 2, "gpu": 3}, "gpu=3 cannot be spread evenly over nodes=2"),
        ({"replicas": 3, "tasks": 3}, "replicas=3 excludes tasks"),
        ({"gpu_model": "a100"}, "gpu_model=a100 without gpu: how many?"),
        ({"slurm_time": "1:00"}, "resource slurm_time=1:00: is set by the executor; use runtime"),
        ({"slurm_array": "1-3"}, "resource slurm_array=1-3: is set by the executor"),
        ({"clusters": "a,b"}, "resource clusters=a,b: jobs on another cluster would not be seen"),
        ({"slurm_extra": "-M other"}, "slurm_extra=-M other: jobs on another cluster would not be seen"),
        ({"slurm_extra": "--mem=3G"}, "slurm_extra=--mem=3G: --mem is set by the executor; use mem_mb"),
        ({"slurm_extra": "-J mine"}, "--job-name is set by the executor; use --submitit-job-name-prefix"),
        ({"slurm_extra": "--comment=x"}, "use slurm_comment"),
        ({"slurm_extra": "--x='"}, "No closing quotation"),
        ({"slurm_requeue": "never"}, "resource slurm_requeue='never' is none of True, False, 1, 0"),
    ],
)
def test_what_cannot_be_asked_for_is_said(resources, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        ask(**resources)


@pytest.mark.parametrize("quoted", ["--qos=long --mail-type=ALL", "'--qos=long --mail-type=ALL'"])
def test_further_words_for_sbatch(quoted):
    assert ask(slurm_extra=quoted).extra == ("--qos=long", "--mail-type=ALL")


def test_custom_resources_are_ignored_and_said():
    assert ask(load=5).remarks == ("resource load means nothing to Slurm and is ignored",)
    assert ask(gpus=1).remarks[0].endswith("did you mean gpu?")
    assert ask(slurm_partition="p", partiton="p").remarks[0].endswith("did you mean partition?")
    assert not request({"runtime": 60, "licence": 1}, 1, name="n", limited=["licence"]).remarks


def test_without_a_limit_the_partitions_counts():
    found = ask(runtime=None)
    assert found.minutes is None
    assert "no runtime is given" in found.remarks[0]


def test_a_short_job_is_not_asked_to_leave(text):
    found = ask(runtime=2)
    assert (found.minutes, found.signal_seconds) == (2, 0)
    assert "runtime=2 (minutes) is too short" in found.remarks[0]
    assert "--signal" not in text(runtime=2)
    assert ask(runtime=2, slurm_signal_seconds=30).signal_seconds == 30


def test_requeueing_is_a_rules_choice_both_ways():
    assert "no-requeue" in ask(slurm_requeue=False).options
    assert request({"slurm_requeue": 1}, 1, name="n", requeue=False).options["requeue"]
    assert not request({}, 1, name="n", requeue=False).requeue


def lines(script):
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]


def test_the_script_of_an_array(text):
    script = text(threads=3, jobs=4, comment="project 7", habits=Habits(array_parallelism=2))
    assert {"--array=0-3%2", "--comment='project 7 token'", "--time=60", "--signal=USR2@120"} <= set(lines(script))
    assert "srun" in script and "--export=ALL --cpus-per-task=3" in script
    assert "wckey" not in script


def test_the_script_of_ranks_has_no_srun_and_its_own_signal(text):
    script = text(tasks=2)
    assert "--signal=B:USR2@120" in lines(script)
    assert "\nexec " in script and "srun" not in script.replace("SRUN_CPUS_PER_TASK", "")


def test_lines_of_setup_and_arguments_of_srun(text):
    script = text(habits=Habits(setup=("module load x",), srun_args=("--mpi=none",)))
    assert "\nmodule load x\n" in script and "--wait=0 --mpi=none" in script
