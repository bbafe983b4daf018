# Scores: one job for the snapshots of a segment, at every number of steps.


rule reference:
    input:
        record=ancient(paths.run_record(plan.features.folder)),
        weights=ancient(plan.features.last.path),
    output:
        paths.reference(plan.features.folder, plan.features.iterations),
    log:
        paths.job_log("reference", experiment.dataset.name, plan.features.name),
    resources:
        gpu=GPU,
    shell:
        f"ayt reference {{input.record}} --iteration {plan.features.iterations} {COMPUTE} > {{log}} 2>&1"


for segment, runs in plan.segments().items():
    if segment.kind != "train":
        continue

    rule:
        name:
            f"score_{segment.label}"
        input:
            record=ancient(RECORD),
            snapshots=[ancient(paths.snapshot(FOLDER, iteration)) for iteration in segment.iterations],
            features=ancient(paths.run_record(plan.features.folder)),
            weights=ancient(plan.features.last.path),
            reference=ancient(paths.reference(plan.features.folder, plan.features.iterations)),
        output:
            [
                name(FOLDER, evaluation.name, iteration)
                for evaluation in plan.evaluations
                for iteration in segment.iterations
                for name in (paths.score, paths.sample_grid)
            ],
        wildcard_constraints:
            run=one_of(runs),
        log:
            paths.job_log("score", "{dataset}", "{run}", f"{segment.stop:07d}"),
        resources:
            gpu=GPU,
        shell:
            "ayt score {input.record} --features {input.features} "
            + " ".join(f"--iteration {iteration}" for iteration in segment.iterations)
            + f" {SCORING} {COMPUTE} > {{log}} 2>&1"


# One rule for each transformation classifier that a figure shows.
for run in plan.shown_classifiers().values():

    rule:
        name:
            f"recognise_{run.name.replace('-', '_')}"
        input:
            record=ancient(paths.run_record(run.folder)),
            weights=ancient(run.last.path),
        output:
            [paths.classifier_report(run.folder, run.iterations, suffix) for suffix in ("csv", "npz")],
        log:
            paths.job_log("recognise", experiment.dataset.name, run.name),
        resources:
            gpu=GPU,
        shell:
            f"ayt recognise {{input.record}} --iteration {run.iterations} {COMPUTE} > {{log}} 2>&1"


rule gather:
    input:
        experiment=ancient(RESOLVED),
        scores=plan.scores(),
    output:
        paths.scores_table("{experiment}"),
    params:
        # Notices runs and methods that are no longer asked for, or called otherwise.
        runs=digest([[name, run.label, run.name] for name, run in plan.methods_and_runs()]),
    log:
        paths.job_log("gather", "{experiment}"),
    shell:
        "ayt gather {input.experiment} > {log} 2>&1"
