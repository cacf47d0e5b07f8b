"""Prints the instructions of each call of the function that the guard measures, one number a line.

    python3 steps.py PROGRAM ARGUMENT...

The processor executes the function one instruction at a time (ptrace), so that what it has is
counted, instruction sets that valgrind does not know included. For x86-64 Linux.
"""

import ctypes
import os
import subprocess
import sys

SYMBOL = "7counted8measured"
TRACEME, PEEKTEXT, PEEKUSER, POKETEXT, POKEUSER, CONT, SINGLESTEP = 0, 1, 3, 4, 6, 7, 9
RIP, RSP = 16 * 8, 19 * 8
BREAKPOINT = 0xCC

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong]


def ptrace(request, child, address=0, data=0):
    return libc.ptrace(request, child, address, data) & 0xFFFF_FFFF_FFFF_FFFF


def resume(request, child):
    """Lets the child run until it stops again; whether it does."""
    ptrace(request, child)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        return False
    if not os.WIFSTOPPED(status):
        sys.exit(f"the program ended with status {status}")
    return True


def main():
    program, *arguments = sys.argv[1:]
    symbols = subprocess.run(["nm", program], check=True, capture_output=True, text=True).stdout
    offset = next(int(line.split()[0], 16) for line in symbols.splitlines() if SYMBOL in line)
    child = os.fork()
    if child == 0:
        ptrace(TRACEME, 0)
        os.execv(program, [program, *arguments])
    os.waitpid(child, 0)
    with open(f"/proc/{child}/maps") as maps:
        base = int(next(maps).split("-")[0], 16)
    entry = base + offset
    code = ptrace(PEEKTEXT, child, entry)
    broken = code & ~0xFF | BREAKPOINT
    while True:
        ptrace(POKETEXT, child, entry, broken)
        if not resume(CONT, child):
            return
        ptrace(POKETEXT, child, entry, code)
        ptrace(POKEUSER, child, RIP, entry)
        # It has returned when its return address is no longer on the stack.
        bottom = ptrace(PEEKUSER, child, RSP)
        count, last = 0, 0
        while ptrace(PEEKUSER, child, RSP) <= bottom:
            at = ptrace(PEEKUSER, child, RIP)
            # An instruction that repeats itself is one.
            count += at != last
            last = at
            if not resume(SINGLESTEP, child):
                sys.exit("the program ended inside the function")
        print(count, flush=True)


main()
