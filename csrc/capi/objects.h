// What is behind the handles.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "base/memory.h"
#include "capi/errors.h"
#include "capi/image.h"
#include "runtime/session.h"

namespace niwaki::capi {

// A niwaki_options, checked.
struct Options {
  int threads = 1;
  Allocator allocator = system_allocator();
};
Options checked(const niwaki_options* options, const char* function);

struct OpenModel {
  std::shared_ptr<const Model> model;
  std::optional<PixelTable> pixels;
};

struct OpenSession {
  OpenSession(std::shared_ptr<const OpenModel> of, const Options& options)
      : model(std::move(of)), allocator(options.allocator), session(model->model, options.threads) {}

  std::shared_ptr<const OpenModel> model;
  Allocator allocator;
  Session session;
  Buffer images;  // inputs that had to be converted
  std::atomic<bool> busy{false};
};

// For as long as one thread works with a session; throws Busy where another one does.
class Claim {
 public:
  explicit Claim(OpenSession& session) : session_(session) {
    if (session.busy.exchange(true, std::memory_order_acquire)) throw Busy();
  }
  ~Claim() { session_.busy.store(false, std::memory_order_release); }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

 private:
  OpenSession& session_;
};

// What a handle stands for; refuses NULL and what is not open.
std::shared_ptr<const OpenModel> open_model(const niwaki_model* handle, const char* function);
std::shared_ptr<OpenSession> open_session(const niwaki_session* handle, const char* function);

// "[1, 3, 224, 224]"
std::string text_of(const std::vector<int64_t>& sizes);
niwaki_shape shape_of(const std::vector<int64_t>& sizes);
std::vector<int64_t> sizes_of(const niwaki_shape& shape, const std::string& what);

}  // namespace niwaki::capi
