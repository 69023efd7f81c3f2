/* SPDX-License-Identifier: MIT */
/* Versions, status texts, dumps. */
#include "support.h"

#include <limits.h>

TEST(versions_agree, "the library's version is the header's, as a number and as text") {
    CHECK_EQUAL(unbind_version(), UNBIND_VERSION);
    CHECK(strcmp(unbind_version_string(), UNBIND_VERSION_STRING) == 0);
    CHECK_EQUAL(UNBIND_VERSION_NUMBER(1, 2, 3), (1 << 20) + (2 << 10) + 3);
    CHECK(UNBIND_VERSION_AT_LEAST(0, 1, 0) && !UNBIND_VERSION_AT_LEAST(99, 0, 0));
}

TEST(statuses_have_texts, "every status of the table has its name and a sentence of its own") {
    static const struct { int status; const char *name; } table[] = {
        {0, "0"}, {-EINVAL, "-EINVAL"}, {-E2BIG, "-E2BIG"}, {-ENOENT, "-ENOENT"}, {-ENOMEM, "-ENOMEM"},
        {-ENOSPC, "-ENOSPC"}, {-ENODEV, "-ENODEV"}, {-EAGAIN, "-EAGAIN"}, {-EBUSY, "-EBUSY"}, {-EINTR, "-EINTR"},
        {-ETIME, "-ETIME"}, {-EDEADLK, "-EDEADLK"}, {-EALREADY, "-EALREADY"}, {-EIO, "-EIO"}, {-EFAULT, "-EFAULT"},
        {-EOPNOTSUPP, "-EOPNOTSUPP"}, {-EMFILE, "-EMFILE"}, {-ENFILE, "-ENFILE"},
    };
    const int count = (int)(sizeof table / sizeof table[0]);
    for (int i = 0; i < count; i++) {
        const char *name = unbind_status_name(table[i].status), *text = unbind_status_string(table[i].status);
        REQUIRE(name != NULL && text != NULL);
        if (strcmp(name, table[i].name) != 0) printf("    the name of %s is %s\n", table[i].name, name);
        CHECK(strcmp(name, table[i].name) == 0);
        CHECK(strlen(text) > 3 && text[strlen(text) - 1] != '\n');
        for (int j = 0; j < i; j++) CHECK(strcmp(text, unbind_status_string(table[j].status)) != 0);
    }
    CHECK(strcmp(unbind_status_name(1), "0") == 0);
    CHECK(strcmp(unbind_status_name(INT_MAX), "0") == 0);
    CHECK(strcmp(unbind_status_name(-4095), "unknown") == 0);
    CHECK(strcmp(unbind_status_name(INT_MIN), "unknown") == 0);
    CHECK(unbind_status_string(-4095) != NULL && unbind_status_string(INT_MIN) != NULL);
}

struct text {
    char bytes[65536];
    size_t length;
};

static void collect(void *user_data, const char *piece, size_t length) {
    struct text *text = (struct text *)user_data;
    if (text->length + length >= sizeof text->bytes) return;
    memcpy(text->bytes + text->length, piece, length);
    text->length += length;
    text->bytes[text->length] = 0;
}

TEST(dumps, "dumps of a device and of an address space are text and name what is bound") {
    static struct text text;
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_queue *queue = make_queue(&gpu);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0xabc000), *pending = bind_new(&gpu, PAGE, 0xdef000);
    unbind_fence *user = make_fence(&gpu);
    REQUIRE(unbind_vma_add_user(pending, user) == 0);
    CHECK_EQUAL(unbind_vma_unbind_async(pending, 0, NULL), 0);
    CHECK_EQUAL(unbind_vm_dump(gpu.vm, collect, &text), 0);
    CHECK(strstr(text.bytes, "abc000") && strstr(text.bytes, "def000"));
    for (size_t i = 0; i < text.length; i++) CHECK(text.bytes[i] == '\n' || (text.bytes[i] >= 32 && text.bytes[i] < 127));
    memset(&text, 0, sizeof text);
    CHECK_EQUAL(unbind_device_dump(gpu.device, collect, &text), 0);
    CHECK(text.length > 40 && text.bytes[text.length - 1] == '\n');
    signal_and_drop(user);
    unbind_vma_unref(vma);
    unbind_vma_unref(pending);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}
