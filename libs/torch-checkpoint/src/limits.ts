/** Bytes of one pickle. That of a checkpoint with 10,000 tensors and its optimizer has a few MB. */
export const MAX_PICKLE_BYTES = 64 << 20;

/** Values that one pickle pushes, stores and remembers, together: what it can make this program allocate. */
export const MAX_PICKLE_OBJECTS = 8_000_000;
/** What a dictionary, set or object counts for: an empty one takes about 200 bytes. */
export const CONTAINER_COST = 20;

/** Bytes of a zip archive's list of records. */
export const MAX_DIRECTORY_BYTES = 64 << 20;

/** Records that the list may name. */
export const MAX_RECORDS = 500_000;

/** Dimensions of a tensor; NumPy's own limit. */
export const MAX_RANK = 64;

/** Bytes of a tensor whose elements share memory, such as an expanded one: more than the file has for it. */
export const MAX_OVERLAPPING_BYTES = 64 << 20;

/** Modules inside modules of a TorchScript archive. */
export const MAX_MODULE_DEPTH = 64;

/** All modules of a TorchScript archive, one that is shared as often as it is reached. */
export const MAX_MODULES = 100_000;
