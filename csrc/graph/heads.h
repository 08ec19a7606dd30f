// Where a fused attention finds its heads: it may read and write them where the layers around it have them, with the tokens in front, instead of
// after permutations. fuse() alone says so, in an attribute that no file has.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "graph/graph.h"

namespace niwaki {

// Of q, k, v and the result: [.., heads, tokens, width]; [.., tokens, heads, width]; or a part of [.., tokens, 3, heads, width].
enum class HeadForm : uint8_t { heads_first, tokens_first, part_0, part_1, part_2 };
using HeadForms = std::array<HeadForm, 4>;

inline constexpr char kHeadForms[] = "head_forms";

inline HeadForms head_forms(const Node& node) {
  HeadForms forms{};
  const auto found = node.attributes.find(kHeadForms);
  if (found == node.attributes.end()) return forms;
  const Dims& numbers = std::get<Dims>(found->second);
  for (size_t i = 0; i < forms.size(); ++i) forms[i] = static_cast<HeadForm>(numbers[i].value());
  return forms;
}

inline bool is_part(HeadForm form) { return form >= HeadForm::part_0; }

// The sizes of a value as [.., heads, tokens, width].
template <typename Size>
std::vector<Size> heads_first(std::vector<Size> sizes, HeadForm form) {
  if (form == HeadForm::heads_first) return sizes;
  if (is_part(form)) sizes.erase(sizes.end() - 3);
  std::swap(sizes[sizes.size() - 3], sizes[sizes.size() - 2]);
  return sizes;
}

}  // namespace niwaki
