# Patterns and lookups that several rules share.
FOLDER = paths.run_folder("{dataset}", "{run}")
RECORD = paths.run_record(FOLDER)
EXPERIMENT = paths.experiment_folder("{experiment}")
RESOLVED = EXPERIMENT / "experiment.yaml"

# Where and how jobs run changes no result: these stand in shell commands, where no rerun trigger looks.
COMPUTE = f"--device {experiment.execution.device} --threads {{threads}}"
GPU = gpus_per_job(experiment, here=not workflow.non_local_exec)


def one_of(runs):
    """A wildcard constraint: any of these runs."""
    return "|".join(sorted({run.name for run in runs}))


TRAINING = " ".join(
    [
        f"--log-every {experiment.execution.log_every}",
        f"--resume-seconds {experiment.execution.resume_seconds}",
        *(f"--sink {sink}" for sink in experiment.execution.sinks),
    ]
)
SCORING = " ".join(
    [
        *(f"--steps {evaluation.argument}" for evaluation in plan.evaluations),
        f"--samples {experiment.evaluation.samples}",
        f"--repeats {experiment.evaluation.repeats}",
        f"--seed {experiment.evaluation.seed}",
        f"--convention {experiment.evaluation.convention}",
        f"--grid {experiment.evaluation.grid}",
        f"--batch-size {experiment.evaluation.batch_size}",
        f"--features-iteration {plan.features.iterations}",
    ]
)
