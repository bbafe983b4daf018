"""Paths that Snakemake hands to the shell of a job, in its own way."""

import os
import subprocess
from pathlib import Path

import pytest
from cluster import Main

from snakemake_executor_plugin_submitit.places import refusal

FOLDER = Path("/results/.snakemake/submitit")
HARMLESS = ["/a b/c", "/it's/c", "/$(touch pwned)/c", "/a;b&c/`d`", '/"a"/c', "/{a}/*"]
HARMFUL = ["/it's $(touch pwned)", "/it's `d`", "/a\\b", "/a\nb", '/it\'s "a"!', "/\u200b"]


def read(text):
    """What a shell makes of a text that Snakemake has quoted."""
    done = subprocess.run(["bash", "-c", f"printf %s {text!r}"], capture_output=True, text=True, check=False)
    return done.stdout


@pytest.mark.parametrize("path", HARMLESS)
def test_what_a_shell_reads_as_it_is_goes_on(path):
    assert refusal([path], FOLDER) == ""
    assert read(path) == path


@pytest.mark.parametrize("path", HARMFUL)
def test_what_a_shell_would_read_otherwise_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refusal([path], FOLDER).startswith(path)


def test_numbers_of_jobs_are_put_in_for_percent_signs(tmp_path):
    assert refusal([], tmp_path / "%j") == (
        f"{tmp_path}/%j: % stands for numbers of jobs in Slurm's paths; choose another --submitit-folder"
    )


def test_a_workflow_in_such_a_folder_is_one_line_and_runs_nothing(tmp_path):
    folder = tmp_path / "it's $(touch pwned)"
    folder.mkdir()
    (folder / "Snakefile").write_text('rule all:\n    output: "a"\n    shell: "touch {output}"\n')
    main = Main(folder, dict(os.environ), "--submitit-cluster", "local")
    assert main.wait() == 1
    assert "Snakemake does not quote this path for the shell of its jobs as it is; rename it" in main.output
    assert "Traceback" not in main.output
    assert not list(tmp_path.rglob("pwned"))
