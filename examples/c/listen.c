/* listen STREAM.niwaki SOUND [STATES]: what a network that is fed in pieces says of a sound, a number a line. SOUND is float32 samples, one
 * after the other; samples behind the last whole piece are left out. The network has one input, a piece, and one output, both float32:
 * net.stream(512).save("STREAM.niwaki") in Python. With STATES it goes on from that file, where there is one, and leaves its states there for
 * the next call. How long the pieces took is told on stderr. */
#include <niwaki/niwaki.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int failed(const char* why) { return fprintf(stderr, "listen: %s\n", why), 1; }

/* Memory for a float32 value of this shape. */
static niwaki_tensor tensor_of(niwaki_shape shape) {
  size_t bytes = sizeof(float);
  for (int i = 0; i < shape.rank; ++i) bytes *= (size_t)shape.sizes[i];
  return (niwaki_tensor){.type = NIWAKI_FLOAT32, .shape = shape, .data = malloc(bytes ? bytes : 1), .bytes = bytes};
}

/* All states, one after the other, out of a file or into it. */
static int move_states(const niwaki_model* model, niwaki_session* session, FILE* file, int save) {
  size_t count = 0;
  int fails = niwaki_model_state_count(model, &count);
  for (size_t i = 0; i < count && !fails; ++i) {
    niwaki_state state;
    if (niwaki_model_state(model, i, &state)) return 1;
    niwaki_tensor value = tensor_of(state.shape);
    if (!value.data) return 1;
    if (save)
      fails = niwaki_session_get_state(session, state.name, &value) || fwrite(value.data, 1, value.bytes, file) != value.bytes;
    else fails = fread(value.data, 1, value.bytes, file) != value.bytes || niwaki_session_set_state(session, state.name, &value);
    free(value.data);
  }
  return fails;
}

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) return fprintf(stderr, "usage: listen STREAM.niwaki SOUND [STATES]\n"), 2;
  niwaki_model* model;
  niwaki_session* session;
  niwaki_port in, out;
  if (niwaki_model_open(argv[1], NULL, &model) || niwaki_session_create(model, NULL, &session) ||
      niwaki_model_input(model, 0, &in) || niwaki_model_output(model, 0, &out))
    return failed(niwaki_last_error());
  FILE *const sound = fopen(argv[2], "rb"), *states = argc == 4 ? fopen(argv[3], "rb") : NULL;
  if (!sound) return failed("there is no such sound");
  if (states && move_states(model, session, states, 0)) return failed("the states are those of another network");
  if (states) fclose(states);

  niwaki_tensor piece = tensor_of(in.shape), answer = tensor_of(out.shape);
  if (!piece.data || !answer.data) return failed("no memory");
  long pieces = 0;
  const clock_t begin = clock();
  for (; fread(piece.data, 1, piece.bytes, sound) == piece.bytes; ++pieces) {
    if (niwaki_run(session, &piece, 1, &answer, 1)) return failed(niwaki_last_error());
    for (size_t i = 0; i < answer.bytes / sizeof(float); ++i) printf("%.9g\n", ((const float*)answer.data)[i]);
  }
  fprintf(stderr, "%ld pieces, %.3f CPU seconds\n", pieces, (double)(clock() - begin) / CLOCKS_PER_SEC);

  if (argc == 4) {
    states = fopen(argv[3], "wb");
    if (!states || move_states(model, session, states, 1) || fclose(states)) return failed("the states cannot be written");
  }
  fclose(sound);
  free(piece.data);
  free(answer.data);
  niwaki_session_close(session);
  niwaki_model_close(model);
  return 0;
}
