# Figures, tables and the report's first page of one experiment, made on the machine where Snakemake runs. The report
# shows their pages, which offer the other files for download.

from ayt.reporting.pages import menu_entries


localrules:
    figure,
    table,
    about,


# Their names in the report's menu.
LISTED = {
    kind: menu_entries({name: options.title for name, options in shown.items()})
    for kind, shown in (("figure", experiment.figures), ("table", experiment.tables))
}


rule figure:
    input:
        data=lambda wildcards: experiment.figures[wildcards.figure].inputs(plan),
    output:
        report(
            paths.figure("{experiment}", "{figure}", "html"),
            category=lambda wildcards: experiment.figures[wildcards.figure].section,
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
        figure=one_of(experiment.figures),
    conda:
        "../../envs/ayt.yaml"
    params:
        experiment=EXPERIMENT,
        settings=lambda wildcards: settings_of(experiment.figures[wildcards.figure]),
        runs=RUNS,
        description=lambda wildcards, output: experiment.figures[
            wildcards.figure
        ].description.text,
    shell:
        "ayt figure {params.experiment:q} {wildcards.figure:q} > {log:q} 2>&1"


rule table:
    input:
        data=lambda wildcards: experiment.tables[wildcards.table].inputs(plan),
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
        table=one_of(experiment.tables),
    conda:
        "../../envs/ayt.yaml"
    params:
        experiment=EXPERIMENT,
        settings=lambda wildcards: settings_of(experiment.tables[wildcards.table]),
        runs=RUNS,
        description=lambda wildcards, output: experiment.tables[
            wildcards.table
        ].description.text,
    shell:
        "ayt table {params.experiment:q} {wildcards.table:q} > {log:q} 2>&1"


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
        "ayt about {params.experiment:q} > {log:q} 2>&1"
