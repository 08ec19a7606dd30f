// The C API where memory runs out: at every single allocation, the caller's and the C++ heap's.
#include "capi/test_tools.h"
#include "testing/heap.h"

namespace niwaki {
namespace {

using namespace capi_testing;

// Opens, asks, runs uint8 images and then floats of another size, closes. All memory of its own is made before, so that what fails
// in `go` fails in the library.
struct Life {
  niwaki_model* model = nullptr;
  niwaki_session* session = nullptr;
  Arrays small{1}, result;
  std::vector<uint8_t> pixels = std::vector<uint8_t>(297, 9);

  Life() { small.inputs[0] = {nullptr, NIWAKI_UINT8, NIWAKI_NHWC, {4, {1, 9, 11, 3}}, pixels.data(), pixels.size()}; }
  Life(const Life&) = delete;
  Life& operator=(const Life&) = delete;

  // The first status that is not ok.
  niwaki_status go(const niwaki_options& options) {
    const niwaki_shape shapes[] = {{4, {2, 3, 9, 11}}, {2, {2, 5}}};
    niwaki_shape shape;
    niwaki_port port;
    niwaki_layer layer;
    const char* text;
    niwaki_status status = niwaki_model_open_memory(file().data(), file().size(), &options, &model);
    const auto then = [&](auto call) {
      if (status == NIWAKI_OK) status = call();
    };
    then([&] { return niwaki_model_input(model, 0, &port); });
    then([&] { return niwaki_model_metadata(model, "source", &text); });
    then([&] { return niwaki_model_output_shape(model, shapes, 2, 1, &shape); });
    then([&] { return niwaki_session_create(model, &options, &session); });
    then([&] { return small.run(session); });
    then([&] { return niwaki_session_layer(session, 1, &layer); });
    then([&] { return result.run(session); });
    return status;
  }

  void close() {
    CHECK_EQ(niwaki_session_close(session), NIWAKI_OK);
    CHECK_EQ(niwaki_model_close(model), NIWAKI_OK);
  }
};

// What has to hold after a life in which an allocation failed.
void check_refused(Life& life, niwaki_status status, const std::string& which) {
  if (status != NIWAKI_OUT_OF_MEMORY) testing::fail(__FILE__, __LINE__, which + ": " + niwaki_status_name(status));
  if (std::strstr(niwaki_last_error(), "memory") == nullptr) testing::fail(__FILE__, __LINE__, which + niwaki_last_error());
  if (life.session == nullptr) return;  // else the next try succeeds, on the same session
  CHECK_EQ(life.result.run(life.session), NIWAKI_OK);
  CHECK(life.result.same(expected()));
}

TEST(capi_allocator_serves_and_fails_anywhere) {
  for (int threads : {1, 2}) {
    Meter meter;
    Life life;
    CHECK_EQ(life.go(meter.options(threads)), NIWAKI_OK);
    CHECK(life.result.same(expected()));
    life.close();
    CHECK_EQ(meter.open.load(), 0);
    CHECK_EQ(meter.bytes.load(), size_t{0});
    const int calls = meter.calls;
    CHECK(calls > 10);  // the copy of the file, weights, constants, activations, images
    for (int n = 0; n < calls; ++n) {
      Meter failing;
      failing.fail_at = n;
      Life other;
      check_refused(other, other.go(failing.options(threads)),
                    "allocation " + std::to_string(n) + " of " + std::to_string(calls));
      other.close();
      CHECK_EQ(failing.open.load(), 0);
      CHECK_EQ(failing.bytes.load(), size_t{0});
    }
  }
}

// One allocation after the other fails, until a life needs no more of them: that one alone, or all from there on.
TEST(capi_the_heap_may_fail_anywhere) {
  const Arrays wanted = expected();
  for (int threads : {1, 2})
    for (const auto mode : {testing::FailingHeap::Mode::once, testing::FailingHeap::Mode::from_there_on}) {
      niwaki_options options{};
      options.threads = threads;
      long n = 0, refused = 0;
      for (bool failed = true; failed; ++n) {
        const size_t before = testing::heap_live();
        {
          Life life;
          niwaki_status status;
          {
            const testing::FailingHeap heap(n, mode);
            status = life.go(options);
          }
          failed = testing::FailingHeap::failed();
          if (status == NIWAKI_OK) {  // nothing failed, or something that can be done without
            CHECK(life.result.same(wanted));
          } else {
            check_refused(life, status, "heap allocation " + std::to_string(n));
            ++refused;
          }
          life.close();
        }
        if (testing::heap_live() != before) testing::fail(__FILE__, __LINE__, "leaks, allocation " + std::to_string(n));
      }
      CHECK(refused > 100);
    }
}

TEST(capi_no_memory_for_the_file) {
  const auto path = (std::filesystem::temp_directory_path() / "niwaki-capi-memory-test.niwaki").string();
  write_file(classifier(), path);
  const size_t before = testing::heap_live();
  bool failed = true;
  for (long n = 0; failed; ++n) {
    niwaki_model* model = nullptr;
    niwaki_status status;
    {
      const testing::FailingHeap heap(n, testing::FailingHeap::Mode::once);
      status = niwaki_model_open(path.c_str(), nullptr, &model);
    }
    failed = testing::FailingHeap::failed();
    CHECK(status == NIWAKI_OK || status == NIWAKI_OUT_OF_MEMORY);
    CHECK(failed || status == NIWAKI_OK);
    CHECK_EQ(niwaki_model_close(model), NIWAKI_OK);
  }
  CHECK_EQ(testing::heap_live(), before);
  std::filesystem::remove(path);
}

TEST(capi_misaligned_allocator_is_refused) {
  Meter meter;
  niwaki_options options = meter.options();
  options.allocate = [](void*, size_t bytes, size_t) -> void* {
    return static_cast<char*>(std::aligned_alloc(64, (bytes + 127) / 64 * 64)) + 8;
  };
  options.release = [](void*, void* memory, size_t) { std::free(static_cast<char*>(memory) - 8); };
  niwaki_model* model = nullptr;
  REFUSED(niwaki_model_open_memory(file().data(), file().size(), &options, &model), "not aligned to 64 bytes");
}

}  // namespace
}  // namespace niwaki
