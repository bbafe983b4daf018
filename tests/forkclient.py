"""Ask a fork server for a process. As a script it is a program: what it asks for runs in its place.

python forkclient.py SOCKET PROGRAM [ARGUMENT ...]
"""

import json
import os
import signal
import socket
import struct
import sys
from pathlib import Path

HANDED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def ask(address, program, arguments, cwd, environment, streams, executable=sys.executable):
    """Have a program started with these three files as its standard streams; returns the connection and its id.

    ``executable``: the interpreter that it believes to run in; programs are looked for beside that.
    A byte that is sent is a signal to it; how it ended is received as its exit status; closing the connection kills it.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    content = json.dumps([program, arguments, cwd, environment, executable]).encode()
    socket.send_fds(connection, [struct.pack("i", len(content))], streams)
    connection.sendall(content)
    return connection, number(connection)


def number(connection):
    """The next number that the server says."""
    content = connection.recv(4, socket.MSG_WAITALL)
    if len(content) < 4:
        raise ConnectionError("the fork server has gone")
    return struct.unpack("i", content)[0]


def main(address, program, *arguments):
    connection, _ = ask(address, program, arguments, str(Path.cwd()), dict(os.environ), (0, 1, 2))
    for each in HANDED_ON:
        signal.signal(each, lambda number, _: connection.send(bytes([number])))
    status = number(connection)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
