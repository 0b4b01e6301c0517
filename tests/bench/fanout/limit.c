/*
 * The limit: what an event stream costs when nothing is done but to send it. One thread, epoll, no disk, no filter.
 *
 *     limit    prints its port; then reads `pace COUNT RATE` from stdin: COUNT events at RATE a second (0: at once),
 *              answered by a line when the last one was made. The end of stdin ends it.
 *
 * Events are one growing text, each in a chunk of its own; a client is a place in it. Once a turn of the loop each client
 * is sent all that it lacks by one send(): events that came while others were served go out together (coalescing).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 20000 /* descriptors */
static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
                           "Transfer-Encoding: chunked\r\n\r\n";
static char *text, padding[160];
static size_t size, room, place[MOST];       /* place: what the client of that descriptor has */
static int clients[MOST], count, full[MOST]; /* full: it takes no more until epoll says so */
static unsigned long number, due, rate;      /* events made, and still to make */
static double next;                          /* seconds of the clock at which the next one is due */

static double clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void make_event(void) {
    char event[600];
    unsigned long us = (unsigned long)((rate ? next : clock_now()) * 1e6); /* when it was due, late or not */
    int length = snprintf(event, sizeof event,
                          "id: 0123456789abcdef-%lu\ndata: {\"id\":\"evt_%026lu\",\"type\":\"block_new\",\"timestamp\":"
                          "\"2025-06-24T07:00:00.000Z\",\"observed_at\":\"2025-06-24T07:00:00.000Z\",\"chain\":"
                          "\"ethereum\",\"data\":{\"sent\":%lu,\"number\":%lu,\"padding\":\"%s\"}}\n\n",
                          number + 1, number + 1, us, number + 1, padding);
    number++;
    if (room - size < sizeof event + 16 && !(text = realloc(text, room = room * 2 + 4096))) exit(1);
    size += (size_t)sprintf(text + size, "%x\r\n%s\r\n", (unsigned)length, event);
}

static void flush_to(int fd) {
    if (full[fd] || place[fd] == size) return;
    ssize_t sent = send(fd, text + place[fd], size - place[fd], MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) place[fd] += (size_t)sent;
    full[fd] = place[fd] < size;
}

static void request(int fd, int epoll) {
    char data[2048];
    ssize_t got = recv(fd, data, sizeof data - 1, MSG_DONTWAIT);
    if (got <= 0) {
        for (int i = 0; i < count; i++)
            if (clients[i] == fd) clients[i--] = clients[--count];
        close(fd);
        return;
    }
    data[got] = 0; /* a request of the bench comes in one piece */
    place[fd] = strstr(data, "since=earliest") ? 0 : size;
    full[fd] = 0;
    clients[count++] = fd;
    struct epoll_event both = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &both);
    if (send(fd, HEAD, sizeof HEAD - 1, MSG_NOSIGNAL) > 0) flush_to(fd);
}

int main(void) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof here;
    static struct epoll_event found[1024];
    int one = 1, server = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
    if (bind(server, (struct sockaddr *)&here, length) || listen(server, 4096)) return 1;
    getsockname(server, (struct sockaddr *)&here, &length);
    for (int fd = 0; fd <= server; fd += server) {
        struct epoll_event in = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &in);
    }
    memset(padding, '.', sizeof padding - 40);
    printf("{\"port\":%d}\n", ntohs(here.sin_port));
    fflush(stdout);
    for (;;) {
        double wait = due ? next - clock_now() : 10;
        int ready = epoll_wait(epoll, found, 1024, wait > 0 ? (int)(wait * 1000 + 0.999) : 0);
        for (int i = 0; i < ready; i++) {
            int fd = found[i].data.fd;
            if (!fd) {
                char line[256] = "";
                if (read(0, line, sizeof line - 1) <= 0) return 0;
                if (sscanf(line, "pace %lu %lu", &due, &rate) != 2) return 2;
                next = clock_now();
            } else if (fd == server) {
                int client = accept4(server, NULL, NULL, SOCK_NONBLOCK);
                if (client < 0 || client >= MOST) continue;
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                struct epoll_event in = {.events = EPOLLIN, .data.fd = client};
                epoll_ctl(epoll, EPOLL_CTL_ADD, client, &in);
            } else {
                if (found[i].events & EPOLLOUT) full[fd] = 0;
                if (found[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) request(fd, epoll);
                else flush_to(fd);
            }
        }
        int made = 0;
        while (due && next <= clock_now()) {
            make_event();
            next += rate ? 1.0 / (double)rate : 0;
            made = 1;
            if (!--due) puts("{}"), fflush(stdout);
        }
        for (int i = 0; made && i < count; i++) flush_to(clients[i]);
    }
}
