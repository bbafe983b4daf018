# Scores: one job for the snapshots of a segment, at every number of sampling steps.


rule reference:
    input:
        record=ancient(paths.run_record(FEATURES.folder)),
        weights=ancient(FEATURES.last.path),
    output:
        REFERENCE,
    log:
        paths.job_log("reference", experiment.dataset.name, FEATURES.name),
    resources:
        gpu=GPU,
    shell:
        "ayt reference {input.record} --iteration {FEATURES.iterations}"
        " --device {DEVICE} --threads {threads} > {log} 2>&1"


for segment, runs in plan.segments(kind="train").items():

    rule:
        name:
            f"score_{segment.label}"
        input:
            record=ancient(RECORD),
            snapshots=[ancient(paths.snapshot(FOLDER, iteration)) for iteration in segment.iterations],
            features=ancient(paths.run_record(FEATURES.folder)),
            weights=ancient(FEATURES.last.path),
            reference=ancient(REFERENCE),
        output:
            [
                name(FOLDER, evaluation.name, iteration)
                for evaluation in plan.evaluations
                for iteration in segment.iterations
                for name in (paths.score, paths.sample_grid)
            ],
        params:
            snapshots=untracked(" ".join(f"--iteration {iteration}" for iteration in segment.iterations)),
        wildcard_constraints:
            run=one_of(runs),
        log:
            paths.job_log("score", "{dataset}", "{run}", f"{segment.stop:07d}"),
        resources:
            gpu=GPU,
        shell:
            "ayt score {input.record} --features {input.features} {params.snapshots} {SCORING}"
            " --device {DEVICE} --threads {threads} > {log} 2>&1"


rule recognise:
    input:
        record=ancient(RECORD),
        weights=ancient(paths.snapshot(FOLDER, "{iteration}")),
    output:
        [paths.classifier_report(FOLDER, "{iteration}", suffix) for suffix in ("csv", "npz")],
    log:
        paths.job_log("recognise", "{dataset}", "{run}", "{iteration}"),
    resources:
        gpu=GPU,
    shell:
        "ayt recognise {input.record} --iteration {wildcards.iteration}"
        " --device {DEVICE} --threads {threads} > {log} 2>&1"


rule gather:
    input:
        experiment=ancient(RESOLVED),
        scores=plan.scores(),
    output:
        paths.scores_table("{experiment}"),
    params:
        runs=RUNS,
    log:
        paths.job_log("gather", "{experiment}"),
    shell:
        "ayt gather {input.experiment} > {log} 2>&1"
