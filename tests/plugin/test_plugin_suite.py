"""Snakemake's own tests of executors, and a workflow that has nothing to do with this project."""

import os
import shutil
import subprocess

import pytest
from cluster import SNAKEMAKE, started
from snakemake.common.tests import TestWorkflowsLocalStorageBase

from snakemake_executor_plugin_submitit import ExecutorSettings

WORKFLOW = """
import itertools

envvars: "GREETING"

rule all:
    input:
        expand("counted/{i}.txt", i=range(2)),
        "chosen.txt", "piped.txt", "shadowed.txt", "benchmark.tsv", "script.txt", "attempt.txt", "set.txt", "named.txt",
        "group.txt",

rule one:
    output: temp("one/{i}.txt")
    log: err="logs/{i}.err", out="logs/{i}.out"
    params: word=lambda wildcards: f"word {wildcards.i}", more=["it's", '"$HOME"']
    threads: 2
    shell: "echo {params.word} {params.more:q} {threads} > {output} 2> {log.err}; touch {log}"

rule count:
    input: "one/{i}.txt"
    output: "counted/{i}.txt"
    group: "pair"
    shell: "wc -w < {input} > {output}"

checkpoint choose:
    output: directory("chosen")
    shell: "mkdir {output}; touch {output}/a {output}/b"

def chosen(wildcards):
    folder = checkpoints.choose.get().output[0]
    return expand("{name}.many", name=sorted(glob_wildcards(folder + "/{name,[ab]}").name))

rule many:
    output: "{name}.many"
    wildcard_constraints: name="[ab]"
    retries: 1
    resources: mem_mb=lambda wildcards, attempt: 100 * attempt
    shell: "if [ {resources.mem_mb} = 100 ] && [ {wildcards.name} = b ]; then exit 1; fi;"
           " echo {wildcards.name} {resources.mem_mb} > {output}"

rule gather:
    input: chosen
    output: "chosen.txt"
    shell: "cat {input} > {output}"

rule talk:
    output: pipe("pipe.txt")
    shell: "echo piped > {output}"

rule listen:
    input: "pipe.txt"
    output: "piped.txt"
    shell: "cat {input} > {output}"

rule shadow:
    output: "shadowed.txt"
    shadow: "minimal"
    shell: "touch stray.txt; echo shadow > {output}"

rule timed:
    output: "timed.txt"
    benchmark: "benchmark.tsv"
    shell: "touch {output}"

rule script:
    output: "script.txt"
    params: numbers={"a": [1, 2]}
    script: "script.py"

rule attempt:
    output: "attempt.txt"
    resources: runtime=lambda wildcards, attempt: 10 * attempt, load=3
    shell: "echo {resources.runtime} $GREETING > {output}"

rule set:
    output: "set.txt"
    resources: mem_mb=100
    shell: "echo {resources.mem_mb} > {output}"

rule named:
    output: "named.txt"
    log: "logs/named.log"
    run:
        with open(output[0], "w") as file:
            file.write(rule + "\\n")

rule head:
    output: "head.txt"
    group: "pair"
    shell: "echo head > {output}"

rule tail:
    input: "head.txt"
    output: "group.txt"
    group: "pair"
    shell: "cat {input} > {output}; echo tail >> {output}"
"""
SCRIPT = "print(snakemake.params.numbers['a'][1], snakemake.rule, file=open(snakemake.output[0], 'w'))\n"
OPTIONS = ["--jobs", 3, "--cores", 2, "--retries", 1, "--keep-going", "--set-resources", "set:mem_mb=200"]


class OfExecutors(TestWorkflowsLocalStorageBase):
    """Snakemake's suite; what it takes from the environment is where Slurm is."""

    settings = ExecutorSettings()

    def get_executor(self):
        return "submitit"

    def get_executor_settings(self):
        return self.settings


class TestOnThisMachine(OfExecutors):
    __test__ = True
    settings = ExecutorSettings(cluster="local")


@pytest.fixture(scope="class")
def in_slurm():
    with started() as cluster, pytest.MonkeyPatch.context() as patch:
        for key, value in cluster.environment.items():
            patch.setenv(key, value)
        yield cluster


@pytest.mark.slurm
@pytest.mark.usefixtures("in_slurm")
class TestOnSlurm(OfExecutors):
    __test__ = True

    def test_a_foreign_workflow_makes_the_same_files(self, tmp_path):
        assert made(tmp_path, dict(os.environ), "submitit") == made(tmp_path, dict(os.environ), "local")


def made(folder, environment, executor, *arguments):
    """What the workflow makes: the text of each file; of a benchmark, that it is there."""
    (folder := folder / executor).mkdir()
    (folder / "Snakefile").write_text(WORKFLOW)
    (folder / "script.py").write_text(SCRIPT)
    command = [SNAKEMAKE, "--executor", executor, *OPTIONS, "--seconds-between-status-checks", 1, *arguments]
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env={**environment, "GREETING": "it's a $HOME"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: "" if name == "benchmark.tsv" else path.read_text()
        for name, path in files.items()
        if not name.startswith(".snakemake") and not name.endswith(".log")
    }


def test_a_foreign_workflow_makes_the_same_files(tmp_path):
    ours = made(tmp_path, dict(os.environ), "submitit", "--submitit-cluster", "local")
    assert ours == made(tmp_path, dict(os.environ), "local")
    assert ours["attempt.txt"] == "10 it's a $HOME\n" and ours["set.txt"] == "200\n"
    assert ours["chosen.txt"] == "a 100\nb 200\n"
    shutil.rmtree(tmp_path / "submitit")
