/* niwaki: runs .niwaki files, networks in int8 and float32, on CPUs. C11; niwaki.hpp wraps it for C++.
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

/* The number in the shared library's name. It rises with every change after which programs have to be compiled anew. */
#define NIWAKI_ABI_VERSION 1

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

/* A network may have several entry points, such as the image and the text tower of one model: each is called by itself, with inputs, outputs,
 * sizes and states of its own, and they share what weights they have in common. Where there is one alone, a model is that one, and its name
 * may be empty. Where there are several, the calls below that ask for inputs and the like, and niwaki_session_create, refuse the model and
 * want one of these:
 *
 *   niwaki_model_entry(model, "text", &text);
 *
 * gives a model that is this entry point alone. Each is closed by itself, in any order: what none of them needs any more is released. */
NIWAKI_API niwaki_status niwaki_model_entry_count(const niwaki_model* model, size_t* count);
NIWAKI_API niwaki_status niwaki_model_entry_name(const niwaki_model* model, size_t index, const char** name);
NIWAKI_API niwaki_status niwaki_model_entry(const niwaki_model* model, const char* name, niwaki_model** entry);

/* Of the elements of an array. A bool is a byte, 0 or 1. uint8 may be pixels of images, too, for an input of float32: see niwaki_tensor. */
typedef enum niwaki_type {
  NIWAKI_FLOAT32 = 0,
  NIWAKI_UINT8 = 1,
  NIWAKI_INT64 = 2,
  NIWAKI_INT32 = 3,
  NIWAKI_BOOL = 4,
  NIWAKI_INT8 = 5
} niwaki_type;

NIWAKI_API const char* niwaki_type_name(niwaki_type); /* "float32" */

/* Sizes from the slowest axis to the fastest, such as [N, C, H, W] of images or [N, T] of tokens. */
#define NIWAKI_MAX_RANK 8
typedef struct niwaki_shape {
  int32_t rank;
  int64_t sizes[NIWAKI_MAX_RANK];
} niwaki_shape;

/* What one size of an input or output may be. */
typedef struct niwaki_dim {
  const char*
      name; /* of the free size that it is ("batch", "height", "tokens"); NULL where it is fixed, or depends on free sizes */
  int64_t low, high; /* both ends included */
} niwaki_dim;

typedef struct niwaki_port {
  const char* name; /* this and other names: valid while the model is open */
  niwaki_type type;
  niwaki_shape shape;    /* -1 where the size is free, or depends on free sizes */
  niwaki_shape expected; /* the same where all free sizes are what the network was made for, -1 where that is unknown */
  niwaki_dim dims[NIWAKI_MAX_RANK]; /* of each size of the shape */
} niwaki_port;

NIWAKI_API niwaki_status niwaki_model_counts(const niwaki_model* model, size_t* inputs, size_t* outputs);
NIWAKI_API niwaki_status niwaki_model_input(const niwaki_model* model, size_t index, niwaki_port* port);
NIWAKI_API niwaki_status niwaki_model_output(const niwaki_model* model, size_t index, niwaki_port* port);

/* A size of the inputs that may differ from run to run. Inputs that have it in common must agree on it. */
typedef struct niwaki_size {
  const char* name;
  int64_t low, high; /* both ends included */
  int64_t expected;  /* what the network was made for, 0 where unknown */
} niwaki_size;

NIWAKI_API niwaki_status niwaki_model_size_count(const niwaki_model* model, size_t* count);
NIWAKI_API niwaki_status niwaki_model_size(const niwaki_model* model, size_t index, niwaki_size* size);

/* A value that each session keeps from run to run, such as the cells of a recurrent layer. */
typedef struct niwaki_state {
  const char* name;
  niwaki_type type;
  niwaki_shape shape;
} niwaki_state;

NIWAKI_API niwaki_status niwaki_model_state_count(const niwaki_model* model, size_t* count);
NIWAKI_API niwaki_status niwaki_model_state(const niwaki_model* model, size_t index, niwaki_state* state);

/* A text that the file carries, such as "producer" or "image.mean"; see docs/file-format.md. Valid while the model is open. */
NIWAKI_API niwaki_status niwaki_model_metadata(const niwaki_model* model, const char* key, const char** value);

/* The instruction set that kernels were chosen for: NIWAKI_ISA of the environment, or the best of this CPU. */
NIWAKI_API niwaki_status niwaki_model_isa(const niwaki_model* model, const char** isa);

/* Sizes of output `index` for inputs of these sizes, one shape for each input in order, images as [N, C, H, W]. */
NIWAKI_API niwaki_status niwaki_model_output_shape(const niwaki_model* model, const niwaki_shape* inputs, size_t input_count,
                                                   size_t index, niwaki_shape* shape);

NIWAKI_API niwaki_status niwaki_session_create(const niwaki_model* model, const niwaki_options* options,
                                               niwaki_session** session);

/* NULL is allowed and does nothing. While the session runs in another thread it is closed when that run ends. */
NIWAKI_API niwaki_status niwaki_session_close(niwaki_session* session);

typedef enum niwaki_layout { NIWAKI_NCHW = 0, NIWAKI_NHWC = 1 } niwaki_layout;

/* A contiguous array of the caller's, aligned to its type.
 *
 * Its type is that of the input or output. But where images are wanted as float32, which are what the network was trained on, already
 * normalized, an input may be uint8: pixels. The library then takes (pixel / 255 - mean) / std, with the mean and std of each channel that
 * the file carries, and refuses them for a file that carries none. */
typedef struct niwaki_tensor {
  const char* name; /* which input or output it is; NULL: by its place in the array */
  niwaki_type type;
  niwaki_layout layout; /* of shape and data, for float32 and uint8 inputs of rank 4; the plain order (0) otherwise */
  niwaki_shape shape;   /* of outputs: rank 0 or -1 takes any, and is set to the real one */
  void* data;           /* inputs are only read */
  size_t bytes;         /* of data; may be more than the shape needs */
} niwaki_tensor;

/* Runs the network: all inputs and all outputs, each once. Free sizes may differ from run to run; memory is then planned anew, otherwise no
 * large memory is asked for. Outputs of rank 0 or -1 get their shape before anything runs, also where their buffer is too small. Arrays must
 * not overlap. A run that fails leaves the states as they were. */
NIWAKI_API niwaki_status niwaki_run(niwaki_session* session, const niwaki_tensor* inputs, size_t input_count,
                                    niwaki_tensor* outputs, size_t output_count);

/* All states as they were when the session was created. */
NIWAKI_API niwaki_status niwaki_session_reset(niwaki_session* session);

/* Copies a state out, or in. The tensor is as an output of niwaki_run, or as an input, of the state's type; its own name is not looked at. */
NIWAKI_API niwaki_status niwaki_session_get_state(niwaki_session* session, const char* name, niwaki_tensor* tensor);
NIWAKI_API niwaki_status niwaki_session_set_state(niwaki_session* session, const char* name, const niwaki_tensor* tensor);

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
