/* What sseload is asked to do. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOST_PHASES = 8, MOST_PIDS = 16, MOST_HEADERS = 8 };

/* Events in bursts, some to warm up and some that are measured. */
struct pace {
    uint64_t burst;      /* events written at once */
    double per_second;   /* bursts; 0: the next one when all subscribers have the last */
    uint64_t warm_up, measured; /* bursts */
};

struct options {
    struct sockaddr_in server;
    const char *path; /* `%u` in it is the stream's number modulo `spread` */
    unsigned streams, spread, sources, opening;
    char headers[2048];
    const char *ready_event; /* a stream is open with this frame; NULL: with the response's head */
    bool tls, come_back, relay, hold;

    struct sockaddr_in publish;
    const char *publish_path;
    char *event;
    size_t event_length;
    struct pace paces[MOST_PHASES];
    size_t pace_count;
    uint64_t first, stride, replay;

    int pids[MOST_PIDS];
    size_t pid_count;
    int cpu;
    double patience;
};

/* Ends the process with a usage message if they can't be understood. */
void options_parse(struct options *options, int argc, char **argv);

#endif
