/* SPDX-License-Identifier: MIT */
#include "scheduler.h"

#include <signal.h>

#include "host.h"

static struct job_queue *queues;
static uint64_t next_number;
static pthread_t thread;
static bool thread_runs, stopping, idle_done;
static pid_t thread_process;
static void (*idle_functions[4])(void);

/* How soon a job that found its semaphore closed looks again. */
#define POLL_NS 20000u

void job_queue_init(struct job_queue *queue) {
    *queue = (struct job_queue){.next = queues, .last = &queue->first, .number = ++next_number};
    queues = queue;
}

void job_queue_remove(struct job_queue *queue) {
    struct job_queue **place = &queues;
    while (*place && *place != queue) place = &(*place)->next;
    if (*place) *place = queue->next;
}

struct job_wait {
    struct fence_callback callback;
    struct job *job;
    struct fence *of;
};

static void wait_over(struct fence_callback *callback) {
    struct job_wait *wait = (struct job_wait *)callback;
    if (--wait->job->open_fences == 0) wait->job->ready_ns = monotonic_ns() + wait->job->delay_ns;
    fence_put(wait->of);
    free(wait);
    kernel_changed();
}

void job_await(struct job *job, struct fence *fence) {
    if (!fence || fence->signalled) return;
    struct job_wait *wait = calloc(1, sizeof *wait);
    if (!wait) abort();
    *wait = (struct job_wait){.callback.run = wait_over, .job = job, .of = fence_get(fence)};
    job->open_fences++;
    fence_add_callback(fence, &wait->callback);
}

/* A job to run now, or NULL with the time at which to look again (UINT64_MAX: when something changed). */
static struct job *choose(uint64_t now, uint64_t *again) {
    struct job *best = NULL;
    unsigned candidates = 0;
    *again = UINT64_MAX;
    for (struct job_queue *queue = queues; queue; queue = queue->next) {
        struct job *job = queue->first;
        if (!job || job->open_fences) continue;
        if (job->ready_ns > now) {
            if (job->ready_ns < *again) *again = job->ready_ns;
            continue;
        }
        candidates++;
        bool take = !best;
        switch (config.schedule) {
        case SCHEDULE_NEWEST: take = take || queue->number > best->queue->number; break;
        case SCHEDULE_FIFO: take = take || job->ready_ns < best->ready_ns; break;
        default: take = take || config_random() % candidates == 0; break;
        }
        if (take) best = job;
    }
    return best;
}

static void run(struct job *job) {
    struct job_queue *queue = job->queue;
    if (!job->started_ns) job->started_ns = monotonic_ns();
    enum job_result result = job->run(job);
    if (result != JOB_DONE) {
        job->ready_ns = monotonic_ns() + (result == JOB_BLOCKED ? POLL_NS : 0);
        return;
    }
    queue->first = job->next;
    if (!queue->first) queue->last = &queue->first;
    else if (queue->first->open_fences == 0) queue->first->ready_ns = monotonic_ns() + queue->first->delay_ns;
    queue->length--;
    struct fence *done = job->done;
    int error = job->error;
    job->done = NULL;
    job->destroy(job);
    fence_signal(done, error);
    fence_put(done);
    kernel_changed();
}

void job_queue_end(struct job_queue *queue) {
    // One that has a second step is given it.
    for (unsigned idle = 0; idle < 2 && queue->first && !queue->first->open_fences;) {
        unsigned length = queue->length;
        run(queue->first);
        idle = queue->length == length ? idle + 1 : 0;
    }
}

static bool nothing_left(void) {
    for (struct job_queue *queue = queues; queue; queue = queue->next)
        if (queue->first) return false;
    return true;
}

static void idle(void) {
    if (idle_done || !nothing_left()) return;
    idle_done = true;
    for (unsigned i = 0; i < sizeof idle_functions / sizeof idle_functions[0] && idle_functions[i]; i++)
        idle_functions[i]();
}

static void *work(void *unused) {
    (void)unused;
    kernel_lock();
    while (!stopping) {
        uint64_t again;
        struct job *job = choose(monotonic_ns(), &again);
        if (job) {
            run(job);
            kernel_let_others();
            continue;
        }
        idle();
        kernel_wait(again);
    }
    kernel_unlock();
    return NULL;
}

/* The program's signals are for the program's threads. */
static void start_thread(void) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    thread_process = getpid();
    thread_runs = pthread_create(&thread, NULL, work, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!thread_runs) abort();
}

void job_submit(struct job *job, struct job_queue *queue, uint64_t delay_ns) {
    if (delay_ns && config.delay_random) delay_ns = config_random() % (delay_ns + 1);
    job->next = NULL;
    job->queue = queue;
    job->delay_ns = delay_ns;
    if (!job->open_fences) job->ready_ns = monotonic_ns() + delay_ns;
    *queue->last = job;
    queue->last = &job->next;
    queue->length++;
    idle_done = false;
    if (config.schedule != SCHEDULE_STEP && !thread_runs && !stopping) {
        start_thread();
    }
    kernel_changed();
}

bool scheduler_step(uint64_t deadline_ns) {
    if (config.schedule != SCHEDULE_STEP) return false;
    uint64_t now = monotonic_ns(), again;
    struct job *job = choose(now, &again);
    if (job) {
        run(job);
        idle();
        // What only looks whether it may go on is no progress.
        return now < deadline_ns;
    }
    if (again >= deadline_ns) return false;
    return kernel_wait(again) != WAIT_INTERRUPTED;
}

void scheduler_when_idle(void (*function)(void)) {
    for (unsigned i = 0; i < sizeof idle_functions / sizeof idle_functions[0]; i++) {
        if (idle_functions[i] == function) return;
        if (idle_functions[i]) continue;
        idle_functions[i] = function;
        return;
    }
}

void scheduler_nudge(void) {
    idle_done = false;
    if (config.schedule == SCHEDULE_STEP || !thread_runs) idle();
    kernel_changed();
}

void scheduler_forked(void) {
    thread_runs = false;
    stopping = false;
}

void scheduler_restart(void) {
    kernel_lock();
    stopping = false;
    kernel_unlock();
}

void scheduler_stop(void) {
    kernel_lock();
    stopping = true;
    bool join = thread_runs && thread_process == getpid();
    thread_runs = false;
    kernel_changed();
    kernel_unlock();
    if (join) pthread_join(thread, NULL);
}
