#include "nbdpull/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the call of the sink */
static np_log_sink *sink_function;
static void *sink_ctx;

void np_log_to(np_log_sink *sink, void *ctx)
{
    sink_function = sink;
    sink_ctx = ctx;
}

__attribute__((format(printf, 2, 0))) static void emit(enum np_log_level level, const char *format,
                                                       va_list args)
{
    if (sink_function == NULL)
        return;

    char line[4096];
    vsnprintf(line, sizeof(line), format, args);
    pthread_mutex_lock(&lock);
    sink_function(sink_ctx, level, line);
    pthread_mutex_unlock(&lock);
}

void np_log_debug(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    emit(NP_LOG_DEBUG, format, args);
    va_end(args);
}

void np_log_info(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    emit(NP_LOG_INFO, format, args);
    va_end(args);
}

void np_log_warning(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    emit(NP_LOG_WARNING, format, args);
    va_end(args);
}
