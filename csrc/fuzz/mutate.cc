// How libFuzzer changes a file: usually one part of it, after which sizes and checksums are made right.
#include <cstring>
#include <random>

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
  const size_t kind = below(random, 20);
  if (kind == 0) return LLVMFuzzerMutate(data, size, max_size);
  auto parts = niwaki::fuzz::take_apart({data, size});
  if (!parts || kind < 3) {
    Bytes bytes(data, data + LLVMFuzzerMutate(data, size, max_size));
    niwaki::fuzz::seal(bytes);
    return give(bytes, data, size, max_size);
  }
  if (kind < 13) {
    mutate(parts->graph);
  } else {
    mutate_tensors(*parts, random);
  }
  return give(niwaki::fuzz::put_together(*parts), data, size, max_size);
}

// The graph of one file and the tensors of another, or some of the tensors.
extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* data1, size_t size1, const uint8_t* data2, size_t size2, uint8_t* out,
                                            size_t max_size, unsigned seed) {
  Random random(seed);
  auto first = niwaki::fuzz::take_apart({data1, size1});
  const auto second = niwaki::fuzz::take_apart({data2, size2});
  if (!first || !second) return 0;
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
