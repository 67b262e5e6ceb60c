/* One subscriber: an HTTP/1.1 response of Server-Sent Events, over TCP or TLS, taken apart into frames. */
#ifndef STREAM_H
#define STREAM_H

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum phase { IDLE, CONNECTING, HANDSHAKING, HEAD, BODY, CLOSED };
enum chunk_part { CHUNK_SIZE, CHUNK_DATA, CHUNK_END };

struct stream {
    int fd;
    SSL *ssl; /* NULL without TLS */
    enum phase phase;
    bool chunked;
    enum chunk_part chunk_part;
    size_t chunk_left;
    char *rest; /* of a response head or a frame that isn't complete yet */
    size_t rest_length, rest_capacity;

    /* What the load generator keeps about it. */
    unsigned number;
    bool ready, done, counted;
    uint64_t expected; /* number of the next event */
    uint64_t received;
    int64_t retry_ms, come_back_at;
};

/* A frame without its closing empty line; it isn't terminated by a zero. */
typedef void frame_handler(struct stream *stream, const char *frame, size_t length);

/* What came of bytes or of their absence. */
enum reading { READ_SOME, READ_NOTHING, READ_END };

/* Begin to connect; the caller watches `fd` for writability. Ends the process if the system has no socket left. */
void stream_connect(struct stream *stream, const struct sockaddr_in *server, const struct sockaddr_in *source, SSL_CTX *tls);

/* The connection is writable, or readable while it shakes hands: go on to the request. Returns whether it has been sent. */
bool stream_advance(struct stream *stream, const char *request, size_t length);

/* Read once and hand on every complete frame. `bytes` is increased by what was read from the connection. */
enum reading stream_receive(struct stream *stream, frame_handler *handler, uint64_t *bytes);

/* Close the connection and forget what was left of it; counters stay. */
void stream_close(struct stream *stream);

#endif
