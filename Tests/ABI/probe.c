/* SPDX-License-Identifier: MIT */
/* The machine's GPUs, whatever machine this is: run on a real one and on each of the mock kernel's. */
#include "support.h"

#include <dlfcn.h>

#define MOST 16

/* All GPUs; the unused part of the array stays as it was. */
static uint32_t list(struct unbind_gpu_info *infos, uint32_t flags) {
    struct unbind_gpu_info first = UNBIND_GPU_INFO_INIT;
    uint32_t count = 77;
    memset(infos, 0xee, MOST * sizeof *infos);
    infos[0] = first;
    REQUIRE(unbind_probe(flags, infos, MOST, &count) == 0);
    REQUIRE(count <= MOST);
    return count;
}

static int find(const char *selector, uint32_t flags, struct unbind_gpu_info *info) {
    struct unbind_gpu_info empty = UNBIND_GPU_INFO_INIT;
    *info = empty;
    return unbind_probe_find(selector, flags, info, NULL);
}

static unsigned descriptor_count(void) {
    DIR *directory = opendir("/proc/self/fd");
    unsigned count = 0;
    REQUIRE(directory != NULL);
    while (readdir(directory)) count++;
    closedir(directory);
    return count;
}

static bool text_ends(const char *text, size_t size) { return memchr(text, 0, size) != NULL; }
#define ENDS(info, member) CHECK(text_ends((info)->member, sizeof((info)->member)))

static void check_info(const struct unbind_gpu_info *info) {
    char address[32];
    snprintf(address, sizeof address, "%04x:%02x:%02x.%x", info->pci_domain, info->pci_bus, info->pci_device,
             info->pci_function);
    CHECK_EQUAL(info->struct_size, sizeof *info);
    CHECK_EQUAL(info->flags & ~(UNBIND_GPU_KNOWN | UNBIND_GPU_ADDRESS_SPACES), 0);
    CHECK(strcmp(info->pci_address, address) == 0);
    CHECK_EQUAL(info->vendor_id, 0x8086);
    CHECK(info->device_id != 0 && info->pci_class != 0);
    CHECK(info->type <= UNBIND_GPU_TYPE_DISCRETE && info->kernel_driver <= UNBIND_KERNEL_DRIVER_OTHER);
    CHECK(info->open_status <= 0 && info->query_status <= 0);
    CHECK((info->render_node[0] == 0) <= (info->open_status == -ENOENT));
    CHECK(info->open_status == 0 || info->query_status == info->open_status);
    CHECK(((info->flags & UNBIND_GPU_KNOWN) != 0) == (info->platform[0] != 0));
    CHECK((info->driver_name[0] == 0) == (info->kernel_driver == UNBIND_KERNEL_DRIVER_NONE));
    for (unsigned i = 0; i < 6; i++) {
        CHECK((info->bar_sizes[i] == 0) == (info->bar_kinds[i] == UNBIND_BAR_NONE));
        CHECK(info->bar_kinds[i] <= UNBIND_BAR_OTHER);
    }
    ENDS(info, pci_address);
    ENDS(info, platform);
    ENDS(info, codename);
    ENDS(info, family);
    ENDS(info, name);
    ENDS(info, driver_name);
    ENDS(info, render_node);
    ENDS(info, primary_node);
}

static uint64_t order_of(const struct unbind_gpu_info *info) {
    return (uint64_t)info->pci_domain << 32 | (uint64_t)info->pci_bus << 16 | (uint64_t)info->pci_device << 8 |
           info->pci_function;
}

TEST(well_formed, "the machine's GPUs are listed in the order of their addresses, and what is said of each agrees") {
    static struct unbind_gpu_info infos[MOST];
    uint32_t count = list(infos, 0);
    for (uint32_t i = 0; i < count; i++) {
        check_info(&infos[i]);
        if (i > 0) CHECK(order_of(&infos[i - 1]) < order_of(&infos[i]));
    }
    /* The first was empty before, the others were not initialised. */
    if (count < MOST) CHECK_EQUAL(infos[count].pci_domain, count == 0 ? 0 : 0xeeeeeeee);
}

TEST(found, "each GPU is found by its address, by its nodes and by its ids, and found to be the same") {
    static struct unbind_gpu_info infos[MOST];
    uint32_t count = list(infos, 0);
    for (uint32_t i = 0; i < count; i++) {
        struct unbind_gpu_info info;
        char text[128];
        uint32_t card = 0;
        for (uint32_t j = 0; j < i; j++) card += infos[j].device_id == infos[i].device_id;
        CHECK_EQUAL(find(infos[i].pci_address, 0, &info), 0);
        CHECK(memcmp(&info, &infos[i], sizeof info) == 0);
        snprintf(text, sizeof text, "pci:card=%u,device=0x%X,vendor=%x", card, infos[i].device_id, 0x8086);
        CHECK_EQUAL(find(text, 0, &info), 0);
        CHECK(memcmp(&info, &infos[i], sizeof info) == 0);
        snprintf(text, sizeof text, "pci:card=%u", i);
        CHECK_EQUAL(find(text, 0, &info), 0);
        CHECK(memcmp(&info, &infos[i], sizeof info) == 0);
        if (infos[i].render_node[0]) {
            CHECK_EQUAL(find(infos[i].render_node, 0, &info), 0);
            CHECK(memcmp(&info, &infos[i], sizeof info) == 0);
        }
        if (infos[i].primary_node[0]) {
            CHECK_EQUAL(find(infos[i].primary_node, 0, &info), 0);
            CHECK(memcmp(&info, &infos[i], sizeof info) == 0);
        }
    }
}

TEST(first, "no selector, and a type, mean the first GPU that suits") {
    static struct unbind_gpu_info infos[MOST];
    uint32_t count = list(infos, 0);
    const char *const selectors[] = {NULL, "integrated", "discrete"};
    for (uint32_t type = 0; type < 3; type++) {
        struct unbind_gpu_info info;
        uint32_t i = 0;
        while (i < count && type != 0 && infos[i].type != type) i++;
        CHECK_EQUAL(find(selectors[type], 0, &info), i < count ? 0 : -ENODEV);
        if (i < count) CHECK(memcmp(&info, &infos[i], sizeof info) == 0);
    }
}

TEST(passive, "with no node opened, what only a driver knows is unknown and all else is the same") {
    static struct unbind_gpu_info asked[MOST], infos[MOST];
    uint32_t count = list(asked, 0);
    CHECK_EQUAL(list(infos, UNBIND_PROBE_NO_OPEN), count);
    for (uint32_t i = 0; i < count; i++) {
        struct unbind_gpu_info info;
        CHECK(strcmp(infos[i].pci_address, asked[i].pci_address) == 0);
        CHECK(strcmp(infos[i].render_node, asked[i].render_node) == 0);
        CHECK(strcmp(infos[i].driver_name, asked[i].driver_name) == 0);
        CHECK(memcmp(infos[i].bar_sizes, asked[i].bar_sizes, sizeof infos[i].bar_sizes) == 0);
        CHECK_EQUAL(infos[i].open_status, UNBIND_PROBE_NOT_TRIED);
        CHECK_EQUAL(infos[i].query_status, UNBIND_PROBE_NOT_TRIED);
        CHECK_EQUAL(infos[i].va_bits, 0);
        CHECK_EQUAL(infos[i].flags & UNBIND_GPU_ADDRESS_SPACES, 0);
        CHECK_EQUAL(find(infos[i].pci_address, UNBIND_PROBE_NO_OPEN, &info), 0);
        CHECK(memcmp(&info, &infos[i], sizeof info) == 0);
    }
}

TEST(no_match, "a selector that no GPU matches is -ENODEV and leaves the struct alone") {
    static char long_path[5000];
    memset(long_path, '/', sizeof long_path - 1);
    const char *const selectors[] = {
        "ffffffff:ff:1f.7", "pci:vendor=1002", "pci:vendor=8086,device=0", "pci:card=999999999", "/", "/dev/null",
        "/dev/dri", "/dev/dri/renderD255", "/nowhere/at/all", long_path,
    };
    for (size_t i = 0; i < sizeof selectors / sizeof *selectors; i++) {
        struct unbind_gpu_info info, before;
        memset(&before, 0, sizeof before);
        before.struct_size = sizeof before;
        before.pci_domain = 12345;
        info = before;
        uint32_t offset = 77;
        CHECK_EQUAL(unbind_probe_find(selectors[i], 0, &info, &offset), -ENODEV);
        CHECK_EQUAL(offset, 77);
        CHECK(memcmp(&info, &before, sizeof info) == 0);
    }
}

TEST(malformed, "a malformed selector is -EINVAL and tells the first character that does not fit") {
    static const struct {
        const char *text;
        uint32_t offset;
    } cases[] = {
        {"", 0}, {"Integrated", 0}, {"discrete ", 8}, {"integrate", 0}, {"0000:03:00", 10}, {"0000:03:20.0", 8},
        {"03:00.8", 6}, {"pci:", 4}, {"pci:vendor=x", 11}, {"pci:card=1,card=1", 11}, {"renderD128", 0},
        {"pci:device=12345", 15}, {"123456789:00:00.0", 8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct unbind_gpu_info info;
        uint32_t offset = 77;
        CHECK_EQUAL(find(cases[i].text, 0, &info), -EINVAL);
        CHECK_EQUAL(unbind_probe_find(cases[i].text, 0, &info, &offset), -EINVAL);
        CHECK_EQUAL(offset, cases[i].offset);
    }
}

TEST(bad_arguments, "bad arguments are refused before anything is looked at") {
    struct unbind_gpu_info info = UNBIND_GPU_INFO_INIT;
    uint32_t count = 77, offset = 77;
    CHECK_EQUAL(unbind_probe(0, &info, 1, NULL), -EINVAL);
    CHECK_EQUAL(unbind_probe(0, NULL, 1, &count), -EINVAL);
    CHECK_EQUAL(unbind_probe(2, &info, 1, &count), -EINVAL);
    CHECK_EQUAL(unbind_probe(UINT32_MAX, &info, 1, &count), -EINVAL);
    CHECK_EQUAL(unbind_probe_find(NULL, 0, NULL, &offset), -EINVAL);
    CHECK_EQUAL(unbind_probe_find(NULL, 2, &info, &offset), -EINVAL);
    const uint32_t sizes[] = {0, 3, 5, sizeof info + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        info.struct_size = sizes[i];
        CHECK_EQUAL(unbind_probe(0, &info, 1, &count), -EINVAL);
        CHECK_EQUAL(unbind_probe_find(NULL, 0, &info, &offset), -EINVAL);
    }
    info.struct_size = 4100;
    CHECK_EQUAL(unbind_probe(0, &info, 1, &count), -E2BIG);
    CHECK_EQUAL(unbind_probe_find(NULL, 0, &info, &offset), -E2BIG);
    CHECK(count == 77 && offset == 77 && info.pci_class == 0);
}

TEST(capacity, "an array that is too short is filled as far as it goes, and the count says how many there are") {
    static struct unbind_gpu_info infos[MOST];
    uint32_t all = list(infos, UNBIND_PROBE_NO_OPEN), count = 77;
    CHECK_EQUAL(unbind_probe(0, NULL, 0, &count), 0);
    CHECK_EQUAL(count, all);
    for (uint32_t capacity = 1; capacity <= all; capacity++) {
        struct unbind_gpu_info some[MOST], first = UNBIND_GPU_INFO_INIT;
        memset(some, 0xee, sizeof some);
        some[0] = first;
        CHECK_EQUAL(unbind_probe(UNBIND_PROBE_NO_OPEN, some, capacity, &count), 0);
        CHECK_EQUAL(count, all);
        CHECK(memcmp(some, infos, capacity * sizeof *some) == 0);
        CHECK_EQUAL(some[capacity].struct_size, 0xeeeeeeee);
    }
}

TEST(newer, "an array of a newer program's structs is filled at its own stride, and what is not known is zero") {
    static struct {
        struct unbind_gpu_info known;
        uint64_t tail[2];
    } longer[MOST];
    static struct unbind_gpu_info infos[MOST];
    uint32_t all = list(infos, 0), count = 77;
    memset(longer, 0xee, sizeof longer);
    memset(&longer[0], 0, sizeof longer[0]);
    longer[0].known.struct_size = sizeof longer[0];
    longer[0].tail[1] = 1;
    CHECK_EQUAL(unbind_probe(0, &longer[0].known, MOST, &count), -E2BIG);
    CHECK_EQUAL(unbind_probe_find(NULL, 0, &longer[0].known, NULL), -E2BIG);
    longer[0].tail[1] = 0;
    CHECK_EQUAL(unbind_probe(0, &longer[0].known, MOST, &count), 0);
    CHECK_EQUAL(count, all);
    for (uint32_t i = 0; i < all; i++) {
        CHECK_EQUAL(longer[i].known.struct_size, sizeof longer[i]);
        CHECK(longer[i].tail[0] == 0 && longer[i].tail[1] == 0);
        longer[i].known.struct_size = sizeof infos[i];
        CHECK(memcmp(&longer[i].known, &infos[i], sizeof infos[i]) == 0);
    }
}

TEST(older, "an older program's shorter structs are filled as far as they go") {
    static struct unbind_gpu_info infos[MOST];
    uint32_t all = list(infos, 0), count = 77;
    const uint32_t size = offsetof(struct unbind_gpu_info, pci_class);
    unsigned char bytes[MOST * sizeof(struct unbind_gpu_info)];
    memset(bytes, 0xee, sizeof bytes);
    memcpy(bytes, &size, sizeof size);
    CHECK_EQUAL(unbind_probe(0, (struct unbind_gpu_info *)(void *)bytes, MOST, &count), 0);
    CHECK_EQUAL(count, all);
    for (uint32_t i = 0; i < all; i++) {
        infos[i].struct_size = size;
        CHECK(memcmp(bytes + i * size, &infos[i], size) == 0);
    }
    CHECK_EQUAL(bytes[all == 0 ? size : all * size], 0xee);
}

/* libpciaccess is in the process, because libunbind needs it; the program itself is not linked to it. */
static void *library_function(const char *name) {
    void *function = dlsym(RTLD_DEFAULT, name);
    REQUIRE(function != NULL);
    return function;
}

TEST(host_owned, "a host program's libpciaccess stays open, with its devices; a closed one is closed afterwards") {
    static struct unbind_gpu_info infos[MOST];
    int (*init)(void);
    void (*cleanup)(void);
    void *(*create)(const void *);
    void *(*next)(void *);
    void (*destroy)(void *);
    *(void **)&init = library_function("pci_system_init");
    *(void **)&cleanup = library_function("pci_system_cleanup");
    *(void **)&create = library_function("pci_slot_match_iterator_create");
    *(void **)&next = library_function("pci_device_next");
    *(void **)&destroy = library_function("pci_iterator_destroy");
    uint32_t count = list(infos, 0);
    CHECK(create(NULL) == NULL);
    int status = init();
    void *iterator = create(NULL), *device = iterator ? next(iterator) : NULL;
    CHECK_EQUAL(list(infos, 0), count);
    void *again = create(NULL);
    CHECK((again != NULL) == (iterator != NULL));
    if (again) {
        CHECK(next(again) == device);
        destroy(again);
    }
    if (iterator) destroy(iterator);
    cleanup();
    CHECK_EQUAL(list(infos, 0), count);
    CHECK(create(NULL) == NULL);
    (void)status;
}

static void *probe_often(void *argument) {
    struct unbind_gpu_info infos[MOST], expected[MOST];
    uint32_t count = list(expected, 0);
    for (int round = 0; round < (getenv("UNDER_VALGRIND") ? 2 : 20); round++) {
        CHECK_EQUAL(list(infos, 0), count);
        CHECK(memcmp(infos, expected, sizeof infos) == 0);
    }
    return argument;
}

TEST(threads, "threads that probe at the same time see the same GPUs") {
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++) REQUIRE(pthread_create(&threads[i], NULL, probe_often, NULL) == 0);
    for (unsigned i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}

TEST(descriptors, "no descriptor stays open") {
    static struct unbind_gpu_info infos[MOST];
    struct unbind_gpu_info info;
    unsigned before = descriptor_count();
    for (int round = 0; round < 3; round++) {
        list(infos, 0);
        find("discrete", 0, &info);
        find("/dev/dri/card0", 0, &info);
    }
    CHECK_EQUAL(descriptor_count(), before);
}
