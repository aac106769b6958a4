#!/usr/bin/python3
"""
Makes the golden streams that nbdpull itself would not write, and expected.txt: here, or in a folder that is named.
The compressed ones come out the same again with lz4 1.9.4 and zstd 1.5.4.
"""

import json
import sys
from pathlib import Path

from model import G, K, Model, canonical, disk_meta, granules_of, meta, pattern, write_canonical
from record import DATA, DEAD, EMPTY, LIVE
from sums import xxh128
from writer import Writer

HERE = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
EXPECTED = []
NONE, LZ4, ZSTD = range(3)
NOT_IT = 99  # the tag of dead granules: their bytes are never right


def expect(name, models, base=None, files=()):
    """Note what a stream's disks hold at its point, where it builds on `base`."""
    EXPECTED.append("stream %s%s" % (name, " on " + base if base else ""))
    for id_, model in models.items():
        EXPECTED.append("disk %d %d %d %d" % (id_, model.grid.size, model.grid.chunk, model.grid.granule))
        EXPECTED.extend("fill %d %d %d" % fill for fill in model.fills)
    EXPECTED.extend("file %s %d" % (file, len(content)) for file, content in files)


def save(name, data, models, base=None, files=()):
    (HERE / (name + ".nbp")).write_bytes(data)
    expect(name, models, base, files)


def whole(name, n, models, codec=LZ4, **limits):
    """A canonical stream of disks without base, one after the other."""
    disks = [disk_meta(model, id_, "vd" + chr(97 + id_), state=16 * n + id_) for id_, model in models.items()]
    writer = Writer(meta(n, *disks), **limits)
    for id_, model in models.items():
        write_canonical(writer, id_, model, codec=codec)
        writer.disk_end(id_)
    save(name, writer.finish(), models)


# ---- whole disks ----

def smallest():
    whole("smallest", 1, {0: Model(20, fills=[(0, 20, 1)])}, NONE)


def sizes():
    """Sizes around the grid's steps, a disk a size; each ends with data, and one with zeroes."""
    models = {}
    for id_, size in enumerate([0, 1, 512, G, G + 512, K - 1, K, K + 512, 2 * K + G + 7, 3 * K]):
        models[id_] = Model(size, fills=[(max(0, size - 700), min(size, 700), id_ + 1)] if size else ())
    models[len(models)] = Model(2 * K + 100, fills=[(K - 512, 1024, 77)])
    models[len(models)] = Model(5 * K + 100)  # nothing but zeroes
    whole("sizes", 2, models)


def codecs():
    model = Model(4 * K + 512, fills=[(0, 2 * G, 1), (K, 2 * G, 2), (2 * K, G, 200), (3 * K, 3 * G, 4), (4 * K, 512, 5)])
    writer = Writer(meta(3, disk_meta(model, state=48)))
    for offset, codec in ((0, LZ4), (K, ZSTD), (2 * K, LZ4), (3 * K, NONE), (4 * K, ZSTD)):
        states = model.states(offset)
        writer.data(0, offset, states, model.stored(offset, states), codec)
    writer.disk_end(0)
    save("codecs", writer.finish(), {0: model})


def grids():
    """The largest and the finest grid, and a chunk that is one granule."""
    mib = 1 << 20
    whole("grids", 4, {
        0: Model(33 * mib + 512, 32 * mib, mib, [(3 * mib + 5, 9000, 3), (33 * mib, 512, 4)]),
        1: Model(4 * mib + 5 * G + 9, 4 * mib, G, [(4095, 2, 5), (4 * mib - 1, 2, 6), (4 * mib + 5 * G, 9, 7)]),
        2: Model(2 * mib + 1, mib, mib, [(mib, 16, 8), (2 * mib, 1, 9)]),
        3: Model(3 * K, K, K, [(K + 1, 99, 10)])})


def huge():
    """The largest disk: a ZERO of nearly 2^53 bytes, then data in the last granules."""
    size = (1 << 53) - 1
    whole("huge", 5, {0: Model(size, 1 << 20, K, [((1 << 52) + 12345, 3, 1), (size - 600, 600, 2)])})


def interleaved():
    """Records of three disks in turn, leaves where they fill up, ids with gaps, disks that end at different places."""
    models = {7: Model(6 * K + 512, fills=[(i * K + 100, 5000, 20 + i) for i in range(6)]),
              30: Model(9 * K, fills=[(2 * K, 3 * G, 30), (8 * K + 9, 9, 31)]),
              1023: Model(5 * K, fills=[(i * K, 300, 40 + i) for i in range(5)])}
    targets = {7: "vda", 30: "sd_b.1-x", 1023: "_" + "n" * 62}
    disks = [disk_meta(m, i, targets[i], state=96 + i) for i, m in models.items()]
    writer = Writer(meta(6, *disks), leaf=2, inner=2)
    queues = {id_: canonical(model) for id_, model in models.items()}
    while any(queues.values()):
        for id_, queue in queues.items():
            for record in queue[:1 + id_ % 2]:
                model = models[id_]
                if record[0] == DATA:
                    states = model.states(record[1])
                    writer.data(id_, record[1], states, model.stored(record[1], states))
                else:
                    writer.zero(id_, *record[1:])
            del queue[:1 + id_ % 2]
    for id_ in reversed(models):
        writer.disk_end(id_)
    save("interleaved", writer.finish(), models)


def blobs():
    model = Model(K, fills=[(0, 10, 1)])
    files = [("domain.xml", b"<domain/>\n"), ("empty", b""), ("nvram.fd", pattern(0, 2500, 3)), ("n" * 255, b"\0"),
             ("16.exact", pattern(0, 64, 200))]
    writer = Writer(meta(7, disk_meta(model, state=112)))
    write_canonical(writer, 0, model)
    writer.disk_end(0)
    for name, content in files:
        writer.blob(name, content, part=16 if name == "16.exact" else 1000)
    save("blobs", writer.finish(), {0: model}, files=files)


def optional():
    """Records with bit 7 wherever they may stand; bits in the low byte of flags; and a file among them."""
    model = Model(3 * K, fills=[(0, 100, 1), (2 * K + 5, 100, 2)])
    writer = Writer(meta(8, disk_meta(model, state=128)))

    def extra(type_, **fields):
        writer.record(type_, **fields)

    extra(0x80)
    writer.data(0, 0, model.states(0), model.stored(0, model.states(0)), flags=0x00FF)
    extra(0xFF, disk=5, offset=17, length=(1 << 53) - 1, table=b"t" * 33, data=b"d" * 5, codec=200, cipher=9, flags=0xFFFF)
    writer.zero(0, K, K)
    extra(0x82, disk=0, table=b"like DATA")
    writer.data(0, 2 * K, model.states(2 * K), model.stored(2 * K, model.states(2 * K)))
    writer.disk_end(0)
    extra(0x90, data=bytes(16))
    writer.blob("domain.xml", b"<a/>")
    extra(0x84)
    writer.blob("live.xml", b"<b/>")
    extra(0x81)
    writer.second_meta()
    extra(0x86)
    writer.directory()
    extra(0x87, table=b"between DIR and END")
    save("optional", writer.end(), {0: model}, files=[("domain.xml", b"<a/>"), ("live.xml", b"<b/>")])


def metas():
    """All that JSON allows: another order of keys, space, escapes, unknown keys, capital UUIDs, names of any kind."""
    model = Model(512, fills=[(0, 512, 1)])
    disk = disk_meta(model, 3, "sda", state=144, logical_block=4096, physical_block=0, checkpoint="c" * 95,
                     base_point="0001", image={"source": "/i/\u00fc.qcow2", "dev": "64769", "ino": "18446744073709551615"})
    value = meta(9, disk, set="6E620009-0000-7000-8005-00000000ABCD", later={"a": [1, None, True, [[[[]]]]]})
    value["domain"]["name"] = "a \"guest\"\\\n\u4f60 \U0001f600"
    value["point"].update(id="0002", quiesced=True, checkpoint="cp", level="auto")
    value["point"]["disks"] += [
        {"target": "vdx", "state": None, "stream": None, "why": "left out"},
        {"target": "vdy", "state": value["set"].lower(), "stream": value["set"], "why": "in another stream"}]
    value["made_from"] = []
    disk["iothread"] = 2
    text = json.dumps(dict(reversed(value.items())), indent=1)  # ASCII: everything else becomes an escape
    writer = Writer(text.replace(value["stream"], value["stream"].upper(), 1))
    write_canonical(writer, 3, model)
    writer.disk_end(3)
    save("meta", writer.finish(), {3: model})


def tree():
    """Four levels of index, and windows whose records are divided between two nodes."""
    model = Model(13 * K + 5, fills=[(i * K // 2 + 50, 3 * G, 10 + i) for i in range(27)][:26])
    writer = Writer(meta(10, disk_meta(model, state=160)), leaf=2, hashes=9, inner=2)
    for offset in range(0, model.grid.size, K):
        states = model.states(offset)
        for part in range(3):  # three records a window: one in the first leaf, two in the next, and so on
            mine = [state if k % 3 == part else 0 for k, state in enumerate(states)]
            if any(mine):
                writer.data(0, offset, mine, model.stored(offset, mine))
    writer.disk_end(0)
    save("tree", writer.finish(), {0: model})


# ---- a chain, and its merges ----

FULL, INC1, INC2, INC3 = 176, 177, 178, 179


def chain_models():
    full = Model(6 * K + 700, fills=[(0, K, 1), (K + 2 * G, 3 * G, 2), (3 * K, 2 * K, 3), (6 * K + 100, 600, 4)])
    inc1 = full.resized(7 * K + 2 * G + 9)
    inc1.fill(0, 2 * G, 0).fill(3 * G + 5, 10, 11).fill(K + 3 * G, G, 0).fill(3 * K, K, 0).fill(7 * K + G, 50, 12)
    inc1.fill(8 * G, G, 13)
    inc2 = inc1.resized(4 * K + 3 * G + 100)
    inc2.fill(5 * G, G, 21).fill(G, G, 22).fill(K + 4 * G, G, 0)
    inc2.fill(3 * G + 100, 20, 23).fill(8 * G, G, 0)
    inc3 = inc2.resized(6 * K)
    inc3.fill(2 * K, G, 31).fill(5 * K + G, 7, 32)
    return full, inc1, inc2, inc3


def wanted_of(old, new, *dirty):
    """Granules that an increment stores: dirty ones, and what section 7 demands."""
    size, before = new.grid.size, old.grid.size
    from_ = size if size == before else min(size, before) // G * G
    return granules_of(new, *dirty) | granules_of(new, (from_, size - from_))


INC1_DIRTY = [(0, 2 * G), (3 * G + 5, 10), (K + 3 * G, G), (3 * K, K), (8 * G, G)]
INC2_DIRTY = [(5 * G, G), (G, G), (K + 4 * G, G), (3 * G + 100, 20), (8 * G, G)]
INC3_DIRTY = [(2 * K, G), (5 * K + G, 7)]


def increment(name, n, model, state, base, wanted, base_name, known=True, codec=LZ4, **other):
    """base: (state, model)"""
    base_digest = base[1].digest().text if known else None
    writer = Writer(meta(n, disk_meta(model, state=state, base=(base[0], base[1].grid.size, base_digest)), **other))
    write_canonical(writer, 0, model, wanted, codec)
    writer.disk_end(0, model.digest() if known else None)
    save(name, writer.finish(), {0: model}, base_name)


def chain():
    full, inc1, inc2, inc3 = chain_models()
    writer = Writer(meta(11, disk_meta(full, state=FULL)))
    write_canonical(writer, 0, full, codec=ZSTD)
    writer.disk_end(0)
    save("full", writer.finish(), {0: full})
    increment("inc1", 12, inc1, INC1, (FULL, full), wanted_of(full, inc1, *INC1_DIRTY), "full")
    increment("inc2", 13, inc2, INC2, (INC1, inc1), wanted_of(inc1, inc2, *INC2_DIRTY), "inc1", codec=ZSTD)
    increment("inc3", 14, inc3, INC3, (INC2, inc2), wanted_of(inc2, inc3, *INC3_DIRTY), "inc2")
    # The same step without digests, and an increment of nothing.
    increment("inc3-unknown", 15, inc3, INC3 + 64, (INC2, inc2), wanted_of(inc2, inc3, *INC3_DIRTY), "inc2", known=False)
    same = inc3.resized(inc3.grid.size)
    increment("inc4-empty", 16, same, INC3 + 65, (INC3, inc3), set(), "inc3")


def merge_window(writer, offset, layers, codec=LZ4):
    """
    layers: [(model, wanted)] oldest first; each gives one record of the window with its payload as it was, dead
    where a newer one describes the granule. Their bytes are those of the older point, and never right any more.
    """
    grid = layers[-1][0].grid
    starts = [at for at, _ in grid.granules(offset)]
    for i, (model, wanted) in enumerate(layers):
        newer = set().union(*[w for _, w in layers[i + 1:]])
        states, granules = [], []
        for at in starts:
            old = model.state(at) if at in wanted else 0
            if old == EMPTY and at in newer:
                old = 0
            states.append(DEAD if old == LIVE and at in newer else old)
            if old == LIVE:
                granules.append(model.granule(at))
        if LIVE in states or EMPTY in states:
            writer.data(0, offset, states, granules, codec)


def cut(model, size):
    """An older point in the geometry of a newer one: what section 7's last granule becomes when it is recoded."""
    return model.resized(size)


def merges():
    full, inc1, inc2, inc3 = chain_models()
    everything = set(range(0, 8 * K, G))

    # full + inc1: whole. The old last granule (short in the full) is in inc1, so the full's copy is left out.
    in1 = wanted_of(full, inc1, *INC1_DIRTY)
    old_end = granules_of(full, (full.grid.size - 1, 1))
    in0 = {at for at in everything if at < full.grid.size} - old_end
    made = [meta(11)["stream"], meta(12)["stream"]]
    writer = Writer(meta(17, disk_meta(inc1, state=INC1, how="merge"), made_from=made), leaf=3)
    for offset in range(0, inc1.grid.size, K):
        merge_window(writer, offset, [(full, in0), (inc1, in1)])
    writer.disk_end(0)
    save("merged-full", writer.finish(), {0: inc1})

    # inc1 + inc2: an increment on the full, by states. The disk shrank: what lay beyond the end is not there, and
    # the granule at the new end is inc2's alone.
    in2 = wanted_of(inc1, inc2, *INC2_DIRTY)
    low = {at for at in in1 if at + G <= inc2.grid.size}
    base = (FULL, full.grid.size, full.digest().text)
    made = [meta(12)["stream"], meta(13)["stream"]]
    writer = Writer(meta(18, disk_meta(inc2, state=INC2, base=base, how="merge"), made_from=made))
    for offset in range(0, inc2.grid.size, K):
        merge_window(writer, offset, [(inc1, low), (inc2, in2)], ZSTD)
    writer.disk_end(0, inc2.digest())
    save("merged-inc", writer.finish(), {0: inc2}, "full")


def dead():
    """
    Dead granules of every kind: dead in two records and live in a third, a payload that is all dead but for a zero
    that stands in the same record, zero over a dead slot, the short last granule dead, and dead hashes that fit nothing.
    """
    model = Model(2 * K + 3 * G + 100, fills=[(0, 4 * G, 1), (K, G, 2), (2 * K, 3 * G + 100, 3)])
    wrong = [pattern(i * G, G, NOT_IT) for i in range(16)]
    writer = Writer(meta(19, disk_meta(model, state=304, how="merge"), made_from=[meta(n)["stream"] for n in (1, 2, 3)]))
    live = [model.granule(i * G) for i in range(4)]
    writer.data(0, 0, [DEAD, LIVE, DEAD, DEAD, DEAD, 0, EMPTY], [wrong[0], live[1], *wrong[2:5]], hashes=[
        bytes(16), xxh128(live[1]), b"\xff" * 16, xxh128(wrong[3]), bytes(range(16))])
    writer.data(0, 0, [DEAD, 0, LIVE, DEAD], [wrong[5], live[2], wrong[7]], ZSTD)
    writer.data(0, 0, [LIVE, 0, 0, LIVE, EMPTY, EMPTY, 0] + [EMPTY] * 9, [live[0], live[3]], NONE)
    writer.data(0, K, [DEAD] * 8 + [EMPTY] * 8, wrong[:8])
    writer.data(0, K, [LIVE] + [EMPTY] * 7, [model.granule(K)])
    writer.data(0, 2 * K, [LIVE, DEAD, 0, DEAD], [model.granule(2 * K), wrong[1], wrong[3][:100]])
    writer.data(0, 2 * K, [0, LIVE, LIVE, LIVE], [model.granule(2 * K + i * G) for i in (1, 2, 3)])
    writer.disk_end(0)
    save("dead", writer.finish(), {0: model})


def main():
    for make in (smallest, sizes, codecs, grids, huge, interleaved, blobs, optional, metas, tree, chain, merges, dead):
        make()
    (HERE / "expected.txt").write_text("\n".join(EXPECTED) + "\n")


if __name__ == "__main__":
    sys.exit(main())
