# Runs: a record each, then segment after segment. The name of a run's folder says everything that changes its
# weights, so what is upstream of a finished run never makes it stale: hence `ancient`.


rule record:
    output:
        RECORD,
    params:
        spec=lambda wildcards: plan.runs[wildcards.run].record,
    log:
        paths.job_log("record", "{dataset}", "{run}"),
    shell:
        "ayt record --spec {params.spec:q} --output {output} > {log} 2>&1"


# Snakemake's outputs cannot be computed from wildcards, and a segment's snapshots are many: so one rule for each
# segment (start, stop, snapshots) that some run has.
for segment, runs in plan.segments().items():

    rule:
        name:
            f"{segment.kind}_{segment.label}"
        input:
            record=ancient(RECORD),
            state=[ancient(paths.state(FOLDER, segment.start))] if segment.start else [],
            upstream=lambda wildcards: [
                ancient(snapshot.path) for snapshot in plan.runs[wildcards.run].upstream
            ],
        output:
            snapshots=[
                paths.snapshot(FOLDER, iteration)
                for iteration in segment.iterations
            ],
            state=paths.state(FOLDER, segment.stop),
            log=paths.training_log(FOLDER, segment.stop),
        wildcard_constraints:
            run=one_of(runs),
        log:
            paths.job_log(segment.kind, "{dataset}", "{run}", f"{segment.stop:07d}"),
        threads: 1
        resources:
            gpu=GPU,
        shell:
            f"ayt {segment.verb} {{input.record}} --start {segment.start} --stop {segment.stop}"
            f" --snapshot-every {segment.every} {TRAINING} {COMPUTE} --take-over > {{log}} 2>&1"
