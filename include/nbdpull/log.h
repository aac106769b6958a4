/**
 * @file log.h
 * What the program did, for `-v`, and warnings. Modules say things here; only src/cli decides whether and
 * where they are printed. Safe from any thread.
 */
#ifndef NBDPULL_LOG_H
#define NBDPULL_LOG_H

enum np_log_level {
    NP_LOG_DEBUG,   /**< steps, sizes, identities: with -v */
    NP_LOG_INFO,    /**< one line about something put right or left out: always, unless -q */
    NP_LOG_WARNING, /**< the user should act: always */
};

/** Receives one line without its newline. Called from any thread, one call at a time. */
typedef void np_log_sink(void *ctx, enum np_log_level level, const char *line);

/** Where lines go; NULL drops them (the default). Called once, before other threads run. */
void np_log_to(np_log_sink *sink, void *ctx);

void np_log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
void np_log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void np_log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
