/* A clockwork server: one static program that answers HTTP in words of its own.
 *
 * GET  /spring               "winding" for the first moments, then "wound up"; 200 both times
 * GET  /numbers              toy_playing, toy_queue, toy_words_total
 * POST /v1/chat/completions  one word, "tick"; after a second when the body has the word "slowly"
 *
 * TOY_MOOD=brittle breaks it when it is wound up. SIGINT ends it, SIGTERM does not.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int playing, words, is_wound_up;

static void wait_ms(long ms) {
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static void reply(int fd, const char *type, const char *body) {
    dprintf(fd, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", type,
            strlen(body), body);
}

static int read_request(int fd, char *request, size_t room) {
    size_t have = 0;
    for (;;) {
        ssize_t got = read(fd, request + have, room - have);
        if (got <= 0) return 0;
        request[have += got] = 0;
        char *body = strstr(request, "\r\n\r\n"), *header = strcasestr(request, "\r\nContent-Length:");
        if (body && have - (body + 4 - request) >= (header && header < body ? strtoul(header + 17, NULL, 10) : 0)) return 1;
    }
}

static void *serve(void *argument) {
    int fd = (int)(long)argument;
    char *request = calloc(1, 65536), text[200];
    if (!read_request(fd, request, 65535)) {
    } else if (!strncmp(request, "GET /spring", 11)) {
        printf("toy: looked at the spring\n");
        reply(fd, "text/plain", __sync_fetch_and_add(&is_wound_up, 0) ? "wound up" : "winding");
    } else if (!strncmp(request, "GET /numbers", 12)) {
        printf("toy: looked at the numbers\n");
        snprintf(text, sizeof text, "toy_playing %d\ntoy_queue 0\ntoy_words_total %d\n", playing, words);
        reply(fd, "text/plain", text);
    } else {
        __sync_fetch_and_add(&playing, 1);
        if (strstr(request, "slowly")) wait_ms(1000);
        __sync_fetch_and_add(&words, 1);
        reply(fd, "application/json", "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"tick\"},"
                                      "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}");
        __sync_fetch_and_sub(&playing, 1);
    }
    shutdown(fd, SHUT_WR);
    close(fd);
    free(request);
    return NULL;
}

static void *wind_up(void *unused) {
    (void)unused;
    printf("toy: unpacked 1048576 bytes\n");
    wait_ms(300);
    if (getenv("TOY_MOOD") && !strcmp(getenv("TOY_MOOD"), "brittle")) {
        printf("toy: the spring broke\n");
        _exit(9);
    }
    printf("toy: wound up\n");
    __sync_fetch_and_add(&is_wound_up, 1);
    return NULL;
}

static void on_int(int number) {
    (void)number;
    _exit(0);
}

int main(int count, char **arguments) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    long port = 7007;
    for (int i = 1; i + 1 < count; i++)
        if (!strcmp(arguments[i], "--port")) port = atol(arguments[i + 1]);
    signal(SIGINT, on_int);
    signal(SIGTERM, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    int server = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = INADDR_ANY};
    if (bind(server, (struct sockaddr *)&where, sizeof where) || listen(server, 16)) return 3;
    pthread_t thread;
    pthread_create(&thread, NULL, wind_up, NULL);
    for (;;) {
        int client = accept(server, NULL, NULL);
        if (client >= 0 && !pthread_create(&thread, NULL, serve, (void *)(long)client)) pthread_detach(thread);
    }
}
