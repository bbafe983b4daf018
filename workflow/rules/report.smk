# Figures and tables of one experiment, made on the machine where Snakemake runs.


localrules:
    figure,
    table,


rule figure:
    input:
        data=lambda wildcards: plan.figure_data(wildcards.figure),
    output:
        report(
            paths.figure("{experiment}", "{figure}", "png"),
            category="Figures",
            labels={"figure": "{figure}"},
            caption="../report/figure.rst",
        ),
        [paths.figure("{experiment}", "{figure}", suffix) for suffix in ("pdf", "csv")],
    log:
        paths.job_log("figure", "{experiment}", "{figure}"),
    wildcard_constraints:
        figure="|".join(experiment.figures),
    conda:
        "../../envs/ayt.yaml"
    params:
        experiment=EXPERIMENT,
        figure=lambda wildcards: experiment.figures[wildcards.figure].model_dump_json(),
        runs=RUNS,
    shell:
        "ayt figure {params.experiment} {wildcards.figure} > {log} 2>&1"


rule table:
    input:
        data=lambda wildcards: plan.table_data(wildcards.table),
    output:
        report(
            paths.table("{experiment}", "{table}", "csv"),
            category="Tables",
            labels={"table": "{table}"},
            caption="../report/table.rst",
        ),
        [paths.table("{experiment}", "{table}", suffix) for suffix in ("md", "tex")],
    log:
        paths.job_log("table", "{experiment}", "{table}"),
    wildcard_constraints:
        table="|".join(experiment.tables),
    conda:
        "../../envs/ayt.yaml"
    params:
        experiment=EXPERIMENT,
        table=lambda wildcards: experiment.tables[wildcards.table].model_dump_json(),
    shell:
        "ayt table {params.experiment} {wildcards.table} > {log} 2>&1"
