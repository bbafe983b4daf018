"""What runs on the node, without a cluster; and what makes a job the same from one Snakemake to the next."""

import signal
import threading
import time
from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_submitit.identity import identify
from snakemake_executor_plugin_submitit.replicas import peer_command
from snakemake_executor_plugin_submitit.request import RequestError
from snakemake_executor_plugin_submitit.task import PEER_LOG, _run


def run(folder, command, asked=()):
    with (folder / "output").open("wb", buffering=0) as output:
        return _run(command, list(asked), output), (folder / "output").read_text()


def test_a_command_may_be_longer_than_an_argument(tmp_path):
    assert run(tmp_path, f"echo {'a' * 300_000} | wc -c") == (0, "300001\n")


def test_shells_between_wait_for_the_program_that_is_asked_to_leave(tmp_path):
    program = "import signal, sys, time; signal.signal(signal.SIGUSR2, lambda *_: sys.exit(7)); time.sleep(30)"
    asked = []
    threading.Timer(1, lambda: asked.append(signal.SIGUSR2)).start()
    begin = time.monotonic()
    with (tmp_path / "output").open("wb", buffering=0) as output:
        assert _run(f"bash -c 'python3 -c \"{program}\"; exit $?'", asked, output) == 7
    assert time.monotonic() - begin < 20


def job(**changes):
    """A job of one rule, as far as the executor looks at it."""
    rule = SimpleNamespace(
        **{"name": "one", "shellcmd": "make {log.err} {log[0]} {log}", "run_func_src": None, "script": None},
        **{"notebook": None, "wrapper": None, "norun": False},
    )
    values = {"rule": rule, "shellcmd": "make x", "output": ["out"], "input": ["in"], "log": ["a", "b"]}
    values |= {"benchmark": None, "wildcards_dict": {"i": 1}, "non_derived_params": [{"b", "a"}], "conda_env": "env"}
    values |= {"resources": {"runtime": 5, "tmpdir": "/tmp/1"}, "attempt": 1, "is_group": lambda: False, **changes}
    made = SimpleNamespace(**values)
    made.format_wildcards = lambda text, **variables: text.format(**variables)
    return made


def test_a_job_is_the_same_if_all_that_decides_is():
    assert identify(job()) == identify(
        job(non_derived_params=[{"a", "b"}], resources={"runtime": 5, "tmpdir": "/tmp/2"})
    )


@pytest.mark.parametrize(
    "change",
    [
        {"shellcmd": "make y"},
        {"non_derived_params": ["c"]},
        {"input": ["in", "more"]},
        {"output": ["out", "more"]},
        {"resources": {"runtime": 6}},
        {"wildcards_dict": {"i": 2}},
    ],
)
def test_any_change_makes_it_another(change):
    assert identify(job()).fingerprint != identify(job(**change)).fingerprint


def test_an_inputs_content_counts_not_its_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").write_text("1")
    first = identify(job())
    time.sleep(0.02)
    (tmp_path / "in").write_text("1")
    assert identify(job()) == first
    (tmp_path / "in").write_text("2")
    assert identify(job()) != first


def test_further_replicas_run_the_rules_command_with_a_log_of_their_own():
    command = peer_command(job(), frozenset(), 2)
    assert command == f"set -euo pipefail; make {PEER_LOG} {PEER_LOG} {PEER_LOG}"


def test_what_snakemake_does_for_the_first_alone_is_refused():
    from snakemake_interface_executor_plugins.settings import DeploymentMethod

    with pytest.raises(RequestError, match="replicas=2: not together with conda"):
        peer_command(job(container_img_url=None, env_modules=None), frozenset({DeploymentMethod.CONDA}), 2)
    script = job()
    script.rule.shellcmd = None
    with pytest.raises(RequestError, match="only a job of one rule with a shell command"):
        peer_command(script, frozenset(), 2)
