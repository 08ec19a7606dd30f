#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"
#include "file/crc32c.h"
#include "file/file.h"
#include "file/format.h"
#include "file/forms.h"
#include "file/mapping.h"
#include "graph/operators.h"

#if defined(__unix__) || defined(__APPLE__)
#define NIWAKI_POSIX 1
#include <fcntl.h>
#include <unistd.h>
#endif

namespace niwaki {
namespace {

class Bytes {
 public:
  template <typename T>
  void number(T value) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof(T));
  }
  void count(size_t value) { number(static_cast<uint32_t>(value)); }
  void string(const std::string& text) {
    count(text.size());
    bytes_.insert(bytes_.end(), text.begin(), text.end());
  }
  std::span<const uint8_t> span() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

// Appears at `path` when it is committed; until then, and for good if it never is, nothing is there.
class NewFile {
 public:
  explicit NewFile(const std::string& path) : path_(path) {
    static std::atomic<uint64_t> counter{0};
#ifdef NIWAKI_POSIX
    const auto process = static_cast<long long>(getpid());
#else
    const long long process = 0;
#endif
    temporary_ = path + ".part-" + std::to_string(process) + "-" + std::to_string(counter++);
    file_ = std::fopen(temporary_.c_str(), "wbx");
    if (file_ == nullptr) fail(errno);
  }
  ~NewFile() {
    if (file_ != nullptr) std::fclose(file_);
    if (!committed_) std::remove(temporary_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(std::span<const uint8_t> bytes) {
    if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) fail(errno);
    written_ += bytes.size();
  }
  void fill_to(uint64_t offset) {
    static constexpr uint8_t kZeros[format::kAlignment] = {};
    write({kZeros, static_cast<size_t>(offset - written_)});
  }

  void commit() {
    if (std::fflush(file_) != 0) fail(errno);
#ifdef NIWAKI_POSIX
    if (fsync(fileno(file_)) != 0) fail(errno);
#endif
    std::FILE* file = file_;
    file_ = nullptr;
    if (std::fclose(file) != 0) fail(errno);
    std::error_code error;
    std::filesystem::rename(temporary_, path_, error);
    if (error) refuse_file(path_, "cannot be written: " + error.message() + ".");
    committed_ = true;
    sync_folder();
  }

 private:
  [[noreturn]] void fail(int error) { refuse_file(path_, std::string("cannot be written: ") + std::strerror(error) + "."); }

  // So that the new name survives a power cut, too. The file is complete either way, and some file systems refuse this.
  void sync_folder() {
#ifdef NIWAKI_POSIX
    const auto folder = std::filesystem::path(path_).parent_path();
    const int handle = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_CLOEXEC);
    if (handle < 0) return;
    (void)fsync(handle);
    close(handle);
#endif
  }

  std::string path_, temporary_;
  std::FILE* file_ = nullptr;
  uint64_t written_ = 0;
  bool committed_ = false;
};

struct Payload {
  format::Entry entry{};
  Tensor tensor;
  std::vector<uint8_t> encoded;  // empty for a dense tensor

  std::span<const uint8_t> span() const {
    if (entry.form != static_cast<uint8_t>(Form::dense)) return encoded;
    return {tensor.data(), static_cast<size_t>(tensor.bytes())};
  }
};

Payload make_payload(const Tensor& tensor) {
  Payload payload;
  payload.tensor = tensor;
  const StoredSize stored = stored_size(tensor);
  if (stored.form != Form::dense) payload.encoded = encode(tensor, stored.form);
  payload.entry.form = static_cast<uint8_t>(stored.form);
  payload.entry.dtype = static_cast<uint8_t>(tensor.dtype());
  payload.entry.rank = static_cast<uint8_t>(tensor.shape().size());
  for (size_t i = 0; i < tensor.shape().size(); ++i) payload.entry.shape[i] = static_cast<uint64_t>(tensor.shape()[i]);
  payload.entry.bytes = payload.span().size();
  payload.entry.crc = crc32c(payload.span());
  return payload;
}

// Values are numbered anew: the inputs first, then the nodes' outputs.
std::vector<uint32_t> number_values(const Graph& graph) {
  std::vector<uint32_t> numbers(graph.values().size());
  uint32_t next = 0;
  for (const Port& port : graph.inputs()) numbers[static_cast<size_t>(port.value)] = next++;
  for (const Node& node : graph.nodes()) numbers[static_cast<size_t>(node.output)] = next++;
  return numbers;
}

Bytes write_graph(const Graph& graph, std::vector<Payload>& payloads) {
  const std::vector<uint32_t> numbers = number_values(graph);
  Bytes out;
  out.count(graph.metadata.size());
  for (const auto& [key, value] : graph.metadata) out.string(key), out.string(value);
  out.count(graph.inputs().size());
  for (const Port& port : graph.inputs()) {
    out.string(port.name);
    out.count(static_cast<size_t>(graph.value(port.value).channels));
    out.count(static_cast<size_t>(graph.value(port.value).rank));
    out.count(static_cast<size_t>(port.expected_height));
    out.count(static_cast<size_t>(port.expected_width));
  }
  out.count(graph.nodes().size());
  for (const Node& node : graph.nodes()) {
    out.string(op_name(node.op));
    out.string(node.name);
    out.count(node.inputs.size());
    for (int input : node.inputs) out.number(numbers[static_cast<size_t>(input)]);
    out.count(node.attributes.size());
    for (const auto& [name, integers] : node.attributes) {
      out.string(name);
      out.count(integers.size());
      for (int64_t value : integers) out.number(value);
    }
    out.count(node.tensors.size());
    for (const auto& [name, tensor] : node.tensors) {
      out.string(name);
      out.count(payloads.size());
      payloads.push_back(make_payload(tensor));
    }
    const auto& quantization = graph.value(node.output).quantization;
    out.number(static_cast<uint8_t>(quantization.has_value()));
    if (quantization) {
      out.number(quantization->scale);
      out.number(static_cast<uint32_t>(quantization->zero_point));
    }
  }
  out.count(graph.outputs().size());
  for (const Port& port : graph.outputs()) {
    out.number(numbers[static_cast<size_t>(port.value)]);
    out.string(port.name);
  }
  return out;
}

template <typename T>
std::span<const uint8_t> bytes_of(const T& object) {
  return {reinterpret_cast<const uint8_t*>(&object), sizeof(T)};
}

}  // namespace

void write_file(const Graph& graph, const std::string& path) {
  std::vector<Payload> payloads;
  const Bytes graph_bytes = write_graph(graph, payloads);

  format::Header header{};
  std::memcpy(header.magic, format::kMagic, sizeof(header.magic));
  header.version = format::kVersion;
  header.graph_bytes = graph_bytes.span().size();
  header.tensors = payloads.size();
  header.graph_crc = crc32c(graph_bytes.span());
  const uint64_t table_offset = format::align(sizeof(header) + header.graph_bytes);
  uint64_t end = table_offset + payloads.size() * sizeof(format::Entry);
  Bytes table;
  for (Payload& payload : payloads) {
    payload.entry.offset = format::align(end);
    end = payload.entry.offset + payload.entry.bytes;
    table.number(payload.entry);
  }
  header.table_crc = crc32c(table.span());
  header.file_bytes = end;
  header.header_crc = crc32c(bytes_of(header).first(offsetof(format::Header, header_crc)));

  NewFile file(path);
  file.write(bytes_of(header));
  file.write(graph_bytes.span());
  file.fill_to(table_offset);
  file.write(table.span());
  for (const Payload& payload : payloads) {
    file.fill_to(payload.entry.offset);
    file.write(payload.span());
  }
  file.commit();
}

}  // namespace niwaki
