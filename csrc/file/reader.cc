#include <algorithm>
#include <array>
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
#include "file/graph_parts.h"
#include "file/graph_reader.h"
#include "file/mapping.h"
#include "file/words.h"
#include "graph/shapes.h"

namespace niwaki {
namespace {

constexpr uint64_t kMaxElements = uint64_t{1} << 40;

// Beyond nine times its bytes, what is made of a file may take so much memory: thousands of nodes that are nearly without weights.
constexpr uint64_t kRoom = uint64_t{8} << 20;

// Of the tensors of each version.
constexpr size_t kOldRank = 4, kRank = 8;
constexpr DType kOldLastType = DType::f32, kLastType = DType::boolean;
static_assert(kRank == kMaxRank);

// A row of the tensor table, of any version.
struct Row {
  uint8_t dtype = 0, rank = 0;
  Storage storage;
  std::array<uint64_t, kRank> shape{};
  uint64_t bytes = 0;
  uint32_t crc = 0;
  uint64_t alignment = 1;  // of the payload
};

template <typename Bytes>
bool all_zero(const Bytes& bytes) {
  return std::all_of(std::begin(bytes), std::end(bytes), [](uint8_t byte) { return byte == 0; });
}

class Reader {
 public:
  Reader(const std::string& path, FileBytes file) : path_(path), file_(std::move(file)), bytes_(file_.span()) {}

  // `info`: what else there is to say of the file; null where nobody asks.
  std::vector<Entry> read(FileInfo* info = nullptr) {
    const format::Header header = read_header();
    version_ = header.version;
    const uint64_t graph_end = sizeof(header) + header.graph_bytes;
    const uint64_t table_offset = version_ == 1 ? format::align(graph_end, format::kAlignment1) : graph_end;
    const auto graph = bytes_.subspan(sizeof(header), header.graph_bytes);
    const auto table = bytes_.subspan(table_offset, table_bytes(header));
    if (crc32c(graph) != header.graph_crc) refuse_corrupt(path_, "checksum of the graph");
    if (crc32c(table) != header.table_crc) refuse_corrupt(path_, "checksum of the tensor table");
    expect_zeros(graph_end, table_offset);
    WordReader in_table(table, version_, path_, "the tensor table", refuse_corrupt);
    in_table.limit(9 * header.file_bytes + kRoom);  // and the file itself, where it is not mapped, makes ten
    std::vector<FileInfo::Payload> payloads;
    if (info != nullptr) payloads_ = &payloads;
    std::vector<Tensor> tensors = read_tensors(in_table, header.tensors, table_offset + table.size());
    WordReader in_graph(graph, version_, path_, "the graph", refuse_corrupt);
    in_graph.limit(in_table.room());
    try {
      std::vector<TensorRows> rows;
      std::vector<Entry> found = read_graphs(in_graph, version_, std::move(tensors), info != nullptr ? &rows : nullptr);
      if (info != nullptr) *info = info_of(header, rows, payloads);
      return found;
    } catch (const Error& error) {
      if (error.status() != Status::invalid_argument) throw;
      refuse_file(path_, std::string("the network in the file is not valid: ") + error.what());
    }
  }

 private:
  static FileInfo info_of(const format::Header& header, const std::vector<TensorRows>& rows,
                          const std::vector<FileInfo::Payload>& payloads) {
    FileInfo info{header.version,    header.file_bytes, header.graph_bytes, table_bytes(header),
                  header.header_crc, header.graph_crc,  header.table_crc,   {}};
    for (const TensorRows& of_entry : rows) {
      auto& places = info.entries.emplace_back();
      for (const auto& of_node : of_entry.nodes) {
        auto& tensors = places.tensors.emplace_back();
        for (const auto& [name, row] : of_node) tensors.emplace(name, payloads[row]);
      }
      for (const uint32_t row : of_entry.states) places.states.push_back(payloads[row]);
    }
    return info;
  }

  format::Header read_header() {
    const size_t known = std::min(bytes_.size(), sizeof(format::kMagic));
    if (!std::equal(format::kMagic, format::kMagic + known, bytes_.begin())) refuse_file(path_, "is not a niwaki file.");
    format::Header header;
    if (bytes_.size() < sizeof(header)) refuse_short(sizeof(header));
    std::memcpy(&header, bytes_.data(), sizeof(header));
    if (header.version > format::kLastVersion)
      refuse_file(path_, "was written by a newer niwaki (format " + std::to_string(header.version) + "; this one reads up to " +
                             std::to_string(format::kLastVersion) + "); update niwaki to read it.");
    if (crc32c(bytes_.first(offsetof(format::Header, header_crc))) != header.header_crc)
      refuse_corrupt(path_, "checksum of the header");
    if (header.version == 0 || header.zero != 0 || !all_zero(header.zeros) || (header.version == 1 && header.table_bytes != 0))
      refuse_corrupt(path_, "header");
    if (bytes_.size() < header.file_bytes) refuse_short(header.file_bytes);
    if (bytes_.size() > header.file_bytes) refuse_corrupt(path_, "it is longer than it says");
    const uint64_t room = header.file_bytes < sizeof(header) ? 0 : header.file_bytes - sizeof(header);
    if (header.graph_bytes > room || header.tensors > room || table_bytes(header) > room)
      refuse_corrupt(path_, "sizes in the header");
    const uint64_t graph_end = sizeof(header) + header.graph_bytes;
    const uint64_t table_offset = header.version == 1 ? format::align(graph_end, format::kAlignment1) : graph_end;
    if (table_offset + table_bytes(header) > header.file_bytes) refuse_corrupt(path_, "sizes in the header");
    return header;
  }

  // At most the file's size, where the number of tensors is.
  static uint64_t table_bytes(const format::Header& header) {
    return header.version == 1 ? header.tensors * sizeof(format::Entry1) : header.table_bytes;
  }

  [[noreturn]] void refuse_short(uint64_t wanted) {
    refuse_file(path_, "the file is cut short: it has " + std::to_string(bytes_.size()) + " bytes of at least " +
                           std::to_string(wanted) + ".");
  }

  // Padding is zero, so that every byte of a file counts.
  void expect_zeros(uint64_t begin, uint64_t end) {
    const auto gap = bytes_.subspan(begin, end - begin);
    if (!all_zero(gap)) refuse_corrupt(path_, "padding");
  }

  // `end`: where the table ends.
  std::vector<Tensor> read_tensors(WordReader& in, uint64_t count, uint64_t end) {
    std::vector<Tensor> tensors;
    for (uint64_t i = 0; i < count; ++i) {
      in.charge(kTensorBytes + path_.size());
      const std::string what = "tensor " + std::to_string(i);
      const Row row = version_ == 1 ? read_row1(in.number<format::Entry1>(), end, what) : read_row(in, what);
      const uint64_t offset = format::align(end, row.alignment);
      if (offset > bytes_.size() || row.bytes > bytes_.size() - offset) refuse_corrupt(path_, what + " lies outside the file");
      expect_zeros(end, offset);
      if (payloads_ != nullptr) payloads_->push_back({row.storage, offset, row.bytes, row.crc});
      tensors.push_back(read_tensor(row, offset, what));
      end = offset + row.bytes;
    }
    in.expect_end();
    if (end != bytes_.size()) refuse_corrupt(path_, "bytes after the last tensor");
    return tensors;
  }

  Row read_row1(const format::Entry1& entry, uint64_t end, const std::string& what) {
    if (entry.zero != 0 || !all_zero(entry.zeros) || entry.form > static_cast<uint8_t>(Form::bit_mask))
      refuse_corrupt(path_, what);
    if (entry.offset != format::align(end, format::kAlignment1)) refuse_corrupt(path_, what + " lies outside the file");
    Row row{entry.dtype, entry.rank,         {static_cast<Form>(entry.form), Coding::raw, Coding::raw}, {}, entry.bytes,
            entry.crc,   format::kAlignment1};
    std::copy(std::begin(entry.shape), std::end(entry.shape), row.shape.begin());
    return row;
  }

  Row read_row(WordReader& in, const std::string& what) {
    Row row;
    const auto type = in.number<uint8_t>(), storage = in.number<uint8_t>();
    row.dtype = type & 15, row.rank = type >> 4;
    const unsigned form = storage & 3u, values = (storage >> 2) & 3u, mask = storage >> 4;
    if (row.rank > kRank || form > static_cast<unsigned>(Form::bit_mask) || values >= kCodings || mask >= kCodings)
      refuse_corrupt(path_, what);
    row.storage = {static_cast<Form>(form), static_cast<Coding>(mask), static_cast<Coding>(values)};
    if (row.storage.form == Form::dense && row.storage.mask != Coding::raw) refuse_corrupt(path_, what);
    for (uint8_t i = 0; i < row.rank; ++i) row.shape[i] = in.natural();
    row.bytes = in.natural();
    row.crc = in.number<uint32_t>();
    if (row.dtype > static_cast<uint8_t>(last_type())) refuse_corrupt(path_, what);
    if (row.storage == Storage{}) row.alignment = static_cast<uint64_t>(dtype_bytes(static_cast<DType>(row.dtype)));
    return row;
  }

  DType last_type() const { return version_ < 3 ? kOldLastType : kLastType; }

  std::vector<int64_t> read_shape(const Row& row, const std::string& what) const {
    std::vector<int64_t> shape(row.rank);
    uint64_t elements = 1;
    for (size_t i = 0; i < kRank; ++i) {
      const uint64_t size = row.shape[i];
      // An element more than there may be shows at once; no product overflows.
      if (i >= row.rank ? size != 0 : (size == 0 && version_ < 3) || size > kMaxElements / std::max<uint64_t>(elements, 1))
        refuse_corrupt(path_, "shape of " + what);
      if (i >= row.rank) continue;
      elements *= size;
      shape[i] = static_cast<int64_t>(size);
    }
    return shape;
  }

  Tensor read_tensor(const Row& row, uint64_t offset, const std::string& what) {
    if (row.dtype > static_cast<uint8_t>(last_type()) || row.rank > (version_ < 3 ? kOldRank : kRank))
      refuse_corrupt(path_, what);
    const auto payload = bytes_.subspan(offset, row.bytes);
    if (crc32c(payload) != row.crc) refuse_corrupt(path_, "checksum of " + what);
    const std::vector<int64_t> shape = read_shape(row, what);
    const auto elements = static_cast<uint64_t>(elements_of(shape));
    const auto dtype = static_cast<DType>(row.dtype);
    const std::shared_ptr<const uint8_t> data(file_.data, payload.data());
    if (row.storage == Storage{}) {
      if (row.bytes != elements * static_cast<uint64_t>(dtype_bytes(dtype))) refuse_corrupt(path_, "size of " + what);
      if (dtype == DType::boolean && std::any_of(payload.begin(), payload.end(), [](uint8_t byte) { return byte > 1; }))
        refuse_corrupt(path_, "values of " + what);
      return Tensor(dtype, shape, data);
    }
    if (dtype != DType::i8 || row.rank < 2) refuse_corrupt(path_, "form of " + what);
    const auto refuse = [path = path_, what] { refuse_corrupt(path, "values of " + what); };
    const auto unload = [file = file_, payload] { file.unload(payload); };
    return decode(shape, {row.storage, data, payload.size(), refuse, unload});
  }

  const std::string& path_;
  FileBytes file_;
  std::span<const uint8_t> bytes_;
  uint32_t version_ = format::kVersion;
  std::vector<FileInfo::Payload>* payloads_ = nullptr;  // of the rows of the table, where somebody asks
};

Graph only_one(std::vector<Entry> entries, const std::string& path) {
  if (entries.size() > 1)
    refuse_file(path, "has " + std::to_string(entries.size()) + " entry points, " + names_of(entries) + "; say which.");
  return std::move(entries[0].graph);
}

}  // namespace

std::vector<Entry> read_entries(const std::string& path) { return Reader(path, open_bytes(path)).read(); }
Graph read_file(const std::string& path) { return only_one(read_entries(path), path); }

FileContents inspect_file(const std::string& path) {
  FileContents contents;
  contents.entries = Reader(path, open_bytes(path)).read(&contents.info);
  return contents;
}

std::vector<Entry> read_entries(std::span<const uint8_t> bytes) {
  const std::string name = "The memory";
  if (bytes.empty()) refuse_file(name, "the file is empty.");
  return Reader(name, copy_bytes(bytes)).read();
}
Graph read_memory(std::span<const uint8_t> bytes) { return only_one(read_entries(bytes), "The memory"); }

}  // namespace niwaki
