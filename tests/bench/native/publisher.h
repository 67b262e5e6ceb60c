/* The one who writes: events by POST over one keep-alive connection, several at once where they come in bursts. */
#ifndef PUBLISHER_H
#define PUBLISHER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct publisher {
    int fd;
    const char *path;
    char *body; /* one event; its number and time are written into it in place */
    size_t body_length;
    char *marker;
    char *out;
    size_t out_length, out_sent, out_capacity;
    char in[64 * 1024];
    size_t in_length;
    uint64_t unanswered;
};

/* How an event is known again in a frame: this, ten digits of its number, a slash, twenty digits of its time. */
#define MARKER "bench/"
enum { NUMBER_DIGITS = 10, TIME_DIGITS = 20, MARKER_BYTES = 6 + NUMBER_DIGITS + 1 + TIME_DIGITS };

/* Connect and take the body, which holds the marker followed by digits. Ends the process if that fails. */
void publisher_open(struct publisher *publisher, const struct sockaddr_in *server, const char *path, char *body, size_t length);

/* Send so many events with rising numbers from `number` on, all with the time of now. */
void publisher_publish(struct publisher *publisher, uint64_t number, uint64_t count);

/* Write what is left; whether all is written. */
bool publisher_write(struct publisher *publisher);

/* Read all answers that are there. Ends the process at one that isn't a success. */
void publisher_read(struct publisher *publisher);

#endif
