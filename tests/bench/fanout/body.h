/* The body of an event stream, taken apart and counted. What it counts is here for `load` to tell. */
#ifndef BODY_H
#define BODY_H
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#define MARK_MOST 64 /* bytes of a mark with its numbers, at most */

enum { PLAIN, SIZE, DATA, AFTER, LAST }; /* where in a chunk */

struct stream {
    int fd;
    uint8_t place, dead, framing, held, gzip;
    uint32_t skip;   /* bytes up to where the next mark can be */
    uint64_t chunk;  /* bytes left of this chunk */
    uint64_t number; /* of the newest event */
    uint32_t events;
    char *head;           /* what came of the head, until it is whole */
    char hold[MARK_MOST]; /* a mark that is cut by the end of a read */
    z_stream *inflater;   /* where it is compressed */
};

struct counts {
    uint64_t events, bytes; /* bytes of bodies, inflated, without chunks */
    uint64_t disorder;      /* events whose number is not above the one before on their stream */
    uint64_t first, last;   /* when: microseconds of CLOCK_MONOTONIC */
    uint64_t slowest, sum;  /* latencies, microseconds */
    uint64_t each;          /* `satisfied` streams have so many events */
    int satisfied;
};
extern struct counts counts;

uint64_t now(void); /* microseconds of CLOCK_MONOTONIC */
uint64_t percentile(double share);
void forget_counts(void);
void gone(struct stream *s, const char *why); /* load's: the stream is broken, or over */

/* Bytes of a body as they were received at that time. */
void received(struct stream *s, char *data, size_t size, uint64_t at);
#endif
