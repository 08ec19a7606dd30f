// Entry points through the C API: by name, alone, and what is refused.
#include "capi/test_tools.h"

namespace niwaki {
namespace {

using namespace capi_testing;

std::vector<uint8_t> both(std::vector<Entry> entries = {{"picture", classifier()}, {"words", reader()}}) {
  const auto path =
      std::filesystem::temp_directory_path() / ("niwaki-capi-entries-" + std::to_string(entries.size()) + ".niwaki");
  write_file(entries, path.string());
  std::ifstream in(path, std::ios::binary);
  std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(in), {}};
  in.close();
  std::filesystem::remove(path);
  return bytes;
}

niwaki_model* open(const std::vector<uint8_t>& bytes, const niwaki_options& options = {}) {
  niwaki_model* model = nullptr;
  REQUIRE(niwaki_model_open_memory(bytes.data(), bytes.size(), &options, &model) == NIWAKI_OK);
  return model;
}

TEST(capi_entries_by_name) {
  for (const int threads : {0, 2}) {
    niwaki_options options{};
    options.threads = threads;
    niwaki_model *model = open(both(), options), *picture = nullptr, *words = nullptr;
    size_t count = 0;
    CHECK_EQ(niwaki_model_entry_count(model, &count), NIWAKI_OK);
    CHECK_EQ(count, size_t{2});
    const char* name = nullptr;
    CHECK_EQ(niwaki_model_entry_name(model, 1, &name), NIWAKI_OK);
    CHECK_EQ(std::string(name), "words");
    CHECK_EQ(niwaki_model_isa(model, &name), NIWAKI_OK);
    REQUIRE(niwaki_model_entry(model, "picture", &picture) == NIWAKI_OK);
    REQUIRE(niwaki_model_entry(model, "words", &words) == NIWAKI_OK);
    CHECK_EQ(niwaki_model_entry_count(words, &count), NIWAKI_OK);
    CHECK_EQ(count, size_t{1});
    CHECK_EQ(niwaki_model_close(model), NIWAKI_OK);  // the entries keep what they need
    size_t inputs = 0, states = 0;
    CHECK_EQ(niwaki_model_counts(picture, &inputs, nullptr), NIWAKI_OK);
    CHECK_EQ(inputs, size_t{2});
    CHECK_EQ(niwaki_model_state_count(words, &states), NIWAKI_OK);
    CHECK_EQ(states, size_t{1});
    niwaki_session *first = nullptr, *second = nullptr;
    REQUIRE(niwaki_session_create(picture, &options, &first) == NIWAKI_OK);
    REQUIRE(niwaki_session_create(words, &options, &second) == NIWAKI_OK);
    CHECK_EQ(niwaki_model_close(picture), NIWAKI_OK);
    Arrays arrays;
    CHECK_EQ(arrays.run(first), NIWAKI_OK);
    CHECK(arrays.same(expected()));
    Words sentence;
    CHECK_EQ(sentence.run(second), NIWAKI_OK);
    CHECK(sentence.sums == (std::array<float, 4>{2.75f, 11, 2.25f, 12}));
    CHECK_EQ(niwaki_session_close(first), NIWAKI_OK);
    CHECK_EQ(niwaki_session_close(second), NIWAKI_OK);
    CHECK_EQ(niwaki_model_close(words), NIWAKI_OK);
  }
}

TEST(capi_entries_that_are_refused) {
  niwaki_model *model = open(both()), *entry = nullptr;
  niwaki_session* session = nullptr;
  niwaki_port port;
  size_t count = 0;
  const char* text = nullptr;
  REFUSED(
      niwaki_session_create(model, nullptr, &session),
      "niwaki_session_create: the network has several entry points, 'picture', 'words'; get one of them with niwaki_model_entry");
  REFUSED(niwaki_model_counts(model, &count, nullptr), "several entry points");
  REFUSED(niwaki_model_input(model, 0, &port), "several entry points");
  REFUSED(niwaki_model_metadata(model, "source", &text), "several entry points");
  REFUSED(niwaki_model_entry(model, "sound", &entry), "no entry point 'sound'; it has 'picture', 'words'");
  REFUSED(niwaki_model_entry(model, "", &entry), "no entry point ''");
  REFUSED(niwaki_model_entry(model, nullptr, &entry), "name is NULL");
  REFUSED(niwaki_model_entry(model, "words", nullptr), "entry is NULL");
  REFUSED(niwaki_model_entry_count(model, nullptr), "count is NULL");
  REFUSED(niwaki_model_entry_name(model, 0, nullptr), "name is NULL");
  REFUSED(niwaki_model_entry_name(model, 2, &text), "there is no entry point 2; the network has 2");
  CHECK_EQ(niwaki_model_close(model), NIWAKI_OK);
  REFUSED(niwaki_model_entry(model, "words", &entry), "not open");
}

// A network of one entry is that entry, with a name or without.
TEST(capi_entries_where_there_is_one) {
  for (const char* name : {"", "only"}) {
    niwaki_model *model = open(both({{name, classifier()}})), *entry = nullptr;
    size_t count = 0;
    const char* text = nullptr;
    CHECK_EQ(niwaki_model_entry_count(model, &count), NIWAKI_OK);
    CHECK_EQ(count, size_t{1});
    CHECK_EQ(niwaki_model_entry_name(model, 0, &text), NIWAKI_OK);
    CHECK_EQ(std::string(text), name);
    REQUIRE(niwaki_model_entry(model, name, &entry) == NIWAKI_OK);
    for (niwaki_model* each : {model, entry}) {
      niwaki_session* session = nullptr;
      REQUIRE(niwaki_session_create(each, nullptr, &session) == NIWAKI_OK);
      Arrays arrays;
      CHECK_EQ(arrays.run(session), NIWAKI_OK);
      CHECK(arrays.same(expected()));
      CHECK_EQ(niwaki_session_close(session), NIWAKI_OK);
    }
    CHECK_EQ(niwaki_model_close(model), NIWAKI_OK);
    REFUSED(niwaki_model_entry(entry, "other", &model), *name == '\0' ? "a single one, without a name" : "it has 'only'");
    CHECK_EQ(niwaki_model_close(entry), NIWAKI_OK);
  }
}

// The caller's memory: what entries share is there once, and all of it comes back.
TEST(capi_entries_share_memory) {
  const auto packed = [](const std::vector<uint8_t>& bytes) {
    Meter meter;
    niwaki_model* model = open(bytes, meter.options());
    const size_t open_bytes = meter.bytes;
    CHECK_EQ(niwaki_model_close(model), NIWAKI_OK);
    CHECK_EQ(meter.open.load(), 0);
    return open_bytes;
  };
  const size_t one = packed(both({{"", classifier()}}));
  CHECK_EQ(packed(both({{"a", classifier()}, {"b", classifier()}, {"c", classifier()}})), one);
  // With other scales, biases and multipliers are others: of 24, 24, 10 and 6 outputs, in blocks of at most 32, and in whole cache lines.
  const size_t louder = packed(both({{"a", classifier()}, {"b", classifier(0.021f)}}));
  CHECK(louder > one && louder <= one + 4 * 2 * 32 * 4);
  niwaki_model* model = nullptr;
  for (int n = 0;; ++n) {  // wherever memory ends, nothing leaks
    Meter failing;
    failing.fail_at = n;
    const niwaki_options options = failing.options();
    const std::vector<uint8_t> bytes = both();
    const niwaki_status status = niwaki_model_open_memory(bytes.data(), bytes.size(), &options, &model);
    if (status == NIWAKI_OK) {
      CHECK_EQ(niwaki_model_close(model), NIWAKI_OK);
      CHECK(n > 5);
      break;
    }
    CHECK_EQ(status, NIWAKI_OUT_OF_MEMORY);
    CHECK_EQ(failing.open.load(), 0);
  }
}

}  // namespace
}  // namespace niwaki
