// niwaki_model_open..., niwaki_model_close, and what needs no handle.
#include <span>
#include <utility>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "capi/handles.h"
#include "capi/objects.h"
#include "file/file.h"

namespace niwaki::capi {

constexpr int kMaxThreads = 1024;

Options checked(const niwaki_options* options, const char* function) {
  Options result;
  if (options == nullptr) return result;
  if (options->threads < 0 || options->threads > kMaxThreads)
    refuse(std::string(function) + ": threads must be from 0 to " + std::to_string(kMaxThreads) + ", not " +
           std::to_string(options->threads) + ".");
  result.threads = options->threads > 1 ? options->threads : 1;
  if ((options->allocate == nullptr) != (options->release == nullptr))
    refuse(std::string(function) + ": allocate and release go together; give both or neither.");
  if (options->allocate != nullptr) result.allocator = {options->allocate, options->release, options->user};
  return result;
}

namespace {

niwaki_model* add_model(std::vector<Entry> entries, const Options& options) {
  auto opened = std::make_shared<OpenFile>();
  const Isa isa = current_isa();
  std::optional<ThreadPool> pool;
  if (options.threads > 1) pool.emplace(options.threads);
  std::optional<SharedWeights> shared;
  if (entries.size() > 1) shared.emplace();
  for (auto& [name, graph] : entries) {
    auto entry = std::make_shared<OpenModel>();
    entry->name = std::move(name);
    entry->pixels = pixel_table(graph.metadata);
    entry->model =
        std::make_shared<Model>(std::move(graph), isa, ConvKind::automatic, pool ? &*pool : nullptr, shared ? &*shared : nullptr);
    opened->entries.push_back(std::move(entry));
  }
  return reinterpret_cast<niwaki_model*>(add_handle(Kind::model, std::move(opened)));
}

}  // namespace
}  // namespace niwaki::capi

using namespace niwaki;
using namespace niwaki::capi;

const char* niwaki_last_error(void) { return last_error(); }
const char* niwaki_version(void) { return NIWAKI_VERSION; }

const char* niwaki_status_name(niwaki_status status) {
  switch (status) {
    case NIWAKI_OK: return "ok";
    case NIWAKI_INVALID_ARGUMENT: return "invalid argument";
    case NIWAKI_INVALID_FILE: return "invalid file";
    case NIWAKI_UNSUPPORTED: return "unsupported";
    case NIWAKI_OUT_OF_MEMORY: return "out of memory";
    case NIWAKI_INTERNAL: return "internal error";
    case NIWAKI_BUSY: return "busy";
  }
  return "unknown status";
}

const char* niwaki_type_name(niwaki_type type) {
  switch (type) {
    case NIWAKI_FLOAT32: return "float32";
    case NIWAKI_UINT8: return "uint8";
    case NIWAKI_INT64: return "int64";
    case NIWAKI_INT32: return "int32";
    case NIWAKI_BOOL: return "bool";
    case NIWAKI_INT8: return "int8";
  }
  return "unknown type";
}

niwaki_status niwaki_model_open(const char* path, const niwaki_options* options, niwaki_model** model) {
  return guarded([&] {
    expect(path, "niwaki_model_open", "path");
    expect(model, "niwaki_model_open", "model");
    const Options chosen = checked(options, "niwaki_model_open");
    const AllocatorScope scope(chosen.allocator);
    *model = add_model(read_entries(std::string(path)), chosen);
  });
}

niwaki_status niwaki_model_open_memory(const void* data, size_t bytes, const niwaki_options* options, niwaki_model** model) {
  return guarded([&] {
    expect(data, "niwaki_model_open_memory", "data");
    expect(model, "niwaki_model_open_memory", "model");
    const Options chosen = checked(options, "niwaki_model_open_memory");
    const AllocatorScope scope(chosen.allocator);
    *model = add_model(read_entries(std::span(static_cast<const uint8_t*>(data), bytes)), chosen);
  });
}

niwaki_status niwaki_model_close(niwaki_model* model) {
  return guarded([&] {
    if (model != nullptr && !remove_handle(Kind::model, reinterpret_cast<uintptr_t>(model)))
      refuse("niwaki_model_close: model is not open; it was closed before, or is something else.");
  });
}
