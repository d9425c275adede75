/* How many messages arrive on N WebSockets? The load client of `ulak bench gateway`: one thread, epoll, no JSON.
 *
 * Started as `client HOST PORT PATH SUBPROTOCOL`; reads commands from standard input, a line each, and answers with
 * one line of JSON each on standard output:
 *
 *   mark TEXT                  a message is each place of a data frame where TEXT stands
 *   step N                     say {"step": k} whenever k * N messages have come (0: never)
 *   ack N                      acknowledge the newest revision after N messages on a connection, and once a second
 *   open N WIDTH READY FILE    open N sockets, WIDTH at a time; line i of FILE ("-": none) is the first frame of
 *                              socket i, and it is open when a frame holds READY ("-": when it is upgraded)
 *   tickets FILE               write the ticket that each socket's welcome held, a line each
 *   report                     counters, and this process's CPU-seconds
 *   close                      reset all sockets (no TIME_WAIT is left behind)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum { FREE, CONNECTING, UPGRADING, GREETING, OPEN };
enum { ROOM = 1 << 18, EVENTS = 512, ADDRESSES = 200 };

struct socket_state {
    int fd, state;
    char *rest; /* bytes of a frame that has not come whole */
    size_t have, room;
    unsigned since_ack;
    long long revision;
    char *ticket;
};

static struct socket_state *sockets;
static char **hellos;
static int wanted, begun, ready, failed, width, announced = 1;
static unsigned long long messages, frames, bytes_in, pings, closes, acks;
static unsigned long long step, next_step;
static unsigned ack_every;
static char mark[256] = "", ready_mark[256] = "-";
static size_t mark_length;
static int poller;
static const char *host, *path, *subprotocol;
static int port;
static double opened_at;
static char buffer[ROOM];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void drop(struct socket_state *s) {
    if (s->state == FREE) return;
    struct linger reset = {1, 0};
    setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(s->fd);
    free(s->rest);
    s->rest = NULL;
    s->have = s->room = 0;
    s->state = FREE;
}

static void open_more(void);

static void lost(struct socket_state *s) {
    if (s->state == OPEN) closes++;
    else failed++;
    drop(s);
    open_more();
}

/* One small masked frame; what does not go out at once is a fault of the measurement, and ends it. */
static void send_frame(struct socket_state *s, int opcode, const char *text, size_t length) {
    static unsigned seed = 2463534242u;
    unsigned char frame[8192];
    size_t head = 2;
    if (length > sizeof frame - 16) length = sizeof frame - 16;
    frame[0] = 0x80 | opcode;
    if (length < 126) frame[1] = 0x80 | length;
    else {
        frame[1] = 0x80 | 126;
        frame[2] = length >> 8;
        frame[3] = length & 255;
        head = 4;
    }
    seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
    unsigned char key[4] = {seed & 255, seed >> 8 & 255, seed >> 16 & 255, seed >> 24};
    memcpy(frame + head, key, 4);
    head += 4;
    for (size_t i = 0; i < length; i++) frame[head + i] = text[i] ^ key[i & 3];
    if (send(s->fd, frame, head + length, MSG_NOSIGNAL) != (ssize_t)(head + length)) lost(s);
}

static void is_open(struct socket_state *s) {
    s->state = OPEN;
    ready++;
    open_more();
}

static void ack(struct socket_state *s) {
    char text[64];
    int n = snprintf(text, sizeof text, "{\"op\":\"ack\",\"revision\":%lld}", s->revision);
    s->since_ack = 0;
    acks++;
    send_frame(s, 1, text, n);
}

static void keep_ticket(struct socket_state *s, const char *at, size_t length) {
    const char *found = memmem(at, length, "\"ticket\":\"", 10);
    if (!found) return;
    found += 10;
    const char *end = memchr(found, '"', at + length - found);
    free(s->ticket);
    s->ticket = end ? strndup(found, end - found) : NULL;
}

static void count(struct socket_state *s, const char *at, size_t length) {
    unsigned found = 0;
    const char *end = at + length;
    if (mark_length)
        for (const char *p = at; (p = memmem(p, end - p, mark, mark_length)); p += mark_length) found++;
    if (!found) return;
    messages += found;
    if (ack_every) {
        for (const char *p = end - 11; p >= at; p--)
            if (*p == '"' && memcmp(p, "\"revision\":", 11) == 0) {
                s->revision = atoll(p + 11);
                break;
            }
        if ((s->since_ack += found) >= ack_every) ack(s);
    }
    while (step && messages >= next_step) {
        printf("{\"step\": %llu}\n", next_step / step);
        next_step += step;
    }
}

static void take_frame(struct socket_state *s, int opcode, const char *at, size_t length) {
    if (opcode == 9) {
        pings++;
        send_frame(s, 10, at, length);
    } else if (opcode == 8) {
        lost(s);
    } else if (opcode <= 2) {
        frames++;
        if (length == 1 && *at == '2') { /* Engine.IO's own ping */
            pings++;
            send_frame(s, 1, "3", 1);
            return;
        }
        if (s->state == GREETING && memmem(at, length, ready_mark, strlen(ready_mark))) {
            keep_ticket(s, at, length);
            is_open(s);
        }
        if (s->state == OPEN) count(s, at, length);
    }
}

/* Take whole frames; returns how many bytes they were. */
static size_t take(struct socket_state *s, const char *at, size_t have) {
    size_t done = 0;
    while (s->state >= UPGRADING) {
        const unsigned char *p = (const unsigned char *)at + done;
        size_t left = have - done, head = 2, length;
        if (s->state == UPGRADING) {
            const char *end = memmem(p, left, "\r\n\r\n", 4);
            if (!end) break;
            if (left < 12 || memcmp(p + 9, "101", 3)) {
                if (!failed) fprintf(stderr, "a socket was refused: %.*s\n", (int)(left < 400 ? left : 400), p);
                lost(s);
                break;
            }
            done = end + 4 - at;
            int number = s - sockets;
            if (strcmp(ready_mark, "-") == 0) is_open(s);
            else s->state = GREETING;
            if (hellos) send_frame(s, 1, hellos[number], strlen(hellos[number]));
            continue;
        }
        if (left < 2) break;
        length = p[1] & 127;
        if (length == 126) {
            if (left < 4) break;
            length = p[2] << 8 | p[3];
            head = 4;
        } else if (length == 127) {
            if (left < 10) break;
            length = 0;
            for (int i = 2; i < 10; i++) length = length << 8 | p[i];
            head = 10;
        }
        if (left < head + length) break;
        take_frame(s, p[0] & 15, (const char *)p + head, length);
        done += head + length;
    }
    return done;
}

static void readable(struct socket_state *s) {
    ssize_t got = recv(s->fd, buffer, sizeof buffer, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        lost(s);
        return;
    }
    bytes_in += got;
    if (!s->have) {
        size_t done = take(s, buffer, got);
        if (s->state == FREE || done == (size_t)got) return;
        s->have = got - done;
        s->room = s->have * 2 + 1024;
        s->rest = malloc(s->room);
        memcpy(s->rest, buffer + done, s->have);
        return;
    }
    if (s->have + got > s->room) s->rest = realloc(s->rest, s->room = (s->have + got) * 2);
    memcpy(s->rest + s->have, buffer, got);
    s->have += got;
    size_t done = take(s, s->rest, s->have);
    if (s->state == FREE) return;
    s->have -= done;
    if (s->have) memmove(s->rest, s->rest + done, s->have);
    else {
        free(s->rest);
        s->rest = NULL;
        s->room = 0;
    }
}

static void connected(struct socket_state *s) {
    int error = 0;
    socklen_t size = sizeof error;
    char text[1024], protocol[128] = "";
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        if (!failed) fprintf(stderr, "a socket can't be opened: %s\n", strerror(error));
        lost(s);
        return;
    }
    if (*subprotocol != '-') snprintf(protocol, sizeof protocol, "Sec-WebSocket-Protocol: %s\r\n", subprotocol);
    int n = snprintf(text, sizeof text,
                     "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                     path, host, port, protocol);
    s->state = UPGRADING;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
    epoll_ctl(poller, EPOLL_CTL_MOD, s->fd, &event);
    if (send(s->fd, text, n, MSG_NOSIGNAL) != n) lost(s);
}

static void open_one(int number) {
    struct socket_state *s = &sockets[number];
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    struct sockaddr_in own = {.sin_family = AF_INET}, other = {.sin_family = AF_INET, .sin_port = htons(port)};
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number % ADDRESSES); /* clients come from many addresses */
    if (bind(fd, (struct sockaddr *)&own, sizeof own)) die("bind");
    inet_pton(AF_INET, host, &other.sin_addr);
    *s = (struct socket_state){.fd = fd, .state = CONNECTING, .ticket = s->ticket};
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = s};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    if (connect(fd, (struct sockaddr *)&other, sizeof other) && errno != EINPROGRESS) lost(s);
}

static void open_more(void) {
    static int inside;
    if (inside) return;
    inside = 1;
    while (begun < wanted && begun - ready - failed < width) open_one(begun++);
    inside = 0;
}

static void announce(void) {
    if (announced != 1 || ready + failed < wanted || !wanted) return;
    announced = 2;
    printf("{\"ready\": %d, \"failed\": %d, \"seconds\": %.6f}\n", ready, failed, now() - opened_at);
}

static void close_all(void) {
    for (int i = 0; i < wanted; i++) drop(&sockets[i]);
    wanted = begun = ready = failed = 0;
}

static void read_hellos(const char *file) {
    size_t room = 0;
    char *line = NULL;
    FILE *in = fopen(file, "r");
    if (!in) die(file);
    hellos = calloc(wanted, sizeof *hellos);
    for (int i = 0; i < wanted; i++) {
        ssize_t n = getline(&line, &room, in);
        if (n < 1) die("too few hellos");
        line[strcspn(line, "\n")] = 0;
        hellos[i] = strdup(line);
    }
    free(line);
    fclose(in);
}

static void report(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    printf("{\"messages\": %llu, \"frames\": %llu, \"bytes\": %llu, \"pings\": %llu, \"acks\": %llu, \"closes\": %llu, "
           "\"cpu\": %.6f}\n",
           messages, frames, bytes_in, pings, acks, closes,
           use.ru_utime.tv_sec + use.ru_stime.tv_sec + (use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
}

static void write_tickets(const char *file) {
    FILE *out = fopen(file, "w");
    if (!out) die(file);
    for (int i = 0; i < wanted; i++) fprintf(out, "%s\n", sockets[i].ticket ? sockets[i].ticket : "");
    fclose(out);
    printf("{\"written\": %d}\n", wanted);
}

static void command(char *line) {
    char file[4096];
    line[strcspn(line, "\n")] = 0;
    if (sscanf(line, "mark %255s", mark) == 1) mark_length = strlen(mark);
    else if (sscanf(line, "ack %u", &ack_every) == 1) return;
    else if (sscanf(line, "step %llu", &step) == 1) messages = 0, next_step = step;
    else if (sscanf(line, "open %d %d %255s %4095s", &wanted, &width, ready_mark, file) == 4) {
        sockets = realloc(sockets, wanted * sizeof *sockets);
        memset(sockets, 0, wanted * sizeof *sockets);
        hellos = NULL;
        if (strcmp(file, "-")) read_hellos(file);
        begun = ready = failed = 0;
        announced = 1;
        opened_at = now();
        open_more();
    } else if (sscanf(line, "tickets %4095s", file) == 1) write_tickets(file);
    else if (strcmp(line, "report") == 0) report();
    else if (strcmp(line, "close") == 0) {
        close_all();
        printf("{\"closed\": true}\n");
    } else fprintf(stderr, "unknown command: %s\n", line), exit(1);
}

/* Whole lines from standard input; the end of it is ours too. */
static void commands(void) {
    static char lines[65536];
    static size_t have;
    ssize_t got = read(0, lines + have, sizeof lines - have - 1);
    if (got <= 0) exit(0);
    have += got;
    lines[have] = 0;
    char *at = lines, *end;
    while ((end = strchr(at, '\n'))) {
        *end = 0;
        command(at);
        at = end + 1;
    }
    have -= at - lines;
    memmove(lines, at, have);
}

int main(int count_of, char **words) {
    struct epoll_event events[EVENTS], in = {.events = EPOLLIN, .data.ptr = NULL};
    if (count_of != 5) return 2;
    host = words[1], port = atoi(words[2]), path = words[3], subprotocol = words[4];
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    poller = epoll_create1(0);
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &in);
    for (double acked_at = now();;) {
        int found = epoll_wait(poller, events, EVENTS, ack_every ? 200 : -1);
        for (int i = 0; i < found; i++) {
            struct socket_state *s = events[i].data.ptr;
            if (!s) commands();
            else if (s->state == CONNECTING) connected(s);
            else if (s->state != FREE) readable(s);
        }
        announce();
        if (ack_every && now() - acked_at >= 1) {
            acked_at = now();
            for (int i = 0; i < wanted; i++)
                if (sockets[i].state == OPEN && sockets[i].since_ack) ack(&sockets[i]);
        }
    }
}
