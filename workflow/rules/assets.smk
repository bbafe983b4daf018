# Published files, downloaded and converted on the machine where Snakemake runs; what computes never touches the
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
        folder="|".join(sorted({re.escape(asset.folder) for asset in ASSETS.values()}))
        or "none",
        file="|".join(sorted(re.escape(asset.file) for asset in ASSETS.values()))
        or "none",
    conda:
        "../../envs/ayt.yaml"
    params:
        name=lambda wildcards: ASSET_NAMES[f"{wildcards.folder}/{wildcards.file}"],
        where=untracked(ASSET_OPTIONS),
    shell:
        "ayt assets fetch {params.name} {params.where} > {log} 2>&1"


rule prepare:
    input:
        lambda wildcards: asset_path(wildcards.dataset),
    output:
        paths.dataset("{dataset}"),
    log:
        paths.job_log("prepare", "{dataset}"),
    conda:
        "../../envs/ayt.yaml"
    shell:
        "ayt prepare {wildcards.dataset} {input} --output {output} > {log} 2>&1"


# Files imported by hand have no rule: they are there or they are missing.
rule checkpoint:
    input:
        lambda wildcards: asset_path(wildcards.name),
    output:
        paths.checkpoint("{name}"),
    log:
        paths.job_log("checkpoint", "{name}"),
    wildcard_constraints:
        name="|".join(re.escape(name) for name in plan.checkpoints if name in ASSETS)
        or "none",
    conda:
        "../../envs/ayt.yaml"
    params:
        like=lambda wildcards, output: plan.checkpoint_use(wildcards.name),
        experiment=EXPERIMENT,
    shell:
        "ayt import-checkpoint {input} --name {wildcards.name} --output {output}"
        " --for {params.experiment} {params.like} > {log} 2>&1"
