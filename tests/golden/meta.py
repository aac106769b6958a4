"""META and results: strict JSON and the tables of FORMAT.md, section 4."""

import re

from record import LIMIT, MIB, Grid, need
from sums import Refused

_KEY = re.compile(r'"([a-z0-9_]{1,64})"')
_INTEGER = re.compile(r"(0|[1-9][0-9]{0,15})(?![0-9.eE])")
_SPACE = re.compile(r"[ \t\n\r]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,62}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class _Parser:
    def __init__(self, text):
        self.text, self.at = text, 0

    def match(self, pattern):
        found = pattern.match(self.text, self.at)
        need(found, "META is no JSON at character %d" % self.at)
        self.at = found.end()
        return found.group(found.lastindex or 0)

    def peek(self):
        self.match(_SPACE)
        return self.text[self.at:self.at + 1]

    def take(self, what):
        need(self.peek() == what, "META is no JSON at character %d" % self.at)
        self.at += 1

    def items(self, last, one):
        self.at += 1
        if self.peek() == last:
            self.at += 1
            return
        while True:
            one()
            if self.peek() == last:
                self.at += 1
                return
            self.take(",")

    def object(self, depth):
        out = {}

        def one():
            self.peek()
            key = self.match(_KEY)
            need(key not in out, "META has the key %s twice" % key)
            need(len(out) < 256, "META has an object of more than 256 keys")
            self.take(":")
            out[key] = self.value(depth)

        self.items("}", one)
        return out

    def array(self, depth):
        out = []
        self.items("]", lambda: out.append(self.value(depth)))
        return out

    def unit(self):
        digits = self.text[self.at:self.at + 4]
        need(re.fullmatch("[0-9a-fA-F]{4}", digits), "META has a broken escape")
        self.at += 4
        return int(digits, 16)

    def escape(self):
        letter = self.text[self.at + 1:self.at + 2]
        self.at += 2
        if letter != "u":
            need(letter in _ESCAPES, "META has an unknown escape")
            return _ESCAPES[letter]
        code = self.unit()
        if 0xD800 <= code < 0xDC00:
            need(self.text[self.at:self.at + 2] == "\\u", "META has half a surrogate pair")
            self.at += 2
            low = self.unit()
            need(0xDC00 <= low < 0xE000, "META has half a surrogate pair")
            return chr(0x10000 + (code - 0xD800 << 10) + (low - 0xDC00))
        need(code != 0 and not 0xDC00 <= code < 0xE000, "META has a character that may not be")
        return chr(code)

    def string(self):
        out = []
        self.at += 1
        while True:
            out.append(self.match(_PLAIN))
            end = self.text[self.at:self.at + 1]
            if end == '"':
                self.at += 1
                return "".join(out)
            need(end == "\\", "META has a string that does not end, or a control character")
            out.append(self.escape())

    def value(self, depth):
        first = self.peek()
        if first in "{[" and first:
            need(depth < 8, "META is nested deeper than 8")
            return self.object(depth + 1) if first == "{" else self.array(depth + 1)
        if first == '"':
            return self.string()
        for word, value in (("true", True), ("false", False), ("null", None)):
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return value
        number = int(self.match(_INTEGER))
        need(number < LIMIT, "META has a number that is not below 2^53")
        return number


def parse_json(raw):
    """One object, narrowed as section 4.1 says."""
    need(2 <= len(raw) <= MIB, "META is not of a possible size")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as why:
        raise Refused("META is no UTF-8") from why
    need(text[0] == "{" and text[-1] == "}", "META does not begin with { and end with }")
    parser = _Parser(text)
    value = parser.value(0)
    need(parser.at == len(text), "something follows the object of META")
    return value


# Checks of one value each, made from the words in the tables' column "type".

def text(size, null=False):
    def check(value):
        if value is None:
            return null
        return isinstance(value, str) and len(value.encode()) <= size and (value != "" or not null)
    return check


def uuid(null=False):
    def check(value):
        if value is None:
            return null
        return isinstance(value, str) and _UUID.fullmatch(value) and value.strip("0-") != ""
    return check


def integer(top=LIMIT - 1):
    return lambda value: type(value) is int and value <= top


def decimal(value):
    return isinstance(value, str) and re.fullmatch("0|[1-9][0-9]{0,19}", value) and int(value) < 1 << 64


def name(value):
    return isinstance(value, str) and _NAME.fullmatch(value)


def digest(value):
    return value is None or (isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value))


def boolean(value):
    return type(value) is bool


def array(of, least=0, most=None):
    def check(value):
        return isinstance(value, list) and least <= len(value) and (most is None or len(value) <= most) and all(
            of(one) for one in value)
    return check


def table(**fields):
    def check(value):
        if not isinstance(value, dict):
            return False
        for key, of in fields.items():
            need(key in value, "META lacks %s" % key)
            need(of(value[key]), "META: %s is not what it must be" % key)
        return True
    return check


def nullable(of):
    return lambda value: value is None or of(value)


_POINT_DISK = table(target=name, state=uuid(null=True), stream=uuid(null=True), why=text(159))
_DISK = table(
    id=integer(1023), target=name, size=integer(), chunk=integer(), granule=integer(),
    logical_block=integer((1 << 32) - 1), physical_block=integer((1 << 32) - 1), source=table(format=text(15)),
    image=table(source=text(1023), dev=decimal, ino=decimal), level=text(7), how=text(7), why=text(159),
    checkpoint=text(95, null=True), base_checkpoint=text(95, null=True), base_point=text(15, null=True),
    state=uuid(), base=nullable(table(state=uuid(), size=integer(), digest=digest)))
_META = table(
    requires=array(lambda one: isinstance(one, str)), stream=uuid(), set=uuid(null=True),
    created=lambda value: isinstance(value, str) and _TIME.fullmatch(value), tool=text(47), codec_lib=text(63),
    domain=table(name=text(255), uuid=uuid()),
    point=table(id=text(15, null=True), uuid=uuid(), level=text(7), checkpoint=text(95, null=True),
                quiesced=boolean, disks=array(_POINT_DISK, most=1024)),
    disks=array(_DISK, least=1, most=1024))
_RESULTS = table(
    disks=array(table(id=integer(1023), records=integer(), data_bytes=integer(), zero_bytes=integer(),
                      dead_bytes=integer(), stored_bytes=integer(), digest=digest)),
    blobs=integer())


class Disk:
    """A disk of META, as far as it decides how to restore."""

    def __init__(self, value):
        self.id, self.target = value["id"], value["target"]
        self.grid = Grid(value["size"], value["chunk"], value["granule"])
        self.grid.check()
        self.state = value["state"].lower()
        base = value["base"]
        self.base_state = base and base["state"].lower()
        self.base_size = base and base["size"]
        self.base_digest = base and base["digest"]
        need(self.base_state != self.state, "META: a disk that builds on itself")

    @property
    def cover_from(self):
        """R of section 7."""
        size, granule = self.grid.size, self.grid.granule
        if self.base_state is None:
            return 0
        if self.base_size == size:
            return size
        return min(size, self.base_size) // granule * granule


class Meta:
    def __init__(self, raw):
        self.raw = raw
        value = self.value = parse_json(raw)
        need(value.get("format") == 1 and value["format"] is not True, "the stream needs a newer reader: format %s" % value.get("format"))
        need(value.get("sum") == "xxh3" and value.get("hash") == "xxh3-128", "the stream needs a newer reader: sums")
        _META(value)
        need(value["requires"] == [], "the stream requires %s" % value["requires"])
        need("made_from" not in value or array(uuid(), most=16384)(value["made_from"]), "META: made_from is no list of UUIDs")
        self.uuid = bytes.fromhex(value["stream"].replace("-", ""))
        self.disks = [Disk(disk) for disk in value["disks"]]
        self._check_agreement()

    def _check_agreement(self):
        ids = [disk.id for disk in self.disks]
        need(ids == sorted(set(ids)), "META: the disks' ids do not rise")
        need(len({disk.state for disk in self.disks}) == len(self.disks), "META: two disks have one state")
        listed = {}
        for entry in self.value["point"]["disks"]:
            need(entry["target"] not in listed, "META: a target is twice in the point")
            need(entry["stream"] is None or entry["state"] is not None, "META: a stream without a state")
            listed[entry["target"]] = entry
        need(len({disk.target for disk in self.disks}) == len(self.disks), "META: a target is there twice")
        for disk in self.disks:
            entry = listed.get(disk.target)
            need(entry and entry["state"] and entry["state"].lower() == disk.state and entry["stream"]
                 and entry["stream"].lower() == self.value["stream"].lower(), "META: the point lists another %s" % disk.target)


def parse_results(raw):
    value = parse_json(raw)
    need(_RESULTS(value), "results are no object")
    return value
