/* niwaki: runs .niwaki files, networks in int8, on CPUs. C11; niwaki.hpp wraps it for C++.
 *
 * Errors. Every function that can fail returns a status. Where it is not NIWAKI_OK, niwaki_last_error() is one sentence that says what
 * is wrong, where, and what to do; what the call returns through pointers is then unset, unless said otherwise, and everything that was
 * open still works. No function throws,
 * aborts or prints.
 *
 * Ownership. What niwaki_model_open... and niwaki_session_create return belongs to the caller, who closes it once. Closing a model
 * while it has sessions is fine: they keep what they need. A handle that was closed, or never was one, is refused like any other bad
 * argument. Memory that the caller passes in is used during the call only, but for an allocator's `user` (see niwaki_options).
 *
 * Threads. A model is immutable; any number of threads may use it at once. A session belongs to one thread at a time; a second one
 * that comes while it runs gets NIWAKI_BUSY. Sessions of one model run side by side. After fork() the child may go on using what was
 * open; sessions with more than one thread run on one thread there. */
#ifndef NIWAKI_NIWAKI_H
#define NIWAKI_NIWAKI_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(NIWAKI_SHARED_BUILD)
#define NIWAKI_API __declspec(dllexport)
#elif defined(_WIN32) && defined(NIWAKI_SHARED)
#define NIWAKI_API __declspec(dllimport)
#elif defined(__GNUC__)
#define NIWAKI_API __attribute__((visibility("default")))
#else
#define NIWAKI_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum niwaki_status {
  NIWAKI_OK = 0,
  NIWAKI_INVALID_ARGUMENT = 1, /* the caller passed something wrong: handle, name, shape, type, buffer size */
  NIWAKI_INVALID_FILE = 2,     /* missing, empty, truncated, corrupt, foreign or newer */
  NIWAKI_UNSUPPORTED = 3,      /* well formed, but not something that this library or CPU can do */
  NIWAKI_OUT_OF_MEMORY = 4,
  NIWAKI_INTERNAL = 5, /* a fault of niwaki's */
  NIWAKI_BUSY = 6      /* the session is running in another thread */
} niwaki_status;

/* The sentence of the last call that failed in this thread; "" where none did. Valid until the next call that fails in this thread. */
NIWAKI_API const char* niwaki_last_error(void);

NIWAKI_API const char* niwaki_version(void);              /* "0.1.0" */
NIWAKI_API const char* niwaki_status_name(niwaki_status); /* "invalid argument" */

typedef struct niwaki_model niwaki_model;
typedef struct niwaki_session niwaki_session;

/* Zeros are the defaults: (niwaki_options){0}.
 *
 * allocate and release are given together or not at all. They serve all large memory: packed weights of a model, activations of a
 * session, scratch. allocate returns `bytes` bytes at a multiple of `alignment` (a power of two), or NULL: the call then returns
 * NIWAKI_OUT_OF_MEMORY, and nothing leaks. release gets back what allocate returned, with the same `bytes`. Both may be called from any
 * thread of the library, and after the call that they were given to: for a model until it and its sessions are closed. Small objects
 * (names, lists) come from the C++ heap; where that is exhausted, the status is NIWAKI_OUT_OF_MEMORY, too. */
typedef struct niwaki_options {
  int threads; /* that work on a call, the caller included: packing for a model, running for a session; 0 or 1: no other thread */
  void* (*allocate)(void* user, size_t bytes, size_t alignment);
  void (*release)(void* user, void* memory, size_t bytes);
  void* user; /* passed on to both */
} niwaki_options;

/* Reads a file, checks all of it and packs its weights for this CPU. path: in UTF-8. options: NULL for the defaults. */
NIWAKI_API niwaki_status niwaki_model_open(const char* path, const niwaki_options* options, niwaki_model** model);

/* The same from the bytes of a file, at any address. They are not needed afterwards. */
NIWAKI_API niwaki_status niwaki_model_open_memory(const void* data, size_t bytes, const niwaki_options* options,
                                                  niwaki_model** model);

/* NULL is allowed and does nothing. */
NIWAKI_API niwaki_status niwaki_model_close(niwaki_model* model);

/* Sizes from the slowest axis to the fastest, [N, C, H, W] or [N, C]. */
#define NIWAKI_MAX_RANK 4
typedef struct niwaki_shape {
  int32_t rank;
  int64_t sizes[NIWAKI_MAX_RANK];
} niwaki_shape;

typedef struct niwaki_port {
  const char* name;      /* valid while the model is open */
  niwaki_shape shape;    /* -1 where any size will do (of outputs: where it depends on the inputs) */
  niwaki_shape expected; /* of inputs: the same for one image of the size that the network was made for, -1 where unknown */
} niwaki_port;

NIWAKI_API niwaki_status niwaki_model_counts(const niwaki_model* model, size_t* inputs, size_t* outputs);
NIWAKI_API niwaki_status niwaki_model_input(const niwaki_model* model, size_t index, niwaki_port* port);
NIWAKI_API niwaki_status niwaki_model_output(const niwaki_model* model, size_t index, niwaki_port* port);

/* A text that the file carries, such as "producer" or "image.mean"; see docs/file-format.md. Valid while the model is open. */
NIWAKI_API niwaki_status niwaki_model_metadata(const niwaki_model* model, const char* key, const char** value);

/* The instruction set that kernels were chosen for: NIWAKI_ISA of the environment, or the best of this CPU. */
NIWAKI_API niwaki_status niwaki_model_isa(const niwaki_model* model, const char** isa);

/* Sizes of output `index` for inputs of these sizes, one shape for each input in order, as [N, C, H, W] or [N, C]. */
NIWAKI_API niwaki_status niwaki_model_output_shape(const niwaki_model* model, const niwaki_shape* inputs, size_t input_count,
                                                   size_t index, niwaki_shape* shape);

NIWAKI_API niwaki_status niwaki_session_create(const niwaki_model* model, const niwaki_options* options,
                                               niwaki_session** session);

/* NULL is allowed and does nothing. While the session runs in another thread it is closed when that run ends. */
NIWAKI_API niwaki_status niwaki_session_close(niwaki_session* session);

typedef enum niwaki_type { NIWAKI_FLOAT32 = 0, NIWAKI_UINT8 = 1 } niwaki_type;
typedef enum niwaki_layout { NIWAKI_NCHW = 0, NIWAKI_NHWC = 1 } niwaki_layout;

/* A contiguous array of the caller's.
 *
 * float32 inputs are what the network was trained on: already normalized. uint8 inputs are pixels of an image; the library takes
 * (pixel / 255 - mean) / std, with the mean and std of each channel that the file carries, and refuses them for a file that carries
 * none. Outputs are float32, NCHW. */
typedef struct niwaki_tensor {
  const char* name; /* which input or output it is; NULL: by its place in the array */
  niwaki_type type;
  niwaki_layout layout; /* of shape and data, for rank 4 */
  niwaki_shape shape;   /* of outputs: rank 0 takes any, and is set to the real one */
  void* data;           /* inputs are only read */
  size_t bytes;         /* of data; may be more than the shape needs */
} niwaki_tensor;

/* Runs the network: all inputs and all outputs, each once. Batch and image sizes may differ from run to run; memory is then planned
 * anew, otherwise no large memory is asked for. Outputs of rank 0 get their shape before anything runs, also where their buffer is too
 * small. Arrays must not overlap. */
NIWAKI_API niwaki_status niwaki_run(niwaki_session* session, const niwaki_tensor* inputs, size_t input_count,
                                    niwaki_tensor* outputs, size_t output_count);

/* What one layer of the network is and what it took in the session's last run. */
typedef struct niwaki_layer {
  const char *name, *op, *scheme, *kernel, *reason; /* valid while the session is open */
  double zeros;                                     /* share of its weights that are zero, 0 to 1 */
  int64_t bytes;                                    /* packed weights and constants */
  int64_t macs;                                     /* multiply-accumulates, zeros counted in; 0 before the first run */
  double milliseconds;                              /* 0 before the first run */
} niwaki_layer;

NIWAKI_API niwaki_status niwaki_session_layer_count(const niwaki_session* session, size_t* count);
NIWAKI_API niwaki_status niwaki_session_layer(const niwaki_session* session, size_t index, niwaki_layer* layer);

/* Bytes of activations and scratch at the sizes of the last run. */
NIWAKI_API niwaki_status niwaki_session_activation_bytes(const niwaki_session* session, size_t* bytes);

#ifdef __cplusplus
}
#endif

#endif
