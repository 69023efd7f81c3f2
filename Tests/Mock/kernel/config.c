/* SPDX-License-Identifier: MIT */
/*
 * The mock's configuration: environment variables, read once when the library is
 * loaded. README.md beside this folder lists them. A word that is not understood
 * ends the process: a test that misspells a lie must not pass.
 */
#include <ctype.h>
#include <stdatomic.h>

#include "host.h"

struct config config;

/* One entry of UNBIND_MOCK_FAIL: calls first..last of a name fail. */
struct failure {
    char name[48];
    unsigned long first, last, seen;
    int error;
};
static struct failure failures[32];
static unsigned failure_count;
static pthread_mutex_t failure_mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint64_t random_state;

static void refuse(const char *variable, const char *text) {
    fprintf(stderr, "unbind mock: %s: cannot understand \"%s\"\n", variable, text);
    _exit(125);
}

static const struct {
    const char *name;
    int value;
} errors[] = {
    {"EPERM", EPERM},         {"ENOENT", ENOENT}, {"EINTR", EINTR},   {"EIO", EIO},         {"EAGAIN", EAGAIN},
    {"ENOMEM", ENOMEM},       {"EACCES", EACCES}, {"EFAULT", EFAULT}, {"EBUSY", EBUSY},     {"ENODEV", ENODEV},
    {"EINVAL", EINVAL},       {"EMFILE", EMFILE}, {"ENOTTY", ENOTTY}, {"ENOSPC", ENOSPC},   {"ENOBUFS", ENOBUFS},
    {"ECANCELED", ECANCELED}, {"ETIME", ETIME},   {"E2BIG", E2BIG},   {"ENOEXEC", ENOEXEC}, {"EOPNOTSUPP", EOPNOTSUPP},
};

static const struct {
    const char *name;
    enum lie lie;
} lie_names[] = {
    {"no-tlb-flush", LIE_NO_TLB_FLUSH}, {"ignore-in-fence", LIE_IGNORE_IN_FENCE}, {"keep-pte", LIE_KEEP_PTE},
    {"signal-early", LIE_SIGNAL_EARLY}, {"lose-write", LIE_LOSE_WRITE},
};

/* NAME:CALLS:ERRNO, where CALLS is N, N-M, N+ or * (calls count from 1). */
static void read_failure(char *text) {
    char *calls = strchr(text, ':');
    char *error = calls ? strchr(calls + 1, ':') : NULL;
    if (!error || failure_count == sizeof failures / sizeof failures[0]) refuse("UNBIND_MOCK_FAIL", text);
    *calls++ = 0;
    *error++ = 0;
    struct failure *failure = &failures[failure_count++];
    snprintf(failure->name, sizeof failure->name, "%s", text);
    if (strcmp(calls, "*") == 0) {
        failure->first = 1;
        failure->last = -1ul;
    } else {
        char *end;
        failure->first = failure->last = strtoul(calls, &end, 10);
        if (*end == '-') failure->last = strtoul(end + 1, &end, 10);
        if (*end == '+') failure->last = -1ul, end++;
        if (*end || failure->first == 0) refuse("UNBIND_MOCK_FAIL", calls);
    }
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (strcmp(error, errors[i].name) == 0) failure->error = errors[i].value;
    if (!failure->error) refuse("UNBIND_MOCK_FAIL", error);
}

static void each_word(const char *variable, void (*use)(char *word)) {
    const char *value = getenv(variable);
    if (!value || !*value) return;
    char *copy = strdup(value), *rest = copy;
    for (char *word; (word = strsep(&rest, ",")) != NULL;)
        if (*word) use(word);
    free(copy);
}

static void read_lie(char *word) {
    for (size_t i = 0; i < sizeof lie_names / sizeof lie_names[0]; i++) {
        if (strcmp(word, lie_names[i].name) == 0) {
            config.lies |= lie_names[i].lie;
            return;
        }
    }
    refuse("UNBIND_MOCK_LIE", word);
}

static uint64_t number(const char *variable, uint64_t otherwise) {
    const char *value = getenv(variable);
    if (!value || !*value) return otherwise;
    char *end;
    uint64_t result = strtoull(value, &end, 0);
    if (*end || !isdigit((unsigned char)*value)) refuse(variable, value);
    return result;
}

/* What access the process has: unprivileged, denied, missing. */
static void read_access(char *word) {
    if (strcmp(word, "unprivileged") == 0) config.privileged = false;
    else if (strcmp(word, "denied") == 0) config.nodes_denied = true;
    else if (strcmp(word, "missing") == 0) config.nodes_missing = true;
    else refuse("UNBIND_MOCK_ACCESS", word);
}

/* exec:US or bind:US, microseconds; a leading ~ draws from 0..US. */
static void read_delay(char *word) {
    char *value = strchr(word, ':');
    if (!value) refuse("UNBIND_MOCK_DELAY", word);
    *value++ = 0;
    if (*value == '~') config.delay_random = true, value++;
    char *end;
    uint64_t ns = strtoull(value, &end, 10) * 1000;
    if (*end) refuse("UNBIND_MOCK_DELAY", value);
    if (strcmp(word, "exec") == 0) config.exec_delay_ns = ns;
    else if (strcmp(word, "bind") == 0) config.bind_delay_ns = ns;
    else refuse("UNBIND_MOCK_DELAY", word);
}

static void read_schedule(char *word) {
    static const char *const names[] = {"fifo", "random", "newest", "step"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(word, names[i]) == 0) {
            config.schedule = (enum schedule)i;
            return;
        }
    }
    refuse("UNBIND_MOCK_SCHEDULE", word);
}

void config_read(void) {
    const char *machine = getenv("UNBIND_MOCK_MACHINE");
    memset(&config, 0, sizeof config);
    config.enabled = machine && *machine;
    if (!config.enabled) return;
    if (strlen(machine) >= sizeof config.machine) refuse("UNBIND_MOCK_MACHINE", machine);
    strcpy(config.machine, machine);
    config.privileged = true;
    config.schedule = SCHEDULE_RANDOM;
    config.small_bar = number("UNBIND_MOCK_SMALL_BAR", 0);
    config.pressure = number("UNBIND_MOCK_PRESSURE", 0);
    config.next_kernel = number("UNBIND_MOCK_NEXT_KERNEL", 0);
    config.seed = number("UNBIND_MOCK_SEED", 1);
    config.hang_ns = number("UNBIND_MOCK_HANG_MS", 5000) * 1000000;
    config.system_memory = number("UNBIND_MOCK_SYSTEM_MIB", 16384) << 20;
    config.fence_lag_ns = number("UNBIND_MOCK_FENCE_LAG", 0) * 1000;
    config.bind_limit = (unsigned)number("UNBIND_MOCK_BIND_LIMIT", 0);
    config.queue_limit = (unsigned)number("UNBIND_MOCK_QUEUE_LIMIT", 1000);
    random_state = config.seed;
    each_word("UNBIND_MOCK_ACCESS", read_access);
    each_word("UNBIND_MOCK_SCHEDULE", read_schedule);
    each_word("UNBIND_MOCK_DELAY", read_delay);
    each_word("UNBIND_MOCK_LIE", read_lie);
    config_read_failures();
}

void config_read_failures(void) {
    pthread_mutex_lock(&failure_mutex);
    failure_count = 0;
    memset(failures, 0, sizeof failures);
    each_word("UNBIND_MOCK_FAIL", read_failure);
    pthread_mutex_unlock(&failure_mutex);
}

int config_failure(const char *name) {
    int error = 0;
    pthread_mutex_lock(&failure_mutex);
    for (unsigned i = 0; i < failure_count; i++) {
        if (strcmp(failures[i].name, name) != 0 && strcmp(failures[i].name, "*") != 0) continue;
        unsigned long call = ++failures[i].seen;
        if (call >= failures[i].first && call <= failures[i].last && !error) error = failures[i].error;
    }
    pthread_mutex_unlock(&failure_mutex);
    return error;
}

uint64_t config_random(void) {
    uint64_t x = atomic_fetch_add(&random_state, 0x9e3779b97f4a7c15u) + 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}
