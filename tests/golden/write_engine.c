/*
 * Writes the stream NAME of a list (engine.txt, or one that a test made) with the engine:
 *     write_engine LIST NAME CODEC OUT
 */
#include "engine.h"

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: write_engine LIST NAME CODEC OUT\n");
        return 2;
    }
    static struct golden list[8];
    size_t count = golden_list(argv[1], list, sizeof(list) / sizeof(list[0]));
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].name, argv[2]) != 0)
            continue;
        struct memory_file file = {0};
        engine_write(&list[i], argv[3], np_codec_libraries(), &file);
        FILE *out = fopen(argv[4], "wb");
        bool written = out != NULL && fwrite(file.bytes, 1, file.size, out) == file.size;
        free(file.bytes);
        return out != NULL && fclose(out) == 0 && written ? 0 : 1;
    }
    fprintf(stderr, "write_engine: no stream %s in %s\n", argv[2], argv[1]);
    return 2;
}
