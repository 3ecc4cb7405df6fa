"""Leads a port of the sandbox's loopback to a Unix socket, then becomes the agent.

It runs inside the sandbox, as a script of its own with the standard library alone: a network
namespace has no way out, but a socket that is a file is shown to it like any other file. The port
listens before the agent starts, so no call comes too early. Whoever serves it is a child of the
sandbox's first process, not of the agent, whose arguments, input, signals and exit code stay its
own; it ends with the sandbox.

    python -I -S bridge.py SOCKET PORT COMMAND ARGUMENT…
"""

import os
import socket
import sys
import threading
from contextlib import suppress

_CHUNK = 64 * 1024
_WAITING = 128  # connections that may wait to be accepted
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127  # as a shell would say it


def main() -> None:
    """Serve the port in the background and run the command in this process."""
    path, port, *command = sys.argv[1:]
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=_WAITING)
    if _in_background():
        serve(listener, path)
    listener.close()
    try:
        os.execvp(command[0], command)  # noqa: S606  # the sandbox's command, no shell
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        missing = isinstance(error, FileNotFoundError)
        sys.exit(_NOT_FOUND if missing else _NOT_EXECUTABLE)


def _in_background() -> bool:
    """Return True in a new process that nobody waits for and that holds no output open."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return False
    if os.fork():
        os._exit(0)
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    return True


def serve(listener: socket.socket, path: str) -> None:
    """Lead every connection to the socket at *path*, until the listener is shut down."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_join, args=(client, path), daemon=True).start()


def _join(client: socket.socket, path: str) -> None:
    """Carry bytes both ways until both ends are done, or one of them breaks."""
    with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
        server.connect(path)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        up = threading.Thread(target=_carry, args=(client, server), daemon=True)
        up.start()
        _carry(server, client)
        up.join()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(_CHUNK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # one end is gone: the other shall know
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main()
