// One more call of a layer that is packed already: see graph/repeats.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/step.h"

namespace niwaki {

// `first`: the step of the layer's first call. `fused`: names of the nodes that this one took over.
std::unique_ptr<Step> make_repeated(const Node& node, std::vector<std::string> fused, std::shared_ptr<const Step> first);

}  // namespace niwaki
