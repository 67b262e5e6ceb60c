/* The plainest server of Server-Sent Events: a POST is an event, a GET is a subscriber, and one loop calls send() for each.
 *
 * It has no ids to resume from, no filters, no history and no TLS. It batches as the operator's gateway does: what has come is
 * sent at once if the last batch is at least a tick ago, else with everything else at the tick. So what it needs for an event is
 * what the kernel needs, and little more. Usage: sendloop TICK_MS; it prints its port. */
#define _GNU_SOURCE
#include "measuring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TURN_EVENTS = 256, IN_BYTES = 256 * 1024, BACKLOG = 4096, CHUNK_HEAD = 10 };

struct bytes {
    char *data;
    size_t length, capacity;
};

struct connection {
    int fd;
    struct bytes in; /* of a request that isn't complete yet */
    struct bytes late; /* what the kernel had no room for */
    struct connection *next;
};

static const char stream_head[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-store, no-transform\r\n"
    "Transfer-Encoding: chunked\r\n\r\n10\r\nretry: 2000\n:hi\n\r\n";
static const char accepted[] = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

static struct connection *subscribers;
static struct bytes batch; /* frames to be sent, with room for the chunk's size before them */
static uint64_t events;
static int epoll;

static void append(struct bytes *bytes, const char *data, size_t length) {
    if (bytes->length + length > bytes->capacity) {
        bytes->capacity = 2 * (bytes->length + length);
        bytes->data = realloc(bytes->data, bytes->capacity);
        if (bytes->data == NULL) fail("out of memory");
    }
    memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
}

static void drop_front(struct bytes *bytes, size_t length) {
    bytes->length -= length;
    memmove(bytes->data, bytes->data + length, bytes->length);
}

static void watch(struct connection *connection, int operation, uint32_t interest) {
    struct epoll_event event = {.events = interest, .data.ptr = connection};
    epoll_ctl(epoll, operation, connection->fd, &event);
}

static void forget(struct connection *connection) {
    for (struct connection **each = &subscribers; *each != NULL; each = &(*each)->next) {
        if (*each == connection) {
            *each = connection->next;
            break;
        }
    }
    close(connection->fd);
    free(connection->in.data);
    free(connection->late.data);
    free(connection);
}

static void send_to(struct connection *connection, const char *data, size_t length) {
    ssize_t sent = 0;
    if (connection->late.length == 0) sent = send(connection->fd, data, length, MSG_NOSIGNAL);
    if (sent < 0) sent = 0; /* no room; a connection that is broken is found by epoll */
    if ((size_t)sent == length) return;
    append(&connection->late, data + sent, length - (size_t)sent);
    watch(connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void send_late(struct connection *connection) {
    ssize_t sent = send(connection->fd, connection->late.data, connection->late.length, MSG_NOSIGNAL);
    if (sent > 0) drop_front(&connection->late, (size_t)sent);
    if (connection->late.length == 0) watch(connection, EPOLL_CTL_MOD, EPOLLIN);
}

static void add_event(const char *data, size_t length) {
    char id[48];
    if (batch.length == 0) append(&batch, "00000000\r\n", CHUNK_HEAD);
    append(&batch, "event: status\ndata: ", 20);
    append(&batch, data, length);
    int size = snprintf(id, sizeof id, "\nid: sendloop-%" PRIu64 "\n\n", ++events);
    append(&batch, id, (size_t)size);
}

static void flush(void) {
    char size[CHUNK_HEAD + 1];
    snprintf(size, sizeof size, "%08zx\r\n", batch.length - CHUNK_HEAD);
    memcpy(batch.data, size, CHUNK_HEAD);
    append(&batch, "\r\n", 2);
    for (struct connection *each = subscribers; each != NULL; each = each->next) send_to(each, batch.data, batch.length);
    batch.length = 0;
}

/* Take the first request, if it is complete; its length. */
static size_t take_request(struct connection *connection, char *data, size_t length) {
    char *end = memmem(data, length, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    size_t head = (size_t)(end - data) + 4;
    if (memcmp(data, "GET", 3) == 0) {
        connection->next = subscribers;
        subscribers = connection;
        send_to(connection, stream_head, sizeof stream_head - 1);
        return head;
    }
    *end = 0;
    const char *header = strcasestr(data, "\r\ncontent-length:");
    *end = '\r';
    size_t size = header == NULL ? 0 : strtoul(header + 17, NULL, 10);
    if (head + size > length) return 0;
    add_event(data + head, size);
    send_to(connection, accepted, sizeof accepted - 1);
    return head + size;
}

static void receive(struct connection *connection) {
    static char buffer[IN_BYTES];
    ssize_t count = recv(connection->fd, buffer, sizeof buffer, 0);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) {
        forget(connection);
        return;
    }
    append(&connection->in, buffer, (size_t)count);
    size_t taken = 0;
    while (taken < connection->in.length) {
        size_t length = take_request(connection, connection->in.data + taken, connection->in.length - taken);
        if (length == 0) break;
        taken += length;
    }
    drop_front(&connection->in, taken);
    if (connection->in.length == 0) {
        free(connection->in.data);
        connection->in = (struct bytes){0};
    }
}

static void accept_one(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) fail("out of memory");
    connection->fd = fd;
    watch(connection, EPOLL_CTL_ADD, EPOLLIN);
}

static int listen_on_loopback(void) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    bool listens = bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, BACKLOG) == 0;
    if (!listens || getsockname(listener, (struct sockaddr *)&address, &size) != 0) fail("listen: %s", strerror(errno));
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static void handle(const struct epoll_event *event, int listener) {
    struct connection *connection = event->data.ptr;
    if (connection == NULL) {
        accept_one(listener);
        return;
    }
    if (event->events & EPOLLOUT && connection->late.length > 0) send_late(connection);
    if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(connection);
}

int main(int argc, char **argv) {
    if (argc != 2) fail("sendloop TICK_MS");
    int64_t tick = atoll(argv[1]) * 1000000, flushed = 0;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on_loopback();
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct epoll_event turn[TURN_EVENTS];
        int64_t left = batch.length > 0 ? flushed + tick - now_ns() : 1000000000;
        struct timespec wait = {.tv_sec = left > 0 ? left / 1000000000 : 0, .tv_nsec = left > 0 ? left % 1000000000 : 0};
        int count = epoll_pwait2(epoll, turn, TURN_EVENTS, &wait, NULL);
        for (int each = 0; each < count; each++) handle(&turn[each], listener);
        if (batch.length > 0 && now_ns() >= flushed + tick) {
            flush();
            flushed = now_ns();
        }
    }
}
