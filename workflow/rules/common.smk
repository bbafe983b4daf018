# Patterns and lookups that several rules share.
FOLDER = paths.run_folder("{dataset}", "{run}")
RECORD = paths.run_record(FOLDER)

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
RUNS = digest(plan.contents())
ANALYSED = plan.analysed


def one_of(runs):
    """A wildcard constraint: any of these runs."""
    return "|".join(sorted({run.name for run in runs}))


def untracked(text):
    """A parameter that makes nothing rerun: Snakemake does not record those that are computed from outputs.

    For where and how a job runs, and for what the names of its outputs say already.
    """
    return lambda wildcards, output: text


EXPERIMENT = untracked(paths.resolved_experiment(experiment.name))
DEVICE = untracked(f"--device {experiment.execution.device}")
TRAINING = untracked(
    " ".join(
        [
            f"--log-every {experiment.execution.log_every}",
            f"--resume-seconds {experiment.execution.resume_seconds}",
            *(f"--sink {sink}" for sink in experiment.execution.sinks),
            *(["--compile"] if experiment.execution.compile else []),
            *([] if experiment.execution.channels_last else ["--channels-first"]),
            *(
                [f"--microbatch {experiment.execution.microbatch}"]
                if experiment.execution.microbatch
                else []
            ),
        ]
    )
)
SCORING = untracked(
    " ".join(
        [
            *(f"--steps {evaluation.argument}" for evaluation in plan.evaluations),
            *(f"--metric {metric}" for metric in experiment.evaluation.metrics),
            *(f"--denoise {t}" for t in experiment.evaluation.denoise),
            f"--samples {experiment.evaluation.samples}",
            f"--repeats {experiment.evaluation.repeats}",
            f"--seed {experiment.evaluation.seed}",
            f"--convention {experiment.evaluation.convention}",
            f"--grid {experiment.evaluation.grid}",
            f"--batch-size {experiment.evaluation.batch_size}",
            f"--features {plan.features.argument}",
            f"--reference {plan.features.reference}",
        ]
    )
)
ASSET_NAMES = {f"{asset.folder}/{asset.file}": name for name, asset in ASSETS.items()}
ASSET_OPTIONS = " ".join(
    [
        f"--table {experiment.assets.table}",
        f"--folder {paths.ASSETS}",
        *(
            [f"--prefetched {experiment.assets.prefetched}"]
            if experiment.assets.prefetched
            else []
        ),
    ]
)


def asset_path(name):
    """Where a published file is."""
    return ASSETS[name].path(paths.ASSETS)
