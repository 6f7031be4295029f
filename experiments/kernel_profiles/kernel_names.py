"""Readable names of mangled kernels: the source file and the kernel with its template arguments."""
import re
import subprocess


def readable(mangled):
    plain = subprocess.run(["c++filt"], input="\n".join(mangled), capture_output=True, text=True).stdout.split("\n")
    return {m: _short(m, p) for m, p in zip(mangled, plain)}


def _short(mangled, plain):
    file = re.search(r"_\d+_([a-z][a-z0-9_]*?)_cu_[0-9a-f]{8}", mangled)
    name = re.sub(r"\(anonymous namespace\)::|wyvern::|sm90::|^void ", "", plain)
    depth, out = 0, ""
    for c in name.replace("(int)", "").replace("(bool)", ""):
        if c == "(" and depth == 0:
            break
        depth += (c == "<") - (c == ">")
        out += c
    return (file[1] + ": " if file else "") + out[:90]
