# Scores: one job for all snapshots of a segment, at every number of sampling steps. No groups of jobs: those of a group
# start at once, on one GPU.


localrules:
    gather,


rule reference:
    input:
        network=plan.features.inputs,
        data=plan.data,
        statistics=(
            [asset_path(plan.features.statistics)] if plan.features.statistics else []
        ),
    output:
        plan.features.reference,
    log:
        paths.job_log(
            "reference", experiment.dataset.name, plan.features.reference_name
        ),
    conda:
        "../../envs/ayt.yaml"
    threads: THREADS
    resources:
        **ALONE,
    params:
        what=untracked(
            f"--dataset '{experiment.dataset.model_dump_json()}' --features {plan.features.argument}"
            f" --kept {plan.features.kept}"
        ),
        statistics=lambda wildcards, input, output: (
            f"--statistics {input.statistics}" if input.statistics else ""
        ),
        device=DEVICE,
    shell:
        "ayt reference {params.what} {params.statistics} --output {output}"
        " {params.device} --threads {threads} > {log} 2>&1"


for segment, runs in plan.segments(kind="train").items():

    rule:
        name:
            f"score_{segment.label}"
        input:
            record=RECORD,
            snapshots=[
                paths.snapshot(FOLDER, iteration) for iteration in segment.iterations
            ],
            against=plan.scoring,
        output:
            [
                name(FOLDER, evaluation.name, iteration)
                for evaluation in plan.evaluations
                for iteration in segment.iterations
                for name in (paths.score, paths.sample_grid)
            ],
        log:
            paths.job_log("score", "{dataset}", "{run}", f"{segment.stop:07d}"),
        wildcard_constraints:
            run=one_of(runs),
        conda:
            "../../envs/ayt.yaml"
        threads: THREADS
        resources:
            **SHARED,
        params:
            snapshots=untracked(
                " ".join(
                    f"--iteration {iteration}" for iteration in segment.iterations
                )
            ),
            how=SCORING,
            device=DEVICE,
        shell:
            "ayt score {input.record} {params.snapshots} {params.how}"
            " {params.device} --threads {threads} > {log} 2>&1"


rule recognise:
    input:
        record=RECORD,
        weights=paths.snapshot(FOLDER, "{iteration}"),
        data=plan.data,
    output:
        [
            paths.classifier_report(FOLDER, "{iteration}", suffix)
            for suffix in ("csv", "npz")
        ],
    log:
        paths.job_log("recognise", "{dataset}", "{run}", "{iteration}"),
    conda:
        "../../envs/ayt.yaml"
    threads: THREADS
    resources:
        **ALONE,
    params:
        device=DEVICE,
    shell:
        "ayt recognise {input.record} --iteration {wildcards.iteration}"
        " {params.device} --threads {threads} > {log} 2>&1"


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
        "ayt gather {params.experiment} > {log} 2>&1"
