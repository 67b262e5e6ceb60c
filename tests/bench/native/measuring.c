#define _GNU_SOURCE
#include "measuring.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

/* Values below 64 have a bucket each; from there 64 buckets for each doubling. */
static size_t bucket_of(uint64_t value) {
    if (value < 64) return value;
    unsigned doublings = 63U - (unsigned)__builtin_clzll(value) - 6;
    return (size_t)(doublings + 1) * 64 + (size_t)((value >> doublings) - 64);
}

static int64_t upper_bound(size_t bucket) {
    if (bucket < 64) return (int64_t)bucket;
    size_t doublings = bucket / 64 - 1;
    return (int64_t)(((bucket % 64 + 65) << doublings) - 1);
}

void latencies_clear(struct latencies *all) { memset(all, 0, sizeof *all); }

void latencies_add(struct latencies *all, int64_t ns) {
    if (ns < 0) ns = 0;
    if (ns > all->highest) all->highest = ns;
    all->count++;
    all->buckets[bucket_of((uint64_t)ns)]++;
}

int64_t latencies_percentile(const struct latencies *all, double percent) {
    double wanted = (double)all->count * percent / 100;
    uint64_t seen = 0;
    for (size_t bucket = 0; bucket < LATENCY_BUCKETS; bucket++) {
        seen += all->buckets[bucket];
        if (seen > 0 && (double)seen >= wanted) {
            int64_t bound = upper_bound(bucket);
            return bound < all->highest ? bound : all->highest;
        }
    }
    return 0;
}

/* schedstat(5): the first number is the time on a CPU. A thread may end between the listing and the reading. */
static uint64_t cpu_ns_of_thread(int pid, const char *thread) {
    char path[96];
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", pid, thread);
    FILE *file = fopen(path, "re");
    if (file == NULL) return 0;
    unsigned long long on_cpu = 0;
    if (fscanf(file, "%llu", &on_cpu) != 1) on_cpu = 0;
    fclose(file);
    return on_cpu;
}

uint64_t cpu_ns_of(const int *pids, size_t count) {
    uint64_t total = 0;
    for (size_t each = 0; each < count; each++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/task", pids[each]);
        DIR *threads = opendir(path);
        if (threads == NULL) fail("the server's process %d is gone", pids[each]);
        for (struct dirent *entry = readdir(threads); entry != NULL; entry = readdir(threads)) {
            if (entry->d_name[0] != '.') total += cpu_ns_of_thread(pids[each], entry->d_name);
        }
        closedir(threads);
    }
    return total;
}
