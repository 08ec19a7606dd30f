// Format versions 3 to 5: see docs/file-format.md.
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "file/crc32c.h"
#include "file/file.h"
#include "file/format.h"
#include "file/forms.h"
#include "file/graph_writer.h"
#include "file/new_file.h"
#include "file/words.h"

namespace niwaki {
namespace {

struct Payload {
  Tensor tensor;
  Storage storage;
  std::vector<uint8_t> encoded;  // empty for a tensor that is stored as it is

  bool plain() const { return storage == Storage{}; }
  std::span<const uint8_t> span() const {
    if (!plain()) return encoded;
    return {tensor.data(), static_cast<size_t>(tensor.bytes())};
  }
  uint64_t alignment() const { return plain() ? static_cast<uint64_t>(dtype_bytes(tensor.dtype())) : 1; }
};

Payload make_payload(const Tensor& given) {
  Payload payload{given.unpacked(), stored_size(given).storage, {}};
  if (payload.plain()) return payload;
  payload.encoded = encode(payload.tensor, payload.storage);
  // Only the code is needed from here on.
  payload.tensor = Tensor(given.dtype(), given.shape(), std::shared_ptr<const uint8_t>());
  return payload;
}

void write_row(const Payload& payload, WordWriter& out) {
  const auto& shape = payload.tensor.shape();
  const Storage& storage = payload.storage;
  out.number(static_cast<uint8_t>(static_cast<unsigned>(payload.tensor.dtype()) | static_cast<unsigned>(shape.size()) << 4));
  out.number(static_cast<uint8_t>(static_cast<unsigned>(storage.form) | static_cast<unsigned>(storage.values) << 2 |
                                  static_cast<unsigned>(storage.mask) << 4));
  for (const int64_t size : shape) out.natural(static_cast<uint64_t>(size));
  out.natural(payload.span().size());
  out.number(crc32c(payload.span()));
}

template <typename T>
std::span<const uint8_t> bytes_of(const T& object) {
  return {reinterpret_cast<const uint8_t*>(&object), sizeof(T)};
}

}  // namespace

void write_file(const Graph& graph, const std::string& path) { write_file(std::vector<Entry>{{"", graph}}, path); }

void write_file(std::span<const Entry> entries, const std::string& path) {
  std::vector<Entry> shared(entries.begin(), entries.end());  // the graphs are copied, their tensors are not
  std::vector<Graph*> graphs;
  for (Entry& entry : shared) graphs.push_back(&entry.graph);
  if (graphs.size() > 1) share_tensors(graphs);
  std::vector<Tensor> tensors;
  const GraphSection section = write_graphs(shared, tensors);
  const std::vector<uint8_t>& graph_bytes = section.bytes;
  std::vector<Payload> payloads;
  for (const Tensor& tensor : tensors) payloads.push_back(make_payload(tensor));
  WordWriter rows;
  for (const Payload& payload : payloads) write_row(payload, rows);
  const std::vector<uint8_t> table = rows.take();

  format::Header header{};
  std::memcpy(header.magic, format::kMagic, sizeof(header.magic));
  header.version = section.version;
  header.graph_bytes = graph_bytes.size();
  header.table_bytes = table.size();
  header.tensors = payloads.size();
  header.graph_crc = crc32c(graph_bytes);
  header.table_crc = crc32c(table);
  uint64_t end = sizeof(header) + graph_bytes.size() + table.size();
  for (const Payload& payload : payloads) end = format::align(end, payload.alignment()) + payload.span().size();
  header.file_bytes = end;
  header.header_crc = crc32c(bytes_of(header).first(offsetof(format::Header, header_crc)));

  NewFile file(path);
  file.write(bytes_of(header));
  file.write(graph_bytes);
  file.write(table);
  end = sizeof(header) + graph_bytes.size() + table.size();
  for (const Payload& payload : payloads) {
    end = format::align(end, payload.alignment());
    file.fill_to(end);
    file.write(payload.span());
    end += payload.span().size();
  }
  file.commit();
}

}  // namespace niwaki
