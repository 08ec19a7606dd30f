// Round trips, and files that are not what they should be.
#include <algorithm>
#include <cstring>
#include <filesystem>

#include "file/crc32c.h"
#include "file/file.h"
#include "file/format.h"
#include "file/test_tools.h"
#include "graph/operators.h"

namespace niwaki {
namespace {

namespace fs = std::filesystem;
using namespace testing;

TEST(file_crc32c) {
  const std::string digits = "123456789";
  const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(digits.data()), digits.size());
  CHECK_EQ(crc32c(bytes), 0xE3069283u);
  CHECK_EQ(crc32c_tables(bytes), 0xE3069283u);
  std::vector<uint8_t> random(1000);
  Random generator(5);
  for (uint8_t& byte : random) byte = static_cast<uint8_t>(generator.next());
  for (size_t size = 0; size < 100; ++size)
    CHECK_EQ(crc32c({random.data() + size, size * 9}), crc32c_tables({random.data() + size, size * 9}));
}

bool same_dims(const Dims& a, const Dims& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

// But for the numbers of values, which follow the order of the file.
void check_same(const Graph& a, const Graph& b) {
  CHECK(a.metadata == b.metadata);
  REQUIRE(a.sizes().size() == b.sizes().size() && a.inputs().size() == b.inputs().size() &&
          a.outputs().size() == b.outputs().size());
  REQUIRE(a.states().size() == b.states().size() && a.guards().size() == b.guards().size() &&
          a.nodes().size() == b.nodes().size());
  for (size_t i = 0; i < a.sizes().size(); ++i) {
    const FreeSize &x = a.sizes()[i], &y = b.sizes()[i];
    CHECK(x.name == y.name && x.low == y.low && x.high == y.high && x.hint == y.hint);
  }
  for (size_t i = 0; i < a.inputs().size(); ++i) {
    const Value &x = a.value(a.inputs()[i].value), &y = b.value(b.inputs()[i].value);
    CHECK(a.inputs()[i].name == b.inputs()[i].name && x.dtype == y.dtype && same_dims(x.dims, y.dims));
  }
  for (size_t i = 0; i < a.outputs().size(); ++i) {
    const Value &x = a.value(a.outputs()[i].value), &y = b.value(b.outputs()[i].value);
    CHECK(a.outputs()[i].name == b.outputs()[i].name && x.node == y.node && x.index == y.index && x.dtype == y.dtype);
  }
  for (size_t i = 0; i < a.states().size(); ++i) {
    const State &x = a.states()[i], &y = b.states()[i];
    CHECK(x.name == y.name && same(x.initial, y.initial) && a.value(x.next).node == b.value(y.next).node);
  }
  for (size_t i = 0; i < a.guards().size(); ++i) {
    CHECK_EQ(a.guards()[i].message, b.guards()[i].message);
    REQUIRE(a.guards()[i].cases.size() == b.guards()[i].cases.size());
    for (size_t k = 0; k < a.guards()[i].cases.size(); ++k) {
      const auto &x = a.guards()[i].cases[k], &y = b.guards()[i].cases[k];
      CHECK(std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const auto& p, const auto& q) {
        return p.left == q.left && p.relation == q.relation && p.right == q.right;
      }));
    }
  }
  for (size_t i = 0; i < a.nodes().size(); ++i) {
    const Node &x = a.nodes()[i], &y = b.nodes()[i];
    CHECK(x.op == y.op && x.name == y.name && x.attributes == y.attributes);
    REQUIRE(x.inputs.size() == y.inputs.size() && x.outputs.size() == y.outputs.size() && x.tensors.size() == y.tensors.size());
    for (size_t k = 0; k < x.inputs.size(); ++k) CHECK_EQ(a.value(x.inputs[k]).node, b.value(y.inputs[k]).node);
    for (size_t k = 0; k < x.outputs.size(); ++k) CHECK(a.value(x.outputs[k]).quantization == b.value(y.outputs[k]).quantization);
    for (const auto& [name, tensor] : x.tensors) CHECK(same(tensor, y.tensor(name.c_str())));
  }
}

TEST(file_round_trip) {
  Folder folder;
  for (const Graph& graph : {small_graph(), token_graph(), coded_graph()}) {
    write_file(graph, folder.file("a.niwaki"));
    CHECK_EQ(folder.entries(), size_t{1});  // the temporary file is gone
    const Graph back = read_file(folder.file("a.niwaki"));
    check_same(graph, back);
    // The same network gives the same bytes, and a file may be written over while a graph still lives in it.
    const auto bytes = read_all(folder.file("a.niwaki"));
    write_file(back, folder.file("a.niwaki"));
    CHECK(read_all(folder.file("a.niwaki")) == bytes);
    check_same(graph, back);
  }
}

TEST(file_from_memory) {
  Folder folder;
  const Graph graph = small_graph();
  write_file(graph, folder.file("a.niwaki"));
  auto bytes = read_all(folder.file("a.niwaki"));
  bytes.insert(bytes.begin(), 1);  // at an odd address
  const Graph back = read_memory(std::span(bytes).subspan(1));
  std::fill(bytes.begin(), bytes.end(), uint8_t{0});  // it was copied
  for (size_t i = 0; i < graph.nodes().size(); ++i)
    for (const auto& [name, tensor] : graph.nodes()[i].tensors) CHECK(same(tensor, back.nodes()[i].tensor(name.c_str())));
  CHECK(error_of([] { read_memory({}); }).find("the file is empty") != std::string::npos);
  const std::vector<uint8_t> other(100, 7);
  CHECK(error_of([&] { read_memory(other); }).find("is not a niwaki file") != std::string::npos);
}

TEST(file_every_prefix_is_refused) {
  Folder folder;
  write_file(small_graph(), folder.file("a.niwaki"));
  const auto bytes = read_all(folder.file("a.niwaki"));
  for (size_t size = 0; size < bytes.size(); ++size) {
    write_all(folder.file("b.niwaki"), {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)});
    const std::string message = error_of([&] { read_file(folder.file("b.niwaki")); });
    const bool named =
        message.find(size == 0 ? "b.niwaki: the file is empty" : "b.niwaki: the file is cut short") != std::string::npos;
    if (!named) testing::fail(__FILE__, __LINE__, "prefix of " + std::to_string(size) + " bytes: " + message);
  }
}

TEST(file_every_flipped_byte_is_refused) {
  Folder folder;
  write_file(small_graph(), folder.file("a.niwaki"));
  auto bytes = read_all(folder.file("a.niwaki"));
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (uint8_t flip : {uint8_t{1}, uint8_t{0x80}, uint8_t{0xff}}) {
      bytes[i] ^= flip;
      write_all(folder.file("b.niwaki"), bytes);
      bytes[i] ^= flip;
      const std::string message = error_of([&] { read_file(folder.file("b.niwaki")); });
      if (message.find("b.niwaki: ") == std::string::npos)
        testing::fail(__FILE__, __LINE__, "byte " + std::to_string(i) + ": " + message);
    }
  }
}

TEST(file_forged_bytes_never_crash) {
  Folder folder;
  for (const Graph& graph : {small_graph(), token_graph(), coded_graph()}) {
    write_file(graph, folder.file("a.niwaki"));
    const auto original = read_all(folder.file("a.niwaki"));
    CHECK_EQ(error_of_forged(original, [](auto&) {}).size(), size_t{0});  // the tool itself makes good files
    for (size_t i = 0; i < original.size(); i += testing::emulated() ? 7 : 1) {
      for (uint8_t flip : {uint8_t{1}, uint8_t{0x10}, uint8_t{0x80}, uint8_t{0xff}}) {
        const std::string message = error_of_forged(original, [&](auto& bytes) { bytes[i] ^= flip; });
        // Some changes give another good network (a name, a weight); the others must be told, with where the bytes came from.
        if (!message.empty() && message.find("The memory: ") != 0)
          testing::fail(__FILE__, __LINE__, "byte " + std::to_string(i) + ": " + message);
      }
    }
  }
}

TEST(file_what_is_wrong_is_said) {
  Folder folder;
  CHECK_THROWS(read_file(folder.file("none.niwaki")), "none.niwaki: there is no such file.");
  CHECK_THROWS(read_file(folder.file("")), "is not a regular file");
  CHECK_THROWS(read_file(""), "The path of the file is empty");
  write_all(folder.file("text"), {'h', 'e', 'l', 'l', 'o'});
  CHECK_THROWS(read_file(folder.file("text")), "is not a niwaki file");
  write_file(small_graph(), folder.file("a.niwaki"));
  const auto original = read_all(folder.file("a.niwaki"));
  CHECK(error_of_forged(original, [](auto& b) {
          b[8] = 7;
        }).find("was written by a newer niwaki (format 7; this one reads up to 6)") != std::string::npos);
  CHECK(error_of_forged(original, [](auto& b) { b.push_back(0); }).find("longer than it says") != std::string::npos);
  CHECK(error_of_forged(original, [](auto& b) {
          const std::string op = "conv2d";
          *std::search(b.begin(), b.end(), op.begin(), op.end()) = 'k';
        }).find("first: there is no operator 'konv2d'") != std::string::npos);
  // A tensor that claims to be huge must not be believed: the first size of the first row of the table.
  for (const Graph& graph : {small_graph(), coded_graph()}) {
    write_file(graph, folder.file("a.niwaki"));
    const auto good = read_all(folder.file("a.niwaki"));
    const auto huge = [](std::vector<uint8_t>& bytes) {
      format::Header header;
      std::memcpy(&header, bytes.data(), sizeof(header));
      const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(64 + header.graph_bytes + 2);
      *at |= 0x80;
      const std::vector<uint8_t> more = {0x80, 0x80, 0x80, 0x40};
      bytes.insert(at + 1, more.begin(), more.end());
      header.table_bytes += more.size(), header.file_bytes += more.size();
      std::memcpy(bytes.data(), &header, sizeof(header));
    };
    CHECK(error_of_forged(good, huge).find("the file is corrupt") != std::string::npos);
  }
}

TEST(file_write_fails_cleanly) {
  Folder folder;
  CHECK_THROWS(write_file(small_graph(), folder.file("no/such/folder/a.niwaki")), "cannot be written");
  fs::create_directory(folder.file("taken"));
  write_all(folder.file("taken/inside"), {1});
  CHECK_THROWS(write_file(small_graph(), folder.file("taken")), "cannot be written");  // a folder stands where the file should
  CHECK_EQ(folder.entries(), size_t{1});                                               // and nothing half-written is left
}

}  // namespace
}  // namespace niwaki
