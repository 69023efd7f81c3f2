/* SPDX-License-Identifier: MIT */
/*
 * The GPU's time: queues of jobs. Jobs of one queue run in order; between queues
 * there is no order but that of fences. A job is ready when it heads its queue,
 * its fences have signalled and its delay has passed; among the ready ones the
 * configured schedule chooses. One thread runs them, or (schedule "step") the
 * thread that waits for something.
 */
#ifndef MOCK_SCHEDULER_H
#define MOCK_SCHEDULER_H

#include <stdbool.h>
#include <stdint.h>

#include "fence.h"

enum job_result { JOB_DONE, JOB_AGAIN /* it has more to do */, JOB_BLOCKED /* look again after a while */ };

struct job {
    struct job *next;
    struct job_queue *queue;
    enum job_result (*run)(struct job *job); /* lock held; sets error if the work failed */
    void (*destroy)(struct job *job);        /* frees the job */
    struct fence *done;
    unsigned open_fences;                    /* in-fences that have not signalled */
    uint64_t ready_ns;                       /* not before */
    uint64_t delay_ns;
    uint64_t started_ns;                     /* first run, 0: none yet */
    int error;
};

struct job_queue {
    struct job_queue *next;
    struct job *first, **last;
    unsigned length;
    uint64_t number; /* age: the newest schedule looks at it */
};

void job_queue_init(struct job_queue *queue);
/* The queue must be empty. */
void job_queue_remove(struct job_queue *queue);
/* Runs what is ready, up to the first that has not ended then. */
void job_queue_end(struct job_queue *queue);
/* Makes the job wait for a fence (may be NULL) before it is added to its queue. */
void job_await(struct job *job, struct fence *fence);
/* Queues the job, whose done fence exists; the scheduler owns it from here on. */
void job_submit(struct job *job, struct job_queue *queue, uint64_t delay_ns);

/* Schedule "step": runs one job if one is ready, or sleeps until the next one may be; false if nothing will run before
 * deadline_ns. With another schedule always false. */
bool scheduler_step(uint64_t deadline_ns);
/* Runs f(context) whenever no job is left; i915 unbinds what was closed then. */
void scheduler_when_idle(void (*function)(void));
/* There may be something for the idle functions to do. */
void scheduler_nudge(void);
/* The thread is gone with the parent; it starts again when there is work. */
void scheduler_forked(void);
/* Ends the thread, and lets it start again. */
void scheduler_stop(void);
void scheduler_restart(void);

#endif
