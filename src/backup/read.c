#include "read.h"

int np_read_window(const struct np_source *source, void *reader, const struct np_geometry *geometry,
                   const struct np_step *step, uint8_t *buffer, struct np_error *err)
{
    unsigned granules = np_window_granules(geometry, step->offset);
    for (unsigned i = 0; i < granules;) {
        if (np_map_get(step->map, i) != NP_GRANULE_DATA) {
            i++;
            continue;
        }
        uint64_t offset = step->offset + (uint64_t)i * geometry->granule;
        size_t length = 0;
        for (; i < granules && np_map_get(step->map, i) == NP_GRANULE_DATA; i++)
            length += np_granule_length(geometry, step->offset, i);
        if (source->ops->read(reader, buffer, offset, length, err) < 0)
            return np_error_where(err, NULL, offset);
        buffer += length;
    }
    return 0;
}
