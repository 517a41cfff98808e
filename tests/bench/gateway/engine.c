/* A fake engine that is never the bottleneck: one thread, epoll, no allocation per request.
 *
 *   engine PORT TOKENS PAUSE_US BURST [PATH]
 *
 * PORT answers as fast as it can and writes BURST tokens at a time; PORT + 1 writes one token every PAUSE_US.
 * With PATH it listens on that unix socket in the place of PORT, and with "any" on all addresses instead of loopback's.
 * A request whose body has "stream":true gets TOKENS events, its usage and [DONE]; any other gets one JSON document. */
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
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { INPUT_BYTES = 64 * 1024, OUTPUT_BYTES = 16 * 1024, EVENTS = 512 };

typedef struct Client {
    int fd, is_slow, is_streaming, tokens_sent, is_queued, is_closed;
    long input_bytes, output_bytes, output_sent;
    int64_t due_ns;
    struct Client *next;
    char input[INPUT_BYTES], output[OUTPUT_BYTES];
} Client;

typedef struct { Client *first, *last; } Queue;

static int epoll_fd, tokens_wanted, burst;
static int64_t pause_ns;
static Queue fast, slow;
static char document[2048];
static int document_bytes;

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void push(Client *client) {
    Queue *queue = client->is_slow ? &slow : &fast;
    client->next = NULL;
    client->is_queued = 1;
    if (queue->last) queue->last->next = client;
    else queue->first = client;
    queue->last = client;
}

static Client *pop(Queue *queue) {
    Client *client = queue->first;
    queue->first = client->next;
    if (!queue->first) queue->last = NULL;
    client->is_queued = 0;
    return client;
}

static void end(Client *client) {
    if (!client->is_closed) close(client->fd);
    client->is_closed = 1;
    if (!client->is_queued) free(client);
}

static void watch(Client *client, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.ptr = client};
    epoll_ctl(epoll_fd, operation, client->fd, &event);
}

/* 1: all is out, 0: the rest follows when the client reads, -1: the client is gone. */
static int flush(Client *client) {
    while (client->output_sent < client->output_bytes) {
        ssize_t sent = send(client->fd, client->output + client->output_sent,
                            client->output_bytes - client->output_sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            watch(client, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
            return 0;
        }
        if (sent < 0) return -1;
        client->output_sent += sent;
    }
    client->output_bytes = client->output_sent = 0;
    return 1;
}

static void add_chunk(Client *client, const char *data, int bytes) {
    client->output_bytes += sprintf(client->output + client->output_bytes, "%x\r\n%.*s\r\n", bytes, bytes, data);
}

/* Writes the next tokens; returns 0 when the stream goes on, 1 when it is over, -1 when the client is gone. */
static int stream_on(Client *client) {
    static const char head[] = "HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 12:00:00 GMT\r\nserver: engine\r\n"
                               "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
    char event[512];
    if (client->tokens_sent == 0) client->output_bytes = sprintf(client->output, "%s", head);
    for (int left = client->is_slow ? 1 : burst; left > 0 && client->tokens_sent < tokens_wanted; left--) {
        int is_last = ++client->tokens_sent == tokens_wanted;
        add_chunk(client, event,
                  sprintf(event, "data: {\"id\":\"chatcmpl-5f1c2e7a9b3d\",\"object\":\"chat.completion.chunk\","
                                 "\"created\":1795348800,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":"
                                 "{\"content\":\" token%d\"},\"logprobs\":null,\"finish_reason\":%s}]}\n\n",
                          client->tokens_sent, is_last ? "\"stop\"" : "null"));
    }
    int is_over = client->tokens_sent == tokens_wanted;
    if (is_over) {
        add_chunk(client, event,
                  sprintf(event, "data: {\"id\":\"chatcmpl-5f1c2e7a9b3d\",\"object\":\"chat.completion.chunk\","
                                 "\"created\":1795348800,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":42,"
                                 "\"total_tokens\":%d,\"completion_tokens\":%d}}\n\n",
                          42 + tokens_wanted, tokens_wanted));
        add_chunk(client, "data: [DONE]\n\n", 14);
        client->output_bytes += sprintf(client->output + client->output_bytes, "0\r\n\r\n");
    }
    return flush(client) < 0 ? -1 : is_over;
}

/* 0, or -1 when the client is gone. */
static int answer(Client *client, const char *body) {
    client->is_streaming = strstr(body, "\"stream\":true") != NULL;
    if (!client->is_streaming) {
        memcpy(client->output, document, document_bytes);
        client->output_bytes = document_bytes;
        return flush(client) < 0 ? -1 : 0;
    }
    client->tokens_sent = 0;
    client->due_ns = now_ns() + (client->is_slow ? pause_ns : 0);
    push(client);
    return 0;
}

static void read_request(Client *client) {
    for (;;) {
        ssize_t got = recv(client->fd, client->input + client->input_bytes, INPUT_BYTES - 1 - client->input_bytes, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            end(client);
            return;
        }
        client->input_bytes += got;
        client->input[client->input_bytes] = 0;
        char *body = strstr(client->input, "\r\n\r\n");
        if (!body) continue;
        char *length = strcasestr(client->input, "\r\ncontent-length:");
        long wanted = length && length < body ? atol(length + 17) : 0;
        if (client->input + client->input_bytes < body + 4 + wanted) continue;
        client->input_bytes = 0;
        if (answer(client, body + 4) < 0) {
            end(client);
            return;
        }
    }
}

static int listen_at(const char *path) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 8192)) {
        perror("engine: listen");
        exit(1);
    }
    return fd;
}

static int listen_on(int port, uint32_t host) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(host);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 8192)) {
        perror("engine: listen");
        exit(1);
    }
    return fd;
}

static void accept_all(int listener, int is_slow) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        Client *client = calloc(1, sizeof *client);
        client->fd = fd;
        client->is_slow = is_slow;
        watch(client, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static void advance(Client *client) {
    int result = client->output_bytes ? 0 : stream_on(client);
    client->due_ns += pause_ns;
    if (result < 0) end(client);
    else if (result == 0) push(client);
}

static void advance_due(void) {
    Queue batch = fast;
    fast.first = fast.last = NULL;
    while (batch.first) {
        Client *client = pop(&batch);
        if (client->is_closed) free(client);
        else advance(client);
    }
    for (int64_t now = now_ns(); slow.first && slow.first->due_ns <= now;) {
        Client *client = pop(&slow);
        if (client->is_closed) free(client);
        else advance(client);
    }
}

static int wait_ms(void) {
    if (fast.first) return 0;
    if (!slow.first) return -1;
    int64_t left = slow.first->due_ns - now_ns();
    return left <= 0 ? 0 : (int)((left + 999999) / 1000000);
}

int main(int count, char **argument) {
    if (count != 5 && count != 6) return 2;
    int port = atoi(argument[1]);
    tokens_wanted = atoi(argument[2]);
    pause_ns = atoll(argument[3]) * 1000;
    burst = atoi(argument[4]);
    static const char body[] =
        "{\"id\":\"chatcmpl-5f1c2e7a9b3d\",\"object\":\"chat.completion\",\"created\":1795348800,\"model\":\"m\",\"choices\":"
        "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"A gateway is measured by what it adds: some "
        "microseconds of work, some more of waiting, and hopefully nothing that anybody would ever have to notice when "
        "a long answer comes in one small piece after the other.\",\"tool_calls\":[]},\"logprobs\":null,"
        "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":42,\"total_tokens\":83,\"completion_tokens\":41}}";
    document_bytes = sprintf(document, "HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 12:00:00 GMT\r\nserver: engine\r\n"
                                       "content-length: %zu\r\ncontent-type: application/json\r\n\r\n%s",
                             sizeof body - 1, body);
    const char *where = count > 5 ? argument[5] : "";
    uint32_t host = strcmp(where, "any") ? INADDR_LOOPBACK : INADDR_ANY;
    int listeners[2] = {*where == '/' ? listen_at(where) : listen_on(port, host), listen_on(port + 1, host)};
    epoll_fd = epoll_create1(0);
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = i + 1};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listeners[i], &event);
    }
    static struct epoll_event events[EVENTS];
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, EVENTS, wait_ms());
        for (int i = 0; i < ready; i++) {
            if (events[i].data.u64 <= 2) {
                accept_all(listeners[events[i].data.u64 - 1], events[i].data.u64 == 2);
                continue;
            }
            Client *client = events[i].data.ptr;
            if (client->is_closed) continue;
            if (events[i].events & EPOLLOUT) {
                watch(client, EPOLLIN, EPOLL_CTL_MOD);
                if (flush(client) < 0) {
                    end(client);
                    continue;
                }
            }
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_request(client);
        }
        advance_due();
    }
}
