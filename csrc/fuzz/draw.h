// What a run is given: sizes over the whole range of what there is, and numbers of all kinds.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/graph.h"
#include "testing/test.h"

namespace niwaki::fuzz {

// Sizes of all inputs: free sizes that are usual, 0, 1, odd, the ends of their range, next to 2^31 and 2^63. Now and then the inputs do not
// agree on them, or one has another size or rank than it should.
std::vector<Sizes> draw_sizes(const Graph& graph, testing::Random& random);

// A row-major array that ends where its memory does and is aligned to its elements, no better: whoever reads past it is seen.
class Elements {
 public:
  Elements(DType dtype, int64_t count);
  void fill(testing::Random& random);  // numbers of all kinds; integers are small, most of them

  uint8_t* data() { return memory_.data() + offset_; }
  const uint8_t* data() const { return memory_.data() + offset_; }
  // The same to the last bit, but that one NaN is as good as another.
  bool operator==(const Elements& other) const;

 private:
  DType dtype_;
  size_t offset_;
  std::vector<uint8_t> memory_;
};

}  // namespace niwaki::fuzz
