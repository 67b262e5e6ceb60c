#define _GNU_SOURCE
#include "options.h"

#include "measuring.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "sseload --port PORT --path PATH --streams N [options]\n"
    "  opens N streams, prints a JSON line when all are open, and one for each pace:\n"
    "  --host ADDRESS        of the server (default 127.0.0.1)\n"
    "  --spread S            %u in PATH is the stream's number modulo S\n"
    "  --header 'NAME: VALUE'\n"
    "  --ready-event NAME    a stream is open once this frame has come (default: with the response's head)\n"
    "  --opening N           at most so many connections that are not open yet (default 64)\n"
    "  --sources N           connect from N addresses of 127.0.1.0/24\n"
    "  --come-back           after a goodbye before it is open, try again when the server says\n"
    "  --tls                 over TLS; certificates aren't looked at\n"
    "  --publish-port PORT --publish-path PATH --event FILE\n"
    "  --pace BURST,PER_SECOND,WARM_UP,MEASURED\n"
    "  --first N             number of the first event (default 1)\n"
    "  --stride N            a stream gets every N-th event (default 1)\n"
    "  --replay N            a stream is open once it has had N events, from --first on\n"
    "  --relay               print each event that has come to all streams\n"
    "  --hold                stay until standard input ends\n"
    "  --pid PID             a process of the server, whose CPU is counted\n"
    "  --cpu N               stay on this CPU\n"
    "  --patience SECONDS    longest wait for anything (default 60)\n";

enum name {
    PORT = 1, HOST, PATH, STREAMS, SPREAD, HEADER, READY_EVENT, OPENING, SOURCES, COME_BACK, TLS, PUBLISH_PORT, PUBLISH_PATH, EVENT,
    PACE, FIRST, STRIDE, REPLAY, RELAY, HOLD, PID, CPU, PATIENCE
};

static const struct option names[] = {
    {"port", 1, NULL, PORT}, {"host", 1, NULL, HOST}, {"path", 1, NULL, PATH}, {"streams", 1, NULL, STREAMS}, {"spread", 1, NULL, SPREAD},
    {"header", 1, NULL, HEADER}, {"ready-event", 1, NULL, READY_EVENT}, {"opening", 1, NULL, OPENING},
    {"sources", 1, NULL, SOURCES}, {"come-back", 0, NULL, COME_BACK}, {"tls", 0, NULL, TLS},
    {"publish-port", 1, NULL, PUBLISH_PORT}, {"publish-path", 1, NULL, PUBLISH_PATH}, {"event", 1, NULL, EVENT},
    {"pace", 1, NULL, PACE}, {"first", 1, NULL, FIRST}, {"stride", 1, NULL, STRIDE}, {"replay", 1, NULL, REPLAY},
    {"relay", 0, NULL, RELAY}, {"hold", 0, NULL, HOLD}, {"pid", 1, NULL, PID}, {"cpu", 1, NULL, CPU},
    {"patience", 1, NULL, PATIENCE}, {NULL, 0, NULL, 0},
};

static void take_port(struct sockaddr_in *address, const char *port) { address->sin_port = htons((uint16_t)atoi(port)); }

static void take_host(struct sockaddr_in *address, const char *host) {
    if (inet_pton(AF_INET, host, &address->sin_addr) != 1) fail("not an IPv4 address: %s", host);
}

static void read_event(struct options *options, const char *path) {
    FILE *file = fopen(path, "re");
    if (file == NULL) fail("%s can't be read", path);
    options->event = malloc(64 * 1024);
    if (options->event == NULL) fail("out of memory");
    options->event_length = fread(options->event, 1, 64 * 1024, file);
    fclose(file);
}

static void add_header(struct options *options, const char *line) {
    size_t length = strlen(options->headers);
    int added = snprintf(options->headers + length, sizeof options->headers - length, "%s\r\n", line);
    if (added < 0 || (size_t)added >= sizeof options->headers - length) fail("too many headers");
}

static void add_pace(struct options *options, const char *text) {
    if (options->pace_count == MOST_PHASES) fail("at most %d paces", MOST_PHASES);
    struct pace *pace = &options->paces[options->pace_count++];
    const char *form = "%" SCNu64 ",%lf,%" SCNu64 ",%" SCNu64;
    if (sscanf(text, form, &pace->burst, &pace->per_second, &pace->warm_up, &pace->measured) != 4) fail("no pace: %s", text);
}

static void add_pid(struct options *options, const char *text) {
    if (options->pid_count == MOST_PIDS) fail("at most %d processes", MOST_PIDS);
    options->pids[options->pid_count++] = atoi(text);
}

static void take(struct options *options, int option, const char *value) {
    switch ((enum name)option) {
        case PORT: take_port(&options->server, value); break;
        case HOST: take_host(&options->server, value); break;
        case PATH: options->path = value; break;
        case STREAMS: options->streams = (unsigned)atoi(value); break;
        case SPREAD: options->spread = (unsigned)atoi(value); break;
        case HEADER: add_header(options, value); break;
        case READY_EVENT: options->ready_event = value; break;
        case OPENING: options->opening = (unsigned)atoi(value); break;
        case SOURCES: options->sources = (unsigned)atoi(value); break;
        case COME_BACK: options->come_back = true; break;
        case TLS: options->tls = true; break;
        case PUBLISH_PORT: take_port(&options->publish, value); break;
        case PUBLISH_PATH: options->publish_path = value; break;
        case EVENT: read_event(options, value); break;
        case PACE: add_pace(options, value); break;
        case FIRST: options->first = strtoull(value, NULL, 10); break;
        case STRIDE: options->stride = strtoull(value, NULL, 10); break;
        case REPLAY: options->replay = strtoull(value, NULL, 10); break;
        case RELAY: options->relay = true; break;
        case HOLD: options->hold = true; break;
        case PID: add_pid(options, value); break;
        case CPU: options->cpu = atoi(value); break;
        case PATIENCE: options->patience = atof(value); break;
        default: fail("%s", usage);
    }
}

void options_parse(struct options *options, int argc, char **argv) {
    *options = (struct options){.spread = 1, .opening = 64, .first = 1, .stride = 1, .cpu = -1, .patience = 60};
    options->server.sin_family = options->publish.sin_family = AF_INET;
    options->server.sin_addr.s_addr = options->publish.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int option = getopt_long(argc, argv, "", names, NULL); option != -1; option = getopt_long(argc, argv, "", names, NULL)) {
        take(options, option, optarg);
    }
    bool publishes = options->publish.sin_port != 0 && options->publish_path != NULL && options->event != NULL;
    if (options->path == NULL || options->server.sin_port == 0 || options->streams == 0) fail("%s", usage);
    if (options->spread == 0 || options->stride == 0 || options->opening == 0) fail("%s", usage);
    if (options->pace_count > 0 && !publishes) fail("%s", usage);
}
