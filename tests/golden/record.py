"""Records: header, table, data, padding (FORMAT.md, section 2), and the grid (section 1)."""

import struct
from dataclasses import dataclass, field

from sums import Refused, xxh64, xxh128

META, DATA, ZERO, BLOB, INDEX, DIR, END = range(1, 8)
OPTIONAL = 0x80
NO_DISK = 0xFFFF
ABSENT, LIVE, EMPTY, DEAD = range(4)  # states of a granule; LIVE is "data", EMPTY is "zero"

MAGIC = b"\x89NBP"
HEADER = struct.Struct("<4sBBBB8sQQQIIHHIQ16sQQ")
HEADER_SIZE = 96
END_SIZE = 256
MIB = 1 << 20
LIMIT = 1 << 53

# type: most bytes of table, of data
_ROOM = {META: (MIB, MIB), DATA: (256 + 16 * 1024, 32 * MIB), ZERO: (0, 0), BLOB: (281, 16 * MIB),
         INDEX: (MIB, 128 << 10), DIR: (MIB, 0), END: (160, 0)}
_LEAST = {META: 2, DATA: 8, BLOB: 27, INDEX: 16 + 48, DIR: 16 + 112, END: 160}


def need(condition, why):
    if not condition:
        raise Refused(why)


@dataclass
class Header:
    type: int
    stream: bytes = bytes(8)
    pos: int = 0
    offset: int = 0
    length: int = 0
    table_len: int = 0
    data_len: int = 0
    disk: int = NO_DISK
    number: int = 0
    codec: int = 0
    cipher: int = 0
    flags: int = 0
    version: int = 1
    reserved: int = 0
    magic: bytes = MAGIC
    data_sum: bytes = xxh128(b"")
    table_sum: int = xxh64(b"")
    head_sum: int = 0
    raw: bytes = field(default=b"", repr=False)

    @property
    def optional(self):
        return self.type & OPTIONAL != 0

    @property
    def size(self):
        """Of the record, padding included."""
        return -(-(HEADER_SIZE + self.table_len + self.data_len) // 16) * 16

    def seal(self):
        """The 96 bytes, with head_sum made right."""
        raw = HEADER.pack(self.magic, self.version, self.type, self.codec, self.cipher, self.stream, self.pos,
                          self.offset, self.length, self.table_len, self.data_len, self.disk, self.flags,
                          self.reserved, self.number, self.data_sum, self.table_sum, 0)
        self.head_sum = xxh64(raw[:88])
        self.raw = raw[:88] + self.head_sum.to_bytes(8, "little")
        return self.raw


@dataclass
class Record:
    header: Header
    table: bytes
    data: bytes


def parse_header(raw):
    """Steps 1 to 4 of section 2.2: everything that a header shows by itself."""
    need(len(raw) == HEADER_SIZE, "the stream ends inside a header")
    h = Header(0)
    (h.magic, h.version, h.type, h.codec, h.cipher, h.stream, h.pos, h.offset, h.length, h.table_len, h.data_len,
     h.disk, h.flags, h.reserved, h.number, h.data_sum, h.table_sum, h.head_sum) = HEADER.unpack(raw)
    h.raw = bytes(raw)
    need(h.magic == MAGIC, "no magic")
    need(h.head_sum == xxh64(raw[:88]), "head_sum does not fit")
    need(h.version == 1, "version %d needs a newer reader" % h.version)
    need(h.reserved == 0, "reserved is not 0")
    need(h.pos % 16 == 0 and h.pos < 1 << 63, "pos is not possible")
    need(h.offset < LIMIT and h.length < LIMIT, "offset or length is not below 2^53")
    if h.optional:
        need(h.table_len <= MIB and h.data_len <= 32 * MIB, "table_len or data_len is not possible")
        need(h.disk < 1024 or h.disk == NO_DISK, "disk is not possible")
        return h
    need(h.type in _ROOM, "type %d needs a newer reader" % h.type)
    need(h.cipher == 0 and h.flags >> 8 == 0, "cipher or flags need a newer reader")
    need(h.codec in ((0, 1, 2) if h.type == DATA else (0,)), "codec %d is not known" % h.codec)
    table, data = _ROOM[h.type]
    need(_LEAST.get(h.type, 0) <= h.table_len <= table, "table_len is not possible")
    need(h.data_len <= data, "data_len is not possible")
    _check_range(h)
    return h


def _check_range(h):
    if h.type in (DATA, ZERO, INDEX):
        need(h.disk < 1024, "disk is not possible")
    else:
        need(h.disk == NO_DISK, "a disk where none may be")
    if h.type in (META, DIR, END):
        need(h.offset == 0 and h.length == 0, "offset or length is not 0")
    if h.type in (ZERO, INDEX):
        need(h.length > 0, "length is 0")
    if h.type == BLOB:
        need(h.length == h.data_len, "length is not data_len")
    if h.type == DATA:
        need(h.length <= 32 * MIB and h.data_len <= h.length, "length is not possible")
        need((h.codec == 0) == (h.data_len == h.length), "codec 0 if and only if data_len = length")


def parse_body(h, body):
    """Steps 7 to 9: sums and padding. `body` is all after the header."""
    need(len(body) == h.size - HEADER_SIZE, "the stream ends inside a record")
    table, data = body[:h.table_len], body[h.table_len:h.table_len + h.data_len]
    need(xxh64(table) == h.table_sum, "table_sum does not fit")
    need(xxh128(data) == h.data_sum, "data_sum does not fit")
    need(not any(body[h.table_len + h.data_len:]), "the padding is not zero")
    return Record(h, bytes(table), bytes(data))


@dataclass
class Grid:
    """Size, chunk and granule of a disk."""
    size: int
    chunk: int
    granule: int

    def check(self):
        power = all(n & (n - 1) == 0 for n in (self.chunk, self.granule))
        need(power and 64 << 10 <= self.chunk <= 32 * MIB and 4 << 10 <= self.granule <= MIB,
             "chunk or granule is not possible")
        need(self.granule <= self.chunk <= 1024 * self.granule, "chunk and granule do not go together")
        need(self.size < LIMIT, "the disk is too large")

    @property
    def map_bytes(self):
        granules = self.chunk // self.granule
        return -(-(-(-granules // 4)) // 8) * 8

    def window_end(self, offset):
        return min(offset + self.chunk, self.size)

    def granules(self, offset):
        """[(start, length)] of the granules of the window at offset."""
        end = self.window_end(offset)
        return [(at, min(self.granule, end - at)) for at in range(offset, end, self.granule)]

    def states(self, offset, map_):
        """The states of the window's granules; refuses bits where there are none."""
        count = len(self.granules(offset))
        states = [map_[k // 4] >> 2 * (k % 4) & 3 for k in range(4 * len(map_))]
        need(not any(states[count:]), "the map has bits beyond the window's end")
        return states[:count]

    def pack_map(self, states):
        out = bytearray(self.map_bytes)
        for k, state in enumerate(states):
            out[k // 4] |= state << 2 * (k % 4)
        return bytes(out)


def digest_term(granule, length, hash_):
    """One term of the disk digest (section 12), a number."""
    return int.from_bytes(xxh128(struct.pack("<QQ", granule, length) + hash_), "little")


class Digest:
    def __init__(self):
        self.value = 0

    def add(self, granule, length, hash_, sign=1):
        self.value = (self.value + sign * digest_term(granule, length, hash_)) % (1 << 128)

    @property
    def stored(self):
        return self.value.to_bytes(16, "little")

    @property
    def text(self):
        return "%032x" % self.value
