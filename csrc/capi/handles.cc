#include "capi/handles.h"

#include <mutex>
#include <unordered_map>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define NIWAKI_POSIX 1
#endif

namespace niwaki::capi {
namespace {

struct Registry {
  std::mutex mutex;
  uintptr_t last = 0;
  std::unordered_map<uintptr_t, std::shared_ptr<void>> open[2];

  Registry() {
#ifdef NIWAKI_POSIX
    // A fork while another thread holds the lock would leave it locked in the child for ever.
    pthread_atfork([] { registry().mutex.lock(); }, [] { registry().mutex.unlock(); }, [] { registry().mutex.unlock(); });
#endif
  }

  auto& of(Kind kind) { return open[static_cast<int>(kind)]; }

  // Never destroyed: sessions may still run, and be closed, while the process exits.
  static Registry& registry() {
    static Registry& instance = *new Registry;
    return instance;
  }
};

}  // namespace

uintptr_t add_handle(Kind kind, std::shared_ptr<void> object) {
  Registry& registry = Registry::registry();
  const std::lock_guard lock(registry.mutex);
  const uintptr_t handle = registry.last + 16;
  registry.of(kind).emplace(handle, std::move(object));
  registry.last = handle;
  return handle;
}

std::shared_ptr<void> find_handle(Kind kind, uintptr_t handle) {
  Registry& registry = Registry::registry();
  const std::lock_guard lock(registry.mutex);
  const auto found = registry.of(kind).find(handle);
  return found == registry.of(kind).end() ? nullptr : found->second;
}

std::shared_ptr<void> remove_handle(Kind kind, uintptr_t handle) {
  Registry& registry = Registry::registry();
  const std::lock_guard lock(registry.mutex);
  const auto found = registry.of(kind).find(handle);
  if (found == registry.of(kind).end()) return nullptr;
  std::shared_ptr<void> object = std::move(found->second);
  registry.of(kind).erase(found);
  return object;  // destroyed by the caller, when the lock is free again
}

}  // namespace niwaki::capi
