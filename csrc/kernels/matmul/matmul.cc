#include "kernels/matmul/matmul.h"

#include <algorithm>

#include "base/memory.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_MATMUL(name, isa, rows, columns)     \
  namespace matmul_##name {                         \
    void multiply(const MatmulTile& tile);          \
    void pack_rows(const MatmulPanel& panel);       \
    void pack_transposed(const MatmulPanel& panel); \
  }
#include "kernels/matmul/kernels.inc"
#undef NIWAKI_MATMUL

std::span<const MatmulKernel> matmul_kernels() {
  static constexpr MatmulKernel kernels[] = {
#define NIWAKI_MATMUL(name, isa, rows, columns) \
  {#name, isa, rows, columns, matmul_##name::multiply, matmul_##name::pack_rows, matmul_##name::pack_transposed},
#include "kernels/matmul/kernels.inc"
#undef NIWAKI_MATMUL
  };
  return kernels;
}

const MatmulKernel& select_matmul(Isa isa) { return select_kernel(matmul_kernels(), isa); }

namespace {

// Steps of depth whose panel stays in the L2 cache; the sums of the others wait in the result.
constexpr int64_t kDepth = 512;

// Columns that are packed together: a row or two take more of them at once.
int64_t block_columns(const MatmulKernel& kernel, const MatmulSizes& sizes) {
  return sizes.rows <= 2 ? 2 * kernel.columns : kernel.columns;
}

// How the results are cut: pair by pair, block of columns by block of columns, some rows at a time.
struct Units {
  int64_t columns, blocks, row_parts, part_rows, count;

  Units(const MatmulKernel& kernel, const MatmulSizes& sizes, int threads) {
    // Rows that use a panel once it is packed; fewer where threads would have nothing to do.
    constexpr int64_t kMostRows = 128, kLeastRows = 16, kEach = 2;
    const auto pairs = static_cast<int64_t>(sizes.a_offsets.size());
    columns = block_columns(kernel, sizes);
    blocks = div_up(sizes.columns, columns);
    row_parts = div_up(sizes.rows, kMostRows);
    while (pairs * blocks * row_parts < kEach * threads && div_up(sizes.rows, 2 * row_parts) >= kLeastRows) row_parts *= 2;
    part_rows = round_up(div_up(sizes.rows, row_parts), kernel.rows);
    row_parts = div_up(sizes.rows, part_rows);
    count = pairs * blocks * row_parts;
  }
};

}  // namespace

int64_t matmul_scratch(const MatmulKernel& kernel, const MatmulSizes& sizes) {
  return std::min(sizes.depth, kDepth) * block_columns(kernel, sizes) * static_cast<int64_t>(sizeof(float));
}

void matmul(const MatmulKernel& kernel, const MatmulSizes& sizes, const float* a, const float* b, float* out, uint8_t* scratch,
            int64_t scratch_step, ThreadPool& pool) {
  if (sizes.a_offsets.empty() || sizes.rows == 0 || sizes.columns == 0) return;
  const Units units(kernel, sizes, pool.threads());
  const auto multiply_unit = [&](int64_t unit, float* panel) {
    const int64_t part = unit % units.row_parts, block = unit / units.row_parts % units.blocks;
    const int64_t pair = unit / units.row_parts / units.blocks;
    const int64_t row = part * units.part_rows, column = block * units.columns;
    const float* matrix = b + sizes.b_offsets[static_cast<std::size_t>(pair)];
    MatmulTile tile{};
    tile.rows = std::min(units.part_rows, sizes.rows - row);
    tile.columns = std::min(units.columns, sizes.columns - column);
    tile.a_stride = sizes.depth;
    tile.out = out + (pair * sizes.rows + row) * sizes.columns + column;
    tile.out_stride = sizes.columns;
    // A few rows use a panel once or not at all more often than packing it does.
    const bool in_place = !sizes.transposed && tile.rows <= kernel.rows && tile.columns % 16 == 0;
    int64_t k = 0;
    do {
      tile.depth = std::min(kDepth, sizes.depth - k);
      tile.a = a + sizes.a_offsets[static_cast<std::size_t>(pair)] + row * sizes.depth + k;
      tile.add = k > 0;
      if (in_place) {
        tile.b = matrix + k * sizes.columns + column;
        tile.b_stride = sizes.columns;
      } else {
        tile.b = panel;
        tile.b_stride = round_up(tile.columns, 16);
        const float* from = sizes.transposed ? matrix + column * sizes.depth + k : matrix + k * sizes.columns + column;
        const MatmulPanel packed{from,        sizes.transposed ? sizes.depth : sizes.columns, panel, tile.b_stride, tile.depth,
                                 tile.columns};
        (sizes.transposed ? kernel.pack_transposed : kernel.pack_rows)(packed);
      }
      kernel.multiply(tile);
      k += tile.depth;
    } while (k < sizes.depth);
  };
  // Small products are handed out several at a time.
  constexpr int64_t kLeastProducts = 1 << 15;
  const int64_t products =
      std::max<int64_t>(1, std::min(units.part_rows, sizes.rows) * std::min(units.columns, sizes.columns) * sizes.depth);
  const int64_t together = div_up(kLeastProducts, products);
  const int64_t tasks = std::min(units.count, std::max<int64_t>(pool.threads(), units.count / together));
  pool.run(tasks, [&](int64_t task, int thread) {
    auto* panel = reinterpret_cast<float*>(scratch + thread * scratch_step);
    for (int64_t unit = units.count * task / tasks; unit < units.count * (task + 1) / tasks; ++unit) multiply_unit(unit, panel);
  });
}

}  // namespace niwaki
