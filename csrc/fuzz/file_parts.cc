#include "fuzz/file_parts.h"

#include <array>
#include <cstring>

namespace niwaki::fuzz {
namespace {

constexpr size_t kHeader = 64;
constexpr uint8_t kMagic[] = {0x89, 'N', 'I', 'W', 'A', 'K', 'I', '\n'};

uint32_t checksum(std::span<const uint8_t> bytes) {
  static const auto table = [] {
    std::array<uint32_t, 256> made{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
      uint32_t crc = byte;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0);
      made[byte] = crc;
    }
    return made;
  }();
  uint32_t crc = 0xffffffffu;
  for (const uint8_t byte : bytes) crc = (crc >> 8) ^ table[(crc ^ byte) & 255];
  return ~crc;
}

template <typename T>
T get(std::span<const uint8_t> bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

template <typename T>
void put(Bytes& bytes, size_t at, T value) {
  if (bytes.size() < at + sizeof(T)) bytes.resize(at + sizeof(T));
  std::memcpy(bytes.data() + at, &value, sizeof(T));
}

void append(Bytes& bytes, std::span<const uint8_t> more) {
  const size_t at = bytes.size();
  bytes.resize(at + more.size());
  if (!more.empty()) std::memcpy(bytes.data() + at, more.data(), more.size());
}

std::optional<uint64_t> get_varint(std::span<const uint8_t> bytes, size_t& at) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && at < bytes.size(); shift += 7) {
    const uint8_t byte = bytes[at++];
    value |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

// A payload that is raw and dense is aligned to its type.
size_t payload_begin(std::span<const uint8_t> row, size_t end) {
  constexpr size_t kBytes[] = {1, 1, 4, 4, 8, 1};
  const bool aligned = row.size() >= 2 && (row[0] & 15u) < std::size(kBytes) && row[1] == 0;
  const size_t bytes = aligned ? kBytes[row[0] & 15u] : 1;
  return (end + bytes - 1) / bytes * bytes;
}

struct Row {
  size_t begin, shape_end, end;  // in the table
  uint64_t bytes;
};

std::optional<Row> read_row(std::span<const uint8_t> table, size_t at) {
  Row row{at, at, at, 0};
  if (table.size() - at < 2) return std::nullopt;
  const int rank = table[at] >> 4;
  at += 2;
  for (int i = 0; i < rank; ++i)
    if (!get_varint(table, at)) return std::nullopt;
  row.shape_end = at;
  const auto bytes = get_varint(table, at);
  if (!bytes || table.size() - at < 4) return std::nullopt;
  row.bytes = *bytes;
  row.end = at + 4;
  return row;
}

bool has_room(std::span<const uint8_t> file, uint64_t at, uint64_t size) { return at <= file.size() && size <= file.size() - at; }

void seal_tensors1(Bytes& file, uint64_t table, uint64_t tensors) {
  for (uint64_t i = 0; i < tensors; ++i) {
    const auto at = static_cast<size_t>(table + 64 * i);
    const auto offset = get<uint64_t>(file, at), bytes = get<uint64_t>(file, at + 8);
    if (has_room(file, offset, bytes)) put(file, at + 16, checksum(std::span(file).subspan(offset, bytes)));
  }
}

void seal_tensors(Bytes& file, size_t begin, size_t size, uint64_t tensors) {
  size_t at = 0, end = begin + size;
  for (uint64_t i = 0; i < tensors; ++i) {
    const auto table = std::span<const uint8_t>(file).subspan(begin, size);
    const auto row = read_row(table, at);
    if (!row) return;
    const size_t payload = payload_begin(table.subspan(row->begin), end);
    if (!has_room(file, payload, row->bytes)) return;
    put(file, begin + row->end - 4, checksum(std::span(file).subspan(payload, row->bytes)));
    at = row->end, end = payload + row->bytes;
  }
}

}  // namespace

void put_varint(Bytes& bytes, uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<uint8_t>(value | 0x80));
  bytes.push_back(static_cast<uint8_t>(value));
}

std::optional<FileParts> take_apart(std::span<const uint8_t> file) {
  if (file.size() < kHeader || std::memcmp(file.data(), kMagic, 8) != 0) return std::nullopt;
  const auto version = get<uint32_t>(file, 8);
  if (version < 2 || version > 5) return std::nullopt;
  const auto graph = get<uint64_t>(file, 24), tensors = get<uint64_t>(file, 32), table_size = get<uint64_t>(file, 48);
  if (!has_room(file, kHeader, graph) || !has_room(file, kHeader + graph, table_size)) return std::nullopt;
  FileParts parts;
  parts.version = version;
  parts.graph.assign(file.begin() + kHeader, file.begin() + static_cast<std::ptrdiff_t>(kHeader + graph));
  const auto table = file.subspan(kHeader + graph, table_size);
  size_t at = 0, end = kHeader + graph + table_size;
  for (uint64_t i = 0; i < tensors; ++i) {
    const auto row = read_row(table, at);
    if (!row) return std::nullopt;
    const auto head = table.subspan(row->begin, row->shape_end - row->begin);
    const size_t payload = payload_begin(head, end);
    if (!has_room(file, payload, row->bytes)) return std::nullopt;
    const auto bytes = file.subspan(payload, row->bytes);
    parts.tensors.push_back({{head.begin(), head.end()}, {bytes.begin(), bytes.end()}});
    at = row->end, end = payload + row->bytes;
  }
  return parts;
}

Bytes put_together(const FileParts& parts) {
  Bytes table, payloads;
  for (const auto& tensor : parts.tensors) {
    append(table, tensor.row);
    put_varint(table, tensor.payload.size());
    put(table, table.size(), checksum(tensor.payload));
  }
  Bytes file(kHeader, 0);
  std::memcpy(file.data(), kMagic, 8);
  append(file, parts.graph);
  append(file, table);
  for (const auto& tensor : parts.tensors) {
    file.resize(payload_begin(tensor.row, file.size()), 0);
    append(file, tensor.payload);
  }
  put(file, 8, parts.version);
  put(file, 16, uint64_t{file.size()});
  put(file, 24, uint64_t{parts.graph.size()});
  put(file, 32, uint64_t{parts.tensors.size()});
  put(file, 40, checksum(parts.graph));
  put(file, 44, checksum(table));
  put(file, 48, uint64_t{table.size()});
  put(file, 60, checksum(std::span(file).first(60)));
  return file;
}

void seal(Bytes& file) {
  if (file.size() < kHeader) return;
  const bool first = get<uint32_t>(file, 8) == 1;
  const auto graph = get<uint64_t>(file, 24), tensors = get<uint64_t>(file, 32);
  if (has_room(file, kHeader, graph)) {
    const uint64_t table = first ? (kHeader + graph + 63) / 64 * 64 : kHeader + graph;
    const uint64_t size = first ? tensors * 64 : get<uint64_t>(file, 48);
    if (tensors <= file.size() && has_room(file, table, size)) {
      first ? seal_tensors1(file, table, tensors) : seal_tensors(file, table, size, tensors);
      put(file, 44, checksum(std::span(file).subspan(table, size)));
    }
    put(file, 40, checksum(std::span(file).subspan(kHeader, graph)));
  }
  put(file, 60, checksum(std::span(file).first(60)));
}

}  // namespace niwaki::fuzz
