/*
 * peak REPORT PROGRAM [ARGUMENT...]: run the program and write its peak memory (VmHWM, in KiB) and its wall
 * time (in ms) to the file REPORT; its exit status is passed on.
 *
 * getrusage would also count the children that it waited for, among them qemu-nbd. So the program is traced
 * and stopped for a moment at its very end, when its memory is still there to be looked at.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OPTIONS (PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL)

static void die(const char *what)
{
    fprintf(stderr, "peak: %s: %s\n", what, strerror(errno));
    exit(125);
}

static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static long peak_kib(pid_t pid)
{
    char path[64], line[256];
    long peak = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        die(path);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "VmHWM:", 6) == 0)
            peak = strtol(line + 6, NULL, 10);
    fclose(file);
    return peak;
}

static void start(char *argv[])
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
        die("ptrace");
    raise(SIGSTOP); /* until the parent has set its options */
    execvp(argv[0], argv);
    die(argv[0]);
}

/* Let the program run, signals included, until it is about to end. @return its peak, and its wait status */
static long follow(pid_t pid, int *end)
{
    int status, pass = 0;
    long peak = -1;
    for (;;) {
        if (ptrace(PTRACE_CONT, pid, NULL, pass) < 0 || waitpid(pid, &status, 0) < 0)
            die("follow");
        if (!WIFSTOPPED(status))
            break;
        pass = WSTOPSIG(status);
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8)) {
            peak = peak_kib(pid);
            pass = 0;
        } else if (pass == SIGTRAP) {
            pass = 0; /* its execve */
        }
    }
    if (peak < 0)
        die("no peak seen");
    *end = status;
    return peak;
}

int main(int argc, char *argv[])
{
    int status;
    if (argc < 3) {
        fprintf(stderr, "usage: peak REPORT PROGRAM [ARGUMENT...]\n");
        return 125;
    }
    long began = now_ms();
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0)
        start(argv + 2);
    if (waitpid(pid, &status, 0) < 0 || ptrace(PTRACE_SETOPTIONS, pid, NULL, OPTIONS) < 0)
        die("ptrace");
    long peak = follow(pid, &status);
    FILE *report = fopen(argv[1], "w");
    if (!report || fprintf(report, "%ld %ld\n", peak, now_ms() - began) < 0 || fclose(report) != 0)
        die(argv[1]);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
