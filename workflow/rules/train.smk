# Runs, segment after segment. The name of a run's folder covers everything that affects its weights, so a changed
# setting makes a new folder, and what was trained before is found again.


localrules:
    go_on,


rule go_on:
    output:
        temp(paths.going_on(FOLDER)),
    log:
        paths.job_log("go_on", "{dataset}", "{run}"),
    conda:
        "../../envs/ayt.yaml"
    shell:
        "touch {output:q} 2> {log:q}"


# A rule's outputs cannot be computed from its wildcards, and a segment leaves as many snapshots as the experiment
# says: so there is one rule per distinct segment (start, stop, snapshots) and set of averages.
for stage in ("pretrain", "classifier", "mid_train", "train"):
    for (segment, averages), runs in plan.segments(stage).items():

        rule:
            name:
                f"{stage}_{segment.label}{suffix(*averages)}"
            input:
                state=segment.begins_with(FOLDER),
                scores=scores_before(segment),
                goes_on=asks_to_go_on(segment),
                made_from=lambda wildcards: plan.runs[wildcards.run].record.inputs,
            output:
                snapshots=segment.files(FOLDER, averages),
                state=paths.state(FOLDER, segment.stop),
                log=paths.training_log(FOLDER, segment.stop),
            log:
                paths.job_log(stage, "{dataset}", "{run}", f"{segment.stop:07d}"),
            wildcard_constraints:
                run=one_of(run.name for run in runs),
            conda:
                "../../envs/ayt.yaml"
            threads: THREADS
            resources:
                **(ALONE if stage in ("classifier", "mid_train") else SHARED),
            params:
                record=lambda wildcards, output: paths.run_record(
                    plan.runs[wildcards.run].folder
                ),
                how=TRAINING,
                stop=lambda wildcards, output: stops.list_options(
                    plan, plan.runs[wildcards.run]
                ),
                device=DEVICE,
                segment=untracked(
                    [
                        *("--start", segment.start),
                        *("--stop", segment.stop),
                        *("--snapshot-every", segment.every),
                    ]
                ),
            shell:
                "ayt train {params.record:q} {params.segment:q} {params.how:q}"
                " {params.stop:q} {params.device:q} --threads {threads} --take-over > {log:q} 2>&1"
