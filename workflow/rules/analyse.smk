# What figures show other than scores: analyses of trained networks, and toy experiments.


rule analyse:
    input:
        lambda wildcards: plan.analyses[wildcards.analysis].inputs,
    output:
        paths.analysis("{analysis}") / "result.npz",
    log:
        paths.job_log("analyse", "{analysis}"),
    wildcard_constraints:
        analysis=one_of(plan.analyses),
    conda:
        "../../envs/ayt.yaml"
    threads: THREADS
    resources:
        gpu=lambda wildcards: (
            0 if plan.analyses[wildcards.analysis].on_cpu else gpus(1)(wildcards)
        ),
    params:
        record=lambda wildcards, output: plan.analyses[wildcards.analysis].record,
        device=lambda wildcards, output: [
            "--device",
            (
                "cpu"
                if plan.analyses[wildcards.analysis].on_cpu
                else experiment.execution.device
            ),
        ],
    shell:
        "ayt analyse {params.record:q} {params.device:q} --threads {threads} > {log:q} 2>&1"
