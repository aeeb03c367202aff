/*
 * What the system's calls alone take of tools/bench/all-reduce.ts over TCP: processes that send and add frames round the
 * same ring, with nothing around it. Reads lines of "ELEMENTS REPEATS" and answers each with {"ms": ...}: milliseconds of
 * one all-reduce in place, over REPEATS of them after a barrier, of the slowest process.
 *
 *     all-reduce-floor PROCESSES [the logical processors that each keeps to, as "0,1" "2,3"]
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* As the library: bytes that are added at a time, that move at a time, that are on their way. */
#define FRAME (512 * 1024)
#define BURST (256 * 1024)
#define NEARBY (128 * 1024)
#define MOST 64

/* What all processes see. */
static struct {
  volatile long arrived;
  volatile double ms[MOST];
} *shared;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void bind_to(const char *processors) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (char *rest; *processors; processors = *rest ? rest + 1 : rest) CPU_SET(strtol(processors, &rest, 10), &set);
  if (sched_setaffinity(0, sizeof set, &set)) fail("sched_setaffinity");
}

/* A TCP connection of the loopback interface: ends[0] sends to ends[1]. */
static void connect_pair(int ends[2]) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  const int yes = 1, nearby = NEARBY, listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (void *)&address, length) || listen(listener, 1)) fail("listen");
  getsockname(listener, (void *)&address, &length);
  ends[0] = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(ends[0], (void *)&address, length)) fail("connect");
  ends[1] = accept(listener, NULL, NULL);
  close(listener);
  for (int i = 0; i < 2; i++) setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &nearby, sizeof nearby);
}

static void barrier(int size) {
  const long turn = __sync_fetch_and_add(&shared->arrived, 1) / size;
  while (shared->arrived < (turn + 1) * size) sched_yield();
}

static long least(long a, long b) { return a < b ? a : b; }

/* Step s sends slice rank - 1 - s and receives slice rank - 2 - s; the first size - 1 steps add, the others copy. */
static void ring(float *tensor, long count, int rank, int size, int out, int in, char *frame) {
  const int steps = 2 * size - 2;
  const long each = (count / size + 15) / 16 * 16;
  int sending = 0, receiving = 0;
  long sent = 0, received = 0;
#define START(slice) least((((slice) % size + 2 * size) % size) * each, count)
#define BYTES(slice) (4 * (least(START(slice) + each, count) - START(slice)))
  while (sending < steps || receiving < steps) {
    int moved = 0;
    if (sending < steps) {
      const int slice = rank - 1 - sending;
      const long bytes = BYTES(slice);
      const long ready = sending == 0 || receiving >= sending ? bytes : receiving == sending - 1 ? received / FRAME * FRAME : 0;
      const long wanted = least(ready - sent, BURST);
      if (wanted > 0) {
        const ssize_t n = send(out, (char *)(tensor + START(slice)) + sent, wanted, MSG_DONTWAIT);
        if (n > 0) sent += n, moved = 1;
      }
      if (sent == bytes) sending++, sent = 0;
    }
    if (receiving < steps) {
      const int slice = rank - 2 - receiving;
      const long bytes = BYTES(slice);
      char *into = (char *)(tensor + START(slice));
      const int adds = receiving < size - 1;
      const long from = received / FRAME * FRAME, whole = least(FRAME, bytes - from), have = received - from;
      if (received < bytes) {
        const ssize_t n = recv(in, adds ? frame + have : into + received, least(whole - have, BURST), MSG_DONTWAIT);
        if (n > 0) received += n, moved = 1;
        if (adds && n > 0 && have + n == whole) {
          float *sum = (float *)(into + from);
          const float *part = (const float *)frame;
          for (long i = 0; i < whole / 4; i++) sum[i] += part[i];
        }
      }
      if (received == bytes) receiving++, received = 0;
    }
    if (!moved) sched_yield();
  }
}

static void serve(int rank, int size, int requests, int answers, int out, int in) {
  float *tensor = NULL;
  char *frame = malloc(FRAME);
  long request[2], held = 0;
  while (read(requests, request, sizeof request) == sizeof request) {
    const long count = request[0], repeats = request[1];
    if (count > held) {
      free(tensor);
      tensor = aligned_alloc(64, (count * 4 + 63) / 64 * 64);
      held = count;
    }
    if (!tensor || !frame) fail("malloc");
    for (long i = 0; i < count; i++) tensor[i] = 1;
    barrier(size);
    const double start = now();
    for (long i = 0; i < repeats; i++) ring(tensor, count, rank, size, out, in, frame);
    shared->ms[rank] = (now() - start) / repeats;
    barrier(size);
    double wanted = 1;
    for (long i = 0; i < repeats; i++) wanted *= size;
    for (long i = 0; i < count; i++)
      if (tensor[i] < wanted * (1 - 1e-5) || tensor[i] > wanted * (1 + 1e-5)) fail("wrong sum");
    if (write(answers, "", 1) != 1) fail("write");
  }
  exit(0);
}

int main(int argc, char **argv) {
  const int size = argc > 1 ? atoi(argv[1]) : 0;
  int ring_ends[MOST][2], requests[MOST][2], answers[2];
  if (size < 2 || size > MOST || (argc > 2 && argc < 2 + size)) return 2;
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED || pipe(answers)) fail("mmap or pipe");
  for (int i = 0; i < size; i++) {
    connect_pair(ring_ends[i]);
    if (pipe(requests[i])) fail("pipe");
  }
  for (int rank = 0; rank < size; rank++) {
    if (fork() != 0) continue;
    for (int i = 0; i < size; i++) close(requests[i][1]);
    if (argc > 2) bind_to(argv[2 + rank]);
    serve(rank, size, requests[rank][0], answers[1], ring_ends[rank][0], ring_ends[(rank + size - 1) % size][1]);
  }
  close(answers[1]); /* so that the end of all processes ends the wait */
  long request[2];
  while (scanf("%ld %ld", &request[0], &request[1]) == 2) {
    for (int i = 0; i < size; i++)
      if (write(requests[i][1], request, sizeof request) != sizeof request) fail("write");
    char done;
    for (int i = 0; i < size; i++)
      if (read(answers[0], &done, 1) != 1) return 1;
    double slowest = 0;
    for (int i = 0; i < size; i++)
      if (shared->ms[i] > slowest) slowest = shared->ms[i];
    printf("{\"ms\": %.6f}\n", slowest);
    fflush(stdout);
  }
  return 0;
}
