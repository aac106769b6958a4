"""A strict reader of streams: from a pipe, by the index, and by scanning (FORMAT.md, section 14)."""

from dataclasses import replace

from meta import Meta, parse_results
from parts import (Blobs, Child, Image, Track, check_results, data_states, parse_dir, parse_end, parse_node,
                   record_entry, split)
from record import (BLOB, DATA, DEAD, DIR, EMPTY, END, END_SIZE, HEADER_SIZE, INDEX, LIVE, META, MIB, ZERO, need,
                    parse_body, parse_header)
from sums import Refused, expand, xxh128, xxh64


def apply_data(image, granules, payload, hashes):
    """Section 5.2: the granules in state data, each checked; dead ones are passed over, zero ones cleared."""
    at, hashes = 0, iter(hashes)
    for start, size, state in granules:
        if state == EMPTY:
            image.clear(start, size)
        if state not in (LIVE, DEAD):
            continue
        hash_, data = next(hashes), payload[at:at + size]
        at += size
        if state == LIVE:
            need(xxh128(data) == hash_, "the granule at %d has another hash" % start)
            image.put(start, data, hash_)


def apply_record(image, record):
    h = record.header
    if h.type == ZERO:
        image.clear(h.offset, h.length)
        return
    m = image.grid.map_bytes
    hashes = split(record.table[m:])
    granules = data_states(h, record.table[:m], image.grid, len(hashes))
    apply_data(image, granules, expand(h.codec, record.data, h.length), hashes)


def start_image(disk, bases):
    """The image that a disk's records are applied to. `bases`: images by state; None: read it alone."""
    if disk.base_state is None or bases is None:
        return Image(disk.grid)
    need(disk.base_state in bases, "the base of %s is not there" % disk.target)
    base = bases[disk.base_state]
    need(base.grid.size == disk.base_size, "the base of %s has another size" % disk.target)
    need(disk.base_digest in (None, base.digest().text), "the base of %s has another digest" % disk.target)
    return base.resized(disk.grid)


def check_digest(said, image):
    need(said is None or said == image.digest().stored, "the disk's digest does not fit")


class Result:
    def __init__(self, meta):
        self.meta, self.images, self.files, self.dir = meta, {}, {}, None

    def states(self):
        """Images by state, to be the bases of other streams."""
        return {disk.state: self.images[disk.id] for disk in self.meta.disks}


# ---- from a pipe ----

class _IndexTrack:
    """What a disk's index must say (section 9.3)."""

    def __init__(self, grid):
        self.grid, self.pending, self.orphans = grid, [], {}

    def node(self, record, node):
        level = node.level
        if level == 0:
            need(node.entries == self.pending, "a leaf does not list the records before it")
            self.pending = []
        else:
            orphans = self.orphans.get(level - 1, [])
            count = len(node.entries)
            need(node.entries == orphans[:count], "an inner node does not list the nodes before it")
            del orphans[:count]
        h = record.header
        mine = self.orphans.setdefault(level, [])
        mine.append(Child(h.pos, h.head_sum, h.offset, h.offset + h.length, h.table_len, h.data_len))
        need(len(mine) <= 257, "too many nodes without a parent")

    def check_root(self, disk):
        need(not self.pending, "records of disk %d are in no leaf" % disk.id)
        left = [(level, node) for level, nodes in self.orphans.items() for node in nodes]
        need(left == ([] if disk.root is None else [(disk.root_level, disk.root)]),
             "the root of disk %d is another" % disk.id)


class _Pipe:
    def __init__(self, file, bases):
        self.file, self.bases = file, bases
        self.pos = self.number = 0
        self.stream = None
        self.headers = bytearray()
        self.last_index = 0
        self.stage = 0
        self.blobs = Blobs()
        self.meta = None

    def read(self, size):
        out = b""
        while len(out) < size:
            more = self.file.read(size - len(out))
            if not more:
                break
            out += more
        return out

    def next(self):
        h = parse_header(self.read(HEADER_SIZE))
        self.stream = self.stream or h.stream
        need(h.stream == self.stream, "a record of another stream")
        need(h.pos == self.pos and h.number == self.number, "a record was dropped, doubled or moved")
        if h.type == DATA:
            self.limit_data(h)
        record = parse_body(h, self.read(h.size - HEADER_SIZE))
        self.pos, self.number = self.pos + h.size, self.number + 1
        if h.type != END:
            self.headers += h.raw
        return record

    def limit_data(self, h):
        disk = self.disk(h)
        m = disk.grid.map_bytes
        most = m + 16 * (disk.grid.chunk // disk.grid.granule)
        need(m <= h.table_len <= most and (h.table_len - m) % 16 == 0, "a DATA with an impossible table_len")
        need(h.length <= disk.grid.chunk, "a DATA longer than a window")

    def disk(self, h):
        need(self.meta and h.disk in self.disks, "a record of a disk that is not in META")
        return self.disks[h.disk]

    def begin(self):
        record = self.next()
        need(record.header.type == META, "the first record is no META")
        need(record.header.data_len == 0, "the first META has data")
        self.meta = Meta(record.table)
        need(self.meta.uuid[8:] == self.stream, "META is of another stream")
        self.disks = {disk.id: disk for disk in self.meta.disks}
        self.tracks = {disk.id: Track(disk) for disk in self.meta.disks}
        self.indexes = {disk.id: _IndexTrack(disk.grid) for disk in self.meta.disks}
        self.result = Result(self.meta)
        self.result.images = {disk.id: start_image(disk, self.bases) for disk in self.meta.disks}

    def guest_record(self, record):
        h = record.header
        disk = self.disk(h)
        if h.type == INDEX:
            node = parse_node(record, disk.grid)
            need(node.prev == self.last_index, "an INDEX whose prev is another")
            self.indexes[h.disk].node(record, node)
            self.last_index = h.pos
            return
        track = self.tracks[h.disk]
        if h.type == ZERO:
            track.zero(h.offset, h.length)
        else:
            m = disk.grid.map_bytes
            hashes = split(record.table[m:])
            track.data(h.offset, h.data_len, data_states(h, record.table[:m], disk.grid, len(hashes)), hashes)
        self.indexes[h.disk].pending.append(record_entry(record, disk.grid))
        apply_record(self.result.images[h.disk], record)

    def second_meta(self, record):
        for track in self.tracks.values():
            track.finish()
        need(record.table == self.meta.raw, "the two METAs differ")
        self.results = parse_results(record.data)
        h = record.header
        self.meta_place = (h.pos, h.head_sum, h.table_len, h.data_len)

    def directory(self, record):
        found = self.result.dir = parse_dir(record.table, self.meta)
        need(found.last_index == self.last_index, "DIR names another last INDEX")
        need(found.blobs == self.blobs.firsts, "DIR names other BLOBs")
        for disk in found.disks:
            track = self.tracks[disk.id]
            need(disk.sums == track.sums(), "DIR has other sums for disk %d" % disk.id)
            need(track.disk.base_state is not None or disk.digest == track.digest.stored,
                 "the digest of disk %d does not fit" % disk.id)
            self.indexes[disk.id].check_root(disk)
            if self.bases is not None:
                check_digest(disk.digest, self.result.images[disk.id])
        check_results(self.results, self.meta, found)
        h = record.header
        self.dir_place = (h.pos, h.head_sum, h.table_len, h.data_len)

    def end(self, record):
        said = parse_end(record.table)
        need(said.length == self.pos and said.records == self.number, "END has another length or number")
        need(said.dir == self.dir_place and said.meta == self.meta_place, "END names another DIR or META")
        need(said.digest == xxh128(self.headers) and said.uuid == self.meta.uuid, "END is not of this stream")

    def dispatch(self, record):
        type_ = record.header.type
        self.blobs.between() if type_ != BLOB else None
        if record.header.optional:
            return
        stage = {DATA: 0, ZERO: 0, INDEX: 0, BLOB: 1, META: 2, DIR: 3, END: 4}[type_]
        need(stage >= self.stage and (stage < 2 or stage == max(self.stage, 1) + 1), "records out of order")
        self.stage = stage
        {DATA: self.guest_record, ZERO: self.guest_record, INDEX: self.guest_record, BLOB: self.blobs.part,
         META: self.second_meta, DIR: self.directory, END: self.end}[type_](record)

    def tail(self, is_pipe):
        room = -self.pos % MIB if is_pipe else 0
        rest = self.read(room + 1)
        need(len(rest) <= room and not any(rest), "something follows END")

    def run(self, is_pipe):
        self.begin()
        while self.stage < 4:
            self.dispatch(self.next())
        self.tail(is_pipe)
        self.result.files = self.blobs.files
        return self.result


def read_pipe(file, bases=None, is_pipe=True, alone=False):
    """Read a stream front to back. `bases`: images by state, for disks with a base. alone: judge it without them."""
    return _Pipe(file, None if alone else bases or {}).run(is_pipe)


# ---- by the index ----

class _Random:
    def __init__(self, data):
        self.data = data

    def header(self, pos):
        h = parse_header(self.data[pos:pos + HEADER_SIZE])
        need(h.pos == pos and h.stream == self.stream, "the record at %d is not of this place or stream" % pos)
        return h

    def record(self, place, before, type_):
        """The record at a place (pos, head_sum, table_len, data_len) that something else names."""
        pos, head_sum, table_len, data_len = place
        need(pos % 16 == 0 and pos < before, "a place that is not before the record that names it")
        h = self.header(pos)
        need((h.head_sum, h.table_len, h.data_len, h.type) == (head_sum, table_len, data_len, type_),
             "the record at %d is not the one that was meant" % pos)
        return parse_body(h, self.data[pos + HEADER_SIZE:pos + h.size])

    def open(self):
        size = len(self.data)
        need(size >= END_SIZE, "the stream is cut: no END")
        raw = self.data[size - END_SIZE:]
        h = parse_header(raw[:HEADER_SIZE])
        need(h.type == END and h.pos == size - END_SIZE, "the stream does not end with END")
        record = parse_body(h, raw[HEADER_SIZE:])
        end = parse_end(record.table)
        need(end.uuid[8:] == h.stream and end.length == size and end.records == h.number + 1, "END is not of this file")
        self.stream = h.stream
        directory, second = self.record(end.dir, h.pos, DIR), self.record(end.meta, h.pos, META)
        first = self.header(0)
        need(first.type == META and first.number == 0 and first.data_len == 0, "the first record is no META")
        first = parse_body(first, self.data[HEADER_SIZE:first.size])
        need(first.table == second.table, "the two METAs differ")
        self.meta = Meta(first.table)
        need(self.meta.uuid == end.uuid, "META is of another stream")
        self.dir_pos = end.dir[0]
        self.dir = parse_dir(directory.table, self.meta)
        need(self.dir.last_index < self.dir_pos, "DIR names an INDEX after it")
        check_results(parse_results(second.data), self.meta, self.dir)

    def walk(self, disk, child, level, before):
        """The leaf entries below a node, in order."""
        record = self.record((child.pos, child.head_sum, child.table_len, child.data_len), before, INDEX)
        h = record.header
        need(h.disk == disk.id and (h.offset, h.offset + h.length) == (child.offset, child.end),
             "an INDEX covers another range than its parent says")
        node = parse_node(record, disk.grid)
        need(node.level == level, "an INDEX of another level than its parent says")
        if level == 0:
            yield from node.entries
            return
        for one in node.entries:
            yield from self.walk(disk, one, level - 1, h.pos)

    def read_entry(self, disk, entry):
        h = self.header(entry.pos)
        need((h.head_sum, h.disk) == (entry.head_sum, disk.id), "a record is not the one that its leaf lists")
        record = parse_body(h, self.data[entry.pos + HEADER_SIZE:entry.pos + h.size])
        need(record_entry(record, disk.grid) == entry, "a record and its leaf do not agree")
        return record

    def disk(self, disk, said, image, alone):
        track = Track(disk)
        last = 0
        for entry in self.walk(disk, said.root, said.root_level, self.dir_pos) if said.root else ():
            need(entry.pos > last, "a leaf lists records out of order")
            last = entry.pos
            if entry.type == ZERO:
                track.zero(entry.offset, entry.length)
            else:
                granules = data_states(entry, entry.map, disk.grid, entry.hash_count)
                track.data(entry.offset, entry.data_len, granules, entry.hashes)
            apply_record(image, self.read_entry(disk, entry))
        track.finish()
        need(track.sums() == said.sums, "DIR has other sums for disk %d" % disk.id)
        if not alone or disk.base_state is None:
            check_digest(said.digest, image)

    def blob(self, place):
        record = self.record(place, self.dir_pos, BLOB)
        while True:
            self.blobs.part(record)
            if self.blobs.open is None:
                return
            h = self.header(record.header.pos + record.header.size)
            need(h.type == BLOB and h.pos < self.dir_pos, "the parts of a BLOB are not together")
            record = parse_body(h, self.data[h.pos + HEADER_SIZE:h.pos + h.size])

    def run(self, bases):
        self.open()
        result = Result(self.meta)
        result.dir = self.dir
        for disk, said in zip(self.meta.disks, self.dir.disks):
            image = result.images[disk.id] = start_image(disk, bases)
            self.disk(disk, said, image, bases is None)
        self.blobs = Blobs()
        for place in self.dir.blobs:
            self.blob(place)
        result.files = self.blobs.files
        return result


def read_index(data, bases=None, alone=False):
    """Read a stream by its index. `data`: the whole file (bytes or mmap)."""
    return _Random(data).run(None if alone else bases or {})


def read_chain(streams, read=read_index):
    """Streams from the oldest to the newest; gives the last one's Result (section 13)."""
    bases = {}
    result = None
    for data in streams:
        result = read(data, bases)
        bases.update(result.states())
    return result


# ---- by scanning ----

class Saved:
    """What a scan found of one disk."""

    def __init__(self, disk):
        self.disk, self.image = disk, Image(disk.grid)
        self.found, self.damaged, self.suspect = [], [], []  # ranges (start, end) of guest bytes

    def lost(self):
        """Ranges that are lost: known to be, or demanded by section 7 and not found."""
        out, at = [], self.disk.cover_from
        for start, end in sorted(self.found):
            if start > at:
                out.append((at, start))
            at = max(at, end)
        if at < self.disk.grid.size:
            out.append((at, self.disk.grid.size))
        return merge_ranges(out + self.damaged)


def merge_ranges(ranges):
    out = []
    for start, end in sorted(ranges):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def _try_header(data, pos):
    try:
        return parse_header(data[pos:pos + HEADER_SIZE])
    except Refused:
        return None


class _Scan:
    def __init__(self, data):
        self.data, self.good, self.bad = data, [], []
        self.stream = self._stream_id()

    def _stream_id(self):
        first = _try_header(self.data, 0)
        if first and first.type == META:
            return first.stream
        last = _try_header(self.data, len(self.data) - END_SIZE) if len(self.data) >= END_SIZE else None
        if last and last.type == END:
            return last.stream
        counts, at = {}, self.data.find(b"\x89NBP")
        while at >= 0:
            h = _try_header(self.data, at)
            if h:
                counts[h.stream] = counts.get(h.stream, 0) + 1
            at = self.data.find(b"\x89NBP", at + 1)
        need(counts, "no record was found")
        return max(counts, key=counts.get)

    def header(self, at, last):
        h = _try_header(self.data, at)
        return h if h and h.stream == self.stream and h.pos > last else None

    def records(self):
        """Fills good (records) and bad (headers whose table or data are damaged)."""
        at, last, size = 0, -1, len(self.data)
        while 0 <= at < size:
            h = self.header(at, last)
            if h is None:
                at = self.search(at + 1)
                continue
            last, after = h.pos, at + h.size
            try:
                self.good.append((parse_body(h, self.data[at + HEADER_SIZE:after])))
                at = after
            except Refused:
                self.bad.append((h, self.data[at + HEADER_SIZE:at + HEADER_SIZE + h.table_len]))
                followed = after == size or (after < size and self.header(after, last))
                at = after if followed else self.search(at + 1)

    def search(self, start):
        found = self.data.find(self.stream, start + 8)
        return found - 8 if found >= 0 else -1

    def find_meta(self):
        for record in self.good:
            if record.header.type == META:
                return Meta(record.table)
        raise Refused("no META was found: sizes are not known")

    def leaves(self, meta):
        grids = {disk.id: disk.grid for disk in meta.disks}
        out = {}
        for record in self.good:
            if record.header.type == INDEX and record.header.disk in grids:
                node = parse_node(record, grids[record.header.disk])
                if node.level == 0:
                    out.update({(record.header.disk, entry.pos): entry for entry in node.entries})
        return out

    def place_bad(self, saved, leaves):
        """Records that are named by a good header or by a leaf, but were not read."""
        there = {record.header.pos for record in self.good}
        known = {h.pos: (h, table[:saved[h.disk].disk.grid.map_bytes]) for h, table in self.bad
                 if h.disk in saved and h.type in (DATA, ZERO) and xxh64(table) == h.table_sum}
        unknown = {h.pos: h for h, _ in self.bad if h.disk in saved and h.type in (DATA, ZERO) and h.pos not in known}
        for (disk, pos), entry in leaves.items():
            if pos not in there:
                known[pos] = (replace(entry), entry.map)
                unknown.pop(pos, None)
                known[pos][0].disk = disk
        for what, map_ in known.values():
            self.damage(saved[what.disk], what, map_)
        for h in unknown.values():
            self.damage(saved[h.disk], h, None)
        return {pos: what.disk for pos, (what, _) in known.items()}

    def damage(self, one, what, map_):
        grid = one.disk.grid
        if what.type == ZERO:
            one.damaged.append((what.offset, what.offset + what.length))
            return
        for (at, size), k in zip(grid.granules(what.offset), range(1024)):
            state = LIVE if map_ is None else map_[k // 4] >> 2 * (k % 4) & 3
            if state == LIVE or state == EMPTY:
                one.damaged.append((at, at + size))

    def use(self, one, record):
        h, grid = record.header, one.disk.grid
        apply_record(one.image, record)
        if h.type == ZERO:
            one.found.append((h.offset, h.offset + h.length))
            return
        for at, size, state in data_states(h, record.table[:grid.map_bytes], grid,
                                           (h.table_len - grid.map_bytes) // 16):
            if state in (LIVE, EMPTY):
                one.found.append((at, at + size))

    def suspects(self, saved):
        """Where records are missing by their numbers, what lies between the neighbours may be stale."""
        seen = sorted([(r.header.number, r.header) for r in self.good] + [(h.number, h) for h, _ in self.bad],
                      key=lambda one: one[0])
        at = {disk: 0 for disk in saved}
        gap = {disk: seen[0][0] > 0 for disk in saved} if seen else {}
        last = seen[0][0] - 1 if seen else -1
        for number, h in seen:
            for disk in saved:
                gap[disk] = gap[disk] or number != last + 1
            last = number
            if h.type not in (DATA, ZERO) or h.disk not in saved:
                continue
            grid = saved[h.disk].disk.grid
            if gap[h.disk]:
                saved[h.disk].suspect.append((at[h.disk], h.offset if h.type == ZERO else grid.window_end(h.offset)))
            gap[h.disk] = False
            at[h.disk] = h.offset + h.length if h.type == ZERO else h.offset
        ended = seen and seen[-1][1].type in (END, DIR, META) and seen[-1][0] > 0
        for disk, one in saved.items():
            if gap.get(disk) or not ended:
                one.suspect.append((at[disk], one.disk.grid.size))

    def run(self):
        self.records()
        meta = self.find_meta()
        saved = {disk.id: Saved(disk) for disk in meta.disks}
        for record in self.good:
            if record.header.type in (DATA, ZERO) and record.header.disk in saved:
                self.use(saved[record.header.disk], record)
        self.place_bad(saved, self.leaves(meta))
        self.suspects(saved)
        return saved


def scan(data):
    """Section 14.3: what can be saved, by disk id. It is never a backup."""
    return _Scan(data).run()
