#include "options.h"

#include "output.h"

#include "nbdpull/bytes.h"
#include "nbdpull/uri.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 40
#define VALUE_BASE 256 /* getopt's value of the option with index i is VALUE_BASE + i */

struct tables {
    struct np_option all[OPTIONS_MAX];
    struct option longs[OPTIONS_MAX + 1];
    char letters[2 * OPTIONS_MAX + 2];
    size_t count;
};

static void add_option(struct tables *tables, const struct np_option *option)
{
    size_t i = tables->count++;
    bool takes_value = option->kind != NP_OPTION_FLAG;
    int argument = option->kind == NP_OPTION_MAYBE ? optional_argument
                   : takes_value                   ? required_argument
                                                   : no_argument;
    tables->all[i] = *option;
    tables->longs[i] = (struct option){option->name, argument, NULL, VALUE_BASE + (int)i};
    if (option->letter != 0) {
        size_t used = strlen(tables->letters);
        tables->letters[used] = option->letter;
        tables->letters[used + 1] = takes_value ? ':' : '\0';
    }
}

static const struct np_option *find_option(const struct tables *tables, int value)
{
    if (value >= VALUE_BASE)
        return &tables->all[value - VALUE_BASE];
    for (size_t i = 0; i < tables->count; i++)
        if (tables->all[i].letter == value)
            return &tables->all[i];
    return NULL;
}

static int add_targets(struct np_targets *targets, char *text, struct np_error *err)
{
    for (char *save, *name = strtok_r(text, ",", &save); name != NULL; name = strtok_r(NULL, ",", &save)) {
        const char **list = realloc(targets->list, (targets->count + 1) * sizeof(*list));
        if (list == NULL)
            return np_fail_errno(err, NP_FAILED, ENOMEM, "disk %s", name);
        targets->list = list;
        targets->list[targets->count++] = name;
    }
    return 0;
}

void np_targets_clear(struct np_targets *targets)
{
    free(targets->list);
    *targets = (struct np_targets){0};
}

/* strtoul and strtoull take a sign and blanks. */
static bool begins_with_digit(const char *text)
{
    return text[0] >= '0' && text[0] <= '9';
}

static int read_number(const struct np_option *option, const char *text, struct np_error *err)
{
    const unsigned long least = option->kind == NP_OPTION_COUNT ? 0 : 1;
    const unsigned long most = option->kind == NP_OPTION_WORKERS   ? NP_WORKERS_MAX
                               : option->kind == NP_OPTION_PERCENT ? 100
                                                                   : 1000000;
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || !begins_with_digit(text) || *end != '\0' || value < least || value > most)
        return np_fail(err, NP_USAGE, "--%s: '%s' is not a number from %lu to %lu", option->name, text, least,
                       most);
    *(unsigned *)option->value = (unsigned)value;
    return 0;
}

/* As qemu-img and virsh read "64K" and "64KiB". "64KB", which virsh takes for 64000, is refused. */
static bool read_unit(const char *text, unsigned *shift)
{
    static const char letters[] = "KMGT";
    const char *found = *text == '\0' ? NULL : strchr(letters, toupper((unsigned char)*text));
    if (found != NULL) {
        *shift = 10 * (unsigned)(found - letters + 1);
        return text[1] == '\0' || strcmp(text + 1, "iB") == 0;
    }
    *shift = 0;
    return *text == '\0' || strcmp(text, "B") == 0;
}

static int read_size(const struct np_option *option, const char *text, struct np_error *err)
{
    char *end;
    unsigned shift;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    uint64_t bytes;
    if (!begins_with_digit(text) || errno != 0 || !read_unit(end, &shift) ||
        !np_mul_u64(number, UINT64_C(1) << shift, &bytes))
        return np_fail(err, NP_USAGE, "--%s: '%s' is not a size such as 512K, 20M or 1G", option->name, text);
    if (bytes == 0 && option->kind == NP_OPTION_ROOM)
        return np_fail(err, NP_USAGE, "--%s: it cannot be 0", option->name);
    *(uint64_t *)option->value = bytes;
    return 0;
}

/* An unset variable of a script ("-i $DISKS") must not come to mean something else, such as all disks. */
static int check_value(const struct np_option *option, const char *text, struct np_error *err)
{
    if (option->kind == NP_OPTION_FLAG || text == NULL || /* NP_OPTION_MAYBE */
        text[strspn(text, option->kind == NP_OPTION_TARGETS ? "," : "")] != '\0')
        return 0;
    return np_fail(err, NP_USAGE, "option '--%s' needs a value, and '%s' is none", option->name, text);
}

static int apply(const struct np_option *option, char *text, struct np_error *err)
{
    switch (option->kind) {
    case NP_OPTION_FLAG:
        *(bool *)option->value = true;
        return 0;
    case NP_OPTION_STRING:
        *(const char **)option->value = text;
        return 0;
    case NP_OPTION_MAYBE:
        *(const char **)option->value = text != NULL ? text : "";
        return 0;
    case NP_OPTION_TARGETS:
        return add_targets(option->value, text, err);
    case NP_OPTION_WORKERS:
    case NP_OPTION_COUNT:
    case NP_OPTION_ORDINAL:
    case NP_OPTION_PERCENT:
        return read_number(option, text, err);
    case NP_OPTION_SIZE:
    case NP_OPTION_ROOM:
        return read_size(option, text, err);
    }
    return 0;
}

static int bad_option(int argc, char **argv, const char *command, int got, struct np_error *err)
{
    char shown[NP_URI_SHOWN_MAX];
    int at = optind > 1 ? optind - 1 : 1;
    const char *word = np_uri_masked(at < argc ? argv[at] : "", shown, sizeof(shown));
    if (got == ':')
        return np_fail(err, NP_USAGE, "option '%s' needs a value; see nbdpull %s --help", word, command);
    if (optopt > 0 && optopt < VALUE_BASE && strncmp(word, "--", 2) != 0)
        return np_fail(err, NP_USAGE, "unknown option '-%c'; see nbdpull %s --help", optopt, command);
    return np_fail(err, NP_USAGE, "unknown option or value '%s'; see nbdpull %s --help", word, command);
}

static int not_an_option(const char *word, const char *command, struct np_error *err)
{
    char shown[NP_URI_SHOWN_MAX];
    return np_fail(err, NP_USAGE, "'%s' is not an option; see nbdpull %s --help",
                   np_uri_masked(word, shown, sizeof(shown)), command);
}

/* What a failure stopped at was not to keep it from being told as it was asked for. */
static bool is_json_behind(int argc, char **argv)
{
    for (int i = optind; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

static int parse(int argc, char **argv, const struct np_option *options, struct np_common *common,
                 struct np_error *err)
{
    struct tables tables = {.letters = ":"};
    const struct np_option shared[] = {
        {'q', "quiet", NP_OPTION_FLAG, &common->quiet},
        {'v', "verbose", NP_OPTION_FLAG, &common->verbose},
        {0, "json", NP_OPTION_FLAG, &common->json},
        {'h', "help", NP_OPTION_FLAG, &common->help},
    };
    for (; options->name != NULL; options++)
        add_option(&tables, options);
    for (size_t i = 0; i < NP_ARRAY_SIZE(shared); i++)
        add_option(&tables, &shared[i]);

    optind = 1;
    opterr = 0;
    for (int got; (got = getopt_long(argc, argv, tables.letters, tables.longs, NULL)) != -1;) {
        const struct np_option *option = got == '?' || got == ':' ? NULL : find_option(&tables, got);
        if (option == NULL)
            return bad_option(argc, argv, argv[0], got, err);
        if (check_value(option, optarg, err) < 0 || apply(option, optarg, err) < 0)
            return -1;
        if (common->help)
            return 0;
    }
    if (optind < argc)
        return not_an_option(argv[optind], argv[0], err);
    np_output_log(common->quiet, common->verbose);
    return 0;
}

int np_options_parse(int argc, char **argv, const struct np_option *options, struct np_common *common,
                     struct np_error *err)
{
    int done = parse(argc, argv, options, common, err);
    common->json = common->json || (done < 0 && is_json_behind(argc, argv));
    return done;
}
