"""The tables of each type of record, taken apart and checked, and what a reader keeps of each disk."""

import struct
from dataclasses import dataclass

from record import DATA, DEAD, EMPTY, LIVE, ZERO, Digest, need
from sums import xxh128

_NODE = struct.Struct("<BBHIQ")
_LEAF_ENTRY = struct.Struct("<QQQQIHBB")
_INNER_ENTRY = struct.Struct("<QQQQIIQ")
_PLACE = struct.Struct("<QQII")
_DIR = struct.Struct("<IIQ")
_DIR_DISK = struct.Struct("<HBBI48sQQQQQ16s")
_END = struct.Struct("<QQ24s24s32s16s48s")


# ---- images ----

class Image:
    """A disk's content: the granules that hold data, with their hashes. Everything else reads as zeroes."""

    def __init__(self, grid):
        self.grid, self.granules = grid, {}

    def put(self, start, data, hash_):
        self.granules[start] = (data, hash_)

    def clear(self, start, length):
        if length <= self.grid.granule:
            self.granules.pop(start, None)
            return
        for at in [at for at in self.granules if start <= at < start + length]:
            del self.granules[at]

    def resized(self, grid):
        """The base of a disk of that grid. What the size changes is left out: section 7 has it described."""
        need((grid.chunk, grid.granule) == (self.grid.chunk, self.grid.granule), "the base has another grid")
        out = Image(grid)
        smaller = min(grid.size, self.grid.size)
        for at, (data, hash_) in self.granules.items():
            if grid.size == self.grid.size or at + grid.granule <= smaller:
                out.granules[at] = (data, hash_)
        return out

    def digest(self):
        digest = Digest()
        for at, (data, hash_) in self.granules.items():
            digest.add(at // self.grid.granule, len(data), hash_)
        return digest

    def read(self, start, length):
        """Bytes of the disk. Only for ranges that fit into memory."""
        out = bytearray(length)
        for at, (data, _) in self.granules.items():
            low, high = max(at, start), min(at + len(data), start + length)
            if low < high:
                out[low - start:high - start] = data[low - at:high - at]
        return bytes(out)

    def bytes(self):
        return self.read(0, self.grid.size)


# ---- DATA, and what a disk adds up to ----

def data_states(record_or_entry, map_, grid, hashes):
    """Check a DATA map against the grid; gives [(start, length, state)]. `hashes`: how many there are."""
    offset, length = record_or_entry.offset, record_or_entry.length
    need(offset % grid.chunk == 0 and offset < grid.size, "a DATA that is not on a window of the disk")
    granules = [(at, size, state) for (at, size), state in zip(grid.granules(offset), grid.states(offset, map_))]
    stored = [size for _, size, state in granules if state in (LIVE, DEAD)]
    need(len(stored) == hashes and sum(stored) == length, "map, hashes and length of a DATA do not agree")
    need(any(state in (LIVE, EMPTY) for _, _, state in granules), "a DATA that describes nothing")
    return granules


class Track:
    """Order, coverage and sums of one disk's records (sections 7, 10, 12)."""

    def __init__(self, disk):
        self.disk, self.grid = disk, disk.grid
        self.end = 0  # of what the last record covers
        self.window, self.described = None, set()
        self.records = self.data_bytes = self.zero_bytes = self.dead_bytes = self.stored_bytes = 0
        self.digest = Digest()

    def _move_to(self, start):
        """Leave the current window for one that begins at `start`, or for the disk's end."""
        if self.window is not None:
            for at, _ in self.grid.granules(self.window):
                need(at < self.disk.cover_from or at in self.described, "a granule at %d was never stored" % at)
        self.window, self.described = None, set()
        need(start <= max(self.end, self.disk.cover_from), "the disk was never stored at %d" % self.end)

    def zero(self, offset, length):
        need(offset % self.grid.chunk == 0, "a ZERO that does not begin on a window")
        end = offset + length
        need(end == self.grid.size or (end < self.grid.size and end % self.grid.chunk == 0),
             "a ZERO that ends neither with a window nor with the disk")
        need(offset >= self.end, "a ZERO out of order")
        self._move_to(offset)
        self.end = end
        self.records += 1
        self.zero_bytes += length

    def data(self, offset, data_len, granules, hashes):
        if self.window != offset:
            need(offset >= self.end, "a DATA out of order")
            self._move_to(offset)
            self.window, self.end = offset, self.grid.window_end(offset)
        hashes = iter(hashes)
        for at, size, state in granules:
            hash_ = next(hashes) if state in (LIVE, DEAD) else None
            if state in (LIVE, EMPTY):
                need(at not in self.described, "a granule at %d is described twice" % at)
                self.described.add(at)
            if state == LIVE:
                self.digest.add(at // self.grid.granule, size, hash_)
            self.data_bytes += size if state == LIVE else 0
            self.zero_bytes += size if state == EMPTY else 0
            self.dead_bytes += size if state == DEAD else 0
        self.records += 1
        self.stored_bytes += data_len

    def finish(self):
        self._move_to(self.grid.size)

    def sums(self):
        return self.records, self.data_bytes, self.zero_bytes, self.dead_bytes, self.stored_bytes


# ---- INDEX ----

@dataclass
class Entry:
    """Of a leaf."""
    pos: int
    head_sum: int
    offset: int
    length: int
    data_len: int
    hash_count: int
    type: int
    codec: int
    map: bytes
    hashes: list = None

    def end(self, grid):
        return self.offset + self.length if self.type == ZERO else grid.window_end(self.offset)


@dataclass
class Child:
    """Of an inner node; DIR's root too."""
    pos: int
    head_sum: int
    offset: int
    end: int
    table_len: int
    data_len: int


def split(data, size=16):
    return [data[at:at + size] for at in range(0, len(data), size)]


def record_entry(record, grid):
    """The entry that a leaf must have for a DATA or ZERO record."""
    h = record.header
    m = grid.map_bytes
    is_data = h.type == DATA
    return Entry(h.pos, h.head_sum, h.offset, h.length, h.data_len, (h.table_len - m) // 16 if is_data else 0,
                 h.type, h.codec, record.table[:m] if is_data else bytes(m), split(record.table[m:]) if is_data else [])


@dataclass
class Node:
    level: int
    prev: int
    entries: list


def _leaf_entries(record, grid, size):
    entries = []
    hashes = iter(split(record.data))
    for raw in split(record.table[16:], size):
        entry = Entry(*_LEAF_ENTRY.unpack(raw[:40]), raw[40:])
        need(entry.type in (DATA, ZERO), "a leaf that lists another type")
        if entry.type == ZERO:
            need(not entry.data_len and not entry.hash_count and not entry.codec and not any(entry.map),
                 "a leaf with a ZERO that is none")
        entry.hashes = [hash_ for _, hash_ in zip(range(entry.hash_count), hashes)]
        need(len(entry.hashes) == entry.hash_count, "a leaf with too few hashes")
        entries.append(entry)
    need(next(hashes, None) is None, "a leaf with too many hashes")
    need(len(entries) <= 1024 and len(record.data) <= 16 * 8192 and len(record.data) % 16 == 0, "too large a leaf")
    return entries


def parse_node(record, grid):
    """A node, checked for itself (sections 9, 9.1, 9.2)."""
    h = record.header
    level, units, count, reserved, prev = _NODE.unpack(record.table[:16])
    size = 48 if level else 40 + grid.map_bytes
    need(level <= 8 and 8 * units == size and reserved == 0, "an INDEX whose head is wrong")
    need(count >= 1 and len(record.table) == 16 + count * size, "an INDEX whose entries do not fit its table")
    need(prev < h.pos and prev % 16 == 0, "an INDEX whose prev is not before it")
    if level == 0:
        entries = _leaf_entries(record, grid, size)
        ranges = [(e.offset, e.end(grid)) for e in entries]
    else:
        need(count <= 256 and h.data_len == 0, "too large an inner node")
        entries = []
        for raw in split(record.table[16:], 48):
            *fields, zero = _INNER_ENTRY.unpack(raw)
            need(zero == 0, "an inner node whose reserved is not 0")
            entries.append(Child(*fields))
        ranges = [(e.offset, e.end) for e in entries]
    for start, end in ranges:
        need(start < end <= grid.size, "an INDEX with an impossible range")
    for (_, end), (start, _) in zip(ranges, ranges[1:]):
        shared = start % grid.chunk == 0 and start < grid.size and end == grid.window_end(start)
        need(start >= end or shared, "an INDEX whose entries are not in order")
    need((h.offset, h.offset + h.length) == (ranges[0][0], ranges[-1][1]), "an INDEX that covers something else")
    positions = [e.pos for e in entries] + [h.pos]
    need(all(a < b for a, b in zip(positions, positions[1:])), "an INDEX whose children do not lie before it in order")
    return Node(level, prev, entries)


# ---- BLOB, DIR, END ----

@dataclass
class BlobPart:
    total: int
    sum: bytes
    name: str


def parse_blob(table):
    total, sum_, size = struct.unpack("<Q16sH", table[:26])
    need(1 <= size <= 255 and len(table) == 26 + size, "a BLOB whose table is of another size")
    name = table[26:].decode("latin-1")
    need(all(c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-" for c in name)
         and name[0] != ".", "a BLOB whose name is not possible")
    return BlobPart(total, sum_, name)


class Blobs:
    """The parts of all files, in order (section 8)."""

    def __init__(self):
        self.files, self.firsts, self.open = {}, [], None

    def part(self, record):
        part, h = parse_blob(record.table), record.header
        if self.open is None:
            need(part.name not in self.files, "two BLOBs of one name")
            need(len(self.files) < 1024, "too many BLOBs")
            self.open = (record.table, bytearray())
            self.firsts.append((h.pos, h.head_sum, h.table_len, h.data_len))
            self.files[part.name] = None
        table, content = self.open
        need(table == record.table and h.offset == len(content), "a BLOB part out of order")
        need(h.data_len > 0 or part.total == 0, "an empty BLOB part")
        content += record.data
        need(len(content) <= part.total, "a BLOB longer than it says")
        if len(content) == part.total:
            need(xxh128(content) == part.sum, "the sum of a BLOB does not fit")
            self.files[part.name], self.open = bytes(content), None

    def between(self):
        need(self.open is None, "something stands between the parts of a BLOB")


@dataclass
class DirDisk:
    id: int
    root: Child
    root_level: int
    sums: tuple
    digest: bytes  # None: not known


@dataclass
class Dir:
    last_index: int
    disks: list
    blobs: list


def parse_dir(table, meta):
    disks, blobs, last_index = _DIR.unpack(table[:16])
    need(disks == len(meta.disks) and blobs <= 1024, "DIR and META do not agree")
    need(len(table) == 16 + 112 * disks + 24 * blobs, "DIR is of another size than its counts")
    need(last_index % 16 == 0, "DIR names an INDEX that is none")
    out = Dir(last_index, [], [_PLACE.unpack(raw) for raw in split(table[16 + 112 * disks:], 24)])
    for disk, raw in zip(meta.disks, split(table[16:16 + 112 * disks], 112)):
        id_, level, flags, reserved, root, *sums, digest = _DIR_DISK.unpack(raw)
        need(id_ == disk.id and reserved == 0 and flags < 4, "DIR: disk %d is not META's" % id_)
        *fields, zero = _INNER_ENTRY.unpack(root)
        need(zero == 0 and level <= 8, "DIR: the root is wrong")
        has_root, known = flags & 1, flags & 2
        need(has_root or (level == 0 and not any(root)), "DIR: a root where there is none")
        need(known or not any(digest), "DIR: a digest where there is none")
        need(known or disk.base_state is not None, "DIR: no digest of a disk without base")
        need(bool(has_root) == (sums[0] > 0), "DIR: records without a root, or a root without records")
        need(not has_root or 0 < fields[0] <= last_index, "DIR: a root after the last INDEX")
        out.disks.append(DirDisk(id_, Child(*fields) if has_root else None, level, tuple(sums),
                                 digest if known else None))
    return out


@dataclass
class End:
    length: int
    records: int
    dir: tuple
    meta: tuple
    digest: bytes
    uuid: bytes


def parse_end(table):
    length, records, dir_, meta, digest, uuid, zero = _END.unpack(table)
    need(not any(zero) and not any(digest[16:]), "END has something in bytes that are zero")
    return End(length, records, _PLACE.unpack(dir_), _PLACE.unpack(meta), digest[:16], uuid)


def check_results(results, meta, directory):
    """Section 4.3: results and DIR are the same numbers."""
    need(results["blobs"] == len(directory.blobs) and len(results["disks"]) == len(meta.disks),
         "results and DIR do not agree")
    for said, disk in zip(results["disks"], directory.disks):
        keys = ("records", "data_bytes", "zero_bytes", "dead_bytes", "stored_bytes")
        digest = None if disk.digest is None else disk.digest[::-1].hex()
        need(said["id"] == disk.id and tuple(said[key] for key in keys) == disk.sums and said["digest"] == digest,
             "results and DIR do not agree about disk %d" % disk.id)

