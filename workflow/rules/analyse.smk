# Looks into finished runs, and the toy experiment: what figures of tangents and of features are drawn from.


rule analyse:
    input:
        record=RECORD,
        what=lambda wildcards: ANALYSED[wildcards.run, wildcards.analysis].inputs,
    output:
        paths.analysis(FOLDER, "{analysis}", "{iteration}"),
    log:
        paths.job_log("{analysis}", "{dataset}", "{run}", "{iteration}"),
    wildcard_constraints:
        run=one_of(analysis.run for analysis in ANALYSED.values()) or "none",
        analysis="|".join(sorted({name for _, name in ANALYSED})) or "none",
    conda:
        "../../envs/ayt.yaml"
    threads: THREADS
    resources:
        **ALONE,
    params:
        verb=lambda wildcards, output: ANALYSED[wildcards.run, wildcards.analysis].verb,
        how=lambda wildcards, output: ANALYSED[
            wildcards.run, wildcards.analysis
        ].arguments,
        device=DEVICE,
    shell:
        "ayt {params.verb} {input.record} --iteration {wildcards.iteration} {params.how}"
        " --output {output} {params.device} --threads {threads} > {log} 2>&1"


# Its networks are tiny: a GPU would not make it faster.
rule toy:
    output:
        paths.toy("{toy}"),
    log:
        paths.job_log("toy", "{toy}"),
    wildcard_constraints:
        toy="|".join(plan.toys) or "none",
    conda:
        "../../envs/ayt.yaml"
    threads: THREADS
    params:
        spec=lambda wildcards, output: plan.toys[wildcards.toy].model_dump_json(),
    shell:
        "ayt toy --spec {params.spec:q} --output {output}"
        " --device cpu --threads {threads} > {log} 2>&1"
