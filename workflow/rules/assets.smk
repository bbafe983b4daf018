# Published files, downloaded and converted on the machine where Snakemake runs; compute jobs never use the
# network.


localrules:
    asset,
    prepare,
    checkpoint,


# The hash that a first download leaves beside the file, and what a cut one leaves, are no outputs: Snakemake would
# delete them before it tries again.
rule asset:
    output:
        paths.ASSETS / "{folder}" / "{file}",
    log:
        paths.job_log("asset", "{folder}", "{file}"),
    wildcard_constraints:
        folder=one_of(asset.folder for asset in ASSETS.values()),
        file=one_of(asset.file for asset in ASSETS.values()),
    conda:
        "../../envs/ayt.yaml"
    params:
        name=lambda wildcards: ASSET_NAMES[f"{wildcards.folder}/{wildcards.file}"],
        where=ASSET_OPTIONS,
    shell:
        "ayt assets fetch {params.where:q} -- {params.name:q} > {log:q} 2>&1"


rule prepare:
    input:
        lambda wildcards: asset_path(experiment.dataset.archive),
    output:
        paths.dataset("{dataset}"),
    log:
        paths.job_log("prepare", "{dataset}"),
    conda:
        "../../envs/ayt.yaml"
    shell:
        "ayt prepare {wildcards.dataset:q} {input:q} --output {output:q} > {log:q} 2>&1"


# Files imported by hand have no rule: they either exist or are missing.
rule checkpoint:
    input:
        lambda wildcards: asset_path(wildcards.name),
    output:
        paths.checkpoint("{name}"),
    log:
        paths.job_log("checkpoint", "{name}"),
    wildcard_constraints:
        name=one_of(name for name in plan.checkpoints if name in ASSETS),
    conda:
        "../../envs/ayt.yaml"
    params:
        like=lambda wildcards, output: [
            f"--classifier={name}"
            for name in [plan.checkpoint_use(wildcards.name)]
            if name
        ],
        experiment=EXPERIMENT,
    shell:
        "ayt import-checkpoint {input:q} --name {wildcards.name:q} --output {output:q}"
        " --for {params.experiment:q} {params.like:q} > {log:q} 2>&1"
