#!/usr/bin/python3
"""
What a power cut could have left of a folder, from the write log of a run (record.h), and whether that is good.

    powercut.py base LOG ROOT       begin a log: ROOT as it is now is durable
    powercut.py mark LOG WHAT       from here on this is promised: a command has returned 0
    powercut.py whole LOG ROOT      the end of the log is ROOT as it is now, or the log is not whole
    powercut.py build LOG ROOT HOW SEED     make ROOT what a cut at the end of the log could have left
    powercut.py check LOG TRUTHS SEED SAMPLE CHECK [ARGUMENT]...    look at what cuts at all places could have left

Harsher than any file system with a journal: nothing is durable but what was synced. Bytes and size of a file by fsync of
the file, a name by fsync of its directory, in whatever order: a new file is no exception. Of what was not synced

    min     nothing is there
    max     everything is there
    random  a part: of each write any blocks of 512 or 4096 bytes, zeroes or garbage where the file has grown and they
            are missing, of a directory any of its changes. A rename may leave both names, but not none.

Changes of one name come in their order. Modes and times are not looked at.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


class Node:
    """A file or a directory: what is durable, what is there now, and the changes between, oldest first."""

    def __init__(self, is_dir):
        self.is_dir = is_dir
        self.durable = {} if is_dir else b""
        self.now = {} if is_dir else bytearray()
        self.pending = []

    def sync(self):
        self.durable = dict(self.now) if self.is_dir else bytes(self.now)
        self.pending = []


class Move:
    """A rename between two directories, whose halves need not come at the same time."""

    def __init__(self, target, name, node):
        self.target, self.name, self.node = target, name, node


class Tree:
    """The folder as the log tells it; its root is durable from the start."""

    def __init__(self):
        self.root = None
        self.nodes = {}
        self.marks = []

    def add(self, directory, name, node):
        directory.now[name] = node
        directory.pending.append(("add", name, node))

    def remove(self, directory, name, move=None):
        if directory.now.pop(name, None) is None:
            sys.exit("the log is not whole: %s was not there" % name)
        directory.pending.append(("remove", name, move))

    def new(self, kind, parent, inode, name):
        directory = self.nodes.get(parent)
        self.nodes.pop(inode, None)  # the number is used again, here or elsewhere
        if directory is not None:
            self.nodes[inode] = Node(kind == "dir")
            self.add(directory, name, self.nodes[inode])

    def move(self, parent, other, name, to):
        old, new = self.nodes.get(parent), self.nodes.get(other)
        if old is None and new is None:
            return
        if old is None or new is None:
            sys.exit("a rename across the border: %s" % name)
        node = old.now[name]
        self.add(new, to, node)
        self.remove(old, name, Move(new, to, node))

    def write(self, node, pos, data):
        if node is None or node.is_dir:
            return
        if pos > len(node.now):
            node.now.extend(bytes(pos - len(node.now)))
        node.now[pos : pos + len(data)] = data
        node.pending.append(("write", pos, data))

    def size(self, node, length):
        if node is None:
            return
        del node.now[length:]
        node.now.extend(bytes(length - len(node.now)))
        node.pending.append(("size", length, None))

    def apply(self, words, rest, data):
        kind = words[0]
        if kind == "root":
            self.root = self.nodes[words[1]] = Node(True)
        elif kind in ("file", "dir"):
            self.new(kind, words[1], words[2], rest)
        elif kind == "link":
            if words[1] in self.nodes:
                self.add(self.nodes[words[1]], rest, self.nodes[words[2]])
        elif kind == "gone":
            if words[1] in self.nodes:
                self.remove(self.nodes[words[1]], rest)
        elif kind == "move":
            self.move(words[1], words[2], rest, data)
        elif kind == "write":
            self.write(self.nodes.get(words[1]), int(words[2]), data)
        elif kind == "size":
            self.size(self.nodes.get(words[1]), int(words[2]))
        elif kind == "sync":
            if words[1] in self.nodes:
                self.nodes[words[1]].sync()
        elif kind == "mark":
            self.marks.append(rest)
        else:
            sys.exit("the log has an entry of no kind: %s" % kind)


FIELDS = {"root": 1, "file": 2, "dir": 2, "link": 2, "gone": 1, "move": 2, "write": 3, "size": 2, "sync": 1, "mark": 0}


def entries(log):
    """All entries: the words of the line, the name on it, and a write's bytes or a move's other name."""
    with open(log, "rb") as file:
        while line := file.readline().decode()[:-1]:
            kind = line.split(" ", 1)[0]
            words = line.split(" ", FIELDS[kind] + 1)
            rest = words.pop() if len(words) > FIELDS[kind] + 1 else ""
            data = None
            if kind == "write":
                data = file.read(int(words[3]))
            elif kind == "move":
                data = file.readline().decode()[:-1]
            yield words, rest, data


# ---- what a cut leaves ----


def min_content(node):
    return node.durable


def max_content(node):
    return bytes(node.now)


def random_content(rng):
    def content(node):
        if not node.pending:
            return node.durable
        block = rng.choice((512, 4096))
        keep = rng.choice((0.1, 0.5, 0.9))
        sizes, size = [len(node.durable)], len(node.durable)
        for kind, at, data in node.pending:
            size = at if kind == "size" else max(size, at + len(data))
            sizes.append(size)
        length = rng.choice(sizes + [sizes[-1]])
        if rng.random() < 0.3:
            length = rng.randrange(length + 1)
        result = bytearray(node.durable[:length])
        while len(result) < length:
            result += rng.choice((bytes(block), rng.randbytes(block)))
        for kind, at, data in node.pending:
            pos = at
            while kind == "write" and pos < at + len(data):
                end = min(at + len(data), (pos // block + 1) * block)
                if rng.random() < keep:
                    result[pos:end] = data[pos - at : end - at]
                pos = end
        return bytes(result[:length])

    return content


def none(_):
    return False


def every(_):
    return True


def some(rng):
    keep = rng.choice((0.2, 0.5, 0.8))
    return lambda _: rng.random() < keep


class State:
    """One possible state: of each node once what a cut has left of it, whatever its names are."""

    def __init__(self, tree, content, takes):
        self.content, self.takes = content, takes
        self.contents, self.names = {}, {}
        self.files, self.dirs = {}, []
        self.walk(tree.root, "")

    def entries(self, node):
        if node not in self.names:
            names = dict(node.durable)
            self.names[node] = names
            for kind, name, extra in node.pending:
                if not self.takes(kind):
                    continue
                if kind == "add":
                    names[name] = extra
                elif extra is None or self.has(extra):
                    names.pop(name, None)
        return self.names[node]

    def has(self, move):
        """A name goes only where its new one stays, or something newer in its place."""
        pending = [entry[2] for entry in move.target.pending if entry[:2] == ("add", move.name)]
        there = self.entries(move.target).get(move.name)
        return there is not None and (there is move.node or move.node not in pending)

    def walk(self, node, path):
        for name, child in sorted(self.entries(node).items()):
            if child.is_dir:
                self.dirs.append(path + name)
                self.walk(child, path + name + "/")
            else:
                if child not in self.contents:
                    self.contents[child] = self.content(child)
                self.files[path + name] = self.contents[child]

    def digest(self):
        digest = hashlib.blake2b(repr(self.dirs).encode())
        for path, content in self.files.items():
            digest.update(b"%s %d\n" % (path.encode(), len(content)) + content)
        return digest.digest()

    def build(self, root):
        """Directories that are there already stay the same ones: a set knows its own by the inode."""
        for path in sorted(Path(root).rglob("*"), reverse=True):
            relative = str(path.relative_to(root))
            if path.is_dir() and not path.is_symlink():
                if relative not in self.dirs:
                    path.rmdir()
            else:
                path.unlink()
        for path in self.dirs:
            Path(root, path).mkdir(mode=0o700, exist_ok=True)
        for path, content in self.files.items():
            file = Path(root, path)
            file.write_bytes(content)
            file.chmod(0o600)


def state_of(tree, how, rng):
    if how == "min":
        return State(tree, min_content, none)
    if how == "max":
        return State(tree, max_content, every)
    return State(tree, random_content(rng), some(rng))


# ---- the commands ----


def identity(path):
    stat = os.lstat(path)
    return "%d:%d" % (stat.st_dev, stat.st_ino)


def base(log, root):
    with open(log, "wb") as file:
        file.write(b"root %s\n" % identity(root).encode())
        for path in sorted(Path(root).rglob("*")):
            ids = (identity(path.parent), identity(path))
            if path.is_dir():
                file.write(("dir %s %s %s\n" % (*ids, path.name)).encode())
                continue
            content = path.read_bytes()
            file.write(("file %s %s %s\n" % (*ids, path.name)).encode())
            file.write(("write %s 0 %d\n" % (ids[1], len(content))).encode() + content)
        for path in [Path(root), *sorted(Path(root).rglob("*"))]:
            file.write(b"sync %s\n" % identity(path).encode())
        file.write(b"mark begin\n")


def mark(log, what):
    with open(log, "ab") as file:
        file.write(("mark %s\n" % what).encode())


def replay(log):
    tree = Tree()
    for entry in entries(log):
        tree.apply(*entry)
    return tree


def whole(log, root):
    told = State(replay(log), max_content, every)
    real_dirs, real_files = [], {}
    for path in sorted(Path(root).rglob("*")):
        name = str(path.relative_to(root))
        if path.is_dir():
            real_dirs.append(name)
        else:
            real_files[name] = path.read_bytes()
    if sorted(told.dirs) != real_dirs or told.files != real_files:
        differ = {name for name in told.files.keys() | real_files.keys() if told.files.get(name) != real_files.get(name)}
        sys.exit("the log is not whole: %s" % (differ or set(told.dirs) ^ set(real_dirs)))


def build(log, root, how, seed):
    state_of(replay(log), how, random.Random(int(seed))).build(root)


class Wrong(Exception):
    """A state that is not good."""


class Failed(Wrong):
    """A command that does not work, and may be right not to."""


def run(*arguments):
    program = [os.environ["NBDPULL"], *map(str, arguments)]
    done = subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr.strip()


def same_image(image, truth, scratch):
    if image.suffix == ".qcow2":
        subprocess.run(["qemu-img", "check", "-q", image], check=True)
        subprocess.run(["qemu-img", "convert", "-O", "raw", image, scratch], check=True)
        image = scratch
    return image.read_bytes() == truth.read_bytes()


class SetCheck:
    """
    A set SET below the root: points with marks "point ID" are there, those with "no ID" are not, others that have a truth
    may be. With "repaired" the set was damaged at first: none of its files is ever gone, and unless all is promised already
    the state is repaired first.
    """

    def __init__(self, truths, work, name, *words):
        self.truths, self.work, self.name = Path(truths), work, name
        self.repaired = "repaired" in words
        self.files = {}
        self.restored = set()
        self.counts = {"restores": 0, "repairs": 0}

    def restores(self, path, point):
        out = self.work / "out"
        shutil.rmtree(out, ignore_errors=True)
        status, _, said = run("restore", "-i", path, "-o", out, "--until", point, "--format", "raw", "-q")
        self.counts["restores"] += 1
        if status != 0:
            raise Failed("point %s does not restore: %s" % (point, said))
        images = sorted(file.stem for file in out.glob("*.raw"))
        if images != sorted(file.suffix[1:] for file in self.truths.glob(point + ".*")):
            raise Wrong("point %s restores as %s" % (point, images))
        for image in images:
            if (out / (image + ".raw")).read_bytes() != (self.truths / (point + "." + image)).read_bytes():
                raise Wrong("point %s: %s is not as it was" % (point, image))

    def begin(self, state):
        self.files = {content: name for name, content in state.files.items() if not name.endswith("/lock")}

    def repair(self, path):
        """Nothing wrong comes out before either."""
        for point in self.points():
            try:
                self.restores(path, point)
            except Failed:
                pass
        status, told, said = run("repair", "-i", path)
        self.counts["repairs"] += 1
        if status != 0:
            raise Wrong("it cannot be repaired: %s %s" % (told, said))

    def points(self):
        return sorted({file.stem for file in self.truths.iterdir()})

    def __call__(self, root, marks, state):
        path = root / self.name
        promised = {line.split()[1] for line in marks if line.startswith("point ")}
        absent = {line.split()[1] for line in marks if line.startswith("no ")}
        if not (path / "set.json").exists() and not promised:
            return
        if self.repaired:
            lost = self.files.keys() - set(state.files.values())
            if lost:
                raise Wrong("gone: %s" % [self.files[content] for content in lost])
            if promised != set(self.points()):
                self.repair(path)
        status, told, said = run("dump", "-i", path, "--json")
        if status != 0:
            raise Wrong("dump: %s" % said)
        points = [point["id"] for point in json.loads(told)["points"]]
        if promised - set(points) or set(points) - set(self.points()) or set(points) & absent:
            raise Wrong("points %s, where %s are promised, and not %s" % (points, sorted(promised), sorted(absent)))
        for point in promised:
            if not state.files.get("%s/config/%s/domain.xml" % (self.name, point), b"").rstrip().endswith(b"</domain>"):
                raise Wrong("point %s has no XML beside its streams" % point)
        status, told, said = run("verify", "-i", path)
        if status != 0:
            raise Wrong("verify: status %d: %s %s" % (status, told, said))
        # A restore reads nothing else. Where only other files differ, it was seen already.
        seen = hashlib.blake2b()
        for name, content in state.files.items():
            if name.startswith((self.name + "/points/", self.name + "/streams/")):
                seen.update(name.encode() + b" %d " % len(content) + content)
        if self.repaired or seen.digest() not in self.restored:
            for point in points:
                self.restores(path, point)
            self.restored.add(seen.digest())


class ImageCheck:
    """A restore of a point into OUT below the root: an image that has its name is whole, and after the mark all have."""

    def __init__(self, truths, work, name, point):
        self.truths, self.work, self.name, self.point = Path(truths), work, name, point
        self.counts = {"images": 0}

    def begin(self, _):
        pass

    def __call__(self, root, marks, _):
        found = sorted(file for file in (root / self.name).glob("[!.]*") if file.suffix in (".raw", ".qcow2"))
        wanted = {file.suffix[1:] for file in self.truths.glob(self.point + ".*")}
        if "restored" in marks and {file.stem for file in found} != wanted:
            raise Wrong("the images are %s after status 0" % [file.name for file in found])
        for file in found:
            self.counts["images"] += 1
            if not same_image(file, self.truths / (self.point + "." + file.stem), self.work / "raw"):
                raise Wrong("%s is not as it was" % file.name)
        for file in (root / self.name).glob("[!.]*.xml"):
            if not file.read_text().rstrip().endswith(("</domain>", "</domainsnapshot>")):
                raise Wrong("%s is not whole" % file.name)
        if "restored" in marks and not list((root / self.name).glob("[!.]*.xml")):
            raise Wrong("no XML after status 0")


def check(log, truths, seed, sample, kind, *arguments):
    """At each place min, max and some random states. About SAMPLE of them, and min where something is promised; 0: all."""
    rng = random.Random(int(seed))
    tree, begun, places, tried, seen = Tree(), False, 0, 0, set()
    each = 3 if int(sample) > 0 else 6
    wanted = None
    if int(sample) > 0:
        total = sum(1 for _ in entries(log)) * (2 + each)
        wanted = min(1, int(sample) / total)
    with tempfile.TemporaryDirectory() as work:
        checker = {"set": SetCheck, "images": ImageCheck}[kind](truths, Path(work), *arguments)
        for number, entry in enumerate(entries(log)):
            tree.apply(*entry)
            if tree.marks and not begun:
                begun = True
                checker.begin(state_of(tree, "max", rng))
            if not begun:
                continue
            places += 1
            for how in ["min", "max"] + ["random"] * each:
                state_seed = rng.randrange(1 << 30)
                promise = how == "min" and entry[0][0] == "mark"
                if wanted is not None and not promise and rng.random() > wanted:
                    continue
                state = state_of(tree, how, random.Random(state_seed))
                key = (state.digest(), tuple(tree.marks))
                if key in seen:
                    continue
                seen.add(key)
                tried += 1
                root = Path(work) / "root"
                root.mkdir(exist_ok=True)
                state.build(root)
                try:
                    checker(root, tree.marks, state)
                except Wrong as wrong:
                    print("after entry %d (%s %s), %s with seed %d: %s" % (number, " ".join(entry[0]), entry[1], how,
                          state_seed, wrong), *sorted(state.files), sep="\n  ")
                    if os.environ.get("POWERCUT_KEEP"):
                        shutil.copytree(root, os.environ["POWERCUT_KEEP"])
                    sys.exit(1)
    counts = ", ".join("%d %s" % (count, what) for what, count in checker.counts.items())
    print("# %s: %d places, %d states, %s" % (Path(log).name, places, tried, counts))


if __name__ == "__main__":
    commands = {"base": base, "mark": mark, "whole": whole, "build": build, "check": check}
    commands[sys.argv[1]](*sys.argv[2:])
