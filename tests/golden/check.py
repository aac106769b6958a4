#!/usr/bin/python3
"""
Reads the golden streams from a pipe, by index and by scan, and compares every byte with expected.txt and engine.txt.

    check.py                   the golden streams
    check.py LIST FOLDER       streams in another folder, with a list of what they hold
"""

import io
import sys
from pathlib import Path

from model import Model, pattern
from reader import read_chain, read_index, read_pipe, scan

HERE = Path(__file__).parent


def expectations(lists):
    """{stream: (base or None, {id: Model}, {file: size})}"""
    out, name = {}, None
    for line in "".join(Path(file).read_text() for file in lists).splitlines():
        word, *rest = line.split()
        if word == "stream":
            name = rest[0]
            out[name] = (rest[2] if len(rest) > 2 else None, {}, {})
        elif word == "disk":
            model = out[name][1][int(rest[0])] = Model(*map(int, rest[1:]))
        elif word == "fill":
            model.fill(*map(int, rest))
        elif word == "file":
            out[name][2][rest[0]] = int(rest[1])
    return out


def same(image, model):
    if model.grid.size > 1 << 40:
        return len(image.granules) == len(model.content) and all(
            image.read(at, len(data)) == data for at, data in model.content.items())
    return image.bytes() == b"".join(model.granule(at) for at in range(0, model.grid.size, model.grid.granule))


def chain_of(name, expected, folder):
    base = expected[name][0]
    return (chain_of(base, expected, folder) if base else []) + [(Path(folder) / (name + ".nbp")).read_bytes()]


def check(expected, folder):
    for name, (base, models, files) in expected.items():
        streams = chain_of(name, expected, folder)
        for how in (read_index, lambda data, bases: read_pipe(io.BytesIO(data), bases)):
            result = read_chain(streams, how)
            assert all(same(result.images[id_], model) for id_, model in models.items()), name
            assert {file: len(content) for file, content in result.files.items()} == files, name
        if base is None:
            saved = scan(streams[0])
            assert all(same(saved[id_].image, model) for id_, model in models.items()), name
            assert not any(one.lost() or one.suspect for one in saved.values()), name


def check_merges(expected):
    # A merged stream stands in for its parts (section 13).
    for parts, last in ((["full", "merged-inc"], "inc3"), (["merged-full"], "inc2"), (["merged-full", "inc2"], "inc3")):
        streams = [(HERE / (name + ".nbp")).read_bytes() for name in [*parts, last]]
        assert same(read_chain(streams).images[0], expected[last][1][0]), (parts, last)


def main():
    if len(sys.argv) == 3:
        expected, folder = expectations(sys.argv[1:2]), sys.argv[2]
    else:
        expected, folder = expectations([HERE / "expected.txt", HERE / "engine.txt"]), HERE
        check_merges(expected)
    check(expected, folder)
    assert pattern(5, 3, 1) == pattern(0, 16, 1)[5:8]
    print("%d streams are as they must be" % len(expected))


if __name__ == "__main__":
    sys.exit(main())
