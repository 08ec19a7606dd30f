// niwaki_model_entry...: the entry points of a network, by name.
#include <utility>

#include "capi/handles.h"
#include "capi/objects.h"
#include "graph/entries.h"

namespace niwaki::capi {

std::shared_ptr<const OpenFile> open_file(const niwaki_model* handle, const char* function) {
  expect(handle, function, "model");
  auto found = find_handle(Kind::model, reinterpret_cast<uintptr_t>(handle));
  if (!found) refuse(std::string(function) + ": model is not open; it was closed, or is something else.");
  return std::static_pointer_cast<const OpenFile>(std::move(found));
}

std::shared_ptr<const OpenModel> open_model(const niwaki_model* handle, const char* function) {
  const auto file = open_file(handle, function);
  if (file->entries.size() > 1)
    refuse(std::string(function) + ": the network has several entry points, " + names_of(file->entries) +
           "; get one of them with niwaki_model_entry.");
  return file->entries[0];
}

}  // namespace niwaki::capi

using namespace niwaki;
using namespace niwaki::capi;

niwaki_status niwaki_model_entry_count(const niwaki_model* model, size_t* count) {
  return guarded([&] {
    const auto file = open_file(model, "niwaki_model_entry_count");
    expect(count, "niwaki_model_entry_count", "count");
    *count = file->entries.size();
  });
}

niwaki_status niwaki_model_entry_name(const niwaki_model* model, size_t index, const char** name) {
  return guarded([&] {
    const auto file = open_file(model, "niwaki_model_entry_name");
    expect(name, "niwaki_model_entry_name", "name");
    *name = item_at(file->entries, index, "niwaki_model_entry_name", "entry point")->name.c_str();
  });
}

niwaki_status niwaki_model_entry(const niwaki_model* model, const char* name, niwaki_model** entry) {
  return guarded([&] {
    const auto file = open_file(model, "niwaki_model_entry");
    expect(name, "niwaki_model_entry", "name");
    expect(entry, "niwaki_model_entry", "entry");
    for (const auto& found : file->entries) {
      if (found->name != name) continue;
      auto alone = std::make_shared<OpenFile>();
      alone->entries.push_back(found);
      *entry = reinterpret_cast<niwaki_model*>(add_handle(Kind::model, std::move(alone)));
      return;
    }
    refuse(std::string("niwaki_model_entry: the network has no entry point '") + name + "'; it has " +
           (file->entries[0]->name.empty() ? "a single one, without a name." : names_of(file->entries) + "."));
  });
}
