"""The sums and codecs of FORMAT.md (sections 1 and 5.3), from the libraries that nbdpull itself links."""

import ctypes

_xxhash = ctypes.CDLL("libxxhash.so.0")
_lz4 = ctypes.CDLL("liblz4.so.1")
_zstd = ctypes.CDLL("libzstd.so.1")


class _Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


_xxhash.XXH3_64bits.restype = ctypes.c_uint64
_xxhash.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
_xxhash.XXH3_128bits.restype = _Hash128
_xxhash.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
_lz4.LZ4_decompress_safe.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
_lz4.LZ4_compress_default.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
for _name in ("ZSTD_compress", "ZSTD_decompress", "ZSTD_findFrameCompressedSize"):
    getattr(_zstd, _name).restype = ctypes.c_size_t
_zstd.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
_zstd.ZSTD_getFrameContentSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
_zstd.ZSTD_findFrameCompressedSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
_zstd.ZSTD_getDictID_fromFrame.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
_zstd.ZSTD_compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
_zstd.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]

_ZSTD_MAGIC = bytes.fromhex("28b52ffd")

for _name in (_lz4.LZ4_versionString, _zstd.ZSTD_versionString):
    _name.restype = ctypes.c_char_p
LIBRARIES = "lz4 %s, zstd %s" % (_lz4.LZ4_versionString().decode(), _zstd.ZSTD_versionString().decode())


class Refused(Exception):
    """The stream does not fulfil FORMAT.md, or needs a newer reader."""


def xxh64(data):
    """XXH3-64 as a number."""
    data = bytes(data)
    return _xxhash.XXH3_64bits(data, len(data))


def xxh128(data):
    """XXH3-128 as stored: 16 bytes, low half first."""
    data = bytes(data)
    h = _xxhash.XXH3_128bits(data, len(data))
    return h.low.to_bytes(8, "little") + h.high.to_bytes(8, "little")


def _expand_lz4(data, length):
    out = ctypes.create_string_buffer(length)
    if _lz4.LZ4_decompress_safe(data, out, len(data), length) != length:
        raise Refused("the data are no LZ4 block of that length")
    return out.raw


def _expand_zstd(data, length):
    one_frame = data[:4] == _ZSTD_MAGIC and _zstd.ZSTD_findFrameCompressedSize(data, len(data)) == len(data)
    if not one_frame or _zstd.ZSTD_getDictID_fromFrame(data, len(data)) != 0:
        raise Refused("the data are not exactly one zstd frame without dictionary")
    if _zstd.ZSTD_getFrameContentSize(data, len(data)) != length:
        raise Refused("the zstd frame does not say that length")
    out = ctypes.create_string_buffer(length)
    if _zstd.ZSTD_decompress(out, length, data, len(data)) != length:
        raise Refused("the zstd frame is damaged")
    return out.raw


def expand(codec, data, length):
    """The `length` bytes that the data of a DATA record stand for."""
    data = bytes(data)
    if (codec == 0) != (len(data) == length):
        raise Refused("codec 0 if and only if data_len = length")
    if codec == 0:
        return data
    return {1: _expand_lz4, 2: _expand_zstd}[codec](data, length)


def compress(codec, data):
    """(codec, data): the data as they are when they do not shrink."""
    data = bytes(data)
    room = len(data)
    out = ctypes.create_string_buffer(room + 1)
    size = 0
    if codec == 1 and room > 1:
        size = _lz4.LZ4_compress_default(data, out, room, room - 1)
    if codec == 2 and room > 1:
        size = _zstd.ZSTD_compress(out, room - 1, data, room, 3)
    return (codec, out.raw[:size]) if 0 < size < room else (0, data)
