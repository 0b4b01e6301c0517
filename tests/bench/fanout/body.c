/*
 * What comes on a stream: chunks (RFC 9112, section 7.1; each byte of the framing is checked), gzip, and in what is left
 * the marks of events: "sent":<microseconds of CLOCK_MONOTONIC>,"number":<n>, with at least GAP bytes to the next one.
 */
#define _GNU_SOURCE
#include "body.h"

#include <string.h>
#include <time.h>

#define MARK "\"sent\":"
#define MARKED ((int)sizeof MARK - 1)
#define GAP 150
#define EXACT 64 /* buckets of the histogram in each doubling: a percentile is right to 1.6 % */

struct counts counts;
static uint64_t buckets[64 * EXACT];
static char inflated[256 * 1024];

uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int bucket(uint64_t value) {
    if (value < EXACT) return (int)value;
    int shift = 63 - __builtin_clzll(value) - 6;
    return (shift + 1) * EXACT + (int)(value >> shift) - EXACT;
}

uint64_t percentile(double share) {
    uint64_t seen = 0, until = (uint64_t)((double)counts.events * share);
    for (int i = 0; i < 64 * EXACT; i++) {
        seen += buckets[i];
        if (seen > until) return i < EXACT ? (uint64_t)i : (uint64_t)(EXACT + i % EXACT) << (i / EXACT - 1);
    }
    return counts.slowest;
}

void forget_counts(void) {
    uint64_t each = counts.each;
    memset(&counts, 0, sizeof counts);
    memset(buckets, 0, sizeof buckets);
    counts.each = each;
}

/* The mark at p: how long it is; 1 where it is none after all, 0 where its end is missing. */
static int mark(struct stream *s, const char *p, const char *end, uint64_t at) {
    static const char between[] = ",\"number\":";
    uint64_t sent = 0, number = 0;
    const char *q = p + MARKED;
    while (q < end && *q >= '0' && *q <= '9') sent = sent * 10 + (uint64_t)(*q++ - '0');
    for (int i = 0; between[i]; i++, q++) {
        if (q == end) return 0;
        if (*q != between[i]) return 1;
    }
    while (q < end && *q >= '0' && *q <= '9') number = number * 10 + (uint64_t)(*q++ - '0');
    if (q == end) return 0;
    uint64_t late = at > sent ? at - sent : 0;
    counts.disorder += number <= s->number;
    s->number = number;
    buckets[bucket(late)]++;
    counts.sum += late;
    if (late > counts.slowest) counts.slowest = late;
    if (!counts.first) counts.first = at;
    counts.last = at;
    counts.events++;
    counts.satisfied += ++s->events == counts.each;
    s->skip = GAP;
    return (int)(q - p);
}

/* A mark that began in the read before. Whether all of this belongs to it too, and its end is still missing. */
static int goes_on(struct stream *s, const char *p, size_t size, uint64_t at) {
    char whole[2 * MARK_MOST];
    int take = size < MARK_MOST ? (int)size : MARK_MOST, all = s->held + take;
    memcpy(whole, s->hold, s->held);
    memcpy(whole + s->held, p, (size_t)take);
    s->held = 0;
    if (memcmp(whole, MARK, (size_t)(all < MARKED ? all : MARKED))) return 0;
    if (all >= MARKED && mark(s, whole, whole + all, at)) return 0;
    if (all > MARK_MOST) {
        gone(s, "a mark without an end");
        return 1;
    }
    memcpy(s->hold, whole, (size_t)all);
    s->held = (uint8_t)all;
    return 1;
}

static void scan(struct stream *s, const char *p, size_t size, uint64_t at) {
    const char *end = p + size;
    counts.bytes += size;
    if (s->held && goes_on(s, p, size, at)) return;
    while (p < end) {
        if (s->skip) {
            size_t over = (size_t)(end - p) < s->skip ? (size_t)(end - p) : s->skip;
            p += over;
            s->skip -= (uint32_t)over;
            continue;
        }
        const char *found = memmem(p, (size_t)(end - p), MARK, (size_t)MARKED);
        if (found) {
            int used = mark(s, found, end, at);
            if (used) {
                p = found + used;
                continue;
            }
        } else { /* the end may be the beginning of one */
            int tail = end - p < MARKED - 1 ? (int)(end - p) : MARKED - 1;
            while (tail && memcmp(end - tail, MARK, (size_t)tail)) tail--;
            found = end - tail;
        }
        if (end - found > MARK_MOST) return gone(s, "a mark without an end");
        s->held = (uint8_t)(end - found);
        memcpy(s->hold, found, s->held);
        return;
    }
}

static void content(struct stream *s, char *p, size_t size, uint64_t at) {
    if (!s->gzip) return scan(s, p, size, at);
    s->inflater->next_in = (unsigned char *)p;
    s->inflater->avail_in = (unsigned)size;
    do {
        s->inflater->next_out = (unsigned char *)inflated;
        s->inflater->avail_out = sizeof inflated;
        int code = inflate(s->inflater, Z_SYNC_FLUSH);
        if (code != Z_OK && code != Z_BUF_ERROR) return gone(s, code == Z_STREAM_END ? "gzip ended" : "gzip is broken");
        scan(s, inflated, sizeof inflated - s->inflater->avail_out, at);
    } while (s->fd && !s->inflater->avail_out);
}

void received(struct stream *s, char *p, size_t size, uint64_t at) {
    char *end = p + size;
    while (p < end && s->fd) {
        if (s->framing == PLAIN) return content(s, p, (size_t)(end - p), at);
        if (s->framing == DATA) {
            size_t part = (size_t)(end - p) < s->chunk ? (size_t)(end - p) : s->chunk;
            content(s, p, part, at);
            p += part;
            s->chunk -= part;
            if (!s->chunk) s->framing = AFTER;
            continue;
        }
        char c = *p++;
        if (s->framing == AFTER) { /* CR LF behind a chunk; `chunk` counts them */
            if (c != "\r\n"[s->chunk]) return gone(s, "a chunk does not end where it should");
            if (++s->chunk == 2) {
                s->chunk = 0;
                s->framing = SIZE;
            }
        } else if (s->framing == SIZE) {
            static const char digits[] = "0123456789abcdef";
            const char *digit = memchr(digits, c | 32, 16);
            if (c == '\n') s->framing = s->chunk ? DATA : LAST;
            else if (c != '\r') {
                if (!digit) return gone(s, "a chunk's size is no number");
                s->chunk = s->chunk * 16 + (uint64_t)(digit - digits);
            }
        } else return gone(s, "the stream was ended by the server");
    }
}
