#include "output.h"

#include "nbdpull/bytes.h"
#include "nbdpull/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards standard error and what follows */
static bool line_is_shown;

static bool log_quiet, log_verbose;

const char *np_output_size(uint64_t bytes, char text[NP_SIZE_TEXT])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        unit++;
    }
    snprintf(text, NP_SIZE_TEXT, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text;
}

size_t np_output_character(const char *at)
{
    static const struct {
        unsigned char first, last, second_first, second_last;
        size_t length;
    } rows[] = {
        {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    const unsigned char *text = (const unsigned char *)at;
    size_t i = 0;
    while (i < NP_ARRAY_SIZE(rows) && (text[0] < rows[i].first || text[0] > rows[i].last))
        i++;
    if (i == NP_ARRAY_SIZE(rows))
        return 0;
    if (rows[i].length > 1 && (text[1] < rows[i].second_first || text[1] > rows[i].second_last))
        return 0;
    for (size_t k = 2; k < rows[i].length; k++)
        if (text[k] < 0x80 || text[k] > 0xbf)
            return 0;
    return rows[i].length;
}

/* ASCII's, those of U+0080 to U+009F, of which some terminals take one for an escape, and in the block
 * of General Punctuation the separators of lines and the marks of direction. */
bool np_output_is_control(const char *character)
{
    const unsigned char *c = (const unsigned char *)character;
    if (c[0] == 0xc2)
        return c[1] <= 0x9f;
    if (c[0] == 0xe2 && c[1] == 0x80)
        return c[2] == 0x8e || c[2] == 0x8f || (c[2] >= 0xa8 && c[2] <= 0xae);
    if (c[0] == 0xe2 && c[1] == 0x81)
        return c[2] >= 0xa6 && c[2] <= 0xa9;
    return c[0] < ' ' || c[0] == 0x7f;
}

static void clean(char *text)
{
    for (size_t length; *text != '\0'; text += length) {
        length = np_output_character(text);
        if (length == 0)
            memset(text, '?', length = 1);
        else if (np_output_is_control(text))
            memset(text, ' ', length);
    }
}

const char *np_output_text(const char *text, char *to, size_t room)
{
    snprintf(to, room, "%s", text);
    clean(to);
    return to;
}

void np_output_line(FILE *to, const char *format, ...)
{
    char *line;
    va_list args;
    va_start(args, format);
    int size = vasprintf(&line, format, args);
    va_end(args);
    if (size < 0)
        return;
    clean(line);
    fprintf(to, "%s\n", line);
    free(line);
}

static void clear_line_locked(void)
{
    if (line_is_shown)
        fputs("\r\033[K", stderr);
    line_is_shown = false;
}

void np_output_clear_line(void)
{
    pthread_mutex_lock(&lock);
    clear_line_locked();
    fflush(stderr);
    pthread_mutex_unlock(&lock);
}

/* Names and libvirt's texts may hold line breaks and escape sequences; a message stays one line of text. */
static void put_line(const char *before, const char *text)
{
    char line[NP_ERROR_MESSAGE_MAX];
    fprintf(stderr, "nbdpull: %s%s\n", before, np_output_text(text, line, sizeof(line)));
}

void np_output_error(const char *message)
{
    pthread_mutex_lock(&lock);
    clear_line_locked();
    put_line("", message);
    pthread_mutex_unlock(&lock);
}

static void print_log(void *ctx, enum np_log_level level, const char *line)
{
    (void)ctx;
    if ((level == NP_LOG_DEBUG && !log_verbose) || (level == NP_LOG_INFO && log_quiet))
        return;
    pthread_mutex_lock(&lock);
    clear_line_locked();
    put_line(level == NP_LOG_WARNING ? "warning: " : "", line);
    pthread_mutex_unlock(&lock);
}

void np_output_log(bool quiet, bool verbose)
{
    log_quiet = quiet;
    log_verbose = verbose;
    np_log_to(print_log, NULL);
}

/* ---- the progress line ---- */

struct drawing {
    double began, drawn;
};

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int percent(uint64_t done, uint64_t total)
{
    return total == 0 ? 100 : (int)((double)done * 100 / (double)total);
}

static void format_left(double seconds, char text[32])
{
    if (seconds > 359999)
        seconds = 359999;
    unsigned long s = (unsigned long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(text, 32, "%lu:%02lu:%02lu left", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, 32, "%lu:%02lu left", s / 60, s % 60);
}

static void format_line(const struct np_progress *p, double elapsed, char *line, size_t size)
{
    char disk_done[NP_SIZE_TEXT], disk_total[NP_SIZE_TEXT], done[NP_SIZE_TEXT], total[NP_SIZE_TEXT];
    char rate_text[NP_SIZE_TEXT], left[32] = "";
    double rate = elapsed > 0 ? (double)p->done / elapsed : 0;
    if (rate > 0 && p->total >= p->done && p->total > 0)
        format_left((double)(p->total - p->done) / rate, left);
    np_output_size((uint64_t)rate, rate_text);
    if (p->total == 0) { /* nobody knows how much there is to do */
        snprintf(line, size, "%s  %s/s", np_output_size(p->done, done), rate_text);
        return;
    }
    int used = snprintf(line, size, "%s %s of %s %3d%%", p->target, np_output_size(p->disk_done, disk_done),
                        np_output_size(p->disk_total, disk_total), percent(p->disk_done, p->disk_total));
    if (p->disks > 1 && used > 0 && (size_t)used < size)
        used += snprintf(line + used, size - (size_t)used, "  total %s of %s %3d%% (disk %zu of %zu)",
                         np_output_size(p->done, done), np_output_size(p->total, total),
                         percent(p->done, p->total), p->disk + 1, p->disks);
    if (used > 0 && (size_t)used < size)
        snprintf(line + used, size - (size_t)used, "  %s/s  %s", rate_text, left);
}

static void draw(void *ctx, const struct np_progress *progress)
{
    struct drawing *drawing = ctx;
    double now = seconds_now();
    if (drawing->began == 0)
        drawing->began = now;
    if (now - drawing->drawn < REDRAW_SECONDS)
        return;
    drawing->drawn = now;

    char line[256];
    struct winsize window = {.ws_col = 80};
    ioctl(STDERR_FILENO, TIOCGWINSZ, &window);
    format_line(progress, now - drawing->began, line, sizeof(line));
    if (window.ws_col > 1 && strlen(line) >= window.ws_col)
        line[window.ws_col - 1] = '\0';

    pthread_mutex_lock(&lock);
    fprintf(stderr, "\r%s\033[K", line);
    fflush(stderr);
    line_is_shown = true;
    pthread_mutex_unlock(&lock);
}

struct np_progress_hook np_output_progress(bool quiet)
{
    static struct drawing drawing;
    if (quiet || !isatty(STDERR_FILENO))
        return (struct np_progress_hook){0};
    drawing = (struct drawing){0};
    return (struct np_progress_hook){.show = draw, .ctx = &drawing};
}
