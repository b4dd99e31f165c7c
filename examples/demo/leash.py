"""Run a command that cannot outlive the program that started it.

    python leash.py PARENT_PID PROGRAM ARGUMENT...

The demo ends its processes itself. Should the demo be killed with a signal nobody can catch, the
kernel ends them: this asks for a SIGKILL at the death of the parent and then becomes the command.
On systems without that request (it is Linux's) the command simply runs.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked: the signal would never come
            sys.exit("the program that started this is gone")
    os.execv(command[0], command)  # noqa: S606 - the demo's own command, and no shell
