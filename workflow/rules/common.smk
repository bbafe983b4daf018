# Patterns and lookups that several rules share.
FOLDER = paths.run_folder("{dataset}", "{run}")

# Resources of a compute job: threads and GPUs for each of its processes.
THREADS = experiment.execution.threads
PROCESSES = experiment.execution.processes


def gpus(processes):
    """GPUs requested by this many processes; a function of the job, as Snakemake knows its executor only then."""

    return lambda wildcards: processes * gpus_per_job(
        experiment, here=workflow.local_exec
    )


ALONE = {"gpu": gpus(1)}
# Executors that only support one process per job are not given more resources.
SHARED = (
    ALONE
    if PROCESSES == 1
    else {
        "gpu": gpus(PROCESSES),
        "replicas": PROCESSES,
        "nodes": experiment.execution.nodes,
    }
)
# Changes when different runs or scores are requested, or a method's label changes. Without it a new score would never
# be made: a missing input alone does not make Snakemake rerun a job whose output exists.
RUNS = plan.digest()


def one_of(names):
    """A wildcard constraint: any of these names."""
    return "|".join(sorted({re.escape(name) for name in names})) or "none"


def untracked(value):
    """A parameter that triggers no reruns: Snakemake does not record those that are computed from outputs.

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
        *(
            [f"--data={experiment.execution.data}"]
            if experiment.execution.data != "auto"
            else []
        ),
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
    """The path of a published file."""
    return ASSETS[name].path(paths.ASSETS)


def flags(name, values):
    """An option that is repeated for each value."""
    return [part for value in values for part in (name, value)]


def suffix(*averages):
    """The suffix of a rule's name for these averages of a run; empty for the first alone."""
    return "".join(
        f"_{re.sub(r'[^A-Za-z0-9]', '_', name)}" for name in averages if name
    )


def records_of(records):
    """The paths of records of scores or grids, for one run."""
    return lambda wildcards, output: [
        record.record(paths.run_folder(wildcards.dataset, wildcards.run))
        for record in records
    ]


def sampled_with(wildcards):
    """The networks needed to sample a run's snapshots, besides themselves."""
    return plan.runs[wildcards.run].record.sampling_inputs


def settings_of(output):
    """A value that makes a figure or table be redrawn when it changes."""
    # It is inside a script of the report, which a title must not terminate.
    return f"{output.name} {output.model_dump_json()}".replace("<", r"\u003c")


# Runs that were stopped but should continue under this experiment's rules, with the files that replace their results.
# These are made again with everything made from them, because a requested file upstream of them is missing.
GOING_ON = stops.find_outdated(plan)


def scores_before(segment):
    """What a segment waits for if its run may be stopped: earlier scores. Trained segments wait for nothing.

    They are never newer than what is trained: other scores of the same snapshots must not have it trained again.
    """

    def files(wildcards):
        run, settings = plan.runs[wildcards.run], workflow.dag_settings
        if not (
            settings.forceall or settings.forcerun or goes_on(run, segment)
        ) and all(
            path.exists() for path in segment.made(run.folder, run.record.averages)
        ):
            return []
        return [ancient(path) for path in stops.list_needed_scores(plan, run, segment)]

    return files


def goes_on(run, segment):
    """Whether a stopped training run that should now continue left notes in place of a segment's files."""
    return any(
        path in GOING_ON.get(run, ())
        for path in segment.made(run.folder, run.record.averages)
    )


def asks_to_go_on(segment):
    """What a segment that must be made again waits for."""

    def files(wildcards):
        run = plan.runs[wildcards.run]
        return [paths.going_on(run.folder)] if goes_on(run, segment) else []

    return files
