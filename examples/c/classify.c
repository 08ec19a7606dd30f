/* classify NETWORK.niwaki PICTURE.ppm: the most likely class of a picture (binary PPM or PGM of the size that the network expects). */
#include <niwaki/niwaki.h>
#include <stdio.h>
#include <stdlib.h>

static int failed(const char *what) { return fprintf(stderr, "%s: %s\n", what, niwaki_last_error()), 1; }

int main(int argc, char **argv) {
  char kind;
  int width, height, depth;
  FILE *file = argc == 3 ? fopen(argv[2], "rb") : NULL;
  if (!file) return fprintf(stderr, "usage: classify NETWORK.niwaki PICTURE.ppm\n"), 2;
  if (fscanf(file, "P%c %d %d %d", &kind, &width, &height, &depth) != 4 || (kind != '5' && kind != '6') || fgetc(file) == EOF ||
      width < 1 || height < 1 || width > 16384 || height > 16384 || depth != 255)
    return fprintf(stderr, "%s: not a binary PPM or PGM with 8 bits\n", argv[2]), 2;
  const int channels = kind == '6' ? 3 : 1;
  const size_t bytes = (size_t)width * (size_t)height * (size_t)channels;
  uint8_t *pixels = malloc(bytes);
  if (!pixels || fread(pixels, 1, bytes, file) != bytes) return fprintf(stderr, "%s: cut short\n", argv[2]), 2;
  fclose(file);

  niwaki_model *model;
  niwaki_session *session;
  if (niwaki_model_open(argv[1], NULL, &model)) return failed(argv[1]);
  if (niwaki_session_create(model, &(niwaki_options){.threads = 2}, &session)) return failed(argv[1]);
  niwaki_tensor input = {.type = NIWAKI_UINT8, .layout = NIWAKI_NHWC, .data = pixels, .bytes = bytes};
  input.shape = (niwaki_shape){4, {1, height, width, channels}};
  static float scores[100000];
  niwaki_tensor output = {.type = NIWAKI_FLOAT32, .data = scores, .bytes = sizeof scores};
  if (niwaki_run(session, &input, 1, &output, 1)) return failed(argv[2]);
  int64_t best = 0;
  for (int64_t i = 1; i < output.shape.sizes[1]; ++i)
    if (scores[i] > scores[best]) best = i;
  printf("class %d, score %.6f\n", (int)best, scores[best]);
  niwaki_session_close(session);
  niwaki_model_close(model);
  free(pixels);
  return 0;
}
