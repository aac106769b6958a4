/**
 * @file chain_link.h
 * Does one stream of a disk build on another? Source: FORMAT.md, "Chains".
 */
#ifndef NBDPULL_SET_CHAIN_LINK_H
#define NBDPULL_SET_CHAIN_LINK_H

#include "nbdpull/stream.h"

/** NP_DAMAGED names both streams and what does not fit: state, size, chunk or granule, or digest. */
int np_chain_link_check(const struct np_stream *child, const struct np_meta_disk *child_disk,
                        const struct np_stream *base, const struct np_meta_disk *base_disk,
                        struct np_error *err);

/** NP_DAMAGED when the disk is not whole in the stream, which is the last of a chain. */
int np_chain_link_check_root(const struct np_stream *root, const struct np_meta_disk *disk,
                             struct np_error *err);

#endif
