/* pronounce ENCODER.niwaki DECODER.niwaki WORD: the phonemes of an English word. The encoder takes letters, int64 [1, T] with </s> at the end, and
 * leaves a state [1, 1, C]; the decoder takes a phoneme, int64 [1], and a state, and gives the scores of the next phoneme [1, P] and the next
 * state. Both come from bench/accuracy/pronounce.py. */
#include <niwaki/niwaki.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 64, WIDEST = 4096, MOST = 20, END_OF_WORD = 2, LETTER_A = 3, START = 2, STOP = 3, FIRST = 4 };

static const char *const kPhonemes[] = {
    "AA0", "AA1", "AA2", "AE0", "AE1", "AE2", "AH0", "AH1", "AH2", "AO0", "AO1", "AO2", "AW0", "AW1", "AW2", "AY0", "AY1", "AY2",
    "B",   "CH",  "D",   "DH",  "EH0", "EH1", "EH2", "ER0", "ER1", "ER2", "EY0", "EY1", "EY2", "F",   "G",   "HH",  "IH0", "IH1",
    "IH2", "IY0", "IY1", "IY2", "JH",  "K",   "L",   "M",   "N",   "NG",  "OW0", "OW1", "OW2", "OY0", "OY1", "OY2", "P",   "R",
    "S",   "SH",  "T",   "TH",  "UH0", "UH1", "UH2", "UW",  "UW0", "UW1", "UW2", "V",   "W",   "Y",   "Z",   "ZH"};
enum { PHONEMES = FIRST + sizeof kPhonemes / sizeof *kPhonemes };

static int failed(void) { return fprintf(stderr, "pronounce: %s\n", niwaki_last_error()), 1; }

static niwaki_session *open_network(const char *path) {
  niwaki_model *model;
  niwaki_session *session;
  if (niwaki_model_open(path, NULL, &model)) return NULL;
  const niwaki_status status = niwaki_session_create(model, NULL, &session);
  niwaki_model_close(model); /* the session keeps what it needs */
  return status ? NULL : session;
}

int main(int argc, char **argv) {
  static float state[WIDEST], next[WIDEST], scores[PHONEMES];
  int64_t letters[LONGEST], length = 0;
  if (argc != 4) return fprintf(stderr, "usage: pronounce ENCODER.niwaki DECODER.niwaki WORD\n"), 2;
  for (const char *c = argv[3]; *c; ++c) {
    if (*c < 'a' || *c > 'z' || length == LONGEST - 1) return fprintf(stderr, "%s: not a word of lower-case letters\n", argv[3]), 2;
    letters[length++] = LETTER_A + (*c - 'a');
  }
  letters[length++] = END_OF_WORD;

  niwaki_session *const encoder = open_network(argv[1]), *const decoder = encoder ? open_network(argv[2]) : NULL;
  if (!decoder) return failed();
  const niwaki_tensor word = {.type = NIWAKI_INT64, .shape = {2, {1, length}}, .data = letters, .bytes = sizeof letters};
  niwaki_tensor h = {.type = NIWAKI_FLOAT32, .data = state, .bytes = sizeof state};
  if (niwaki_run(encoder, &word, 1, &h, 1)) return failed();

  int64_t phoneme = START;
  for (int i = 0; i < MOST; ++i) {
    const niwaki_tensor inputs[2] = {{.type = NIWAKI_INT64, .shape = {1, {1}}, .data = &phoneme, .bytes = sizeof phoneme}, h};
    niwaki_tensor outputs[2] = {{.type = NIWAKI_FLOAT32, .data = scores, .bytes = sizeof scores},
                                {.type = NIWAKI_FLOAT32, .data = next, .bytes = sizeof next}};
    if (niwaki_run(decoder, inputs, 2, outputs, 2)) return failed();
    memcpy(state, next, sizeof state);
    phoneme = 0;
    for (int p = 1; p < PHONEMES; ++p)
      if (scores[p] > scores[phoneme]) phoneme = p;
    if (phoneme == STOP) break;
    printf("%s%s", i ? " " : "", phoneme < FIRST ? "?" : kPhonemes[phoneme - FIRST]);
  }
  printf("\n");
  niwaki_session_close(decoder);
  niwaki_session_close(encoder);
  return 0;
}
