# Figures, tables and the report's first page of one experiment, made on the machine where Snakemake runs. The report
# shows their pages, which hold the other files for download.

from ayt.reporting.pages import listed


localrules:
    figure,
    table,
    about,


# The report's sections, by the kinds of figures.
SECTIONS = {
    "curves": "Scores",
    "final": "Scores",
    "samples": "Samples",
    "tangents": "Tangents",
    "oscillation": "Tangents",
    "toy": "Toy experiment",
    "manifold": "Feature networks",
    "transformations": "Feature networks",
}


# What the report's menu calls them.
LISTED = {
    kind: listed({name: options.title for name, options in shown.items()})
    for kind, shown in (("figure", experiment.figures), ("table", experiment.tables))
}


rule figure:
    input:
        data=lambda wildcards: plan.figure_data(wildcards.figure),
    output:
        report(
            paths.figure("{experiment}", "{figure}", "html"),
            category=lambda wildcards: SECTIONS[
                experiment.figures[wildcards.figure].kind
            ],
            labels=lambda wildcards: {"figure": LISTED["figure"][wildcards.figure]},
            caption="../report/figure.rst",
        ),
        [
            paths.figure("{experiment}", "{figure}", suffix)
            for suffix in ("png", "pdf", "csv")
        ],
    log:
        paths.job_log("figure", "{experiment}", "{figure}"),
    wildcard_constraints:
        figure="|".join(experiment.figures) or "none",
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
            paths.table("{experiment}", "{table}", "html"),
            category="Tables",
            labels=lambda wildcards: {"table": LISTED["table"][wildcards.table]},
            caption="../report/table.rst",
        ),
        [
            paths.table("{experiment}", "{table}", suffix)
            for suffix in ("csv", "md", "tex")
        ],
    log:
        paths.job_log("table", "{experiment}", "{table}"),
    wildcard_constraints:
        table="|".join(experiment.tables) or "none",
    conda:
        "../../envs/ayt.yaml"
    params:
        experiment=EXPERIMENT,
        table=lambda wildcards: experiment.tables[wildcards.table].model_dump_json(),
        runs=RUNS,
    shell:
        "ayt table {params.experiment} {wildcards.table} > {log} 2>&1"


rule about:
    input:
        paths.scores_table("{experiment}"),
        [paths.figure("{experiment}", name, "png") for name in experiment.figures],
        [paths.table("{experiment}", name, "csv") for name in experiment.tables],
    output:
        paths.about("{experiment}"),
    log:
        paths.job_log("about", "{experiment}"),
    conda:
        "../../envs/ayt.yaml"
    params:
        experiment=EXPERIMENT,
        runs=RUNS,
    shell:
        "ayt about {params.experiment} > {log} 2>&1"
