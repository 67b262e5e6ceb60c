/* Loads a server of Server-Sent Events with subscribers and one publisher, in one thread, and says what came of it.
 *
 * Each event carries its number and the time at which it was published (publisher.h), so that every subscriber's gaps, doubles
 * and delays are counted. Results are JSON lines: one when all streams are open, one for each pace, and one at the end if they
 * were held. Anything that isn't as it must be (a refusal, a stream that ends, nothing within the time allowed) ends the process
 * with a message and exit code 1. */
#define _GNU_SOURCE
#include "measuring.h"
#include "options.h"
#include "publisher.h"
#include "stream.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { TURN_EVENTS = 256, RELAYED = 4096 };

/* An event on its way to all streams, by its place in the server's order. */
struct relayed {
    uint64_t place;
    unsigned streams;
    int64_t first;
};

static struct options options;
static struct stream *streams;
static struct publisher publisher;
static struct latencies latencies;
static struct relayed relayed[RELAYED];
static SSL_CTX *tls;
static int epoll;
static int64_t read_at;
static bool input_ended;

/* Of all streams: since the start, but for the first three, which are those of the pace. */
static uint64_t deliveries, bytes, reads;
static uint64_t gaps, doubles, resets, drops, away, opening, ready;

static double milliseconds(int64_t ns) { return (double)ns / 1e6; }

static bool begins(const char *frame, size_t length, const char *with) {
    size_t size = strlen(with);
    return length >= size && memcmp(frame, with, size) == 0;
}

/* The bytes behind `key` at the start of one of the frame's lines; NULL without it. */
static const char *field(const char *frame, size_t length, const char *key) {
    char within[32];
    if (begins(frame, length, key)) return frame + strlen(key);
    int size = snprintf(within, sizeof within, "\n%s", key);
    const char *line = memmem(frame, length, within, (size_t)size);
    return line == NULL ? NULL : line + size;
}

static uint64_t decimal(const char *digits, size_t count) {
    uint64_t value = 0;
    for (size_t place = 0; place < count && digits[place] >= '0' && digits[place] <= '9'; place++) {
        value = value * 10 + (uint64_t)(digits[place] - '0');
    }
    return value;
}

static void mark_ready(struct stream *stream) {
    if (stream->ready) return;
    stream->ready = true;
    ready++;
    opening--;
}

static void count_event(struct stream *stream, const char *marker) {
    uint64_t number = decimal(marker + strlen(MARKER), NUMBER_DIGITS);
    if (number < stream->expected) {
        doubles++;
        return;
    }
    gaps += (number - stream->expected) / options.stride;
    stream->expected = number + options.stride;
    stream->received++;
    deliveries++;
    latencies_add(&latencies, read_at - (int64_t)decimal(marker + strlen(MARKER) + NUMBER_DIGITS + 1, TIME_DIGITS));
    if (stream->received == options.replay) mark_ready(stream);
}

/* Print an event when the last stream has it. */
static void relay(const char *frame, size_t length, const char *id) {
    const char *place_of = memchr(id, '-', length - (size_t)(id - frame));
    const char *data = field(frame, length, "data: ");
    if (place_of == NULL || data == NULL) return;
    uint64_t place = decimal(place_of + 1, length - (size_t)(place_of + 1 - frame));
    struct relayed *event = &relayed[place % RELAYED];
    if (event->place != place) *event = (struct relayed){.place = place, .first = read_at};
    if (++event->streams < options.streams) return;
    const char *end = memchr(data, '\n', length - (size_t)(data - frame));
    int size = (int)(end == NULL ? length - (size_t)(data - frame) : (size_t)(end - data));
    printf("{\"first\":%.9f,\"last\":%.9f,\"event\":%.*s}\n", (double)event->first / 1e9, (double)read_at / 1e9, size, data);
    fflush(stdout);
}

static void on_frame(struct stream *stream, const char *frame, size_t length) {
    const char *id = field(frame, length, "id: ");
    const char *marker = memmem(frame, length, MARKER, strlen(MARKER));
    const char *name = field(frame, length, "event: ");
    const char *retry = field(frame, length, "retry: ");
    if (retry != NULL) stream->retry_ms = (int64_t)decimal(retry, length - (size_t)(retry - frame));
    if (id != NULL && marker != NULL && (size_t)(frame + length - marker) >= MARKER_BYTES) {
        count_event(stream, marker);
    } else if (name != NULL) {
        size_t left = length - (size_t)(name - frame);
        resets += begins(name, left, "reset\n");
        drops += begins(name, left, "dropped\n");
        if (options.ready_event != NULL && options.replay == 0 && begins(name, left, options.ready_event)) mark_ready(stream);
    }
    if (options.relay && id != NULL) relay(frame, length, id);
}

static void watch(struct stream *stream, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = stream};
    if (epoll_ctl(epoll, operation, stream->fd, &event) != 0) fail("epoll");
}

static void open_stream(struct stream *stream) {
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(0x7f000101U + (options.sources ? stream->number % options.sources : 0));
    stream_connect(stream, &options.server, options.sources ? &source : NULL, tls);
    watch(stream, EPOLL_CTL_ADD, EPOLLOUT);
    opening++;
}

static void send_request(struct stream *stream) {
    char request[4096], path[1024];
    const char *number = strstr(options.path, "%u");
    int before = number == NULL ? (int)strlen(options.path) : (int)(number - options.path);
    if (number == NULL) {
        snprintf(path, sizeof path, "%s", options.path);
    } else {
        snprintf(path, sizeof path, "%.*s%u%s", before, options.path, stream->number % options.spread, number + 2);
    }
    const char *form = "GET %s HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n%s\r\n";
    int length = snprintf(request, sizeof request, form, path, options.headers);
    if (length < 0 || (size_t)length >= sizeof request) fail("the request is too long");
    bool sent = stream_advance(stream, request, (size_t)length);
    watch(stream, EPOLL_CTL_MOD, sent || stream->ssl != NULL ? EPOLLIN : EPOLLOUT);
}

/* The server has ended a stream: not before it was served, unless it asked to come back. */
static void on_end(struct stream *stream) {
    bool may = options.come_back && !stream->ready;
    stream_close(stream);
    if (!may) fail("stream %u was ended by the server", stream->number);
    stream->come_back_at = read_at + stream->retry_ms * 1000000;
    opening--;
    away++;
}

static void on_stream(struct stream *stream) {
    read_at = now_ns();
    if (stream->phase == CONNECTING || stream->phase == HANDSHAKING) {
        send_request(stream);
        return;
    }
    enum reading reading = stream_receive(stream, on_frame, &bytes);
    reads += reading == READ_SOME;
    if (stream->phase == BODY && options.ready_event == NULL && options.replay == 0) mark_ready(stream);
    if (reading == READ_END) on_end(stream);
}

/* Wait for at most so long, and handle what has come. */
static void turn(int64_t most_ns) {
    struct epoll_event events[TURN_EVENTS];
    if (most_ns < 0) most_ns = 0;
    struct timespec most = {.tv_sec = most_ns / 1000000000, .tv_nsec = most_ns % 1000000000};
    int count = epoll_pwait2(epoll, events, TURN_EVENTS, &most, NULL);
    for (int each = 0; each < count; each++) {
        void *what = events[each].data.ptr;
        if (what == &input_ended) {
            char ignored[256];
            if (read(STDIN_FILENO, ignored, sizeof ignored) <= 0) input_ended = true;
        } else if (what == &publisher) {
            publisher_write(&publisher);
            publisher_read(&publisher);
        } else {
            on_stream(what);
        }
    }
}

static void come_back(void) {
    static int64_t looked_at;
    int64_t now = now_ns();
    if (now - looked_at < 1000000) return;
    looked_at = now;
    for (unsigned each = 0; each < options.streams; each++) {
        struct stream *stream = &streams[each];
        if (stream->phase == CLOSED && stream->come_back_at <= now) {
            open_stream(stream);
        }
    }
}

static void open_all(void) {
    int64_t begin = now_ns();
    int64_t deadline = begin + (int64_t)(options.patience * 1e9);
    for (unsigned next = 0; ready < options.streams;) {
        while (next < options.streams && opening < options.opening) open_stream(&streams[next++]);
        turn(1000000);
        if (away > 0) come_back();
        if (now_ns() > deadline) fail("%" PRIu64 " of %u streams were open in time", ready, options.streams);
    }
    printf(
        "{\"opened\":%u,\"ms\":%.3f,\"gaps\":%" PRIu64 ",\"doubles\":%" PRIu64 ",\"resets\":%" PRIu64 ",\"drops\":%" PRIu64
        ",\"sent_away\":%" PRIu64 ",\"deliveries\":%" PRIu64 ",\"bytes\":%" PRIu64 "}\n",
        options.streams, milliseconds(now_ns() - begin), gaps, doubles, resets, drops, away, deliveries, bytes);
    fflush(stdout);
}

static uint64_t own_cpu_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

static bool all_have(uint64_t wanted) { return deliveries + gaps >= wanted && publisher.unanswered == 0; }

/* Publish so many bursts at the pace, and wait until every stream has what is its. */
static void publish(const struct pace *pace, uint64_t bursts, uint64_t *next) {
    int64_t begin = now_ns();
    uint64_t had = deliveries + gaps;
    for (uint64_t burst = 0; burst <= bursts; burst++) {
        int64_t due = pace->per_second > 0 ? begin + (int64_t)((double)burst * 1e9 / pace->per_second) : 0;
        uint64_t wanted = had + burst * pace->burst * options.streams / options.stride;
        int64_t deadline = now_ns() + (int64_t)(options.patience * 1e9);
        bool last = burst == bursts;
        while (last || pace->per_second <= 0 ? !all_have(wanted) : now_ns() < due) {
            turn(pace->per_second > 0 && !last ? due - now_ns() : 1000000000);
            if (now_ns() > deadline) fail("%" PRIu64 " of %" PRIu64 " deliveries in time", deliveries + gaps - had, wanted - had);
        }
        if (!last) {
            publisher_publish(&publisher, *next, pace->burst);
            *next += pace->burst;
        }
    }
}

static void run_pace(const struct pace *pace, uint64_t *next) {
    publish(pace, pace->warm_up, next);
    latencies_clear(&latencies);
    deliveries = bytes = reads = 0;
    uint64_t gaps_before = gaps, doubles_before = doubles, own = own_cpu_ns();
    int64_t begin = now_ns();
    uint64_t cpu = cpu_ns_of(options.pids, options.pid_count);
    publish(pace, pace->measured, next);
    cpu = cpu_ns_of(options.pids, options.pid_count) - cpu;
    int64_t wall = now_ns() - begin;
    printf(
        "{\"deliveries\":%" PRIu64 ",\"gaps\":%" PRIu64 ",\"doubles\":%" PRIu64 ",\"drops\":%" PRIu64 ",\"resets\":%" PRIu64
        ",\"bytes\":%" PRIu64 ",\"reads\":%" PRIu64 ",\"cpu_ns\":%" PRIu64 ",\"own_cpu_ns\":%" PRIu64 ",\"wall_ns\":%" PRId64
        ",\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}\n",
        deliveries, gaps - gaps_before, doubles - doubles_before, drops, resets, bytes, reads, cpu, own_cpu_ns() - own, wall,
        milliseconds(latencies_percentile(&latencies, 50)), milliseconds(latencies_percentile(&latencies, 99)),
        milliseconds(latencies.highest));
    fflush(stdout);
}

/* Stay until nobody needs the streams any more, and say what they have got. */
static void hold(void) {
    while (!input_ended) turn(1000000000);
    printf("{\"held\":%u,\"deliveries\":%" PRIu64 ",\"bytes\":%" PRIu64 "}\n", options.streams, deliveries, bytes);
    fflush(stdout);
}

static void prepare(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (options.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)options.cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set) != 0) fail("there is no CPU %d", options.cpu);
    }
    if (options.tls) {
        tls = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION);
        SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &input_ended};
    if (options.hold && epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0) fail("standard input can't be waited for");
    streams = calloc(options.streams, sizeof *streams);
    if (streams == NULL) fail("out of memory");
    for (unsigned each = 0; each < options.streams; each++) {
        uint64_t residue = (each % options.spread + options.stride - options.first % options.stride) % options.stride;
        streams[each] = (struct stream){.fd = -1, .number = each, .expected = options.first + residue};
    }
}

int main(int argc, char **argv) {
    options_parse(&options, argc, argv);
    prepare();
    open_all();
    uint64_t next = options.first;
    if (options.publish_path != NULL) {
        publisher_open(&publisher, &options.publish, options.publish_path, options.event, options.event_length);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &publisher};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, publisher.fd, &event) != 0) fail("epoll");
    }
    for (size_t each = 0; each < options.pace_count; each++) run_pace(&options.paces[each], &next);
    if (options.hold) hold();
    return 0;
}
