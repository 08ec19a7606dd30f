// What is behind the handles.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

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

// An entry point of a network.
struct OpenModel {
  std::string name;
  std::shared_ptr<const Model> model;
  std::optional<PixelTable> pixels;

  const Graph& graph() const { return model->graph(); }
};

// What a niwaki_model stands for: all entry points of a file, or one of them. There is at least one.
struct OpenFile {
  std::vector<std::shared_ptr<const OpenModel>> entries;
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

// What a handle stands for; refuses NULL and what is not open; as a model, also what has several entry points.
std::shared_ptr<const OpenFile> open_file(const niwaki_model* handle, const char* function);
std::shared_ptr<const OpenModel> open_model(const niwaki_model* handle, const char* function);
std::shared_ptr<OpenSession> open_session(const niwaki_session* handle, const char* function);

// Number `index` of a list that the model has; refuses what is beyond its end. what: "input".
template <typename List>
const auto& item_at(const List& list, size_t index, const char* function, const char* what) {
  if (index >= list.size())
    refuse(std::string(function) + ": there is no " + what + " " + std::to_string(index) + "; the network has " +
           std::to_string(list.size()) + ", counted from 0.");
  return list[index];
}

}  // namespace niwaki::capi
