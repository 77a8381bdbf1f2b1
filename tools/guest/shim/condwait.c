/*
 * A test aid, for machines without usable KVM; no part of the product, and nothing that a
 * pair needs where it is used. tools/guest builds it and preloads it into QEMU where a
 * guest runs under TCG and its RAM is sent elsewhere while it runs (migration, COLO).
 *
 * QEMU 7.2 has two faults there:
 *
 *   1. The migration thread has the dirty log synchronised without holding QEMU's big lock.
 *      Under TCG that calls run_on_cpu(), which waits on a condition variable with the big
 *      lock as its mutex. glibc's wait unlocks a mutex that the thread does not own and
 *      comes back with it locked; nobody unlocks it, and the thread's next lock of it hangs.
 *   2. That work was queued without the lock, too, so a virtual CPU's thread may look for
 *      work, find none, and go to sleep just before it is told: for ever.
 *
 * Hence this pthread_cond_wait: a thread that does not own the mutex takes it for the time
 * of the wait and gives it back; and no wait lasts long, so that whoever slept past his work
 * looks again. A return without a signal is a spurious wake-up, which POSIX allows and which
 * every loop of QEMU's tolerates. It costs some wake-ups a second for each waiting thread.
 *
 * A third fault, lost dirty pages, has another cure: see defaultMemoryKiB in config.go.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <time.h>
#include <unistd.h>

/* How long a wait lasts at most, in nanoseconds. */
#define OWNED_NS 10000000L
#define FOREIGN_NS 1000000L

/* The kernel's id of this thread, asked for once. */
static __thread pid_t self __attribute__((tls_model("initial-exec")));

static void wait_briefly(pthread_cond_t *cond, pthread_mutex_t *mutex, long ns)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ns;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, &until);
}

int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    if (self == 0) {
        self = gettid();
    }
    /* Only this thread can make itself the owner or stop being it: the answer holds. */
    if (mutex->__data.__owner == self) {
        wait_briefly(cond, mutex, OWNED_NS);
        return 0;
    }
    pthread_mutex_lock(mutex);
    wait_briefly(cond, mutex, FOREIGN_NS);
    pthread_mutex_unlock(mutex);
    return 0;
}
