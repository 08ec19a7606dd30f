#include "kernels/limit/limit.h"

#include "testing/test.h"

namespace niwaki {
namespace {

TEST(limit_runs_everywhere) {
  for (Isa isa : supported_isas()) {
    CHECK(int8_limit(isa, 0.001) > 0.0);
    CHECK(isa_includes(isa, select_limit(isa).isa));
  }
}

}  // namespace
}  // namespace niwaki
