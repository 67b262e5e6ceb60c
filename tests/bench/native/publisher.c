#define _GNU_SOURCE
#include "publisher.h"

#include "measuring.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void publisher_open(struct publisher *publisher, const struct sockaddr_in *server, const char *path, char *body, size_t length) {
    memset(publisher, 0, sizeof *publisher);
    publisher->path = path;
    publisher->body = body;
    publisher->body_length = length;
    publisher->marker = memmem(body, length, MARKER, strlen(MARKER));
    if (publisher->marker == NULL || publisher->marker + MARKER_BYTES > body + length) fail("the event has no %s marker", MARKER);
    publisher->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(publisher->fd, (const struct sockaddr *)server, sizeof *server) != 0) fail("publisher: %s", strerror(errno));
    int on = 1;
    setsockopt(publisher->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void append(struct publisher *publisher, const char *data, size_t length) {
    size_t needed = publisher->out_length + length;
    if (needed > publisher->out_capacity) {
        publisher->out_capacity = 2 * needed;
        publisher->out = realloc(publisher->out, publisher->out_capacity);
        if (publisher->out == NULL) fail("out of memory");
    }
    memcpy(publisher->out + publisher->out_length, data, length);
    publisher->out_length = needed;
}

void publisher_publish(struct publisher *publisher, uint64_t number, uint64_t count) {
    char head[256];
    int head_length = snprintf(
        head, sizeof head, "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Length: %zu\r\n\r\n", publisher->path, publisher->body_length);
    if (head_length < 0 || (size_t)head_length >= sizeof head) fail("the path to publish to is too long");
    int64_t now = now_ns();
    for (uint64_t each = 0; each < count; each++) {
        char digits[MARKER_BYTES + 1];
        snprintf(digits, sizeof digits, MARKER "%010" PRIu64 "/%020" PRId64, number + each, now);
        memcpy(publisher->marker, digits, MARKER_BYTES);
        append(publisher, head, (size_t)head_length);
        append(publisher, publisher->body, publisher->body_length);
    }
    publisher->unanswered += count;
    publisher_write(publisher);
}

bool publisher_write(struct publisher *publisher) {
    while (publisher->out_sent < publisher->out_length) {
        char *data = publisher->out + publisher->out_sent;
        ssize_t sent = send(publisher->fd, data, publisher->out_length - publisher->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) return false;
        if (sent < 0) fail("publishing: %s", strerror(errno));
        publisher->out_sent += (size_t)sent;
    }
    publisher->out_length = publisher->out_sent = 0;
    return true;
}

/* The length of the first answer in the buffer, 0 if it isn't complete. */
static size_t answer_length(struct publisher *publisher) {
    char *end = memmem(publisher->in, publisher->in_length, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    *end = 0;
    if (strncmp(publisher->in, "HTTP/1.1 2", 10) != 0) fail("publishing was refused: %.200s", publisher->in);
    const char *header = strcasestr(publisher->in, "\r\ncontent-length:");
    size_t length = header == NULL ? 0 : strtoul(header + 17, NULL, 10);
    *end = '\r';
    size_t whole = (size_t)(end - publisher->in) + 4 + length;
    return whole <= publisher->in_length ? whole : 0;
}

static void take_answers(struct publisher *publisher) {
    for (size_t length = answer_length(publisher); length > 0; length = answer_length(publisher)) {
        if (publisher->unanswered == 0) fail("an answer that nobody asked for");
        publisher->unanswered--;
        publisher->in_length -= length;
        memmove(publisher->in, publisher->in + length, publisher->in_length);
    }
}

void publisher_read(struct publisher *publisher) {
    for (;;) {
        size_t room = sizeof publisher->in - 1 - publisher->in_length;
        ssize_t count = recv(publisher->fd, publisher->in + publisher->in_length, room, MSG_DONTWAIT);
        if (count < 0 && errno == EAGAIN) return;
        if (count <= 0) fail("the server closed the publisher's connection");
        publisher->in_length += (size_t)count;
        take_answers(publisher);
    }
}
