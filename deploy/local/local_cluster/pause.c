/* The first process of every pod: holds its namespaces open, reaps what is orphaned in it, ends when told to. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal_number) { _exit(0); }
static void reap(int signal_number) { while (waitpid(-1, 0, WNOHANG) > 0) continue; }

int main(void) {
    signal(SIGINT, end);
    signal(SIGTERM, end);
    signal(SIGCHLD, reap);
    for (;;) pause();
}
