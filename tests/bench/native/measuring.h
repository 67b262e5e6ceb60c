/* Time, latencies and the CPU of other processes: what sseload tells about a server. */
#ifndef MEASURING_H
#define MEASURING_H

#include <stddef.h>
#include <stdint.h>

/* Nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share. */
int64_t now_ns(void);

enum { LATENCY_BUCKETS = 64 * 64 };

/* Latencies in buckets that are at most 1/64 wide: any number of them in constant memory. */
struct latencies {
    uint64_t count;
    int64_t highest;
    uint64_t buckets[LATENCY_BUCKETS];
};

void latencies_clear(struct latencies *all);
void latencies_add(struct latencies *all, int64_t ns);
/* The upper bound of the bucket that holds the given percentile; 0 without any latency. */
int64_t latencies_percentile(const struct latencies *all, double percent);

/* Nanoseconds that all threads of these processes have been on a CPU since they started. Ends this process if one is gone. */
uint64_t cpu_ns_of(const int *pids, size_t count);

/* Print a message and end this process with exit code 1. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
