/* similar NETWORK.niwaki "ID ID ..." "ID ID ...": how alike two sentences are, -1 to 1. The network takes token ids and a mask, int64 [N, T],
 * and gives embeddings of length 1, float32 [N, C]; a tokenizer makes the ids. Sentences may have any length that the network takes. */
#include <niwaki/niwaki.h>
#include <stdio.h>
#include <stdlib.h>

enum { LONGEST = 512, WIDEST = 4096 };

static int64_t read_ids(const char *text, int64_t *ids) {
  int64_t count = 0;
  for (char *end; count < LONGEST; ++count, text = end) {
    const long long id = strtoll(text, &end, 10);
    if (end == text) break;
    ids[count] = id;
  }
  return count;
}

/* The width of the embedding, or 0 where the network did not give one. */
static int64_t embed(niwaki_session *session, const char *text, float *embedding) {
  int64_t ids[LONGEST], mask[LONGEST];
  const int64_t length = read_ids(text, ids);
  for (int64_t i = 0; i < length; ++i) mask[i] = 1;
  niwaki_tensor inputs[2] = {{.type = NIWAKI_INT64, .shape = {2, {1, length}}, .data = ids, .bytes = sizeof ids},
                             {.type = NIWAKI_INT64, .shape = {2, {1, length}}, .data = mask, .bytes = sizeof mask}};
  niwaki_tensor output = {.type = NIWAKI_FLOAT32, .data = embedding, .bytes = WIDEST * sizeof *embedding};
  if (niwaki_run(session, inputs, 2, &output, 1) == NIWAKI_OK) return output.shape.sizes[output.shape.rank - 1];
  fprintf(stderr, "\"%s\": %s\n", text, niwaki_last_error());
  return 0;
}

int main(int argc, char **argv) {
  static float a[WIDEST], b[WIDEST];
  niwaki_model *model;
  niwaki_session *session;
  if (argc != 4) return fprintf(stderr, "usage: similar NETWORK.niwaki \"ID ...\" \"ID ...\"\n"), 2;
  if (niwaki_model_open(argv[1], NULL, &model) || niwaki_session_create(model, NULL, &session))
    return fprintf(stderr, "%s: %s\n", argv[1], niwaki_last_error()), 1;
  const int64_t width = embed(session, argv[2], a);
  if (width == 0 || embed(session, argv[3], b) != width) return 1;
  double cosine = 0;
  for (int64_t i = 0; i < width; ++i) cosine += (double)a[i] * b[i];
  printf("%.6f\n", cosine);
  niwaki_session_close(session);
  niwaki_model_close(model);
  return 0;
}
