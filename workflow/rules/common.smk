# Patterns and lookups that several rules share.
FOLDER = paths.run_folder("{dataset}", "{run}")

# What a job that computes asks for: so many threads and GPUs for each of its processes.
THREADS = experiment.execution.threads
PROCESSES = experiment.execution.processes


def gpus(processes):
    """How many GPUs so many processes ask for; a function of the job, as Snakemake knows its executor only then."""

    return lambda wildcards: processes * gpus_per_job(
        experiment, here=workflow.local_exec
    )


ALONE = {"gpu": gpus(1)}
# Executors that know one process for each job are not bothered with more.
SHARED = (
    ALONE
    if PROCESSES == 1
    else {
        "gpu": gpus(PROCESSES),
        "replicas": PROCESSES,
        "nodes": experiment.execution.nodes,
    }
)
# Changes when other runs or scores are asked for, or a method is called otherwise. Without it a new score would be
# made by nobody: a missing input alone does not make Snakemake rerun a job whose output is there.
RUNS = plan.digest()


def one_of(names):
    """A wildcard constraint: any of these names."""
    return "|".join(sorted({re.escape(name) for name in names})) or "none"


def untracked(value):
    """A parameter that makes nothing rerun: Snakemake does not record those that are computed from outputs.

    For where and how a job runs, and for what the names of its outputs say already.
    """
    return lambda wildcards, output: value


EXPERIMENT = untracked(str(paths.resolved_experiment(experiment.name)))
DEVICE = untracked(["--device", experiment.execution.device])
ON_A_GPU = [
    *(
        {True: ["--compile"], False: ["--compile=never"]}.get(
            experiment.execution.compile, []
        )
    ),
    *(["--replay=never"] if experiment.execution.replay == "never" else []),
]
TRAINING = untracked(
    [
        *("--log-every", experiment.execution.log_every),
        *("--resume-seconds", experiment.execution.resume_seconds),
        *(f"--sink={sink}" for sink in experiment.execution.sinks),
        *ON_A_GPU,
        *([] if experiment.execution.channels_last else ["--channels-first"]),
        *(
            ["--microbatch", experiment.execution.microbatch]
            if experiment.execution.microbatch
            else []
        ),
    ]
)
BATCHES = untracked(["--batch-size", experiment.evaluation.batch_size])
SCORING = untracked(["--batch-size", experiment.evaluation.batch_size, *ON_A_GPU])
ASSET_NAMES = {f"{asset.folder}/{asset.file}": name for name, asset in ASSETS.items()}
ASSET_OPTIONS = untracked(
    [
        *("--table", experiment.assets.table),
        *("--folder", paths.ASSETS),
        *(
            ["--prefetched", experiment.assets.prefetched]
            if experiment.assets.prefetched
            else []
        ),
    ]
)


def asset_path(name):
    """Where a published file is."""
    return ASSETS[name].path(paths.ASSETS)


def flags(name, values):
    """An option that is given once for each value."""
    return [part for value in values for part in (name, value)]


def suffix(*averages):
    """What ends the name of a rule for these averages of a run; nothing where it is the first alone."""
    return "".join(
        f"_{re.sub(r'[^A-Za-z0-9]', '_', name)}" for name in averages if name
    )


def records_of(records):
    """Where the records of scores or grids are, for one run."""
    return lambda wildcards, output: [
        record.record(paths.run_folder(wildcards.dataset, wildcards.run))
        for record in records
    ]


def sampled_with(wildcards):
    """The networks that a run's snapshots are sampled with beside themselves."""
    return plan.runs[wildcards.run].record.sampling_inputs


def settings_of(output):
    """What makes a figure or table another one when it changes."""
    # It stands in a script of the report, which a title must not end.
    return f"{output.name} {output.model_dump_json()}".replace("<", r"\u003c")
