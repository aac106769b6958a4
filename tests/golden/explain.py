#!/usr/bin/python3
"""
A stream byte by byte, every field with its name: explain.py STREAM. Long texts are shown as text. Only for small
streams: it is how README.md explains smallest.nbp.
"""

import sys

from record import BLOB, DATA, DIR, END, HEADER_SIZE, INDEX, META, ZERO, parse_body, parse_header

TYPES = {META: "META", DATA: "DATA", ZERO: "ZERO", BLOB: "BLOB", INDEX: "INDEX", DIR: "DIR", END: "END"}
HEADER = [("magic", 4), ("version", 1), ("type", 1), ("codec", 1), ("cipher", 1), ("stream id", 8), ("pos", 8),
          ("offset", 8), ("length", 8), ("table_len", 4), ("data_len", 4), ("disk", 2), ("flags", 2), ("reserved", 4),
          ("number", 8), ("data_sum", 16), ("table_sum", 8), ("head_sum", 8)]
PLACE = [("pos", 8), ("head_sum", 8), ("table_len", 4), ("data_len", 4)]
CHILD = [("pos", 8), ("head_sum", 8), ("first byte", 8), ("end", 8), ("table_len", 4), ("data_len", 4), ("reserved", 8)]


def named(prefix, fields):
    return [("%s: %s" % (prefix, name), size) for name, size in fields]


def table_fields(h, table, map_bytes):
    if h.type == DATA:
        return [("map", map_bytes)] + [("hash of granule", 16)] * ((len(table) - map_bytes) // 16)
    if h.type == INDEX and table[0] == 0:
        entry = [("pos", 8), ("head_sum", 8), ("offset", 8), ("length", 8), ("data_len", 4), ("hashes", 2), ("type", 1),
                 ("codec", 1), ("map", map_bytes)]
        return node_head() + named("entry", entry) * int.from_bytes(table[2:4], "little")
    if h.type == INDEX:
        return node_head() + named("child", CHILD) * int.from_bytes(table[2:4], "little")
    if h.type == DIR:
        disk = [("id", 2), ("level of the root", 1), ("root, digest known", 1), ("reserved", 4), *named("root", CHILD),
                ("records", 8), ("data bytes", 8), ("zero bytes", 8), ("dead bytes", 8), ("stored bytes", 8), ("digest", 16)]
        disks, blobs = (int.from_bytes(table[at:at + 4], "little") for at in (0, 4))
        return [("disks", 4), ("blobs", 4), ("last INDEX", 8)] + named("disk", disk) * disks + named("blob", PLACE) * blobs
    if h.type == END:
        return [("stream length", 8), ("records", 8), *named("DIR", PLACE), *named("META", PLACE),
                ("digest of all headers", 16), ("zeroes", 16), ("stream UUID", 16), ("zeroes", 48)]
    return []


def node_head():
    return [("level", 1), ("entry size / 8", 1), ("entries", 2), ("reserved", 4), ("prev", 8)]


def show(at, data, name):
    number = int.from_bytes(data, "little")
    plain = len(data) <= 8 and not name.endswith(("sum", "id", "magic", "map"))
    for line in range(0, len(data), 16):
        note = name + (" = %d" % number if plain else "") if line == 0 else ""
        print(("%06x  %-47s  %s" % (at + line, data[line:line + 16].hex(" "), note)).rstrip())


def show_text(at, data, name):
    print("%06x  %s, %d bytes:" % (at, name, len(data)))
    text = data.decode()
    for start in range(0, len(text), 100):
        print("        " + text[start:start + 100])


def explain(data, map_bytes):
    at = 0
    while at < len(data):
        h = parse_header(data[at:at + HEADER_SIZE])
        record = parse_body(h, data[at + HEADER_SIZE:at + h.size])
        print("\n-- record %d: %s --" % (h.number, TYPES[h.type]))
        here = at
        for name, size in HEADER:
            show(here, data[here:here + size], name + (" (%s)" % TYPES[h.type] if name == "type" else ""))
            here += size
        if h.type == META:
            show_text(here, record.table, "table: the JSON of META")
        for name, size in table_fields(h, record.table, map_bytes):
            show(here, data[here:here + size], name)
            here += size
        here = at + HEADER_SIZE + h.table_len
        if h.type == META and record.data:
            show_text(here, record.data, "data: results")
        elif record.data:
            show(here, record.data, "data")
        if here + h.data_len < at + h.size:
            show(here + h.data_len, data[here + h.data_len:at + h.size], "padding to a multiple of 16: zeroes")
        at += h.size


if __name__ == "__main__":
    explain(open(sys.argv[1], "rb").read(), 8)
