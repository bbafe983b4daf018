# Runs: a record each, then segment after segment. The name of a run's folder says everything that changes its
# weights, so another setting is another folder, and what was trained before is found again.


localrules:
    record,


rule record:
    output:
        RECORD,
    log:
        paths.job_log("record", "{dataset}", "{run}"),
    conda:
        "../../envs/ayt.yaml"
    params:
        spec=lambda wildcards: plan.runs[wildcards.run].record,
    shell:
        "ayt record --spec {params.spec:q} --output {output} > {log} 2>&1"


# The outputs of a rule cannot be computed from its wildcards, and a segment leaves as many snapshots as the
# experiment says: so there is one rule for each segment (start, stop, snapshots) that some run has.
for segment, runs in plan.segments().items():

    rule:
        name:
            f"{segment.kind}_{segment.label}"
        input:
            record=RECORD,
            state=segment.begins_with(FOLDER),
            upstream=lambda wildcards: plan.upstream(wildcards.run),
        output:
            snapshots=[
                paths.snapshot(FOLDER, iteration) for iteration in segment.iterations
            ],
            state=paths.state(FOLDER, segment.stop),
            log=paths.training_log(FOLDER, segment.stop),
        log:
            paths.job_log(segment.kind, "{dataset}", "{run}", f"{segment.stop:07d}"),
        wildcard_constraints:
            run=one_of(runs),
        conda:
            "../../envs/ayt.yaml"
        threads: THREADS
        resources:
            **(ALONE if segment.kind == "classifier" else SHARED),
        params:
            verb=untracked(segment.verb),
            how=TRAINING,
            device=DEVICE,
            segment=untracked(
                f"--start {segment.start} --stop {segment.stop} --snapshot-every {segment.every}"
            ),
        shell:
            "ayt {params.verb} {input.record} {params.segment} {params.how}"
            " {params.device} --threads {threads} --take-over > {log} 2>&1"
