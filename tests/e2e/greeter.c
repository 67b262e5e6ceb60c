/* Without arguments: answers every connection to port 8080 with its pod's name.
   With an address, a port and a number: asks there so many times, and prints the answers. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void end(int signal_number) { _exit(0); }

static int ask(const char *host, int port) {
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &there.sin_addr);
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)&there, sizeof there)) return perror("connect"), 1;
    char answer[256];
    ssize_t length = read(connection, answer, sizeof answer);
    close(connection);
    return length <= 0 || write(1, answer, length) != length;
}

int main(int count, char **arguments) {
    if (count == 4) {
        for (int left = atoi(arguments[3]); left > 0; left--)
            if (ask(arguments[1], atoi(arguments[2]))) return 1;
        return 0;
    }
    signal(SIGTERM, end);
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(8080)};
    int on = 1, server = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(server, (struct sockaddr *)&here, sizeof here) || listen(server, 64)) return perror("listen"), 1;
    char name[256];
    gethostname(name, sizeof name);
    for (;;) {
        int connection = accept(server, 0, 0);
        if (connection < 0) continue;
        if (dprintf(connection, "%s\n", name) < 0) perror("answer");
        shutdown(connection, SHUT_WR);
        close(connection);
    }
}
