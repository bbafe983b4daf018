"""From a Snakemake job to what is submitted for it."""

from __future__ import annotations

from pathlib import Path

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.workflow import WorkflowExecutorInterface

from snakemake_executor_plugin_submitit import identity
from snakemake_executor_plugin_submitit.batches import Prepared
from snakemake_executor_plugin_submitit.graceful import Remarks
from snakemake_executor_plugin_submitit.replicas import peer_command
from snakemake_executor_plugin_submitit.request import RequestError, request
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.task import Command


def prepare(
    job: JobExecutorInterface,
    command: str,
    log_stem: Path,
    workflow: WorkflowExecutorInterface,
    settings: ExecutorSettings,
    remarks: Remarks,
) -> Prepared:
    """Prepare a job for submission.

    Args:
        job: the job.
        command: the command that runs it on the node.
        log_stem: the prefix of the names of its own logs.
        workflow: its workflow.
        settings: of the executor.
        remarks: receives warnings about meaningless resources.

    Raises:
        RequestError: it cannot be submitted.
    """
    if services := [part.rule.name for part in identity.parts(job) if part.is_service]:
        raise RequestError(f"service jobs ({', '.join(services)}) cannot be submitted: they never end by themselves")
    wanted = request(
        dict(job.resources.items()),
        job.threads,
        name=settings.job_name_prefix + identity.rules(job),
        signal_seconds=settings.signal_seconds,
        requeue=not settings.no_requeue,
        limited=getattr(workflow, "global_resources", ()),
    )
    for remark in wanted.remarks:
        remarks.once(f"{remark} (rule {identity.rules(job)}, for one)", remark)
    methods = frozenset(workflow.deployment_settings.deployment_method)
    whole = Command(
        command=command,
        log=str(log_stem),
        replicas=wanted.replicas,
        peer_command=peer_command(job, methods, wanted.replicas) if wanted.replicas > 1 else "",
        requeue=wanted.requeue,
    )
    return Prepared(job, identity.identify(job), wanted, whole)
