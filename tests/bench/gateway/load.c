/* A load generator that is never the bottleneck: one thread, epoll, connections kept alive.
 *
 *   load PORT CONNECTIONS SECONDS WARM_SECONDS RAMP_MS REQUEST_FILE TOKENS
 *
 * Sends the request in REQUEST_FILE (headers and body as they are) over and over on each connection and prints one
 * JSON line about what finished after the warm-up. A stream counts as short when it has fewer than TOKENS tokens. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_BYTES = 8192, EVENTS = 1024, READ_BYTES = 256 * 1024 };
enum State { SENDING, IN_HEAD, IN_BODY, IN_SIZE, IN_CHUNK, AFTER_CHUNK, IN_END };

typedef struct {
    int fd, status, tokens, head_bytes;
    enum State state;
    long sent, left;
    int64_t started_ns;
    char head[HEAD_BYTES];
} Line;

static int epoll_fd, port, tokens_wanted;
static char *request;
static long request_bytes;
static int64_t measured_from_ns;
static long finished, failed, refused, too_short, tokens_seen;
static uint32_t *times_us10; /* tenths of a microsecond */
static long times, times_room;

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void watch(Line *line, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.ptr = line};
    epoll_ctl(epoll_fd, operation, line->fd, &event);
}

static void open_line(Line *line) {
    int on = 1;
    line->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(line->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connect(line->fd, (struct sockaddr *)&address, sizeof address);
    line->state = SENDING;
    line->sent = 0;
    line->started_ns = 0;
    watch(line, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
}

static void reopen(Line *line) {
    if (now_ns() >= measured_from_ns) failed++;
    close(line->fd);
    open_line(line);
}

static void send_request(Line *line) {
    if (!line->started_ns) line->started_ns = now_ns();
    while (line->sent < request_bytes) {
        ssize_t sent = send(line->fd, request + line->sent, request_bytes - line->sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            watch(line, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
            return;
        }
        if (sent < 0) {
            reopen(line);
            return;
        }
        line->sent += sent;
    }
    line->state = IN_HEAD;
    line->head_bytes = line->tokens = 0;
    watch(line, EPOLLIN, EPOLL_CTL_MOD);
}

static void note_time(int64_t ns) {
    if (times == times_room) {
        times_room = times_room ? times_room * 2 : 65536;
        times_us10 = realloc(times_us10, times_room * sizeof *times_us10);
    }
    times_us10[times++] = ns / 100 > UINT32_MAX ? UINT32_MAX : ns / 100;
}

static void finish(Line *line, int is_stream) {
    int64_t now = now_ns();
    if (line->started_ns >= measured_from_ns) {
        finished++;
        note_time(now - line->started_ns);
        if (line->status != 200) refused++;
        else if (is_stream && line->tokens < tokens_wanted) too_short++;
    }
    line->started_ns = 0;
    line->sent = 0;
    line->state = SENDING;
    send_request(line);
}

/* Tokens that are cut between two reads are missed; only whole streams are checked, with a tolerance for that. */
static void count_tokens(Line *line, const char *data, long bytes) {
    int is_measured = now_ns() >= measured_from_ns;
    const char *end = data + bytes;
    while ((data = memmem(data, end - data, "\" token", 7))) {
        data += 7;
        line->tokens++;
        tokens_seen += is_measured;
    }
}

static long read_head(Line *line, const char *data, long bytes) {
    long room = HEAD_BYTES - 1 - line->head_bytes, taken = bytes < room ? bytes : room, before = line->head_bytes;
    memcpy(line->head + before, data, taken);
    line->head_bytes += taken;
    line->head[line->head_bytes] = 0;
    char *end = strstr(line->head, "\r\n\r\n");
    if (!end) return taken;
    end[2] = 0;
    line->status = atoi(line->head + 9);
    char *length = strcasestr(line->head, "\r\ncontent-length:");
    line->left = length ? atol(length + 17) : 0;
    line->state = length ? IN_BODY : IN_SIZE;
    return end + 4 - line->head - before;
}

static void read_data(Line *line, const char *data, long bytes) {
    while (bytes > 0) {
        long taken = 1;
        switch (line->state) {
        case IN_HEAD:
            taken = read_head(line, data, bytes);
            break;
        case IN_BODY:
        case IN_CHUNK:
            taken = bytes < line->left ? bytes : line->left;
            if (line->state == IN_CHUNK) count_tokens(line, data, taken);
            line->left -= taken;
            if (line->left) break;
            if (line->state == IN_BODY) {
                finish(line, 0);
                return;
            }
            line->state = AFTER_CHUNK;
            break;
        case IN_SIZE:
            if (*data == '\n') line->state = line->left ? IN_CHUNK : IN_END;
            else if (*data != '\r') line->left = line->left * 16 + (*data <= '9' ? *data - '0' : (*data | 32) - 'a' + 10);
            break;
        case AFTER_CHUNK:
            if (*data == '\n') line->state = IN_SIZE;
            break;
        case IN_END:
            if (*data == '\n') {
                finish(line, 1);
                return;
            }
            break;
        case SENDING:
            reopen(line);
            return;
        }
        data += taken;
        bytes -= taken;
    }
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double quantile_us(double share) {
    return times ? times_us10[(long)(share * (times - 1))] / 10.0 : 0;
}

static void load_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(1);
    }
    fseek(file, 0, SEEK_END);
    request_bytes = ftell(file);
    rewind(file);
    request = malloc(request_bytes);
    if (fread(request, 1, request_bytes, file) != (size_t)request_bytes) exit(1);
    fclose(file);
}

static void serve(struct epoll_event *event) {
    static char data[READ_BYTES];
    Line *line = event->data.ptr;
    if (event->events & EPOLLOUT && line->state == SENDING) send_request(line);
    if (!(event->events & (EPOLLIN | EPOLLERR | EPOLLHUP))) return;
    ssize_t got = recv(line->fd, data, sizeof data, 0);
    if (got > 0) read_data(line, data, got);
    else if (got == 0 || errno != EAGAIN) reopen(line);
}

int main(int count, char **argument) {
    if (count != 8) return 2;
    port = atoi(argument[1]);
    int lines = atoi(argument[2]), opened = 0;
    int64_t ramp_ns = atoll(argument[5]) * 1000000, started = now_ns();
    measured_from_ns = started + (int64_t)(atof(argument[4]) * 1e9);
    int64_t end_ns = measured_from_ns + (int64_t)(atof(argument[3]) * 1e9);
    load_request(argument[6]);
    tokens_wanted = atoi(argument[7]);
    epoll_fd = epoll_create1(0);
    Line *all = calloc(lines, sizeof *all);
    static struct epoll_event events[EVENTS];
    for (int64_t now = started; now < end_ns; now = now_ns()) {
        while (opened < lines && now - started >= ramp_ns * opened / lines) open_line(&all[opened++]);
        int ready = epoll_wait(epoll_fd, events, EVENTS, opened < lines ? 1 : (int)((end_ns - now) / 1000000) + 1);
        for (int i = 0; i < ready; i++) serve(&events[i]);
    }
    qsort(times_us10, times, sizeof *times_us10, by_value);
    printf("{\"finished\":%ld,\"failed\":%ld,\"refused\":%ld,\"short\":%ld,\"tokens\":%ld,\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
           finished, failed, refused, too_short, tokens_seen, quantile_us(0.5), quantile_us(0.99));
    return 0;
}
