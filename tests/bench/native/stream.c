#define _GNU_SOURCE
#include "stream.h"

#include "measuring.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 256 * 1024, MOST_REST = 64 * 1024 * 1024 };

static char buffer[READ_BYTES];

void stream_connect(struct stream *stream, const struct sockaddr_in *server, const struct sockaddr_in *source, SSL_CTX *tls) {
    stream->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (stream->fd < 0) fail("no socket for stream %u: %s", stream->number, strerror(errno));
    int on = 1;
    setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (source != NULL) {
        /* The port is chosen at connect, so that ports are counted per destination. */
        setsockopt(stream->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(stream->fd, (const struct sockaddr *)source, sizeof *source) != 0) fail("bind: %s", strerror(errno));
    }
    if (connect(stream->fd, (const struct sockaddr *)server, sizeof *server) != 0 && errno != EINPROGRESS) {
        fail("stream %u can't connect: %s", stream->number, strerror(errno));
    }
    stream->phase = CONNECTING;
    if (tls != NULL) {
        stream->ssl = SSL_new(tls);
        SSL_set_fd(stream->ssl, stream->fd);
        SSL_set_connect_state(stream->ssl);
    }
}

static bool shake_hands(struct stream *stream) {
    stream->phase = HANDSHAKING;
    int result = SSL_do_handshake(stream->ssl);
    if (result == 1) return true;
    int why = SSL_get_error(stream->ssl, result);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) fail("TLS handshake of stream %u failed", stream->number);
    return false;
}

bool stream_advance(struct stream *stream, const char *request, size_t length) {
    if (stream->phase == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error != 0) fail("stream %u can't connect: %s", stream->number, strerror(error));
    }
    if (stream->ssl != NULL && !shake_hands(stream)) return false;
    /* A request is small and the first thing sent: it fits the socket's empty buffer. */
    ssize_t sent = stream->ssl != NULL ? SSL_write(stream->ssl, request, (int)length) : send(stream->fd, request, length, MSG_NOSIGNAL);
    if (sent != (ssize_t)length) fail("the request of stream %u can't be sent: %s", stream->number, strerror(errno));
    stream->phase = HEAD;
    stream->chunked = false;
    stream->chunk_part = CHUNK_SIZE;
    stream->chunk_left = 0;
    return true;
}

static void keep(struct stream *stream, const char *data, size_t length) {
    size_t needed = stream->rest_length + length;
    if (needed > MOST_REST) fail("stream %u: a frame larger than %d bytes", stream->number, MOST_REST);
    if (needed > stream->rest_capacity) {
        stream->rest_capacity = needed < 512 ? 512 : 2 * needed;
        stream->rest = realloc(stream->rest, stream->rest_capacity);
        if (stream->rest == NULL) fail("out of memory");
    }
    memmove(stream->rest + stream->rest_length, data, length);
    stream->rest_length = needed;
}

/* Hand on what is complete; the number of bytes that were. */
static size_t frames(struct stream *stream, frame_handler *handler, const char *data, size_t length) {
    size_t begin = 0;
    while (begin < length) {
        const char *end = memmem(data + begin, length - begin, "\n\n", 2);
        if (end == NULL) break;
        size_t size = (size_t)(end - data) - begin;
        handler(stream, data + begin, size);
        begin += size + 2;
    }
    return begin;
}

/* Bytes of the event stream, without the chunks' framing. */
static void body(struct stream *stream, frame_handler *handler, const char *data, size_t length) {
    if (stream->rest_length == 0) {
        size_t taken = frames(stream, handler, data, length);
        if (taken < length) keep(stream, data + taken, length - taken);
        return;
    }
    keep(stream, data, length);
    size_t taken = frames(stream, handler, stream->rest, stream->rest_length);
    stream->rest_length -= taken;
    memmove(stream->rest, stream->rest + taken, stream->rest_length);
}

static int digit(char character) {
    if (isdigit((unsigned char)character)) return character - '0';
    return isxdigit((unsigned char)character) ? tolower((unsigned char)character) - 'a' + 10 : -1;
}

/* Whether the body has ended. */
static bool chunks(struct stream *stream, frame_handler *handler, const char *data, size_t length) {
    for (size_t place = 0; place < length;) {
        if (stream->chunk_part == CHUNK_DATA) {
            size_t part = length - place < stream->chunk_left ? length - place : stream->chunk_left;
            body(stream, handler, data + place, part);
            place += part;
            stream->chunk_left -= part;
            if (stream->chunk_left == 0) stream->chunk_part = CHUNK_END;
            continue;
        }
        char character = data[place++];
        if (stream->chunk_part == CHUNK_SIZE && digit(character) >= 0) {
            stream->chunk_left = stream->chunk_left * 16 + (size_t)digit(character);
        } else if (stream->chunk_part == CHUNK_SIZE && character == '\n') {
            if (stream->chunk_left == 0) return true;
            stream->chunk_part = CHUNK_DATA;
        } else if (stream->chunk_part == CHUNK_END && character == '\n') {
            stream->chunk_part = CHUNK_SIZE;
        } else if (character != '\r') {
            fail("stream %u: broken chunked encoding", stream->number);
        }
    }
    return false;
}

/* Read the response's head if it is complete, and go on with what is behind it. */
static bool head(struct stream *stream, frame_handler *handler, const char *data, size_t length) {
    keep(stream, data, length);
    char *end = memmem(stream->rest, stream->rest_length, "\r\n\r\n", 4);
    if (end == NULL) return false;
    *end = 0;
    if (strncmp(stream->rest, "HTTP/1.1 200", 12) != 0 && strncmp(stream->rest, "HTTP/1.0 200", 12) != 0) {
        fail("stream %u was refused: %.300s", stream->number, stream->rest);
    }
    stream->chunked = strcasestr(stream->rest, "\r\ntransfer-encoding: chunked") != NULL;
    stream->phase = BODY;
    char *behind = end + 4;
    size_t left = stream->rest_length - (size_t)(behind - stream->rest);
    char *copy = malloc(left + 1);
    if (copy == NULL) fail("out of memory");
    memcpy(copy, behind, left);
    stream->rest_length = 0;
    bool ended = stream->chunked && chunks(stream, handler, copy, left);
    if (!stream->chunked) body(stream, handler, copy, left);
    free(copy);
    return ended;
}

/* Bytes read, 0 at the end, -1 if there is nothing now. */
static ssize_t read_once(struct stream *stream) {
    if (stream->ssl == NULL) {
        ssize_t count = recv(stream->fd, buffer, sizeof buffer, 0);
        return count < 0 && errno != EAGAIN && errno != EINTR ? 0 : count;
    }
    int count = SSL_read(stream->ssl, buffer, (int)sizeof buffer);
    if (count > 0) return count;
    return SSL_get_error(stream->ssl, count) == SSL_ERROR_WANT_READ ? -1 : 0;
}

enum reading stream_receive(struct stream *stream, frame_handler *handler, uint64_t *bytes) {
    do {
        ssize_t count = read_once(stream);
        if (count == 0) return READ_END;
        if (count < 0) return READ_NOTHING;
        *bytes += (uint64_t)count;
        size_t length = (size_t)count;
        if (stream->phase == HEAD) {
            if (head(stream, handler, buffer, length)) return READ_END;
        } else if (stream->chunked) {
            if (chunks(stream, handler, buffer, length)) return READ_END;
        } else {
            body(stream, handler, buffer, length);
        }
    } while (stream->ssl != NULL && SSL_pending(stream->ssl) > 0);
    return READ_SOME;
}

void stream_close(struct stream *stream) {
    if (stream->ssl != NULL) SSL_free(stream->ssl);
    stream->ssl = NULL;
    if (stream->fd >= 0) close(stream->fd);
    stream->fd = -1;
    free(stream->rest);
    stream->rest = NULL;
    stream->rest_length = stream->rest_capacity = 0;
    stream->phase = CLOSED;
}
