"""Programs in processes of their own that start at once: forked from one that has imported what takes seconds.

    python forkserver.py SOCKET

It ends with its standard input. What it forks is as if started anew but for its imports: it has streams, a folder, an
environment and a session of its own. Beside each stands a watcher that hands on signals and says how it ended.
"""

import atexit
import gc
import importlib
import os
import pkgutil
import select
import signal
import socket
import struct
import sys
import traceback

import forkclient

import ayt

PROGRAMS = {"ayt": "ayt.cli", "snakemake": "snakemake.cli"}
"""Modules whose ``main`` takes the arguments."""
IMPORTED = (
    *PROGRAMS.values(),
    *(module.name for module in pkgutil.walk_packages(ayt.__path__, "ayt.") if module.name != "ayt.__main__"),
    *("matplotlib.pyplot", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf"),
    *("fontTools.ttLib.tables.G_P_O_S_", "fontTools.ttLib.tables._g_l_y_f"),  # what PDFs keep of a font
    *("pandas", "pandas.io.formats.csvs", "sklearn.manifold", "pytorch_fid.inception", "torchvision"),
    "snakemake.workflow",
)


def serve(address):
    """Fork until standard input ends; returns in each process that is asked for, with its program and arguments."""
    for module in IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection would write to all pages, and so copy them
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    print("ready", flush=True)
    while True:
        if 0 in select.select([0, listening], [], [])[0]:
            sys.exit(0)
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            return start(connection)
        connection.close()


def start(connection):
    """Fork what the connection asks for, and watch it to its end; returns in the new process only."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    content, streams, *_ = socket.recv_fds(connection, 4, 3)
    (length,) = struct.unpack("i", content)
    request = forkclient.json.loads(connection.recv(length, socket.MSG_WAITALL))
    job = os.fork()
    if job:
        for stream in streams:
            os.close(stream)
        watch(connection, job)
    connection.close()
    return become(request, streams)


def watch(connection, job):
    """Hand on signals to a process until it ends, and leave."""
    status = None
    try:
        connection.sendall(struct.pack("i", job))
        ended = os.pidfd_open(job)
        while ended not in select.select([connection, ended], [], [])[0]:
            (number,) = connection.recv(1) or (signal.SIGKILL,)
            os.kill(job, number)
            if number == signal.SIGKILL:
                break
        status = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
        connection.sendall(struct.pack("i", status))
    except OSError:  # who asked has gone
        if status is None:
            os.kill(job, signal.SIGKILL)
    os._exit(0)


def become(request, streams):
    """Take on what was asked for."""
    program, arguments, folder, environment, sys.executable = request
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [program, *arguments]
    return program, arguments


def main():
    program, arguments = serve(sys.argv[1])
    try:
        status = sys.modules[PROGRAMS[program]].main(arguments)
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


if __name__ == "__main__":
    main()
