"""What disks of golden streams hold, and METAs for them: all fixed, so that make.py gives the same bytes again."""

import struct

from parts import Image
from record import DATA, EMPTY, LIVE, ZERO, Grid
from sums import xxh128

K, G = 65536, 4096  # the smallest chunk and granule
_MASK = (1 << 64) - 1


def pattern(offset, length, tag):
    """
    The bytes of a disk from `offset` on that were written with `tag`; tag 0: zeroes. The 16 bytes at 16u are two
    numbers, a and a xor (a div 2^29), with a = tag * 9E3779B97F4A7C15 + v * BF58476D1CE4E5B9 modulo 2^64 (in hex),
    where v is u for tags from 128 on, which therefore do not compress, and u div 64 for smaller ones.
    expected.h has the same in C.
    """
    if tag == 0:
        return bytes(length)
    out = bytearray()
    step = 16 if tag >= 128 else 1024
    for v in range(offset // step, -(-(offset + length) // step)):
        a = (tag * 0x9E3779B97F4A7C15 + v * 0xBF58476D1CE4E5B9) & _MASK
        out += struct.pack("<QQ", a, a ^ a >> 29) * (step // 16)
    skip = offset % step
    return bytes(out[skip:skip + length])


class Model:
    """A disk's content, written as a list of fills."""

    def __init__(self, size, chunk=K, granule=G, fills=()):
        self.grid, self.fills = Grid(size, chunk, granule), []
        self.content = {}  # granule start: bytes
        for fill in fills:
            self.fill(*fill)

    def fill(self, offset, length, tag):
        self.fills.append((offset, length, tag))
        at = offset // self.grid.granule * self.grid.granule
        while at < offset + length:
            end = min(at + self.grid.granule, self.grid.size)
            if offset <= at and end <= offset + length:
                self.content[at] = pattern(at, end - at, tag)
                at += self.grid.granule
                continue
            old = bytearray(self.content.get(at, bytes(end - at)))
            low, high = max(at, offset), min(end, offset + length)
            old[low - at:high - at] = pattern(low, high - low, tag)
            self.content[at] = bytes(old)
            at += self.grid.granule
        return self

    def resized(self, size):
        out = Model(size, self.grid.chunk, self.grid.granule)
        for offset, length, tag in self.fills:
            if offset < size:
                out.fill(offset, min(length, size - offset), tag)
        # What lay beyond a smaller end is gone, so a later growth begins with zeroes.
        return out

    def granule(self, at):
        return self.content.get(at, bytes(min(self.grid.granule, self.grid.size - at)))

    def state(self, at):
        return LIVE if any(self.granule(at)) else EMPTY

    def digest(self):
        image = Image(self.grid)
        for at, data in self.content.items():
            if any(data):
                image.put(at, data, xxh128(data))
        return image.digest()

    def states(self, offset, wanted=None):
        """States of a window's granules; those not in `wanted` are absent."""
        return [self.state(at) if wanted is None or at in wanted else 0 for at, _ in self.grid.granules(offset)]

    def stored(self, offset, states):
        return [self.granule(at) for (at, _), state in zip(self.grid.granules(offset), states) if state == LIVE]


def write_canonical(writer, disk, model, wanted=None, codec=1):
    """The records of one disk as section 7 calls canonical. wanted: starts of the granules to store; None: all."""
    for record in canonical(model, wanted):
        if record[0] == DATA:
            states = model.states(record[1], wanted)
            writer.data(disk, record[1], states, model.stored(record[1], states), codec)
        else:
            writer.zero(disk, record[1], record[2])


def canonical(model, wanted=None):
    """[(DATA, window) or (ZERO, start, length)]"""
    grid, out = model.grid, []

    def add_zero(start, end):
        if out and out[-1][0] == ZERO and out[-1][1] + out[-1][2] == start:
            start = out.pop()[1]
        if start < end:
            out.append((ZERO, start, end - start))

    at = 0
    for window in sorted({g // grid.chunk * grid.chunk for g in model.content.keys() | (wanted or set())}):
        if wanted is None:
            add_zero(at, window)
        at = grid.window_end(window)
        states = model.states(window, wanted)
        if set(states) == {EMPTY}:
            add_zero(window, at)
        elif any(states):
            out.append((DATA, window))
    if wanted is None:
        add_zero(at, grid.size)
    return out


def granules_of(model, *ranges):
    """Starts of the granules that the ranges (offset, length) touch."""
    g = model.grid.granule
    return {at for start, length in ranges for at in range(start // g * g, min(start + length, model.grid.size), g)}


def uuid(kind, n):
    return "%08x-0000-7000-8%03x-%012x" % (0x6e620000 + n, kind, n)


def disk_meta(model, id_=0, target="vda", state=0, base=None, **other):
    """base: (state number, size, digest text or None)"""
    grid = model.grid
    value = {
        "id": id_, "target": target, "size": grid.size, "chunk": grid.chunk, "granule": grid.granule,
        "logical_block": 512, "physical_block": 512, "source": {"format": "raw"},
        "image": {"source": "", "dev": "0", "ino": "0"}, "level": "inc" if base else "full",
        "how": "bitmap" if base else "all", "why": "golden", "checkpoint": None, "base_checkpoint": None,
        "base_point": None, "state": uuid(2, state),
        "base": base and {"state": uuid(2, base[0]), "size": base[1], "digest": base[2]}}
    value.update(other)
    return value


def meta(n, *disks, **other):
    value = {
        "format": 1, "requires": [], "sum": "xxh3", "hash": "xxh3-128", "stream": uuid(1, n), "set": None,
        "created": "2026-11-20T03:00:00Z", "tool": "golden", "codec_lib": "",
        "domain": {"name": "guest", "uuid": uuid(3, 1)},
        "point": {"id": None, "uuid": uuid(4, n), "level": "full", "checkpoint": None, "quiesced": False,
                  "disks": [{"target": d["target"], "state": d["state"], "stream": uuid(1, n), "why": ""}
                            for d in disks]},
        "disks": list(disks)}
    value.update(other)
    return value
