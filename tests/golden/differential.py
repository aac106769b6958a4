#!/usr/bin/python3
"""
Two readers, one page: broken streams whose sums all fit, read by reader.py and by nbdpull's readers. They must
refuse the same ones.

    differential.py READ_STREAMS [COUNT [SEED]]
"""

import io
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from model import G, K, Model, disk_meta, meta, write_canonical
from reader import read_index, read_pipe
from record import END, HEADER_SIZE, META, parse_body, parse_header
from sums import Refused, xxh64, xxh128
from writer import Writer

HERE = Path(__file__).parent
SOURCES = ("smallest", "optional", "blobs", "interleaved", "tree", "dead", "inc1", "inc2", "codecs", "huge", "meta")


# ---- one field changed, everything that depends on it sealed anew ----

def records_of(data):
    at, out = 0, []
    while at < len(data):
        h = parse_header(data[at:at + HEADER_SIZE])
        out.append(parse_body(h, data[at + HEADER_SIZE:at + h.size]))
        at += h.size
    return out


def seal(records):
    """All bytes again: positions, sums, and the head_sums and END's digest that are named elsewhere."""
    out, headers, named = bytearray(), bytearray(), {}
    for record in records:
        h, table = record.header, record.table
        for old, new in named.items():
            table = table.replace(old, new)
        if h.type == END and len(table) == 160:
            table = table[:64] + xxh128(headers) + table[80:]
        h.table_len, h.data_len = len(table), len(record.data)
        h.table_sum, h.data_sum = xxh64(table), xxh128(record.data)
        old = h.raw[88:]
        h.seal()
        named[old] = h.raw[88:]
        headers += h.raw
        out += h.raw + table + record.data
        out += bytes(-len(out) % 16)
    return bytes(out)


INTERESTING = (0, 1, 2, 3, 4, 7, 8, 15, 16, 127, 255, 256, 1023, 1024, G, K, K - 1, K + 512, 1 << 20, (1 << 32) - 1,
               (1 << 53) - 1, 1 << 53, 1 << 63, (1 << 64) - 1)
SIZES = {"type": 1, "version": 1, "codec": 1, "cipher": 1, "flags": 2, "disk": 2, "reserved": 4, "offset": 8, "length": 8}


def change_header(rng, record):
    name = rng.choice(list(SIZES))
    old = getattr(record.header, name)
    top = (1 << 8 * SIZES[name]) - 1
    new = rng.choice([rng.choice(INTERESTING), old + 1, max(0, old - 1), old ^ 1 << rng.randrange(8 * SIZES[name]),
                      old + K, 2 * old]) & top
    setattr(record.header, name, new)
    return "%s %x to %x" % (name, old, new)


def change_table(rng, record):
    table = bytearray(record.table)
    size = rng.choice((1, 1, 2, 4, 8))
    if len(table) < size:
        return None
    at = rng.randrange(0, len(table) - size + 1)
    at -= at % size if rng.random() < 0.8 else 0
    old = int.from_bytes(table[at:at + size], "little")
    new = rng.choice([rng.choice(INTERESTING), old + 1, max(0, old - 1), old ^ 1 << rng.randrange(8 * size)])
    table[at:at + size] = (new & (1 << 8 * size) - 1).to_bytes(size, "little")
    record.table = bytes(table)
    return "table at %d: %x to %x" % (at, old, new)


def change_data(rng, record):
    if not record.data:
        return None
    data = bytearray(record.data)
    at = rng.randrange(len(data))
    data[at] ^= 1 << rng.randrange(8)
    record.data = bytes(data)
    return "data at %d" % at


def change_length(rng, record):
    """Cut or longer, where the padding hides it, so that all positions stay."""
    h = record.header
    which = rng.choice(("table", "data"))
    old = getattr(record, which)
    new = old + bytes(rng.randrange(1, 9)) if rng.random() < 0.5 else old[:-rng.randrange(1, 9)]
    if h.size != -(-(HEADER_SIZE + h.table_len + h.data_len + len(new) - len(old)) // 16) * 16 or new == old:
        return None
    setattr(record, which, new)
    return "%s %d bytes long, not %d" % (which, len(new), len(old))


def mutated(rng, sources):
    while True:
        name = rng.choice(SOURCES)
        records = records_of(sources[name])
        # Records of DATA are many, those that close a stream are few: each type in turn.
        type_ = rng.choice(sorted({record.header.type for record in records}))
        record = rng.choice([record for record in records if record.header.type == type_])
        change = rng.choice((change_header, change_table, change_table, change_table, change_data, change_length))
        what = change(rng, record)
        if what:
            return name, "%s: record %d (type %d): %s" % (name, record.header.number, type_, what), seal(records)


# ---- METAs ----

def meta_texts():
    """(what, text): changes of a META that both readers must judge alike."""
    model = Model(512, fills=[(0, 512, 1)])
    text = json.dumps(meta(99, disk_meta(model, state=1)), separators=(",", ":"))
    values = ["0", "1", "-1", "-0", "1.0", "1e2", "01", "null", "true", "[]", "{}", '""', '"x"', "[0]", "9007199254740991",
              "9007199254740992", "4294967296", "65536", '"00000000-0000-0000-0000-000000000000"', '"%s"' % ("y" * 2000),
              '"2026-13-40T25:61:61Z"', '"2026-11-20T03:00:00z"', '"0"', '"00"', '"18446744073709551616"', '["x"]', "nul",
              '"\\u0000"', '"\\ud800"', '"a\\/b"', '"-a"', '"_a"', '".a"', '"\x7f"', '"\xc3\xbc"'.encode("latin-1").decode()]
    for key in sorted(set(re.findall(r'"([a-z_0-9]+)":', text))):
        for found in re.finditer(r'"%s":("[^"]*"|[0-9]+|null|true|false)' % key, text):
            for value in values:
                yield "%s is %s" % (key, value), text[:found.start(1)] + value + text[found.end(1):]
            yield key + " is missing", (text[:found.start()] + text[found.end():]).replace("{,", "{").replace(",,", ",")
    for more in ('"made_from":null', '"made_from":[]', '"made_from":["%s"]' % ("1" * 36), '"made_from":1', '"a":[[[[[[[]]]]]]]',
                 '"a":[[[[[[[[]]]]]]]]', '"A":1', '"a":1,"a":1', '"a-b":1', '"":1', '"%s":1' % ("k" * 64), '"%s":1' % ("k" * 65),
                 '"a":1.5', '"a":"\t"', '"a":nan', '"a":[1,]', '"a":{"b":1,}', '"made_from":[%s]' % ",".join(
                     ['"6e620001-0000-7000-8001-000000000001"'] * 1025),
                 ",".join('"k%d":1' % i for i in range(243)), ",".join('"k%d":1' % i for i in range(245)),
                 ",".join('"k%d":1' % i for i in range(246)), '"a":[%s]' % ",".join(["1"] * 5000), '"\\u0061":1',
                 '"a":"\\ud83d\\ude00"', '"a":"\\ude00"', '"a" : 1 ', '"a":\f1', '"a":/**/1'):
        yield "with " + more[:60], text[:-1] + "," + more + "}"
    for what, whole in (("space in front", " " + text), ("space behind", text + " "), ("line feed inside", text.replace(",", ",\n")),
                        ("byte order mark", "\ufeff" + text), ("twice", text + text)):
        yield what, whole


def meta_streams():
    good = json.dumps(meta(99, disk_meta(Model(512, fills=[(0, 512, 1)]), state=1)), separators=(",", ":"))
    for what, text in meta_texts():
        writer = Writer(good)
        # The writer keeps what it needs of the good META, and stores the other text.
        writer.out, writer.headers, writer.number, writer.text = bytearray(), bytearray(), 0, text.encode()
        writer.record(META, table=writer.text)
        write_canonical(writer, 0, Model(512, fills=[(0, 512, 1)]))
        writer.disk_end(0)
        yield "META: " + what, writer.finish()


# ---- whole streams that are built wrongly ----

class Stream(Writer):
    """A stream of one disk of three windows, with all records right but what a scenario does to it."""

    def __init__(self, base=None, size=3 * K, **limits):
        self.model = Model(size, fills=[(at + 10, 3 * G, 1) for at in range(0, size - 4 * G, K)])
        super().__init__(meta(98, disk_meta(self.model, state=1, base=base)), **limits)

    def window(self, at, only=None, **other):
        states = [state if only is None or k in only else 0 for k, state in enumerate(self.model.states(at))]
        self.data(0, at, states, self.model.stored(at, states), **other)

    def windows(self, *offsets):
        for at in offsets:
            self.window(at)
        return self

    def close(self, digest=None):
        self.disk_end(0, digest)
        return self.finish()


def one_child_root(s):
    s.windows(0, K, 2 * K).disk_end(0)
    s._inner(0, 1, s.disks[0].orphans.pop(0))
    return s.finish()


def early_leaf(s):
    s.windows(0, K).leaf(0)
    s.windows(2 * K)
    return s.close()


def partial_leaf(s):
    """A leaf that leaves out the last record before it."""
    s.windows(0, K)
    kept = s.disks[0].pending.pop()
    s.leaf(0)
    s.disks[0].pending = [kept]
    s.windows(2 * K)
    return s.close()


def shifted_results(s):
    s.windows(0, K, 2 * K).disk_end(0)
    s.disks[0].sums[1] += G
    s.disks[0].sums[2] -= G
    return s.finish()


def wrong_digest(s):
    s.windows(0, K, 2 * K).disk_end(0)
    s.disks[0].digest.value ^= 1
    return s.finish()


def unknown_digest(s):
    s.windows(0, K, 2 * K).disk_end(0)
    s.disks[0].known = False
    return s.finish()


def after_blob(s):
    s.windows(0, K)
    s.blob("a", b"a")
    s.windows(2 * K)
    return s.close()


def blob_parts(change):
    def build(s):
        s.windows(0, K, 2 * K).disk_end(0)
        record = s.record
        s.record = lambda type_, **fields: change(s, record, type_, fields)
        s.blob("a", b"0123456789", part=4)
        s.record = record
        return s.finish()
    return build


def optional_between(s, record, type_, fields):
    out = record(type_, **fields)
    if fields["offset"] == 4:
        record(0x80)
    return out


def wrong_sum(s, record, type_, fields):
    fields["table"] = fields["table"][:8] + bytes(16) + fields["table"][24:]
    return record(type_, **fields)


def part_twice(s, record, type_, fields):
    record(type_, **fields)
    return record(type_, **fields)


def empty_part(s, record, type_, fields):
    out = record(type_, **fields)
    if fields["offset"] == 0:
        record(type_, offset=4, table=fields["table"])
    return out


def two_blobs(s):
    s.windows(0, K, 2 * K).disk_end(0)
    s.blob("a", b"a")
    s.blob("a", b"a")
    return s.finish()


def metas_only(order):
    def build(s):
        s.windows(0, K, 2 * K).disk_end(0)
        s.second_meta()
        if order == "twice":
            s.second_meta()
        if order == "blob":
            s.blob("late", b"")
        s.directory()
        return s.end()
    return build


def zeroes_as_data(s):
    s.windows(0, K)
    s.data(0, 2 * K, [1] * 16, [bytes(G)] * 16)
    return s.close()


def dead_alone(s):
    s.data(0, 0, [1, 3], [b"x" * G, b"y" * G])
    return s.close()


def dead_only(s):
    s.data(0, 0, [3, 3], [b"x" * G, b"y" * G])
    return s.close()


def split_windows(s):
    for at in range(0, s.model.grid.size, K):
        for k in range(16):
            s.window(at, {k})
    return s.close()


SAME = (5, 3 * K, "0" * 32)
SCENARIOS = {
    "right": (lambda s: s.windows(0, K, 2 * K).close(), {}),
    "a root with one child": (one_child_root, {}),
    "a leaf before it is full": (early_leaf, {}),
    "a leaf that leaves out a record": (partial_leaf, {}),
    "one record a leaf, windows over many": (split_windows, {"leaf": 1, "inner": 3}),
    "two records a leaf, windows over many": (split_windows, {"leaf": 5, "inner": 2}),
    "257 leaves without parent": (split_windows, {"leaf": 1, "size": 17 * K, "inner": 256}),
    "258 leaves without parent": (split_windows, {"leaf": 1, "size": 17 * K, "inner": 257}),
    "windows out of order, on a base": (lambda s: s.windows(0, 2 * K, K).close(), {"base": SAME}),
    "a window twice, apart, on a base": (
        lambda s: (s.window(0, {1}), s.windows(K), s.window(0, {2}))[1].close(), {"base": SAME}),
    "a granule twice, on a base": (lambda s: (s.window(K), s.window(K, {5}), s)[2].close(), {"base": SAME}),
    "a ZERO over a DATA, on a base": (lambda s: (s.window(0, {1}), s.zero(0, 0, K), s)[2].close(), {"base": SAME}),
    "sums that are wrong in DIR and results": (shifted_results, {}),
    "a wrong digest": (wrong_digest, {}),
    "no digest of a whole disk": (unknown_digest, {}),
    "no window in the middle": (lambda s: s.windows(0, 2 * K).close(), {}),
    "no window at the end": (lambda s: s.windows(0, K).close(), {}),
    "no window at the beginning": (lambda s: s.windows(K, 2 * K).close(), {}),
    "no granule in the middle": (lambda s: (s.windows(0), s.window(K, set(range(16)) - {5}), s.windows(2 * K))[2].close(), {}),
    "a granule twice": (lambda s: (s.windows(0, K), s.window(K, {5}), s.windows(2 * K))[2].close(), {}),
    "windows out of order": (lambda s: s.windows(0, 2 * K, K).close(), {}),
    "a window twice, apart": (lambda s: (s.window(0, {1}), s.windows(K), s.window(0, {2}))[1].windows(2 * K).close(), {}),
    "a ZERO over a DATA": (lambda s: (s.window(0, {1}), s.zero(0, 0, K), s.windows(K, 2 * K))[2].close(), {}),
    "a DATA over a ZERO": (lambda s: (s.zero(0, 0, 2 * K), s.windows(K, 2 * K))[1].close(), {}),
    "neighbouring ZEROs": (lambda s: (s.zero(0, 0, K), s.zero(0, K, K), s.windows(2 * K))[2].close(), {}),
    "DATA of zeroes": (zeroes_as_data, {}),
    "DATA after BLOB": (after_blob, {}),
    "two BLOBs of one name": (two_blobs, {}),
    "an optional record between parts": (blob_parts(optional_between), {}),
    "a BLOB with a wrong sum": (blob_parts(wrong_sum), {}),
    "a BLOB part twice": (blob_parts(part_twice), {}),
    "an empty BLOB part": (blob_parts(empty_part), {}),
    "three METAs": (metas_only("twice"), {}),
    "a BLOB after the second META": (metas_only("blob"), {}),
    "nothing, on a base": (lambda s: s.close(), {"base": SAME}),
    "dead alone, on a base": (dead_alone, {"base": SAME}),
    "dead only, on a base": (dead_only, {"base": SAME}),
    "growth that is not stored": (lambda s: s.close(), {"base": (5, K, None)}),
    "growth": (lambda s: s.windows(K, 2 * K).close(), {"base": (5, K, None)}),
    "growth from inside a granule": (lambda s: s.windows(K, 2 * K).close(), {"base": (5, K + 1, None)}),
    "growth without the old end": (lambda s: s.windows(K, 2 * K).close(), {"base": (5, K - 1, None)}),
    "shrinking to the grid": (lambda s: s.close(), {"base": (5, 4 * K, None)}),
    "shrinking into a granule": (lambda s: s.close(), {"base": (5, 4 * K, None), "size": 3 * K + 1}),
}


# Streams that fulfil the page, though nbdpull writes none of them.
RIGHT = {
    "right", "a root with one child", "a leaf before it is full", "one record a leaf, windows over many",
    "two records a leaf, windows over many", "257 leaves without parent", "neighbouring ZEROs", "DATA of zeroes",
    "nothing, on a base", "dead alone, on a base", "growth", "growth from inside a granule", "shrinking to the grid"}

# By index nbdpull opens a stream and reads what it is asked for; sums of a whole disk are for `verify`, and what an
# increment had to store is seen when a chain is read (tests/unit/test_chain.c).
LAZY = {"sums that are wrong in DIR and results", "a wrong digest", "growth that is not stored",
        "growth without the old end", "shrinking into a granule"}


def scenarios():
    for what, (build, how) in SCENARIOS.items():
        data = build(Stream(**how))
        assert (judge(data)[0][0] == "ok") == (what in RIGHT), what
        yield "stream", what, data


# ---- comparison ----

def verdict(read):
    try:
        read()
        return "ok", ""
    except Refused as why:
        return "refused", str(why)


def judge(data):
    """Both of reader.py's verdicts on a stream alone, without its base, as read_streams reads it."""
    by_pipe = verdict(lambda: read_pipe(io.BytesIO(data), alone=True))
    return by_pipe, verdict(lambda: read_index(data, alone=True))


def main():
    program, count, seed = sys.argv[1], int((sys.argv[2:] or [400])[0]), int((sys.argv[3:] or [1])[0])
    rng = random.Random(seed)
    sources = {name: (HERE / (name + ".nbp")).read_bytes() for name in SOURCES}
    cases = list(scenarios()) + [("META", *one) for one in meta_streams()] + [mutated(rng, sources) for _ in range(count)]
    wrong = refused = 0
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for i, (_, _, data) in enumerate(cases):
            paths.append(Path(folder) / ("%06d" % i))
            paths[-1].write_bytes(data)
        lines = []
        for at in range(0, len(paths), 500):
            done = subprocess.run([program, *paths[at:at + 500]], stdout=subprocess.PIPE, check=True, text=True)
            lines += done.stdout.splitlines()
        for (_, what, data), line in zip(cases, lines):
            words = line.split()
            mine = judge(data)
            refused += words[2] == "refused"
            if mine[0][0] != words[2] or (mine[1][0] != words[4] and what not in LAZY):
                wrong += 1
                print("%s\n   reader.py: pipe %s, index %s\n   nbdpull: %s" % (what, mine[0], mine[1], " ".join(words[1:])))
    print("%d streams, %d refused, judged differently: %d" % (len(cases), refused, wrong))
    return wrong != 0


if __name__ == "__main__":
    sys.exit(main())
