//go:build ignore

/* mpibench - the benchmarks of outboard's bench package, for an MPI library.
 *
 *   mpiexec -n NP mpibench BENCHMARK:BYTES...
 *
 * Each argument is one case. Rank 0 prints one line for each, in their order:
 *
 *   benchmark,np,bytes,unit,value
 *
 * A case here and its namesake in ../pingpong.go, ../bandwidth.go and ../allreduce.go must stay the same
 * experiment: the same buffers, warm-up, batches, iterations and statistic. ../doc.go describes the method.
 *
 * The constraint above keeps cgo from taking this file for a part of the Go package beside it, which embeds it.
 *
 * A new benchmark is a function that measures one size, and an entry in table[].
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <mpi.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_SAMPLES = 128, HUGE_PAGE = 2 << 20 };

static int rank, ranks;

/* die ends the job with a message, written whole because the other ranks may be writing theirs. */
static void die(const char *format, ...)
{
    char message[256];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    fprintf(stderr, "mpibench: rank %d: %s\n", rank, message);
    MPI_Abort(MPI_COMM_WORLD, 1);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* median sorts the n samples and returns the middle one, the upper of the two when n is even. */
static double median(double *samples, int n)
{
    qsort(samples, (size_t)n, sizeof *samples, ascending);
    return samples[n / 2];
}

/* buffer returns n bytes that huge pages can back, whole pages of them, so that no buffer is NULL. */
static void *buffer(size_t n)
{
    void *p = aligned_alloc(HUGE_PAGE, (n / HUGE_PAGE + 1) * HUGE_PAGE);
    if (!p)
        die("out of memory for a buffer of %zu bytes", n);
    return p;
}

/* payload returns n bytes of a pattern, sink n bytes of something else; both are in memory when they return. */
static unsigned char *payload(size_t n)
{
    unsigned char *p = buffer(n);
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(i * 131 + 7);
    return p;
}

static unsigned char *sink(size_t n)
{
    return memset(buffer(n), 0, n);
}

static void must_equal(const unsigned char *got, const unsigned char *want, size_t n)
{
    if (memcmp(got, want, n) != 0)
        die("a message of %zu bytes arrived damaged", n);
}

/* ---- pingpong: half the time of a round trip between ranks 0 and 1, microseconds ---- */

static double round_trips(const void *send, void *recv, int n, int count)
{
    double start = now();
    for (int i = 0; i < count; i++) {
        if (rank == 0) {
            MPI_Send(send, n, MPI_BYTE, 1, 1, MPI_COMM_WORLD);
            MPI_Recv(recv, n, MPI_BYTE, 1, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        } else {
            MPI_Recv(recv, n, MPI_BYTE, 0, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            MPI_Send(send, n, MPI_BYTE, 0, 1, MPI_COMM_WORLD);
        }
    }
    return (now() - start) / count / 2;
}

static double pingpong(size_t n)
{
    if (rank > 1)
        return 0;
    int batches = 30, count = 4;
    if (n <= 8 << 10)
        batches = 100, count = 200;
    else if (n <= 64 << 10)
        batches = 100, count = 50;
    else if (n <= 1 << 20)
        batches = 60, count = 10;

    unsigned char *send = payload(n), *recv = sink(n);
    double samples[MAX_SAMPLES];
    round_trips(send, recv, (int)n, count * (batches / 5 + 1));
    for (int b = 0; b < batches; b++)
        samples[b] = round_trips(send, recv, (int)n, count);
    must_equal(recv, send, n);
    free(send);
    free(recv);
    return median(samples, batches) * 1e6;
}

/* ---- bandwidth: windows of 64 messages from rank 0 to rank 1, each window acknowledged, MB/s ---- */

enum { WINDOW = 64 };

static double windows(void *send, void *recv, int n, int count)
{
    MPI_Request requests[WINDOW];
    char ack[4] = { 0 };
    double start = now();
    for (int i = 0; i < count; i++) {
        for (int w = 0; w < WINDOW; w++) {
            if (rank == 0)
                MPI_Isend(send, n, MPI_BYTE, 1, 10, MPI_COMM_WORLD, &requests[w]);
            else
                MPI_Irecv(recv, n, MPI_BYTE, 0, 10, MPI_COMM_WORLD, &requests[w]);
        }
        MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE);
        if (rank == 0)
            MPI_Recv(ack, sizeof ack, MPI_BYTE, 1, 11, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        else
            MPI_Send(ack, sizeof ack, MPI_BYTE, 0, 11, MPI_COMM_WORLD);
    }
    return (now() - start) / count / WINDOW;
}

static double bandwidth(size_t n)
{
    if (rank > 1)
        return 0;
    int batches = 10, count = 1;
    if (n <= 8 << 10)
        batches = 40, count = 20;
    else if (n <= 64 << 10)
        batches = 40, count = 8;
    else if (n <= 1 << 20)
        batches = 20, count = 2;

    unsigned char *send = payload(n), *recv = sink(n);
    double samples[MAX_SAMPLES];
    for (int b = 0; b < batches / 5 + 1; b++)
        windows(send, recv, (int)n, count);
    for (int b = 0; b < batches; b++)
        samples[b] = windows(send, recv, (int)n, count);
    if (rank == 1)
        must_equal(recv, send, n);
    free(send);
    free(recv);
    return (double)n / median(samples, batches) / 1e6;
}

/* ---- allreduce: sums of doubles over all ranks, back to back, microseconds for each ---- */

enum { REPEATS = 5 };

static double allreduces(const double *send, double *recv, int n, int count)
{
    double start = now();
    for (int i = 0; i < count; i++)
        MPI_Allreduce(send, recv, n, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    return (now() - start) / count;
}

/* iterations_for returns the calls that take 0.3 s on the slowest rank, between 7 and 100,000, the same on every rank. */
static int iterations_for(double seconds)
{
    double slowest;
    MPI_Allreduce(&seconds, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    double count = 0.3 / (slowest + 1e-7);
    return count > 100000 ? 100000 : count < 7 ? 7 : (int)count;
}

static double allreduce(size_t bytes)
{
    int n = (int)(bytes / sizeof(double));
    double *send = buffer(bytes), *recv = buffer(bytes);
    for (int i = 0; i < n; i++) {
        send[i] = 1 + i % 7;
        recv[i] = 0;
    }
    allreduces(send, recv, n, 1);
    int count = iterations_for(allreduces(send, recv, n, 3));
    allreduces(send, recv, n, count);

    double samples[REPEATS], slowest[REPEATS];
    for (int r = 0; r < REPEATS; r++) {
        MPI_Barrier(MPI_COMM_WORLD);
        samples[r] = allreduces(send, recv, n, count / 2 + 1);
    }
    MPI_Allreduce(samples, slowest, REPEATS, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    for (int i = 0; i < n; i++)
        if (recv[i] != send[i] * ranks)
            die("allreduce of %zu bytes: element %d is %g, want %g", bytes, i, recv[i], send[i] * ranks);
    free(send);
    free(recv);
    return median(slowest, REPEATS) * 1e6;
}

/* ---- the program ---- */

struct benchmark {
    const char *name, *unit;
    int min_ranks;
    size_t min_bytes, multiple; /* the sizes it accepts */
    double (*measure)(size_t bytes); /* called on all ranks; rank 0's result counts */
};

static const struct benchmark table[] = {
    { "pingpong", "us", 2, 0, 1, pingpong },
    { "bandwidth", "MB/s", 2, 1, 1, bandwidth },
    { "allreduce", "us", 1, sizeof(double), sizeof(double), allreduce },
};

static const struct benchmark *parse(const char *argument, size_t *bytes)
{
    const char *colon = strchr(argument, ':');
    for (size_t i = 0; colon && i < sizeof table / sizeof *table; i++) {
        const struct benchmark *b = &table[i];
        if (strlen(b->name) != (size_t)(colon - argument) || strncmp(argument, b->name, strlen(b->name)) != 0)
            continue;
        char *end;
        errno = 0;
        unsigned long long n = strtoull(colon + 1, &end, 10);
        if (errno || end == colon + 1 || *end || colon[1] == '-' || n > INT32_MAX)
            die("%s: the size must be a number of bytes up to %d", argument, INT32_MAX);
        if (n < b->min_bytes || n % b->multiple)
            die("%s: the size must be a multiple of %zu and at least %zu", argument, b->multiple, b->min_bytes);
        if (ranks < b->min_ranks)
            die("%s: needs %d ranks, has %d", argument, b->min_ranks, ranks);
        *bytes = (size_t)n;
        return b;
    }
    die("%s: want BENCHMARK:BYTES, with a benchmark that exists", argument);
    return NULL;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc < 2)
        die("usage: mpibench BENCHMARK:BYTES...");
    for (int i = 1; i < argc; i++) {
        size_t bytes;
        const struct benchmark *b = parse(argv[i], &bytes);
        MPI_Barrier(MPI_COMM_WORLD);
        double value = b->measure(bytes);
        if (rank == 0) {
            printf("%s,%d,%zu,%s,%.9g\n", b->name, ranks, bytes, b->unit, value);
            fflush(stdout);
        }
    }
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Finalize();
    return 0;
}
