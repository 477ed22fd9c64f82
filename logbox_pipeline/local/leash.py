"""Run a command that ends with its parent: `python -m logbox_pipeline.local.leash PARENT cmd ...`.

Asks the kernel for SIGTERM at the parent's death (Linux; elsewhere the command just runs), and then
becomes the command. For programs that are not ours; object_store.py watches a pipe instead.
"""

import ctypes
import os
import signal
import sys

# linux/prctl.h
PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            # It died before the kernel was asked.
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  (a fixed list, no shell)


if __name__ == "__main__":
    main()
