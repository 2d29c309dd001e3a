"""vLLM's API server, none of whose processes outlives its parent.

vLLM starts its engine and workers as spawned processes, and those import the main module again (that is how
Python's spawn works). So what this module does on import happens in every one of them: the kernel kills each
when its parent dies, down the chain, whatever way the parent died. With plain ``vllm serve`` a killed API
server or wrapper can leave the engine running with gigabytes of memory.
"""

import ctypes
import signal

PR_SET_PDEATHSIG = 1

ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _main() -> None:
    from vllm.entrypoints.launchers.api_server.entry import main

    main()


if __name__ == "__main__":
    _main()
