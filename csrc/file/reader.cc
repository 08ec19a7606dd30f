#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "file/crc32c.h"
#include "file/file.h"
#include "file/format.h"
#include "file/forms.h"
#include "file/mapping.h"

namespace niwaki {
namespace {

constexpr uint64_t kMaxElements = uint64_t{1} << 40;

[[noreturn]] void refuse_corrupt(const std::string& path, const std::string& what) {
  refuse_file(path, "the file is corrupt (" + what + "); get it anew or save the network again.");
}

// Reads the graph section; never past its end.
class Cursor {
 public:
  Cursor(const std::string& path, std::span<const uint8_t> bytes) : path_(path), bytes_(bytes) {}

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)), sizeof(T));
    return value;
  }
  uint32_t count() { return number<uint32_t>(); }
  std::string string() {
    const uint32_t size = count();
    return std::string(reinterpret_cast<const char*>(take(size)), size);
  }
  void expect_end() const {
    if (at_ != bytes_.size()) refuse_corrupt(path_, "the graph is followed by something else");
  }

 private:
  const uint8_t* take(size_t size) {
    if (size > bytes_.size() - at_) refuse_corrupt(path_, "the graph ends early");
    at_ += size;
    return bytes_.data() + at_ - size;
  }

  const std::string& path_;
  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
};

class Reader {
 public:
  Reader(const std::string& path, FileBytes file) : path_(path), file_(std::move(file)), bytes_(file_.span()) {}

  Graph read() {
    const format::Header header = read_header();
    const uint64_t graph_end = sizeof(header) + header.graph_bytes;
    const uint64_t table_offset = format::align(graph_end);
    const auto graph = bytes_.subspan(sizeof(header), header.graph_bytes);
    const auto table = bytes_.subspan(table_offset, header.tensors * sizeof(format::Entry));
    if (crc32c(graph) != header.graph_crc) refuse_corrupt(path_, "checksum of the graph");
    if (crc32c(table) != header.table_crc) refuse_corrupt(path_, "checksum of the tensor table");
    expect_zeros(graph_end, table_offset);
    std::vector<Tensor> tensors;
    uint64_t end = table_offset + table.size();
    for (uint64_t i = 0; i < header.tensors; ++i) {
      format::Entry entry;
      std::memcpy(&entry, table.data() + i * sizeof(entry), sizeof(entry));
      tensors.push_back(read_tensor(entry, end, "tensor " + std::to_string(i)));
      end = entry.offset + entry.bytes;
    }
    if (end != bytes_.size()) refuse_corrupt(path_, "bytes after the last tensor");
    try {
      return read_graph(graph, tensors);
    } catch (const Error& error) {
      if (error.status() != Status::invalid_argument) throw;
      refuse_file(path_, std::string("the network in the file is not valid: ") + error.what());
    }
  }

 private:
  format::Header read_header() {
    const size_t known = std::min(bytes_.size(), sizeof(format::kMagic));
    if (!std::equal(format::kMagic, format::kMagic + known, bytes_.begin())) refuse_file(path_, "is not a niwaki file.");
    format::Header header;
    if (bytes_.size() < sizeof(header)) refuse_short(sizeof(header));
    std::memcpy(&header, bytes_.data(), sizeof(header));
    if (header.version > format::kVersion)
      refuse_file(path_, "was written by a newer niwaki (format " + std::to_string(header.version) + "; this one reads up to " +
                             std::to_string(format::kVersion) + "); update niwaki to read it.");
    if (crc32c(bytes_.first(offsetof(format::Header, header_crc))) != header.header_crc)
      refuse_corrupt(path_, "checksum of the header");
    if (header.version == 0 || header.zero != 0 ||
        std::any_of(std::begin(header.zeros), std::end(header.zeros), [](uint8_t b) { return b != 0; }))
      refuse_corrupt(path_, "header");
    if (bytes_.size() < header.file_bytes) refuse_short(header.file_bytes);
    if (bytes_.size() > header.file_bytes) refuse_corrupt(path_, "it is longer than it says");
    const uint64_t room = header.file_bytes - sizeof(header);
    if (header.graph_bytes > room || header.tensors > room / sizeof(format::Entry)) refuse_corrupt(path_, "sizes in the header");
    if (format::align(sizeof(header) + header.graph_bytes) + header.tensors * sizeof(format::Entry) > header.file_bytes)
      refuse_corrupt(path_, "sizes in the header");
    return header;
  }

  [[noreturn]] void refuse_short(uint64_t wanted) {
    refuse_file(path_, "the file is cut short: it has " + std::to_string(bytes_.size()) + " bytes of at least " +
                           std::to_string(wanted) + ".");
  }

  // Padding is zero, so that every byte of a file counts.
  void expect_zeros(uint64_t begin, uint64_t end) {
    const auto gap = bytes_.subspan(begin, end - begin);
    if (std::any_of(gap.begin(), gap.end(), [](uint8_t byte) { return byte != 0; })) refuse_corrupt(path_, "padding");
  }

  // `end`: where what comes before the payload ends.
  Tensor read_tensor(const format::Entry& entry, uint64_t end, const std::string& what) {
    const bool zeros =
        entry.zero == 0 && std::all_of(std::begin(entry.zeros), std::end(entry.zeros), [](uint8_t b) { return b == 0; });
    if (!zeros || entry.dtype > static_cast<uint8_t>(DType::f32) || entry.form > static_cast<uint8_t>(Form::bit_mask) ||
        entry.rank > 4)
      refuse_corrupt(path_, what);
    if (entry.offset != format::align(end) || entry.offset > bytes_.size() || entry.bytes > bytes_.size() - entry.offset)
      refuse_corrupt(path_, what + " lies outside the file");
    expect_zeros(end, entry.offset);
    const auto payload = bytes_.subspan(entry.offset, entry.bytes);
    if (crc32c(payload) != entry.crc) refuse_corrupt(path_, "checksum of " + what);

    std::vector<int64_t> shape;
    uint64_t elements = 1;
    for (uint8_t i = 0; i < 4; ++i) {
      if (i >= entry.rank ? entry.shape[i] != 0 : entry.shape[i] == 0 || entry.shape[i] > kMaxElements / elements)
        refuse_corrupt(path_, "shape of " + what);
      if (i >= entry.rank) continue;
      elements *= entry.shape[i];
      shape.push_back(static_cast<int64_t>(entry.shape[i]));
    }
    const auto dtype = static_cast<DType>(entry.dtype);
    const auto form = static_cast<Form>(entry.form);
    if (form == Form::dense) {
      if (entry.bytes != elements * static_cast<uint64_t>(dtype_bytes(dtype))) refuse_corrupt(path_, "size of " + what);
      return Tensor(dtype, std::move(shape), std::shared_ptr<const uint8_t>(file_.data, payload.data()));
    }
    if (dtype != DType::i8 || entry.rank < 2) refuse_corrupt(path_, "form of " + what);
    auto tensor = decode(form, shape, std::shared_ptr<const uint8_t>(file_.data, payload.data()), payload.size());
    if (!tensor) refuse_corrupt(path_, "values of " + what);
    return *std::move(tensor);
  }

  Graph read_graph(std::span<const uint8_t> bytes, const std::vector<Tensor>& tensors) {
    Cursor in(path_, bytes);
    Graph graph;
    for (uint32_t left = in.count(); left > 0; --left) {
      std::string key = in.string();
      graph.metadata[std::move(key)] = in.string();
    }
    for (uint32_t left = in.count(); left > 0; --left) {
      const std::string name = in.string();
      const uint32_t channels = in.count(), rank = in.count(), height = in.count(), width = in.count();
      graph.add_input(name, channels, static_cast<int>(std::min<uint32_t>(rank, 99)), height, width);
    }
    for (uint32_t left = in.count(); left > 0; --left) read_node(in, tensors, graph);
    for (uint32_t left = in.count(); left > 0; --left) {
      const int value = read_value(in);
      graph.add_output(value, in.string());
    }
    in.expect_end();
    return graph;
  }

  // Numbers beyond int become its largest, which the graph refuses.
  static int read_value(Cursor& in) { return static_cast<int>(std::min<uint32_t>(in.count(), 0x7fffffffu)); }

  void read_node(Cursor& in, const std::vector<Tensor>& tensors, Graph& graph) {
    const std::string op = in.string(), name = in.string();
    std::vector<int> inputs;
    for (uint32_t left = in.count(); left > 0; --left) inputs.push_back(read_value(in));
    Attributes attributes;
    for (uint32_t left = in.count(); left > 0; --left) {
      const std::string attribute = in.string();
      auto& integers = attributes[attribute];
      for (uint32_t more = in.count(); more > 0; --more) integers.push_back(in.number<int64_t>());
    }
    Tensors used;
    for (uint32_t left = in.count(); left > 0; --left) {
      const std::string tensor = in.string();
      const uint32_t index = in.count();
      if (index >= tensors.size()) refuse_corrupt(path_, "a tensor of " + name + " does not exist");
      used[tensor] = tensors[index];
    }
    std::optional<Quantization> quantization;
    const auto quantized = in.number<uint8_t>();
    if (quantized > 1) refuse_corrupt(path_, "output of " + name);
    if (quantized == 1) {
      const auto scale = in.number<float>();
      quantization = Quantization{scale, static_cast<int32_t>(std::min<uint32_t>(in.count(), 256))};
    }
    graph.add_node(op, name, std::move(inputs), std::move(attributes), std::move(used), quantization);
  }

  const std::string& path_;
  FileBytes file_;
  std::span<const uint8_t> bytes_;
};

}  // namespace

Graph read_file(const std::string& path) { return Reader(path, open_bytes(path)).read(); }

Graph read_memory(std::span<const uint8_t> bytes) {
  const std::string name = "The memory";
  if (bytes.empty()) refuse_file(name, "the file is empty.");
  return Reader(name, copy_bytes(bytes)).read();
}

}  // namespace niwaki
