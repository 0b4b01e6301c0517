/*
 * The load client: opens many event streams over loopback from one thread, and counts what comes.
 *
 *     load PORT STREAMS DEAD PATH GZIP
 *
 * STREAMS connections, of which the first DEAD stop reading behind the head of their answer. In PATH, {n} is a stream's
 * number and {x} the same as 40 hexadecimal digits. GZIP is 1 to ask for compression; what comes is inflated then.
 * Source addresses are 127.0.0.1 and on, 10,000 streams each, since one address has about 28,000 ports.
 *
 * Commands, one a line on stdin; each is answered by one line of JSON on stdout, when it is done:
 *     open WINDOW           open all streams, at most WINDOW without the head of their answer; done when each has a 200
 *     connect               open all connections, send nothing
 *     request               send all requests at once; done when each has its head, a 200
 *     expect EACH TOTAL MS  done when each living stream has EACH events, and all have TOTAL (0: whatever), or when
 *                           nothing came for MS milliseconds; it does not hold other commands up
 *     snapshot              what was counted since `reset`; times in microseconds of CLOCK_MONOTONIC
 *     reset                 count from 0
 *     close                 close all, by RST: no port has to wait
 * The end of stdin ends it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "body.h"

enum { CLOSED, CONNECTING, CONNECTED, ASKED, OPEN }; /* `place` of a stream */

static struct stream *streams;
static int count, dead, port, wants_gzip, epoll;
static const char *path;
static uint64_t lost, asked_at, wire;
static int next, connecting, requesting, window, connected, opened, compressed;
static uint64_t total, patience, expect_began;
static int expecting, done;
static char buffer[256 * 1024];

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void report(const char *name, int silent) {
    struct timespec cpu;
    uint32_t least = UINT32_MAX, most = 0;
    for (int i = dead; i < count; i++) {
        if (streams[i].events < least) least = streams[i].events;
        if (streams[i].events > most) most = streams[i].events;
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    printf("{\"reply\":\"%s\",\"silent\":%s,\"events\":%lu,\"bytes\":%lu,\"wire\":%lu,\"min\":%u,\"max\":%u,"
           "\"disorder\":%lu,\"lost\":%lu,\"opened\":%d,\"gzip\":%d,\"first\":%lu,\"last\":%lu,\"asked\":%lu,"
           "\"now\":%lu,\"cpu\":%lu,\"mean\":%.1f,\"p50\":%lu,\"p90\":%lu,\"p99\":%lu,\"slowest\":%lu}\n",
           name, silent ? "true" : "false", counts.events, counts.bytes, wire, least, most, counts.disorder, lost,
           opened, compressed, counts.first, counts.last, asked_at, now(),
           (uint64_t)cpu.tv_sec * 1000000 + (uint64_t)cpu.tv_nsec / 1000,
           counts.events ? (double)counts.sum / (double)counts.events : 0.0, percentile(0.5), percentile(0.9),
           percentile(0.99), counts.slowest);
    fflush(stdout);
}

static void drop(struct stream *s) {
    struct linger hard = {1, 0};
    setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(s->fd);
    if (s->inflater) {
        inflateEnd(s->inflater);
        free(s->inflater);
    }
    free(s->head);
    memset(s, 0, sizeof *s);
}

void gone(struct stream *s, const char *why) {
    uint32_t events = s->events;
    if (lost++ < 5) fprintf(stderr, "load: stream %d is gone: %s\n", (int)(s - streams), why);
    drop(s);
    s->events = events;
}

static void watch(struct stream *s, int how, uint32_t what) {
    struct epoll_event event = {.events = what, .data.u32 = (uint32_t)(s - streams)};
    if (epoll_ctl(epoll, how, s->fd, &event)) die("epoll_ctl");
}

static void dial(int i) {
    struct stream *s = &streams[i];
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, small = 4096;
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(i / 10000));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (s->fd < 0) die("socket");
    s->dead = i < dead;
    if (s->dead) setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(s->fd, (struct sockaddr *)&from, sizeof from)) die("bind");
    if (connect(s->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
    s->place = CONNECTING;
    watch(s, EPOLL_CTL_ADD, EPOLLOUT);
}

static void ask(int i) {
    struct stream *s = &streams[i];
    char request[1024], where[512];
    const char *gap = strchr(path, '{');
    int before = gap ? (int)(gap - path) : 0;
    if (!gap) snprintf(where, sizeof where, "%s", path);
    else if (gap[1] == 'x') snprintf(where, sizeof where, "%.*s0x%040x%s", before, path, (unsigned)i, gap + 3);
    else snprintf(where, sizeof where, "%.*s%d%s", before, path, i, gap + 3);
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: localhost:%d\r\nAccept: text/event-stream\r\n%s\r\n", where, port,
                        wants_gzip ? "Accept-Encoding: gzip\r\n" : "");
    if (send(s->fd, request, (size_t)size, MSG_NOSIGNAL) != size) return gone(s, "its request was not taken");
    s->place = ASKED;
}

static void head(struct stream *s, const char *data, size_t size) {
    size_t had = s->head ? strlen(s->head) : 0, all = had + size;
    s->head = realloc(s->head, all + 1);
    if (!s->head) die("realloc");
    memcpy(s->head + had, data, size);
    s->head[all] = 0;
    char *end = strstr(s->head, "\r\n\r\n");
    if (!end) return;
    *end = 0;
    if (strncmp(s->head, "HTTP/1.1 200", 12)) return gone(s, s->head);
    s->framing = strcasestr(s->head, "\r\ntransfer-encoding: chunked") ? SIZE : PLAIN;
    s->gzip = strcasestr(s->head, "\r\ncontent-encoding: gzip") != NULL;
    if (s->gzip) {
        s->inflater = calloc(1, sizeof(z_stream));
        if (!s->inflater || inflateInit2(s->inflater, 15 + 16) != Z_OK) die("inflateInit2");
        compressed++;
    }
    char *whole = s->head;
    s->head = NULL;
    s->place = OPEN;
    opened++;
    if (s->dead) watch(s, EPOLL_CTL_DEL, 0);
    else received(s, end + 4, all - (size_t)(end + 4 - whole), now());
    free(whole);
}

static void ready(struct stream *s) {
    if (s->place == CONNECTING) {
        socklen_t size = sizeof errno;
        getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &errno, &size);
        if (errno) die("connect");
        s->place = CONNECTED;
        connected++;
        watch(s, EPOLL_CTL_MOD, EPOLLIN);
        if (requesting) ask((int)(s - streams));
        return;
    }
    ssize_t size = recv(s->fd, buffer, s->place == OPEN ? sizeof buffer : 4096, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size <= 0) return gone(s, size ? strerror(errno) : "the server closed it");
    wire += (uint64_t)size;
    if (s->place == OPEN) received(s, buffer, (size_t)size, now());
    else head(s, buffer, (size_t)size);
}

static void command(const char *line) {
    unsigned long each, all, ms;
    if (!strcmp(line, "connect") || sscanf(line, "open %d", &window) == 1) {
        connecting = 1;
        requesting = *line == 'o';
        if (!requesting) window = 100; /* no server's backlog runs over */
        next = connected = opened = compressed = 0;
        lost = 0;
        asked_at = now();
    } else if (!strcmp(line, "request")) {
        requesting = 1;
        asked_at = now();
        for (int i = 0; i < count; i++) ask(i);
    } else if (sscanf(line, "expect %lu %lu %lu", &each, &all, &ms) == 3) {
        expecting = 1;
        total = all;
        patience = ms * 1000;
        expect_began = now();
        counts.each = each;
        counts.satisfied = 0;
        for (int i = dead; i < count; i++) counts.satisfied += streams[i].events >= each;
    } else if (!strcmp(line, "snapshot")) report("snapshot", 0);
    else if (!strcmp(line, "reset")) {
        forget_counts();
        wire = 0;
        for (int i = 0; i < count; i++) streams[i].events = 0;
        report("reset", 0);
    } else if (!strcmp(line, "close")) {
        for (int i = 0; i < count; i++)
            if (streams[i].fd) drop(&streams[i]);
        report("close", 0);
    } else {
        fprintf(stderr, "load: no command: %s\n", line);
        exit(2);
    }
}

static void commands(void) {
    static char line[256];
    static size_t had;
    ssize_t size = read(0, line + had, sizeof line - had - 1);
    done = size <= 0;
    if (done) return;
    line[had += (size_t)size] = 0;
    for (char *end; (end = strchr(line, '\n')); had = strlen(line)) {
        *end = 0;
        command(line);
        memmove(line, end + 1, strlen(end + 1) + 1);
    }
}

/* What a command still has to do, and whether it is done. */
static void proceed(void) {
    int through = (requesting ? opened : connected) + (int)lost;
    while (connecting && next < count && next - through < window) dial(next++);
    if ((connecting || requesting) && through >= count) {
        report(requesting ? "request" : "connect", 0);
        connecting = requesting = 0;
    }
    if (!expecting) return;
    uint64_t since = counts.last > expect_began ? counts.last : expect_began, at = now();
    int all = counts.satisfied >= count - dead && counts.events >= total;
    if (all || at > since + patience) {
        expecting = 0;
        counts.each = 0;
        report("expect", !all);
    }
}

int main(int argc, char **argv) {
    static struct epoll_event found[1024], commanded = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    if (argc != 6) return 2;
    port = atoi(argv[1]);
    count = atoi(argv[2]);
    dead = atoi(argv[3]);
    path = argv[4];
    wants_gzip = atoi(argv[5]);
    streams = calloc((size_t)count, sizeof *streams);
    epoll = epoll_create1(0);
    if (!streams || epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &commanded)) die("epoll");
    while (!done) {
        int size = epoll_wait(epoll, found, 1024, 100);
        for (int i = 0; i < size; i++) {
            if (found[i].data.u32 == UINT32_MAX) commands();
            else if (streams[found[i].data.u32].fd) ready(&streams[found[i].data.u32]);
        }
        proceed();
    }
    return 0;
}
