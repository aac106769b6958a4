#!/usr/bin/python3
"""
hostile_sets.py GOLDEN DIR [UUID]: backup sets with all sums right that nobody means well with, one a directory below DIR.
GOLDEN has the writer of streams; UUID is the domain's that they say they are of. Prints a line for each: its name, and the exit statuses that are right for
verify and for restore, as a regular expression each.
"""

import json
import struct
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from model import G, K, Model, disk_meta, meta, uuid, write_canonical  # noqa: E402
from record import DATA, DEAD, EMPTY, LIVE, ZERO  # noqa: E402
from sums import compress, xxh128  # noqa: E402
from writer import Writer  # noqa: E402

DIR = Path(sys.argv[2])
DOMAIN = sys.argv[3] if len(sys.argv) > 3 else uuid(3, 1)
TOP = (1 << 53) - 1
MIB = 1 << 20
UGLY = "\x1b]0;owned\x07\x1b[2J\nnbdpull: good\r\x9b31m\x7f\u202egnp.nbp\u2028\u2066\u200f"


class Set:
    def __init__(self, name, verify, restore, domain="guest", **head):
        self.path = DIR / name
        for area in ("points", "streams", "config"):
            (self.path / area).mkdir(parents=True)
        self.head = {"format": "nbdpull-set", "version": 1, "uuid": uuid(5, 1),
                     "domain": {"name": domain, "uuid": DOMAIN}, "next": 100, "committed": 1,
                     "home": {"id": "6e6200010000", "host": "", "dev": "0", "ino": "0"}, **head}
        (self.path / "set.json").write_text(json.dumps(self.head))
        print(name, verify, restore)

    def stream(self, n, disk, content, record=None, point=None, other=None, blobs=()):
        """content: function of the writer. record: changes of the point record; point: of its one disk."""
        id_ = "%04d" % n
        value = meta(n, disk, **{"domain": self.head["domain"], "set": self.head["uuid"], **(other or {})})
        value["point"] |= {"id": id_, "level": disk["level"]}
        writer = Writer(value)
        content(writer)
        writer.disk_end(0)
        for name, data in blobs:
            writer.blob(name, data)
        raw = writer.finish()
        name = "streams/%s.%s.nbp" % (id_, disk["target"].replace("/", "_").replace("\0", "_")[:60])
        (self.path / name).write_bytes(raw)
        of = writer.disks[0]
        entry = {"target": disk["target"], "stored": True, "why": disk["why"], "level": disk["level"], "how": disk["how"],
                 "parent": disk["base_point"], "state": disk["state"], "size": disk["size"],
                 "digest": of.digest.text if of.known else None, "checkpoint": disk["checkpoint"],
                 "stream": {"uuid": value["stream"], "file": name, "size": len(raw), "codec": "lz4",
                            "data_bytes": of.sums[1], "zero_bytes": of.sums[2], "stored_bytes": of.sums[4]},
                 "image": disk["image"] | {}}
        entry["image"] = {"source": "", "dev": "0", "ino": "0"}
        self.point(id_, [entry | (point or {})], value, record)

    def point(self, id_, disks, value, record=None):
        text = {"id": id_, "uuid": value["point"]["uuid"], "level": value["point"]["level"], "time": value["created"],
                "checkpoint": value["point"]["checkpoint"], "quiesced": False, "disks": disks}
        text = text | (record or {})
        (self.path / "points" / (id_ + ".json")).write_text(json.dumps(text))


def plain(model):
    return lambda writer: write_canonical(writer, 0, model)


def small(set_, n=1, disk=None, **other):
    model = Model(2 * K, fills=[(0, K, 1)])
    set_.stream(n, disk_meta(model, 0, state=n, **(disk or {})), plain(model), **other)


# ---- sizes ----

def zeroes_without_end():
    """A disk of 2^53 - 1 bytes; nothing but one ZERO, or with data at both ends."""
    for name, fills in (("zeroes", ()), ("ends", [(0, 20, 1), (TOP - 20, 20, 2)])):
        model = Model(TOP, fills=fills)
        Set("size-" + name, "0", "[012]").stream(1, disk_meta(model), plain(model))


def bombs():
    """Payloads that grow a thousandfold, in the largest chunk that there may be; 96 MiB from 400 KiB."""
    model = Model(3 * 32 * MIB, 32 * MIB, MIB)
    payload = b"a" * (32 * MIB)
    hashes = [xxh128(payload[:MIB])] * 32

    def content(codec):
        packed = compress(codec, payload)

        def write(writer):
            disk = writer.disks[0]
            for at in range(0, model.grid.size, 32 * MIB):
                for granule in range(at, at + 32 * MIB, MIB):
                    disk.digest.add(granule // MIB, MIB, hashes[0])
                disk.sums[1] += 32 * MIB
                disk.sums[4] += len(packed[1])
                table = model.grid.pack_map([LIVE] * 32) + b"".join(hashes)
                writer._guest(0, 32, DATA, 0, at, 32 * MIB, table, packed[1], packed[0], 0, 0)
        return write
    Set("bomb-lz4", "0", "0").stream(1, disk_meta(model), content(1))
    Set("bomb-zstd", "0", "0").stream(1, disk_meta(model), content(2))


def wrong_payloads():
    """Units of a codec that say other lengths than the record, or want a window of 2 GiB or a dictionary."""
    raw = b"a" * K
    zstd = compress(2, raw)[1]
    rle = b"\x03\x00\x00"  # last block, raw, of 0 bytes
    run = struct.pack("<I", K << 3 | 3)[:3] + b"a"  # last block, a run of K bytes
    magic = bytes.fromhex("28b52ffd")
    units = {
        "zstd-longer": (2, magic + b"\xe0" + struct.pack("<Q", 1 << 40) + run),
        "zstd-shorter": (2, magic + b"\x20\x05" + rle),
        "zstd-no-size": (2, magic + b"\x00\x58" + run),
        "zstd-window": (2, magic + b"\x80\xa8" + struct.pack("<I", K) + run),  # window of 2^31 bytes
        "zstd-dictionary": (2, magic + b"\x63" + struct.pack("<IH", 77, K - 256)[:4] + run),
        "zstd-skippable": (2, struct.pack("<II", 0x184D2A50, 16) + bytes(16) + zstd),
        "zstd-two": (2, zstd + zstd),
        "zstd-blocks": (2, magic + b"\x80\x58" + struct.pack("<I", K) + b"\x00\x00\x00" * 9000 + run),
        "lz4-longer": (1, compress(1, b"a" * (4 * K))[1]),
        "lz4-shorter": (1, compress(1, b"a" * G)[1]),
        "lz4-far": (1, b"\x1f" + b"a" + b"\xff\xff" + b"\xff" * 256 + b"\x00" + b"\x50aaaaa"),
    }
    model = Model(K, fills=[(0, K, 1)])
    hashes = [xxh128(raw[:G])] * 16
    for name, (codec, data) in units.items():
        def write(writer, codec=codec, data=data):
            disk = writer.disks[0]
            for granule in range(16):
                disk.digest.add(granule, G, hashes[0])
            disk.sums[1] += K
            disk.sums[4] += len(data)
            table = model.grid.pack_map([LIVE] * 16) + b"".join(hashes)
            writer._guest(0, 16, DATA, 0, 0, K, table, data, codec, 0, 0)
        # What is stored is as its sums say, so only verify --deep can see it. These two are good frames.
        good = name in ("zstd-window", "zstd-blocks")
        Set("unit-" + name, "[04]", "[04]" if good else "4").stream(1, disk_meta(model), write)


# ---- chains ----

def chains():
    model = Model(K, fills=[(0, K, 1)])

    def inc(n, base, parent, **other):
        return disk_meta(model, state=n, base=(base, K, None), base_point=parent, **other)

    loop = Set("chain-loop", "4", "4")
    loop.stream(1, inc(1, 2, "0002"), lambda w: None)
    loop.stream(2, inc(2, 1, "0001"), lambda w: None)
    own = Set("chain-self", "4", "4")
    own.stream(1, inc(1, 7, "0001"), lambda w: None)
    # Records that are older each than the other would have to lie: their streams' bases still go in a circle.
    states = Set("chain-states", "4", "4")
    states.stream(1, inc(1, 2, None) | {"level": "full"}, lambda w: None)
    states.stream(2, inc(2, 1, "0001"), lambda w: None)
    gone = Set("chain-gone", "4", "4")
    gone.stream(2, inc(2, 1, "0001"), lambda w: None)
    long = Set("chain-long", "0", "0", next=10000)
    small(long)
    digest = Model(2 * K, fills=[(0, K, 1)]).digest()
    for n in range(2, 151):
        disk = disk_meta(Model(2 * K), state=n, base=(n - 1, 2 * K, None), base_point="%04d" % (n - 1))
        long.stream(n, disk, lambda w: None)
    assert digest


# ---- words ----

def names():
    for name, domain in (("ugly", UGLY), ("path", "../../../../tmp/nbdpull-hostile"), ("long", "n" * 255), ("dash", "-rf")):
        model = Model(2 * K, fills=[(0, K, 1)])
        disk = disk_meta(model, why=(UGLY * 3)[:150].encode()[:150].decode(errors="ignore"), checkpoint=UGLY[:40])
        made = Set("name-" + name, "0", "0", domain=domain)
        made.stream(1, disk, plain(model), other={"tool": UGLY[:20], "codec_lib": UGLY[:20]},
                    blobs=[("domain.xml", domain_xml(domain))])
    for n, target in enumerate(("..", "../vda", "a/b", "", "-x", ".vda", "vda\n", "v" * 64, "vd\x1b[2Ja", "vda\x00")):
        model = Model(2 * K, fills=[(0, K, 1)])
        Set("target-%d" % n, "4", "[14]").stream(1, disk_meta(model, target=target), plain(model))


def domain_xml(name="guest", inside="", before=""):
    safe = "".join(c for c in name if c.isprintable()).replace("&", "").replace("<", "")
    return ("%s<domain type='qemu'><name>%s</name><os><type>hvm</type><nvram>/etc/nbdpull-hostile</nvram></os><devices>"
            "<disk type='file' device='disk'><source file='/etc/passwd'/><target dev='vda'/></disk>%s</devices></domain>"
            % (before, safe, inside)).encode()


def blobs():
    bomb = "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
        "<!ENTITY a%d '%s'>" % (n, ("&a%d;" % (n - 1) if n else "&a;") * 10) for n in range(9)) + "]>"
    for name, xml in {
        "deep": domain_xml(inside="<a>" * 100000),
        "deep-closed": domain_xml(inside="<a>" * 5000 + "</a>" * 5000),
        "entities": domain_xml(before=bomb, inside="&a8;"),
        "external": domain_xml(before="<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>", inside="&x;"),
        "include": domain_xml(inside="<x xmlns:xi='http://www.w3.org/2001/XInclude'><xi:include parse='text' href='/etc/passwd'/></x>"),
        "utf16": domain_xml().decode().encode("utf-16"),
        "nul": domain_xml()[:60] + b"\0" + domain_xml()[60:],
        "empty": b"",
        "large": b"<domain>" + b" " * (17 * MIB),
        "disks": domain_xml(inside="<disk type='file'><source file='/etc/shadow'/><target dev='vda'/></disk>" * 20000),
    }.items():
        small(Set("xml-" + name, "0", "4" if name == "large" else "0"), blobs=[("domain.xml", xml), ("nvram", b"n" * 100)])
    for n, name in enumerate(("../../tmp/nbdpull-hostile", "/etc/nbdpull-hostile", UGLY, "", "..", "a/b")):
        small(Set("blob-name-%d" % n, "4", "4"), blobs=[(name, b"x"), ("domain.xml", domain_xml())])
    small(Set("nvram-large", "0", "4"), blobs=[("nvram", bytes(16 * MIB + 1))])
    small(Set("blobs-same", "4", "4"), blobs=[("nvram", b"one"), ("nvram", b"two")])


# ---- JSON ----

def texts():
    many = "{" + '"x":[' + "{}," * (MIB // 3 - 2000) + "{}]"
    for name, change in {
        "deep": lambda text: '{"x":' + "[" * 100000,
        "deep-closed": lambda text: '{"x":' + "[" * 5000 + "]" * 5000 + "," + text[1:],
        "objects": lambda text: many + "," + text[1:],
        "twice": lambda text: '{"id":"0007","disks":[],' + text[1:],
        "nul": lambda text: text[:20] + "\0" + text[20:],
        "nul-escaped": lambda text: text.replace('"level": "full"', '"level": "full\\u0000x"'),
        "empty": lambda text: "",
        "large": lambda text: text + " " * (64 * MIB),
        "number": lambda text: text.replace('"size": %d' % (2 * K), '"size": 1e999'),
        "negative": lambda text: text.replace('"size": %d' % (2 * K), '"size": -1'),
        "huge": lambda text: text.replace('"size": %d' % (2 * K), '"size": 18446744073709551616'),
        "no-utf8": lambda text: text.replace('"why": ""', '"why": "\udc80\udcff"'),
    }.items():
        good = name in ("twice", "no-utf8")  # the last one counts, which is right; texts are checked when shown
        set_ = Set("json-" + name, "0" if good else "4", "0" if good else "4")
        small(set_)
        path = set_.path / "points/0001.json"
        path.write_bytes(change(path.read_text()).encode(errors="surrogateescape"))
    for name, text in {"meta-deep": '"x":' + "[" * 9 + "]" * 9, "meta-twice": '"format":1', "meta-nul": '"x":"\\u0000"',
                       "meta-utf8": None, "meta-objects": '"x":[' + "{}," * (MIB // 3 - 2000) + "{}]"}.items():
        model = Model(2 * K, fills=[(0, K, 1)])
        good = name == "meta-objects"
        set_ = Set(name, "0" if good else "4", "0" if good else "4")
        disk = disk_meta(model)
        set_.stream(1, disk, plain(model))
        value = json.dumps(meta(1, disk), separators=(",", ":"))
        value = value.replace('"id":null', '"id":"0001"')
        writer = Writer(value[:-1] + "," + (text or '"x":"@"') + "}")
        if text is None:
            writer.out, writer.headers, writer.number = bytearray(), bytearray(), 0
            writer.text = writer.text.replace(b"@", b"\xff\x80")
            writer.record(1, table=writer.text)
        write_canonical(writer, 0, model)
        writer.disk_end(0)
        raw = writer.finish()
        (set_.path / "streams/0001.vda.nbp").write_bytes(raw)
        path = set_.path / "points/0001.json"
        point = json.loads(path.read_text())
        point["disks"][0]["stream"]["size"] = len(raw)
        path.write_text(json.dumps(point))


def files():
    for n, file in enumerate(("/etc/passwd", "streams/../set.json", "../x/0001.vda.nbp", "streams/0001.vda.nbp/",
                              "streams//0001.vda.nbp", "streams/0001/vda.nbp", "streams/0001.\x1b[2J.nbp", "")):
        set_ = Set("file-%d" % n, "4", "4")
        small(set_)
        path = set_.path / "points/0001.json"
        point = json.loads(path.read_text())
        point["disks"][0]["stream"]["file"] = file
        path.write_text(json.dumps(point))
    small(Set("set-numbers", "0", "0", next=TOP, committed=TOP))
    for n, head in enumerate(({"home": {"id": "../../../../x", "host": "", "dev": "0", "ino": "0"}}, {"version": 2},
                              {"format": UGLY}, {"uuid": UGLY}, {"next": -1})):
        small(Set("head-%d" % n, "[145]", "[14]", **head))
    strange = Set("strange-names", "0", "0")
    small(strange)
    for area in ("points", "streams", "config", "."):
        for name in (UGLY, "0001.vda.nbp\n", "0002\x1b[2J.json", "0003." + "x" * 200 + ".nbp", "-rf", "0004.\udcff.nbp"):
            (strange.path / area / name.encode(errors="surrogateescape").decode(errors="surrogateescape")).touch()
    crowd = Set("crowd", "4", "4")
    small(crowd)
    disks = [{"target": "d%d" % n, "stored": False, "why": ""} for n in range(1024)]
    for n in range(2, 260):
        crowd.point("%04d" % n, disks, meta(n, disk_meta(Model(0))))


zeroes_without_end()
bombs()
wrong_payloads()
chains()
names()
blobs()
texts()
files()
assert ZERO and DEAD and EMPTY
