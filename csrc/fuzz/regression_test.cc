// Files that once were a problem, and files next to good ones: nothing in them may crash, hang, or take memory without end.
#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>

#include "file/test_tools.h"
#include "fuzz/change_network.h"
#include "fuzz/checks.h"
#include "fuzz/file_parts.h"
#include "testing/emulation.h"
#include "testing/test.h"

namespace niwaki {
namespace {

using namespace testing;

void check(std::span<const uint8_t> bytes, const std::string& what) {
  for (const std::string& wrong : {fuzz::check_reading(bytes), fuzz::check_running(bytes)})
    if (!wrong.empty()) testing::fail(__FILE__, __LINE__, what + ": " + wrong);
}

TEST(fuzz_files_that_were_found_and_old_ones) {
  int count = 0;
  for (const char* folder : {"fuzz", "formats"})
    for (const auto& entry : fs::directory_iterator(fs::path(NIWAKI_TEST_DATA) / folder)) {
      check(read_all(entry.path().string()), entry.path().filename().string());
      ++count;
    }
  CHECK(count > 0);
}

Graph graph_of(const std::vector<uint8_t>& bytes) { return read_memory(bytes); }

TEST(fuzz_parts_make_the_file_again) {
  Folder folder;
  for (const Graph& graph : {small_graph(), token_graph(), coded_graph()}) {
    write_file(graph, folder.file("a.niwaki"));
    const auto bytes = read_all(folder.file("a.niwaki"));
    const auto parts = fuzz::take_apart(bytes);
    REQUIRE(parts.has_value());
    CHECK(fuzz::put_together(*parts) == bytes);
    auto broken = bytes;
    for (const size_t at : {40u, 44u, 60u}) broken[at] ^= 1;
    fuzz::seal(broken);
    CHECK(broken == bytes);
    CHECK_EQ(graph_of(bytes).nodes().size(), graph.nodes().size());
  }
}

TEST(fuzz_entries_are_taken_apart_and_changed) {
  Folder folder;
  write_file(std::vector<Entry>{{"a", small_graph()}, {"b", token_graph()}, {"c", small_graph()}}, folder.file("a.niwaki"));
  const auto bytes = read_all(folder.file("a.niwaki"));
  const auto parts = fuzz::take_apart(bytes);
  REQUIRE(parts.has_value());
  CHECK(fuzz::put_together(*parts) == bytes);
  int changed = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    Random random(seed);
    const auto made = fuzz::change_network(*parts, random);
    if (!made) continue;
    ++changed;
    CHECK_EQ(read_entries(*made).size(), size_t{3});
  }
  CHECK(changed > 70);
}

// Every one is a network that the reader takes. Among them are dilations far beyond any image, with the padding that makes them fit.
TEST(fuzz_changed_networks_are_networks) {
  Folder folder;
  write_file(small_graph(), folder.file("a.niwaki"));
  const auto parts = fuzz::take_apart(read_all(folder.file("a.niwaki")));
  REQUIRE(parts.has_value());
  int changed = 0, far = 0;
  for (uint64_t seed = 0; seed < 500; ++seed) {
    Random random(seed);
    const auto bytes = fuzz::change_network(*parts, random);
    if (!bytes) continue;
    ++changed;
    const Graph graph = graph_of(*bytes);
    for (const Node& node : graph.nodes()) {
      if (node.op != Op::conv2d || node.tensor("weight").shape()[2] < 3) continue;
      const auto dilation = node.integers("dilation"), padding = node.integers("padding");
      if (dilation[0] > 4096 && padding[0] + padding[2] >= 2 * dilation[0]) ++far;
    }
  }
  CHECK(changed > 400);
  CHECK(far > 0);
}

TEST(fuzz_draws_reach_both_ends) {
  for (const auto& [low, high] : {std::pair<int64_t, int64_t>{1, 65535}, {0, INT64_MAX}, {INT64_MIN, INT64_MAX}, {7, 7}}) {
    Random random(1);
    bool lowest = false, highest = false;
    for (int i = 0; i < 200; ++i) {
      const int64_t drawn = fuzz::draw_between(low, high, random);
      CHECK(drawn >= low && drawn <= high);
      lowest = lowest || drawn == low;
      highest = highest || drawn == high;
    }
    CHECK(lowest && highest);
  }
}

// The reference beside one of the others, in turn. Under an emulator that is the best of the emulated CPU.
std::vector<Isa> two_isas(size_t turn) {
  const std::vector<Isa>& all = supported_isas();
  if (all.size() < 2) return all;
  return {all.front(), emulated() ? all.back() : all[1 + turn % (all.size() - 1)]};
}

// Every bit of the graph and of the table (one of each byte under an emulator), with checksums that are right: what is accepted runs, the same
// on two instruction sets.
void check_every_bit(const std::vector<Entry>& entries) {
  Folder folder;
  write_file(entries, folder.file("a.niwaki"));
  auto bytes = read_all(folder.file("a.niwaki"));
  const size_t end = bytes.size();
  for (size_t i = 64; i < end; ++i)
    for (size_t bit = emulated() ? i % 8 : 0; bit < 8; bit += emulated() ? 8 : 1) {
      auto changed = bytes;
      changed[i] ^= static_cast<uint8_t>(1 << bit);
      fuzz::seal(changed);
      const std::string wrong = fuzz::check_running(changed, two_isas(i + bit));
      if (!wrong.empty())
        testing::fail(__FILE__, __LINE__, "byte " + std::to_string(i) + ", bit " + std::to_string(bit) + ": " + wrong);
    }
}

TEST(fuzz_every_flipped_bit_runs_or_is_refused) { check_every_bit({{"", small_graph()}}); }
TEST(fuzz_every_flipped_bit_of_tokens_runs_or_is_refused) { check_every_bit({{"", token_graph()}}); }

// Two entries that are one layer with the same weights.
TEST(fuzz_every_flipped_bit_of_entries_runs_or_is_refused) {
  const auto entry = [](const char* name) {
    Graph graph;
    int v = graph.add_input("x", DType::f32, {graph.add_size("batch"), 7});
    v = graph.add_node(Op::quantize, "in", {v}, {}, {}, {Quantization{0.05f, 3}});
    graph.add_output(graph.add_node(Op::linear, "layer", {v}, {}, layer(weights({3, 7}, 100, false, 3))), "y");
    return Entry{name, std::move(graph)};
  };
  check_every_bit({entry("a"), entry("b")});
}

}  // namespace
}  // namespace niwaki
