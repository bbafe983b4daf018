# Scores: one job for all snapshots of a segment, at every number of sampling steps. No job groups: jobs of a group
# would all start at once, on one GPU.


localrules:
    gather,


rule reference:
    input:
        network=plan.reference.features.inputs,
        data=experiment.dataset.files,
        statistics=(
            [asset_path(plan.reference.statistics)]
            if plan.reference.statistics
            else []
        ),
    output:
        plan.reference.path,
    log:
        paths.job_log("reference", experiment.dataset.name, plan.reference.name),
    conda:
        "../../envs/ayt.yaml"
    threads: THREADS
    resources:
        **ALONE,
    params:
        record=untracked(plan.reference.record),
        statistics=lambda wildcards, input, output: flags(
            "--statistics", input.statistics
        ),
        device=DEVICE,
    shell:
        "ayt reference {params.record:q} {params.statistics:q}"
        " {params.device:q} --threads {threads} > {log:q} 2>&1"


# Names of scores and grids are the same for every run.
SCORES = plan.scores_of("{run}")
DENOISING = plan.denoising_scores_of("{run}")

for (segment, average), runs in plan.scored_segments().items():
    # The first average needs no name.
    KEPT_IN = [f"{paths.AVERAGE}{average}"] if average else []
    SNAPSHOTS = [
        *flags("--iteration", segment.iterations),
        *(["--ema", average] if average else []),
    ]

    rule:
        name:
            f"score_{segment.label}{suffix(average)}"
        input:
            snapshots=segment.files(FOLDER, [average]),
            against=plan.scoring_inputs,
            beside=sampled_with,
        output:
            [
                score.result(FOLDER, iteration, average)
                for score in SCORES
                for iteration in segment.iterations
            ],
        log:
            paths.job_log(
                "score", "{dataset}", "{run}", *KEPT_IN, f"{segment.stop:07d}"
            ),
        wildcard_constraints:
            run=one_of(run.name for run in runs),
        conda:
            "../../envs/ayt.yaml"
        threads: THREADS
        resources:
            **SHARED,
        params:
            records=records_of(SCORES),
            snapshots=untracked(SNAPSHOTS),
            how=SCORING,
            device=DEVICE,
        shell:
            "ayt score {params.records:q} {params.snapshots:q} {params.how:q}"
            " {params.device:q} --threads {threads} > {log:q} 2>&1"

    for score in DENOISING:

        rule:
            name:
                f"score_{re.sub(r'[^A-Za-z0-9]', '_', score.name)}_{segment.label}{suffix(average)}"
            input:
                snapshots=segment.files(FOLDER, [average]),
                against=plan.denoising_inputs(score),
                beside=sampled_with,
            output:
                [
                    score.result(FOLDER, iteration, average)
                    for iteration in segment.iterations
                ],
            log:
                paths.job_log(
                    score.name, "{dataset}", "{run}", *KEPT_IN, f"{segment.stop:07d}"
                ),
            wildcard_constraints:
                run=one_of(run.name for run in runs),
            conda:
                "../../envs/ayt.yaml"
            threads: THREADS
            resources:
                **SHARED,
            params:
                records=records_of([score]),
                snapshots=untracked(SNAPSHOTS),
                how=SCORING,
                device=DEVICE,
            shell:
                "ayt score {params.records:q} {params.snapshots:q} {params.how:q}"
                " {params.device:q} --threads {threads} > {log:q} 2>&1"


for anchor in {anchor.name: anchor for anchor in plan.anchors.values()}.values():

    rule:
        name:
            f"anchor_{anchor.name.replace('-', '_')}"
        input:
            weights=anchor.weights.path,
            against=plan.scoring_inputs,
        output:
            anchor.path,
        log:
            paths.job_log("anchor", anchor.dataset.name, anchor.name),
        conda:
            "../../envs/ayt.yaml"
        threads: THREADS
        resources:
            **SHARED,
        params:
            record=untracked(anchor.record),
            how=SCORING,
            device=DEVICE,
        shell:
            "ayt anchor {params.record:q} {params.how:q}"
            " {params.device:q} --threads {threads} > {log:q} 2>&1"


for grid in {grid.name: grid for _, grid in plan.grids()}.values():

    rule:
        name:
            f"grid_{grid.name.replace('-', '_')}"
        input:
            paths.snapshot(FOLDER, "{iteration}"),
            beside=sampled_with,
        output:
            grid.result(FOLDER, "{iteration}"),
        log:
            paths.job_log(f"grid-{grid.name}", "{dataset}", "{run}", "{iteration}"),
        wildcard_constraints:
            run=one_of(run.name for run in plan.trained),
        conda:
            "../../envs/ayt.yaml"
        threads: THREADS
        resources:
            **ALONE,
        params:
            record=records_of([grid]),
            how=BATCHES,
            device=DEVICE,
        shell:
            "ayt grid {params.record:q} --iteration {wildcards.iteration} {params.how:q}"
            " {params.device:q} --threads {threads} > {log:q} 2>&1"


rule gather:
    input:
        plan.scores(),
    output:
        paths.scores_table("{experiment}"),
    log:
        paths.job_log("gather", "{experiment}"),
    conda:
        "../../envs/ayt.yaml"
    params:
        experiment=EXPERIMENT,
        runs=RUNS,
    shell:
        "ayt gather {params.experiment:q} > {log:q} 2>&1"
