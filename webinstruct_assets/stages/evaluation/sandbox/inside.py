"""The first code of a sandboxed process: it gives up everything a program could do harm with, then runs the program.

Passed to the interpreter as text, so it stands alone and uses the standard library only. On standard input: one JSON
object with ``program``, ``token``, ``paths`` (readable), ``site`` (import path), ``memory`` (bytes), ``seconds``,
``landlock`` (whether files must be closed off here). On file descriptor ``result``: one JSON object with the token, a
``status`` and a ``detail``; nothing where the process did not live to say so.

System call numbers and structures: Linux, include/uapi/linux/{seccomp,landlock,capability}.h.
"""

import ctypes
import json
import os
import platform
import resource
import struct
import sys
from typing import Any

# name: numbers on x86-64 and on arm64 (None: does not exist there)
DENIED: dict[str, tuple[int, int | None]] = {
    # the network (socketpair stays: asyncio needs it, and it reaches nobody)
    "socket": (41, 198), "io_uring_setup": (425, 425),
    # other programs and processes
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None), "kill": (62, 129),
    "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "prlimit64": (302, 261), "setpriority": (141, 140),
    "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "ioprio_set": (251, 30), "migrate_pages": (256, 238), "move_pages": (279, 239),
    # what Landlock leaves open about files: modes, owners, times, attributes, and before Linux 6.2 their length
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utimensat": (280, 88), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "setxattrat": (463, 463),
    "removexattrat": (466, 466), "truncate": (76, 45), "ftruncate": (77, 46),
    # other name spaces, kernel interfaces, shared memory
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "chroot": (161, 51),
    "bpf": (321, 280), "perf_event_open": (298, 241), "keyctl": (250, 219), "add_key": (248, 217),
    "userfaultfd": (323, 282), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
}  # fmt: skip
CLONE = (56, 220)
CLONE3 = 435
CLONE_THREAD = 0x00010000
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
LOAD, EQUAL, AT_LEAST, ANY_OF, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = 1, 38

libc = ctypes.CDLL(None, use_errno=True)


def call(*arguments: Any) -> None:
    """A system call. Raises OSError."""
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), f"system call {arguments[0]}")


def limit_resources(memory: int, seconds: float) -> None:
    """One process of bounded memory and CPU time that writes no byte into any file."""
    for kind, value in (
        (resource.RLIMIT_AS, memory), (resource.RLIMIT_DATA, memory), (resource.RLIMIT_CPU, int(seconds) + 1),
        (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        resource.setrlimit(kind, (value, value))


def drop_privileges() -> None:
    """No capability is left, and none comes back by executing a file."""
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    header, data = struct.pack("Ii", 0x20080522, 0), bytes(24)
    if libc.capset(header, data) < 0:
        raise OSError(ctypes.get_errno(), "capset")


def close_files(paths: list[str]) -> None:
    """Only ``paths`` can be read and nothing can be written, made or removed (Landlock, Linux 5.13)."""
    abi = libc.syscall(444, None, 0, 1)
    if abi < 1:
        raise OSError(ctypes.get_errno(), "the kernel has no Landlock")
    # All rights over files that this kernel knows: 13, then refer, truncate, ioctl.
    handled = (1 << (13 + (abi >= 2) + (abi >= 3) + (abi >= 5))) - 1
    rules = libc.syscall(444, struct.pack("Q", handled), 8, 0)
    if rules < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    read_file, read_folder = 1 << 2, 1 << 3
    for path in paths:
        try:
            place = os.open(path, os.O_PATH)
        except FileNotFoundError:
            continue
        rights = read_file | read_folder if os.path.isdir(path) else read_file
        call(445, rules, 1, struct.pack("=Qi", rights, place), 0)
        os.close(place)
    call(446, rules, 0)
    os.close(rules)


def filter_system_calls() -> None:
    """Refuses ``DENIED`` and every way to make a process; threads of this one are allowed."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise OSError(0, f"no system call table for {machine}")
    column, audit = ARCHITECTURES[machine]
    denied = [number for numbers in DENIED.values() if (number := numbers[column]) is not None]

    def step(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    program = [step(LOAD, 0, 0, 4), step(EQUAL, 1, 0, audit), step(RETURN, 0, 0, KILL), step(LOAD, 0, 0, 0)]
    # Numbers from here on are another calling convention of the same processor, which the table does not cover.
    program += [step(AT_LEAST, 0, 1, 0x40000000), step(RETURN, 0, 0, KILL)]
    for number in denied:
        program += [step(EQUAL, 0, 1, number), step(RETURN, 0, 0, ERRNO | EPERM)]
    # clone3 hides its flags behind a pointer; the C library falls back to clone.
    program += [step(EQUAL, 0, 1, CLONE3), step(RETURN, 0, 0, ERRNO | ENOSYS)]
    program += [
        step(EQUAL, 0, 3, CLONE[column]), step(LOAD, 0, 0, 16), step(ANY_OF, 1, 0, CLONE_THREAD),
        step(RETURN, 0, 0, ERRNO | EPERM), step(RETURN, 0, 0, ALLOW),
    ]  # fmt: skip
    code = ctypes.create_string_buffer(b"".join(program))
    block = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    if libc.prctl(22, 2, block, 0, 0) < 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "seccomp")


def main(result: int) -> None:
    """Closes everything off, runs the program, and says how it ended."""
    work = json.loads(sys.stdin.buffer.readline())
    report = os.fdopen(result, "w")

    def say(status: str, detail: str = "") -> None:
        report.write(json.dumps({"token": work["token"], "status": status, "detail": detail[:500]}))
        report.flush()
        os._exit(0)

    try:
        sys.path.append(work["site"])
        limit_resources(work["memory"], work["seconds"])
        drop_privileges()
        if work["landlock"]:
            close_files(work["paths"])
        filter_system_calls()
    except (OSError, ValueError) as error:
        say("refused", str(error))
    try:
        exec(compile(work["program"], "program.py", "exec"), {"__name__": "__main__"})
    except AssertionError as error:
        say("wrong_answer", str(error))
    except SyntaxError as error:
        say("syntax_error", str(error))
    except MemoryError:
        say("memory")
    except SystemExit:
        say("exited")
    except BaseException as error:
        say("exception", f"{type(error).__name__}: {error}")
    say("passed")
