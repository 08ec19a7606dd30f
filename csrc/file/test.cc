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

TEST(file_round_trip) {
  Folder folder;
  const Graph graph = small_graph();
  write_file(graph, folder.file("a.niwaki"));
  CHECK_EQ(folder.entries(), size_t{1});  // the temporary file is gone
  const Graph back = read_file(folder.file("a.niwaki"));
  CHECK(back.metadata == graph.metadata);
  REQUIRE(back.nodes().size() == graph.nodes().size());
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node &a = graph.nodes()[i], &b = back.nodes()[i];
    CHECK(a.op == b.op && a.name == b.name && a.attributes == b.attributes);
    CHECK(graph.value(a.output).quantization == back.value(b.output).quantization);
    for (size_t k = 0; k < a.inputs.size(); ++k) CHECK_EQ(graph.value(a.inputs[k]).node, back.value(b.inputs[k]).node);
    REQUIRE(a.tensors.size() == b.tensors.size());
    for (const auto& [name, tensor] : a.tensors) CHECK(same(tensor, b.tensor(name.c_str())));
  }
  REQUIRE(back.inputs().size() == 2);
  CHECK(back.inputs()[0].name == "image" && back.inputs()[1].name == "extra");
  CHECK(back.outputs().size() == 1 && back.outputs()[0].name == "scores");
  // The same network gives the same bytes, and a file may be written over while a graph still lives in it.
  const auto bytes = read_all(folder.file("a.niwaki"));
  write_file(back, folder.file("a.niwaki"));
  CHECK(read_all(folder.file("a.niwaki")) == bytes);
  CHECK(same(back.nodes()[1].tensor("weight"), graph.nodes()[1].tensor("weight")));
  CHECK_EQ(bytes.size() > 64, true);
}

// What the first version of the format looked like: made by the writer of that time.
TEST(file_version_1_is_read) {
  const std::vector<uint8_t> bytes = {
#include "file/version1.inc"
  };
  const Graph graph = read_memory(bytes);
  REQUIRE(graph.nodes().size() == 3 && graph.inputs().size() == 1);
  CHECK(graph.metadata.at("note") == "v1");
  const Node& conv = graph.nodes()[1];
  CHECK(conv.name == "c" && conv.op == Op::conv2d && conv.integers("dilation") == std::vector<int64_t>({1, 1}));
  const Tensor weight = conv.tensor("weight").unpacked();
  CHECK(weight.shape() == std::vector<int64_t>({2, 6, 1, 1}));
  CHECK(weight.as<int8_t>()[4] == 9 && weight.as<int8_t>()[7] == -7);
  CHECK_EQ(conv.tensor("bias").as<int32_t>()[1], -2);
  CHECK_EQ(conv.tensor("weight_scale").as<float>()[0], 0.5f);
  CHECK(graph.value(conv.output).quantization == (Quantization{0.1f, 200}));
  // Cut short or changed anywhere, it is refused as ever.
  for (size_t size = 0; size < bytes.size(); ++size) CHECK(!error_of([&] { read_memory(std::span(bytes).first(size)); }).empty());
  for (size_t i = 0; i < bytes.size(); ++i) {
    auto changed = bytes;
    changed[i] ^= 0x40;
    CHECK(!error_of([&] { read_memory(changed); }).empty());
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
  for (const Graph& graph : {small_graph(), coded_graph()}) {
    write_file(graph, folder.file("a.niwaki"));
    const auto original = read_all(folder.file("a.niwaki"));
    CHECK_EQ(error_of_forged(folder, original, [](auto&) {}).size(), size_t{0});  // the tool itself makes good files
    for (size_t i = 0; i < original.size(); i += testing::emulated() ? 7 : 1) {
      for (uint8_t flip : {uint8_t{1}, uint8_t{0x10}, uint8_t{0x80}, uint8_t{0xff}}) {
        const std::string message = error_of_forged(folder, original, [&](auto& bytes) { bytes[i] ^= flip; });
        // Some changes give another good network (a name, a weight); the others must be told with the file's name.
        if (!message.empty() && message.find(folder.file("b.niwaki") + ": ") != 0)
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
  CHECK(error_of_forged(folder, original, [](auto& b) {
          b[8] = 3;
        }).find("was written by a newer niwaki (format 3; this one reads up to 2)") != std::string::npos);
  CHECK(error_of_forged(folder, original, [](auto& b) { b.push_back(0); }).find("longer than it says") != std::string::npos);
  CHECK(error_of_forged(folder, original, [](auto& b) {
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
    CHECK(error_of_forged(folder, good, huge).find("the file is corrupt") != std::string::npos);
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
