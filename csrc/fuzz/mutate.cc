// How libFuzzer changes a file: usually one part of it, after which sizes and checksums are made right.
#include <cstring>
#include <iterator>
#include <random>

#include "fuzz/change_network.h"
#include "fuzz/file_parts.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

using niwaki::fuzz::Bytes;
using niwaki::fuzz::FileParts;
using Random = std::minstd_rand;

constexpr size_t kGrowth = 64;  // bytes that one mutation may add to a part

size_t below(Random& random, size_t limit) { return random() % limit; }

void mutate(Bytes& bytes) {
  const size_t size = bytes.size();
  bytes.resize(size + kGrowth);
  bytes.resize(LLVMFuzzerMutate(bytes.data(), size, bytes.size()));
}

// A number that is likely to be too much for somebody, in place of the one at `at`, or of what is taken for one.
void mutate_number(Bytes& bytes, Random& random) {
  constexpr uint64_t kNumbers[] = {0,           1,
                                   2,           3,
                                   127,         128,
                                   65535,       65536,
                                   0x7fffffff,  0x80000000,
                                   0xffffffff,  0xfffffffe,
                                   0x100000000, uint64_t{1} << 40,
                                   INT64_MAX,   UINT64_MAX - 1,
                                   UINT64_MAX};
  if (bytes.empty()) return;
  const size_t at = below(random, bytes.size());
  size_t end = at;
  while (end + 1 < bytes.size() && bytes[end] >= 0x80) ++end;
  Bytes number;
  niwaki::fuzz::put_varint(number, kNumbers[below(random, std::size(kNumbers))]);
  bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.begin() + static_cast<std::ptrdiff_t>(end) + 1);
  bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), number.begin(), number.end());
}

// An expression of free sizes.
void append_expression(Bytes& bytes, Random& random, int depth) {
  const size_t code = depth == 0 ? below(random, 2) : below(random, 9);
  bytes.push_back(static_cast<uint8_t>(code));
  if (code < 2)
    return niwaki::fuzz::put_varint(bytes, code == 0 && below(random, 8) == 0 ? UINT64_MAX - below(random, 2) : below(random, 4));
  append_expression(bytes, random, depth - 1);
  append_expression(bytes, random, depth - 1);
}

// Puts an expression where a constant or a size of another one may stand: two bytes, of which the first is 0 or 1.
void mutate_expression(Bytes& bytes, Random& random) {
  if (bytes.size() < 2) return;
  const size_t from = below(random, bytes.size() - 1);
  size_t at = from;
  while (at + 2 < bytes.size() && bytes[at] > 1) ++at;
  Bytes expression;
  append_expression(expression, random, static_cast<int>(below(random, 4)));
  const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
  bytes.insert(bytes.erase(place, place + 2), expression.begin(), expression.end());
}

void mutate_graph(Bytes& graph, Random& random) {
  switch (below(random, 4)) {
    case 0: return mutate_number(graph, random);
    case 1: return mutate_expression(graph, random);
    default: return mutate(graph);
  }
}

void mutate_tensors(FileParts& parts, Random& random) {
  if (parts.tensors.empty()) return;
  const size_t i = below(random, parts.tensors.size()), j = below(random, parts.tensors.size());
  auto& tensor = parts.tensors[i];
  switch (below(random, 8)) {
    case 0: parts.tensors.erase(parts.tensors.begin() + static_cast<std::ptrdiff_t>(i)); break;
    case 1: parts.tensors.push_back(FileParts::Stored(parts.tensors[j])); break;
    case 2: tensor = FileParts::Stored(parts.tensors[j]); break;
    case 3: std::swap(tensor.payload, parts.tensors[j].payload); break;
    case 4:
    case 5: mutate(tensor.row); break;
    default: mutate(tensor.payload); break;
  }
}

size_t give(const Bytes& bytes, uint8_t* data, size_t size, size_t max_size) {
  if (bytes.size() > max_size || bytes.empty()) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, bytes.data(), bytes.size());
  return bytes.size();
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  Random random(seed);
  const size_t kind = below(random, 24);
  if (kind == 0) return LLVMFuzzerMutate(data, size, max_size);
  auto parts = niwaki::fuzz::take_apart({data, size});
  if (!parts || kind < 3) {
    Bytes bytes(data, data + LLVMFuzzerMutate(data, size, max_size));
    niwaki::fuzz::seal(bytes);
    return give(bytes, data, size, max_size);
  }
  if (kind < 14) {
    niwaki::testing::Random drawn(seed);
    if (const auto changed = niwaki::fuzz::change_network(*parts, drawn)) return give(*changed, data, size, max_size);
  }
  if (kind < 20) {
    mutate_graph(parts->graph, random);
  } else {
    mutate_tensors(*parts, random);
  }
  return give(niwaki::fuzz::put_together(*parts), data, size, max_size);
}

// The graph of one file and the tensors of another, or some of the tensors. libFuzzer asks for this as often as for the mutations above: every
// second time the first file's network is changed instead.
extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* data1, size_t size1, const uint8_t* data2, size_t size2, uint8_t* out,
                                            size_t max_size, unsigned seed) {
  Random random(seed);
  auto first = niwaki::fuzz::take_apart({data1, size1});
  const auto second = niwaki::fuzz::take_apart({data2, size2});
  if (!first || !second) return 0;
  if (below(random, 2) == 0) {
    niwaki::testing::Random drawn(seed);
    const auto changed = niwaki::fuzz::change_network(*first, drawn);
    if (changed && changed->size() <= max_size) {
      std::memcpy(out, changed->data(), changed->size());
      return changed->size();
    }
  }
  if (first->tensors.empty() || second->tensors.empty() || below(random, 3) == 0) {
    first->graph = second->graph;
  } else {
    for (auto& tensor : first->tensors)
      if (below(random, 2) == 0) tensor = second->tensors[below(random, second->tensors.size())];
  }
  const Bytes bytes = niwaki::fuzz::put_together(*first);
  if (bytes.size() > max_size) return 0;
  std::memcpy(out, bytes.data(), bytes.size());
  return bytes.size();
}
