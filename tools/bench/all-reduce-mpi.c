/*
 * The OpenMPI side of tools/bench/all-reduce.ts: one rank. Rank 0 reads lines of "ELEMENTS REPEATS" and answers each with
 * {"ms": ...}: milliseconds of one MPI_Allreduce in place, over REPEATS of them after a barrier, of the slowest rank.
 * Arguments, if any: the logical processors that each rank keeps to, as "0,1" "2,3".
 */
#define _GNU_SOURCE
#include <math.h>
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Looking more often disturbs those whose turn it is. */
#define AWAKE_EVERY_NS 20000000

/* Waits for its turn asleep: MPI's own waiting would burn the cores that the others are measured on. */
static void await_request(long request[2]) {
  MPI_Request pending;
  int done = 0;
  MPI_Ibcast(request, 2, MPI_LONG, 0, MPI_COMM_WORLD, &pending);
  for (;;) {
    MPI_Test(&pending, &done, MPI_STATUS_IGNORE);
    if (done) return;
    nanosleep(&(struct timespec){.tv_nsec = AWAKE_EVERY_NS}, NULL);
  }
}

static void bind_to(const char *processors) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (char *rest; *processors; processors = *rest ? rest + 1 : rest) CPU_SET(strtol(processors, &rest, 10), &set);
  if (sched_setaffinity(0, sizeof set, &set)) exit(3);
}

int main(int argc, char **argv) {
  int rank, size;
  const char *place = getenv("OMPI_COMM_WORLD_RANK");
  if (argc > 1) bind_to(argv[1 + atoi(place)]);
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  float *tensor = NULL;
  long held = 0;
  if (rank == 0) {
    char version[MPI_MAX_LIBRARY_VERSION_STRING];
    int length;
    MPI_Get_library_version(version, &length);
    for (int i = 0; i < length; i++)
      if (version[i] == ',' || version[i] == '"') version[i] = 0;
    printf("{\"version\": \"%s\"}\n", version);
    fflush(stdout);
  }
  for (;;) {
    long request[2] = {0, 0};
    if (rank == 0 && scanf("%ld %ld", &request[0], &request[1]) != 2) request[0] = 0;
    await_request(request);
    const long elements = request[0], repeats = request[1];
    if (elements <= 0) break;
    if (elements > held) {
      free(tensor);
      tensor = malloc(elements * sizeof(float));
      if (!tensor) MPI_Abort(MPI_COMM_WORLD, 1);
      held = elements;
    }
    for (long i = 0; i < elements; i++) tensor[i] = 1;
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = MPI_Wtime();
    for (long i = 0; i < repeats; i++)
      MPI_Allreduce(MPI_IN_PLACE, tensor, (int)elements, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    const double own = (MPI_Wtime() - start) * 1e3 / repeats;
    MPI_Barrier(MPI_COMM_WORLD); /* checking takes a core, which who is not through yet may need */
    const double wanted = pow(size, repeats);
    for (long i = 0; i < elements; i++)
      if (fabs(tensor[i] - wanted) > 1e-5 * wanted) MPI_Abort(MPI_COMM_WORLD, 2);
    double slowest = own;
    MPI_Reduce(&own, &slowest, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
    if (rank == 0) {
      printf("{\"ms\": %.6f}\n", slowest);
      fflush(stdout);
    }
  }
  MPI_Finalize();
  return 0;
}
