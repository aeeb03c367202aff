/**
 * Waits for tasks that need each other: the first failure stops the others, and is thrown when all have ended, so that
 * nothing goes on behind the caller's back.
 *
 * @param stop ends the tasks that still run
 */
export async function allOrNone(tasks: readonly Promise<unknown>[], stop: (error: unknown) => void): Promise<void> {
  let failure: { readonly error: unknown } | undefined;
  const guarded = tasks.map((task) =>
    task.catch((error: unknown) => {
      failure ??= { error };
      stop(failure.error);
    }),
  );
  await Promise.all(guarded);
  if (failure) throw failure.error;
}
