/* A tiny engine for tests: one static program that answers like an OpenAI-compatible server.
 *
 * GET  /health               503 while "loading", 200 afterwards
 * GET  /metrics              llamacpp:requests_processing of this moment
 * POST /v1/chat/completions  numbered tokens "t0 t1 ...", streamed when the body says "stream": true, with a checksum
 * POST /v1/completions       the same
 *
 * Ways to behave come from the environment, so that one file makes many images:
 * FAKE_LOAD_MS, FAKE_TOKENS, FAKE_TOKEN_MS, FAKE_EXIT_AFTER_MS with FAKE_EXIT_CODE, FAKE_LAST_WORDS (printed before
 * that exit), FAKE_EAT_MB (allocate and touch, counted from FAKE_EAT_AFTER_MS), FAKE_IGNORE_TERM=1, FAKE_SICK_AFTER_MS
 * (/health stops answering), FAKE_REFUSES=1 (every request is a 400), FAKE_TALK_MS (a numbered line that often), FAKE_PORT. The argument --port wins over FAKE_PORT; --host with a path makes it a unix socket; other arguments are ignored.
 *
 * Called as python3 it plays the fetch program instead: MODELYARD_JOB names a source file, and a word in that name says
 * how it goes (with -c instead it prints the file /says, if there is one): "slow" never ends, "broken" reports a failure, "mute" ends without a word, anything else is fetched.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static long started_ms;
static int running;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static long setting(const char *name, long fallback) {
    const char *text = getenv(name);
    return text && *text ? atol(text) : fallback;
}

static void wait_ms(long ms) {
    if (ms > 0) {
        struct timespec t = {ms / 1000, (ms % 1000) * 1000000};
        while (nanosleep(&t, &t) && errno == EINTR) {}
    }
}

static void reply(int fd, int status, const char *type, const char *body) {
    dprintf(fd, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", status,
            status == 200 ? "OK" : "Service Unavailable", type, strlen(body), body);
}

static unsigned checksum(unsigned sum, const char *text) {
    for (; *text; text++) sum = (sum * 31 + (unsigned char)*text) % 1000003;
    return sum;
}

static int chunk(int fd, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char frame[600];
    int length = snprintf(frame, sizeof frame, "%x\r\n%s\r\n", size, text);
    return send(fd, frame, length, MSG_NOSIGNAL) == length ? 0 : -1;
}

static void complete(int fd, const char *body, int is_chat) {
    long tokens = setting("FAKE_TOKENS", 16), gap = setting("FAKE_TOKEN_MS", 0);
    const char *wanted = strstr(body, "\"max_tokens\"");
    if (wanted && (wanted = strchr(wanted, ':'))) {
        long limit = atol(wanted + 1);
        if (limit > 0) tokens = limit;
    }
    int streams = strstr(body, "\"stream\":true") || strstr(body, "\"stream\": true");
    unsigned sum = 7;
    char token[24];
    if (streams) {
        dprintf(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
        for (long i = 0; i < tokens; i++) {
            wait_ms(gap);
            snprintf(token, sizeof token, "t%ld ", i);
            sum = checksum(sum, token);
            const char *form = is_chat ? "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"}}]}\n\n"
                                       : "data: {\"choices\":[{\"index\":0,\"text\":\"%s\"}]}\n\n";
            if (chunk(fd, form, token)) return;
        }
        chunk(fd, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":1,"
                  "\"completion_tokens\":%ld},\"checksum\":%u}\n\n", tokens, sum);
        chunk(fd, "data: [DONE]\n\n");
        (void)!write(fd, "0\r\n\r\n", 5);
        return;
    }
    char *text = calloc(1, tokens * 24 + 1), *end = text;
    for (long i = 0; i < tokens; i++) {
        wait_ms(gap);
        snprintf(token, sizeof token, "t%ld ", i);
        sum = checksum(sum, token);
        end = stpcpy(end, token);
    }
    char *answer = NULL;
    if (asprintf(&answer, is_chat ? "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},\"finish_reason\":"
                                    "\"length\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":%ld,\"total_tokens\":%ld},\"checksum\":%u}"
                                  : "{\"choices\":[{\"index\":0,\"text\":\"%s\",\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":1,"
                                    "\"completion_tokens\":%ld,\"total_tokens\":%ld},\"checksum\":%u}",
                 text, tokens, tokens + 1, sum) > 0)
        reply(fd, 200, "application/json", answer);
    free(answer);
    free(text);
}

static void count(int by) {
    pthread_mutex_lock(&lock);
    running += by;
    pthread_mutex_unlock(&lock);
}

static void *serve(void *argument) {
    int fd = (int)(long)argument;
    static const size_t room = 1 << 20;
    char *request = calloc(1, room + 1);
    size_t have = 0;
    char *body = NULL;
    for (;;) {
        ssize_t got = read(fd, request + have, room - have);
        if (got <= 0) break;
        have += got;
        if (!body && (body = strstr(request, "\r\n\r\n"))) body += 4;
        if (!body) continue;
        char *header = strcasestr(request, "\r\nContent-Length:");
        size_t length = header && header < body ? strtoul(header + 17, NULL, 10) : 0;
        if (have - (body - request) >= length) break;
    }
    long age = now_ms() - started_ms;
    int loading = age < setting("FAKE_LOAD_MS", 0);
    if (!strncmp(request, "GET /health", 11)) {
        if (age > setting("FAKE_SICK_AFTER_MS", 1L << 40)) wait_ms(60000);
        else if (loading) reply(fd, 503, "application/json", "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}");
        else reply(fd, 200, "application/json", "{\"status\":\"ok\"}");
    } else if (!strncmp(request, "GET /metrics", 12)) {
        char text[200];
        snprintf(text, sizeof text, "# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing %d\nllamacpp:requests_deferred 0\n", running);
        reply(fd, 200, "text/plain", text);
    } else if (loading) {
        reply(fd, 503, "application/json", "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}");
    } else if (body && setting("FAKE_REFUSES", 0)) {
        reply(fd, 400, "application/json", "{\"error\":{\"code\":400,\"message\":\"Pooling type 'none' is not OAI compatible\",\"type\":\"invalid_request_error\"}}");
    } else if (body && !strncmp(request, "POST /v1/", 9)) {
        count(1);
        complete(fd, body, strstr(request, "POST /v1/chat/") == request);
        count(-1);
    } else {
        reply(fd, 200, "application/json", "{\"object\":\"list\",\"data\":[]}");
    }
    shutdown(fd, SHUT_WR);
    close(fd);
    free(request);
    return NULL;
}

static void *fate(void *unused) {
    (void)unused;
    long talk = setting("FAKE_TALK_MS", 0);
    for (long i = 0; talk; i++) {
        printf("line %ld\n", i);
        wait_ms(talk);
    }
    long eat = setting("FAKE_EAT_MB", 0), leave = setting("FAKE_EXIT_AFTER_MS", -1);
    if (eat) {
        wait_ms(setting("FAKE_EAT_AFTER_MS", 0));
        for (long i = 0; i < eat; i++) {
            char *piece = malloc(1 << 20);
            if (piece) memset(piece, 1, 1 << 20);
        }
    }
    if (leave >= 0) {
        wait_ms(leave);
        if (getenv("FAKE_LAST_WORDS")) fprintf(stderr, "%s\n", getenv("FAKE_LAST_WORDS"));
        _exit((int)setting("FAKE_EXIT_CODE", 1));
    }
    return NULL;
}

static void on_term(int number) {
    (void)number;
    _exit(0);
}

static int bound_port(long port) {
    int server = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = INADDR_ANY};
    return bind(server, (struct sockaddr *)&where, sizeof where) ? -1 : server;
}

static int bound_socket(const char *path) {
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    strncpy(where.sun_path, path, sizeof where.sun_path - 1);
    return bind(server, (struct sockaddr *)&where, sizeof where) ? -1 : server;
}

static int fetch(int count_of_arguments, char **arguments) {
    if (count_of_arguments > 3 && strstr(arguments[2], "AF_UNIX")) return bound_socket(arguments[3]) < 0;
    if (count_of_arguments > 1 && !strcmp(arguments[1], "-c")) {
        char text[4096];
        FILE *says = fopen("/says", "r");
        for (size_t got; says && (got = fread(text, 1, sizeof text, says)) > 0;) fwrite(text, 1, got, stdout);
        return 0;
    }
    const char *job = getenv("MODELYARD_JOB") ? getenv("MODELYARD_JOB") : "";
    signal(SIGTERM, on_term);
    printf("{\"step\": \"copy\", \"done\": 512, \"total\": 1024, \"unit\": \"bytes\", \"message\": \"x\"}\n");
    if (strstr(job, "/import/slow")) for (;;) wait_ms(60000);
    if (strstr(job, "/import/mute")) return 3;
    if (strstr(job, "/import/broken")) {
        printf("{\"error\": {\"code\": \"checksum\", \"message\": \"It is another file.\", \"advice\": \"Get it again.\"}}\n");
        return 1;
    }
    printf("{\"step\": \"done\", \"files\": [{\"name\": \"tiny.gguf\", \"size\": 1024, \"sha256\": \"%064d\"}]}\n", 7);
    return 0;
}

int main(int count_of_arguments, char **arguments) {
    started_ms = now_ms();
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!strcmp(basename(arguments[0]), "python3")) return fetch(count_of_arguments, arguments);
    long port = setting("FAKE_PORT", 8080);
    for (int i = 1; i + 1 < count_of_arguments; i++)
        if (!strcmp(arguments[i], "--port")) port = atol(arguments[i + 1]);
    signal(SIGTERM, setting("FAKE_IGNORE_TERM", 0) ? SIG_IGN : on_term);
    signal(SIGPIPE, SIG_IGN);
    const char *path = NULL;
    for (int i = 1; i + 1 < count_of_arguments; i++)
        if (!strcmp(arguments[i], "--host") && arguments[i + 1][0] == '/') path = arguments[i + 1];
    int server = path ? bound_socket(path) : bound_port(port);
    if (server < 0 || listen(server, 128)) {
        perror("listen");
        return 3;
    }
    printf("load_tensors:   CPU_Mapped model buffer size =    92.10 MiB\n");
    printf("fake engine listens on %ld\n", port);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 * 1024);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    pthread_create(&thread, &small, fate, NULL);
    for (;;) {
        int client = accept(server, NULL, NULL);
        if (client < 0) continue;
        if (pthread_create(&thread, &small, serve, (void *)(long)client)) close(client);
    }
}
