"""A writer of streams for tests. It writes what FORMAT.md allows, also what nbdpull itself does not write."""

import json
import struct

from parts import Child, Digest, record_entry, split
from record import (BLOB, DATA, DEAD, DIR, EMPTY, END, HEADER_SIZE, INDEX, LIVE, META, NO_DISK, ZERO, Grid, Header,
                    Record)
from sums import compress, xxh64, xxh128


class _Disk:
    def __init__(self, value):
        self.grid = Grid(value["size"], value["chunk"], value["granule"])
        self.based = value["base"] is not None
        self.pending, self.orphans = [], {}
        self.sums = [0] * 5  # records, data, zero, dead, stored
        self.digest = Digest()
        self.known = not self.based


class Writer:
    """
    meta: the value of META's JSON, or its text.
    leaf, hashes, inner: most entries and hashes of a leaf, and entries of an inner node. Smaller ones than
    FORMAT.md's give trees of several levels in small files.
    """

    def __init__(self, meta, leaf=1024, hashes=8192, inner=256):
        text = meta if isinstance(meta, str) else json.dumps(meta, separators=(",", ":"), ensure_ascii=False)
        self.text, self.meta = text.encode(), json.loads(text)
        self.limits = leaf, hashes, inner
        self.uuid = bytes.fromhex(self.meta["stream"].replace("-", ""))
        self.out, self.headers, self.number, self.last_index = bytearray(), bytearray(), 0, 0
        self.disks = {value["id"]: _Disk(value) for value in self.meta["disks"]}
        self.blobs = []
        self.record(META, table=self.text)

    def record(self, type_, disk=NO_DISK, offset=0, length=0, table=b"", data=b"", codec=0, cipher=0, flags=0):
        h = Header(type_, self.uuid[8:], len(self.out), offset, length, len(table), len(data), disk, self.number,
                   codec, cipher, flags, data_sum=xxh128(data), table_sum=xxh64(table))
        self.out += h.seal() + table + data
        self.out += bytes(h.pos + h.size - len(self.out))
        self.headers += h.raw if type_ != END else b""
        self.number += 1
        return Record(h, bytes(table), bytes(data))

    # ---- the disks ----

    def data(self, disk, offset, states, granules, codec=1, hashes=None, flags=0):
        """granules: the bytes of those in state LIVE or DEAD. hashes: for dead ones, when they should not fit."""
        d = self.disks[disk]
        hashes = hashes or [xxh128(one) for one in granules]
        payload = b"".join(granules)
        codec, data = compress(codec, payload)
        in_table = iter(hashes)
        for (at, size), state in zip(d.grid.granules(offset), states):
            hash_ = next(in_table) if state in (LIVE, DEAD) else None
            if state == LIVE:
                d.digest.add(at // d.grid.granule, size, hash_)
            for index, wanted in ((1, LIVE), (2, EMPTY), (3, DEAD)):
                d.sums[index] += size if state == wanted else 0
        d.sums[4] += len(data)
        table = d.grid.pack_map(states) + b"".join(hashes)
        self._guest(disk, len(hashes), DATA, disk, offset, len(payload), table, data, codec, 0, flags)

    def zero(self, disk, offset, length):
        self.disks[disk].sums[2] += length
        self._guest(disk, 0, ZERO, disk, offset, length)

    def _guest(self, disk, hashes, *record):
        d = self.disks[disk]
        if len(d.pending) == self.limits[0] or sum(e.hash_count for e in d.pending) + hashes > self.limits[1]:
            self.leaf(disk)
        d.sums[0] += 1
        d.pending.append(record_entry(self.record(*record), d.grid))

    # ---- the index ----

    def _node(self, disk, level, first, end, entries, data=b""):
        size = 48 if level else 40 + self.disks[disk].grid.map_bytes
        table = struct.pack("<BBHIQ", level, size // 8, len(entries), 0, self.last_index) + b"".join(entries)
        h = self.record(INDEX, disk, first, end - first, table, data).header
        self.last_index = h.pos
        self._adopt(disk, level, Child(h.pos, h.head_sum, first, end, h.table_len, h.data_len))

    def _adopt(self, disk, level, child):
        nodes = self.disks[disk].orphans.setdefault(level, [])
        if len(nodes) == self.limits[2]:
            mine, nodes[:] = nodes[:], []
            nodes.append(child)
            self._inner(disk, level + 1, mine)
        else:
            nodes.append(child)

    def _inner(self, disk, level, children):
        entries = [struct.pack("<QQQQIIQ", c.pos, c.head_sum, c.offset, c.end, c.table_len, c.data_len, 0)
                   for c in children]
        self._node(disk, level, children[0].offset, children[-1].end, entries)

    def leaf(self, disk):
        d = self.disks[disk]
        entries, d.pending = d.pending, []
        raw = [struct.pack("<QQQQIHBB", e.pos, e.head_sum, e.offset, e.length, e.data_len, e.hash_count, e.type,
                           e.codec) + e.map for e in entries]
        self._node(disk, 0, entries[0].offset, entries[-1].end(d.grid), raw, b"".join(sum((e.hashes for e in entries), [])))

    def disk_end(self, disk, digest=None):
        """digest: of the disk at the point, where it has a base; None: not known."""
        d = self.disks[disk]
        if d.based and digest is not None:
            d.known, d.digest = True, digest
        if d.pending:
            self.leaf(disk)
        level = 0
        while level in d.orphans:
            nodes = d.orphans[level]
            if len(nodes) == 1 and level + 1 not in d.orphans:
                return
            d.orphans[level] = []
            self._inner(disk, level + 1, nodes)
            level += 1

    # ---- the rest ----

    def blob(self, name, content, part=1 << 20):
        table = struct.pack("<Q16sH", len(content), xxh128(content), len(name)) + name.encode()
        for at, data in enumerate(split(content, part) or [b""]):
            h = self.record(BLOB, offset=at * part, length=len(data), table=table, data=data).header
            if at == 0:
                self.blobs.append(h)

    def results(self):
        keys = ("records", "data_bytes", "zero_bytes", "dead_bytes", "stored_bytes")
        disks = [{"id": id_, **dict(zip(keys, d.sums)), "digest": d.digest.text if d.known else None}
                 for id_, d in self.disks.items()]
        return {"disks": disks, "blobs": len(self.blobs)}

    def second_meta(self, results=None):
        text = json.dumps(results or self.results(), separators=(",", ":"))
        self.meta_place = self._place(self.record(META, table=self.text, data=text.encode()).header)

    def _place(self, h):
        return struct.pack("<QQII", h.pos, h.head_sum, h.table_len, h.data_len)

    def directory(self):
        table = struct.pack("<IIQ", len(self.disks), len(self.blobs), self.last_index)
        for id_, d in self.disks.items():
            level = max(d.orphans, default=0)
            root = d.orphans[level][0] if d.orphans else None
            table += struct.pack("<HBBI", id_, level, (root is not None) | 2 * d.known, 0)
            table += struct.pack("<QQQQIIQ", *vars(root).values(), 0) if root else bytes(48)
            table += struct.pack("<5Q", *d.sums) + (d.digest.stored if d.known else bytes(16))
        table += b"".join(self._place(h) for h in self.blobs)
        self.dir_place = self._place(self.record(DIR, table=table).header)

    def end(self):
        table = struct.pack("<QQ", len(self.out) + 256, self.number + 1) + self.dir_place + self.meta_place
        self.record(END, table=table + xxh128(self.headers) + bytes(16) + self.uuid + bytes(48))
        return bytes(self.out)

    def finish(self):
        self.second_meta()
        self.directory()
        return self.end()


assert HEADER_SIZE == 96
