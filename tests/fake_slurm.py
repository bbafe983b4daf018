"""Slurm's commands for tests and benchmarks: no daemons, jobs are rows of a table, and every command can misbehave.

`install` puts them into a folder for PATH. What they do is in a file of knobs, read at each call:

- ``run``: what a submitted job does. ``real``: it runs, as a process of this machine; ``touch``: its outputs are made
  without running anything; ``hold``: nothing, the test sets its state.
- ``COMMAND``: ``fail`` (a message on its standard error), ``times`` (so often; default always), ``sleep`` (seconds
  before it does anything), ``then`` (the failure comes after the deed), ``say`` (printed first), ``hide`` (rows of
  these ids are left out).
- ``config``: lines of ``scontrol show config``.
"""

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo", "srun")
CONFIG = "MaxArraySize            = 1001\nAccountingStorageType   = accounting_storage/slurmdbd"
ACTIVE = ("PENDING", "RUNNING", "COMPLETING")


class Fake:
    """The state, as tests and commands see it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.knobs_file = self.folder / "knobs.json"
        with self.table() as table:
            table.execute(
                "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, number INTEGER, state TEXT, reason TEXT,"
                " comment TEXT, name TEXT, uid TEXT, exit TEXT, words TEXT)"
            )

    def table(self):
        return sqlite3.connect(self.folder / "jobs.sqlite", timeout=60)

    def knobs(self):
        return json.loads(self.knobs_file.read_text()) if self.knobs_file.exists() else {}

    def turn(self, **knobs):
        """Change knobs; a command's are replaced as a whole."""
        text = json.dumps({**self.knobs(), **knobs})
        self.knobs_file.with_suffix(".new").write_text(text)
        self.knobs_file.with_suffix(".new").rename(self.knobs_file)

    def jobs(self, columns="id, state"):
        with self.table() as table:
            return table.execute(f"SELECT {columns} FROM jobs ORDER BY rowid").fetchall()

    def set(self, job, **values):
        with self.table() as table:
            for key, value in values.items():
                table.execute(f"UPDATE jobs SET {key} = ? WHERE id = ?", (value, job))

    def calls(self):
        """Every call so far: the command and its words."""
        file = self.folder / "calls"
        return [line.split("\t") for line in file.read_text().splitlines()] if file.exists() else []

    def count(self):
        names = [call[0] for call in self.calls()]
        return {name: names.count(name) for name in COMMANDS if name in names}


def install(folder):
    """Make the commands in a folder; returns what to use them with: the state, and an environment."""
    folder.mkdir(parents=True)
    for command in COMMANDS:
        (folder / command).write_text(f'#!/bin/sh\nexec {sys.executable} -S {__file__} {folder} {command} "$@"\n')
        (folder / command).chmod(0o755)
    return Fake(folder), {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def main(folder, command, words):
    fake = Fake(folder)
    knobs = fake.knobs()
    with (fake.folder / "calls").open("a") as calls:
        calls.write("\t".join([command, *words]).replace("\n", " ") + "\n")
    mine = knobs.get(command, {})
    if mine.get("say"):
        print(mine["say"])
    time.sleep(mine.get("sleep", 0))
    fails = mine.get("fail")
    if fails and "times" in mine:
        fake.turn(**{command: {**mine, "times": mine["times"] - 1}})
        fails = fails if mine["times"] > 0 else None
    if fails and not mine.get("then"):
        sys.exit(fails)
    globals()[f"do_{command}"](fake, words, knobs)
    if fails:
        sys.exit(fails)


def option(words, *names):
    for index, word in enumerate(words):
        if word in names:
            return words[index + 1]
        for name in names:
            if name.startswith("--") and word.startswith(f"{name}="):
                return word.partition("=")[2]
    return None


def do_sbatch(fake, words, knobs):
    script = Path(words[-1])
    lines = [shlex.split(line)[1] for line in script.read_text().splitlines() if line.startswith("#SBATCH ")]
    array = option(lines, "--array")
    limit = int(re.findall(r"MaxArraySize *= *(\d+)", f"{CONFIG}\n{knobs.get('config', '')}")[-1])
    count = int(re.match(r"0-(\d+)", array)[1]) + 1 if array else 1
    if count > limit:
        sys.exit("sbatch: error: Batch job submission failed: Invalid job array specification")
    with fake.table() as table:
        (last,) = table.execute("SELECT coalesce(max(number), 100) FROM jobs").fetchone()
        number = last + 1
        ids = [f"{number}_{element}" for element in range(count)] if array else [str(number)]
        for job in ids:
            row = (job, number, "PENDING", "None", option(lines, "--comment") or "", option(lines, "--job-name"))
            table.execute(
                "INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, '0:0', ?)",
                (*row, str(os.getuid()), json.dumps([*lines, *words])),
            )
    print(f"{number}" if "--parsable" in words else f"Submitted batch job {number}", flush=True)
    if knobs.get("run", "real") != "hold":
        log = (fake.folder / f"{number}.log").open("w")
        for job in ids if knobs.get("run", "real") == "real" else [" ".join(ids)]:
            subprocess.Popen(
                [sys.executable, "-S", __file__, str(fake.folder), "job", job, str(script)],
                env={**os.environ, "FAKE_SLURM_JOB": mark(fake, "")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def do_job(fake, words, knobs):
    """What slurmd would do."""
    job, script = words
    if knobs.get("run") == "touch":
        touch(fake, job.split(), Path(script).parent)
        return
    number, _, element = job.partition("_")
    given = {"SLURM_JOB_ID": number, "SLURM_JOB_NODELIST": "localhost", "SLURM_JOB_NUM_NODES": "1"}
    if element:
        given |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": element, "SLURM_JOB_ID": f"{number}9{element}"}
    lines = [shlex.split(line)[1] for line in Path(script).read_text().splitlines() if line.startswith("#SBATCH ")]
    streams = [
        Path(re.sub("%j|%A_%a", job, option(lines, name))).open("a")  # noqa: SIM115 -- the process's
        for name in ("--output", "--error")
    ]
    (export,) = [json.loads(words) for key, words in fake.jobs("id, words") if key == job]
    given["FAKE_SLURM_JOB"] = mark(fake, job)
    given["SLURM_EXPORT_ENV"] = option(export, "--export") or "ALL"
    process = subprocess.Popen(
        ["bash", script], env={**os.environ, **given}, stdout=streams[0], stderr=streams[1], start_new_session=True
    )
    fake.set(job, state="RUNNING")
    status = process.wait()
    if dict(fake.jobs())[job] == "RUNNING":
        fake.set(job, state="FAILED" if status else "COMPLETED", exit=f"{max(status, 0)}:0")


def touch(fake, ids, folder):
    """Make the outputs of jobs, each named like rule ``one`` with the wildcard ``i``, without running them."""
    for job in ids:
        pickle = folder / f"{job}_submitted.pkl"
        while not pickle.exists():
            time.sleep(0.01)
        wildcard = re.search(rb"one:i=(\d+)", pickle.read_bytes())[1].decode()
        Path("out", wildcard).touch()
    with fake.table() as table:
        table.executemany("UPDATE jobs SET state = 'COMPLETED' WHERE id = ?", [(job,) for job in ids])


def do_squeue(fake, words, knobs):
    states = None if "all" in words else ACTIVE
    uid = option(words, "-u")
    if os.environ.get("SQUEUE_STATES"):
        states = (os.environ["SQUEUE_STATES"],)
    form = option(words, "-o")
    for job, state, reason, comment, name, owner in fake.jobs("id, state, reason, comment, name, uid"):
        hidden = job in knobs.get("squeue", {}).get("hide", ()) or state == "FORGOTTEN"
        if hidden or (states and state not in states) or (uid and uid != owner):
            continue
        values = {"i": job, "T": state, "r": reason, "k": comment, "j": name, "D": "1", "P": "gpu"}
        print(re.sub(r"%(\w)", lambda match: values[match[1]], form))  # noqa: B023 -- used at once


def do_sacct(fake, words, knobs):
    wanted = set(option(words, "-j").split(","))
    hide = knobs.get("sacct", {}).get("hide", ())
    for job, state, reason, code in fake.jobs("id, state, reason, exit"):
        if (job in wanted or job.split("_")[0] in wanted) and job not in hide:
            said = knobs.get("sacct", {}).get("states", {}).get(job, state)
            values = {"JobID": job, "State": said, "Reason": reason, "ExitCode": code, "NodeList": "node1"}
            print("|".join(values.get(field, "") for field in option(words, "-o").split(",")))


def do_scancel(fake, words, knobs):
    for job, state in fake.jobs():
        if (job in words or job.split("_")[0] in words) and state in ACTIVE:
            fake.set(job, state="CANCELLED by 0")
            kill(mark(fake, job))


def mark(fake, job):
    return f"{fake.folder}:{job}"


def kill(marked):
    """As Slurm does: all that a job has started, whatever sessions it made; of all jobs, if it ends with a colon."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = environment.read_bytes().split(b"\0")
            wanted = f"FAKE_SLURM_JOB={marked}".encode()
            if any(variable == wanted or (marked.endswith(":") and wanted in variable) for variable in variables):
                os.kill(int(environment.parent.name), signal.SIGKILL)
        except OSError:
            continue  # another's, or over


def do_scontrol(fake, words, knobs):
    if words[:2] == ["show", "config"]:
        print(
            knobs.get("config", "MaxArraySize            = 1001\nAccountingStorageType   = accounting_storage/slurmdbd")
        )
    elif "job" in words:
        if words[-1] not in dict(fake.jobs()) or dict(fake.jobs())[words[-1]] == "FORGOTTEN":
            sys.exit("slurm_load_jobs error: Invalid job id specified")
        print(f"JobId={words[-1]}")
    elif words[0] == "requeue":
        fake.set(words[1], state="PENDING")


def do_sinfo(fake, words, knobs):
    print(3)


def do_srun(fake, words, knobs):
    command = words[next(index for index, word in enumerate(words) if "python" in word) :]
    # submitit asks srun to put its output into files
    output, error = (option(words, name) for name in ("--output", "--error"))
    given = dict(os.environ)
    if "--export=ALL" not in words and given["SLURM_EXPORT_ENV"] == "NONE":
        given.pop("SUBMITIT_EXECUTOR", None)
    job = given["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in given:
        job = f"{given['SLURM_ARRAY_JOB_ID']}_{given['SLURM_ARRAY_TASK_ID']}"
    output, error = (Path(re.sub("%j|%A_%a", job, name).replace("%t", "0")) for name in (output, error))
    with output.open("a") as out, error.open("a") as err:
        sys.exit(subprocess.run(command, env=given, stdout=out, stderr=err, check=False).returncode)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
