#!/usr/bin/env python3
"""Holds the includes of the sources to the tables of rooms in docs/rooms.md.

  tests/house/rooms.py [TREE]     default: the tree that this file lies in

Prints one line for each include that no table allows, each folder with sources that is in no room, each
room that has no sources, each edge beyond the order that no file uses, and each circle among rooms. The
exit code is 1 if there is one.
"""

import collections
import functools
import pathlib
import re
import sys

PAGE = "docs/rooms.md"
LAYERS = ("kernels", "autograd", "layers", "data", "trainer")
SOURCES = (".h", ".cc", ".cu", ".cuh")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
NAME = re.compile(r"`([^`]+)`")


@functools.lru_cache(maxsize=None)
def pattern(name):
    """A room's name as a regular expression over folders: <x> and * are one part, /** any below."""
    text = re.escape(name.removesuffix("/**"))
    text = re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", text).replace(r"\*", "[^/]+")
    return re.compile(text + ("(/.*)?" if name.endswith("/**") else "") + r"\Z")


class Room:
    def __init__(self, names, allowed):
        self.names = names
        self.allowed = allowed
        # Names without placeholders come first, then longer ones.
        self.rank = ("<" in names[0], -len(names[0]))

    def match(self, folder):
        for name in self.names:
            match = pattern(name).match(folder)
            if match:
                return match.groupdict()
        return None


class Page:
    def __init__(self, path):
        self.rooms = []
        self.skips = []  # (from, to) of the table with reasons
        columns = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("|"):
                continue
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if cells[0] in ("room", "from"):
                columns = cells
            elif columns[:1] == ["room"] and NAME.findall(cells[0]):
                self.rooms.append(Room(NAME.findall(cells[0]), NAME.findall(cells[2])))
            elif columns[:1] == ["from"] and NAME.findall(cells[0]):
                if len(cells) < 3 or not cells[2]:
                    raise SystemExit(f"{PAGE}: an edge beyond the order has no reason: {line}")
                self.skips += [(cells[0].strip("`"), to) for to in NAME.findall(cells[1])]
        self.rooms.sort(key=lambda room: room.rank)
        if not self.rooms:
            raise SystemExit(f"{PAGE}: no table of rooms found")

    def room_of(self, folder):
        """The room's row, and what it is called with its placeholders filled; (None, "") outside."""
        for room in self.rooms:
            match = room.match(folder)
            if match is not None:
                name = room.names[0]
                for key, value in match.items():
                    name = name.replace(f"<{key}>", value)
                return room, name
        return None, ""

    def allows(self, folder, target):
        """Whether a file of `folder` may include one of `target`, by the row of its room."""
        room, _ = self.room_of(folder)
        filled = room.match(folder)
        for name in room.allowed:
            for key, value in filled.items():
                name = name.replace(f"<{key}>", value)
            if pattern(name).match(target):
                return True
        return False


def includes(tree):
    """(file, included path) of every include of a source by the product's folders."""
    for layer in LAYERS:
        for path in sorted((tree / layer).rglob("*")):
            if path.suffix in SOURCES:
                name = path.relative_to(tree).as_posix()
                yield name, None  # a file counts although it includes nothing of ours
                for target in INCLUDE.findall(path.read_text(encoding="utf-8")):
                    if target.split("/")[0] in LAYERS:
                        yield name, target


def folder_of(path):
    return path.rpartition("/")[0]


def circle(edges):
    """Rooms that lead back to the first, or nothing."""
    done = set()
    for start in sorted(edges):
        stack = [(start, iter(sorted(edges[start])))]
        way = [start]
        while stack:
            for room in stack[-1][1]:
                if room in way:
                    return way[way.index(room):] + [room]
                if room not in done:
                    stack.append((room, iter(sorted(edges.get(room, ())))))
                    way.append(room)
                    break
            else:
                done.add(way.pop())
                stack.pop()
    return []


def faults(tree):
    page = Page(tree / PAGE)
    found = []
    used = set()  # rows that hold a file
    used_skips = set()
    edges = collections.defaultdict(set)
    outside = set()
    for file, target in includes(tree):
        room, name = page.room_of(folder_of(file))
        if room is None:
            if folder_of(file) not in outside:
                outside.add(folder_of(file))
                found.append(f"{file}: the folder {folder_of(file)} is in no room; give it a row in {PAGE}")
            continue
        used.add(room)
        if target is None:
            continue
        _, target_name = page.room_of(folder_of(target))
        if name == target_name:
            continue
        edges[name].add(target_name or folder_of(target))
        skips = [skip for skip in page.skips
                 if pattern(skip[0]).match(folder_of(file)) and pattern(skip[1]).match(folder_of(target))]
        used_skips.update(skips)
        if not skips and not page.allows(folder_of(file), folder_of(target)):
            found.append(f'{file}: includes "{target}", but {name} may include '
                         f"{', '.join(room.allowed) or 'no other room'} ({PAGE})")
    for room in page.rooms:
        if room not in used:
            found.append(f"{PAGE}: the room {room.names[0]} has no sources; remove its row")
    for skip in page.skips:
        if skip not in used_skips:
            found.append(f"{PAGE}: no file of {skip[0]} includes one of {skip[1]}; remove the edge")
    way = circle(edges)
    if way:
        found.append(f"a circle among rooms: {' -> '.join(way)}")
    return found


def main():
    tree = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2])
    found = faults(tree)
    print("\n".join(found) or f"every include is one that {PAGE} allows")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
