// Files that once were a problem, and files next to good ones: nothing in them may crash, hang, or take memory without end.
#include <algorithm>
#include <filesystem>
#include <string>

#include "file/test_tools.h"
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

// The reference beside one of the others, in turn. Under an emulator that is the best of the emulated CPU.
std::vector<Isa> two_isas(size_t turn) {
  const std::vector<Isa>& all = supported_isas();
  if (all.size() < 2) return all;
  return {all.front(), emulated() ? all.back() : all[1 + turn % (all.size() - 1)]};
}

// Every bit of the graph and of the table (one of each byte under an emulator), with checksums that are right: what is accepted runs, the same
// on two instruction sets.
void check_every_bit(const Graph& graph) {
  Folder folder;
  write_file(graph, folder.file("a.niwaki"));
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

TEST(fuzz_every_flipped_bit_runs_or_is_refused) { check_every_bit(small_graph()); }
TEST(fuzz_every_flipped_bit_of_tokens_runs_or_is_refused) { check_every_bit(token_graph()); }

}  // namespace
}  // namespace niwaki
