// The product of matrices in plain C++: what the other kernels must equal.
#include "kernels/common/lanes16.h"
#include "kernels/matmul/params.h"

namespace niwaki::matmul_scalar {

void multiply(const MatmulTile& tile) {
  for (int64_t row = 0; row < tile.rows; ++row) {
    float* const out = tile.out + row * tile.out_stride;
    if (!tile.add)
      for (int64_t column = 0; column < tile.columns; ++column) out[column] = 0.0f;
    for (int64_t k = 0; k < tile.depth; ++k)
      add_products(tile.a[row * tile.a_stride + k], tile.b + k * tile.b_stride, out, tile.columns);
  }
}

static void pack(const MatmulPanel& pack, int64_t column_step, int64_t depth_step) {
  for (int64_t k = 0; k < pack.depth; ++k)
    for (int64_t c = 0; c < (pack.columns + 15) / 16 * 16; ++c)
      pack.panel[k * pack.panel_stride + c] = c < pack.columns ? pack.from[c * column_step + k * depth_step] : 0.0f;
}

void pack_rows(const MatmulPanel& panel) { pack(panel, 1, panel.stride); }
void pack_transposed(const MatmulPanel& panel) { pack(panel, panel.stride, 1); }

}  // namespace niwaki::matmul_scalar
