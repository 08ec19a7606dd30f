#include "kernels/common/select.h"
#include "kernels/conv/kernel.h"

namespace niwaki {

#define NIWAKI_CONV(name, ...)            \
  namespace conv_##name {                 \
    void dense(const DenseTile& tile);    \
    void dense_narrow(const DenseTile&);  \
    void sparse(const SparseTile& tile);  \
    void wide(const WideTile& tile);      \
    void pick(const PickTile& tile);      \
    void fill(const PanelFill& fill);     \
    void fill_band(const BandFill& fill); \
    extern const MatrixUnit matrix;       \
  }
#include "kernels/conv/kernels.inc"
#undef NIWAKI_CONV

#define NIWAKI_FILL_BAND_0(name) nullptr
#define NIWAKI_FILL_BAND_1(name) conv_##name::fill_band
#define NIWAKI_NARROW_0(name) nullptr
#define NIWAKI_NARROW_6(name) conv_##name::dense_narrow
#define NIWAKI_DENSE_0(name, narrow) conv_##name::dense, NIWAKI_NARROW_##narrow(name), nullptr
#define NIWAKI_DENSE_1(name, narrow) nullptr, NIWAKI_NARROW_##narrow(name), &conv_##name::matrix
#define NIWAKI_PICK_0(name) nullptr
#define NIWAKI_PICK_1(name) conv_##name::pick
#define NIWAKI_PICK_4(name) conv_##name::pick

static const ConvKernels kRows[] = {
#define NIWAKI_CONV(name, lanes, pairs, dense_vectors, dense_outputs, blocks, sparse_vectors, sparse_lists, wide_pixels, \
                    wide_outputs, dense_tail, narrow, flip, bands, matrix, picks)                                        \
  {#name,                                                                                                                \
   Isa::name,                                                                                                            \
   lanes,                                                                                                                \
   pairs,                                                                                                                \
   dense_vectors,                                                                                                        \
   dense_outputs,                                                                                                        \
   blocks,                                                                                                               \
   sparse_vectors,                                                                                                       \
   sparse_lists,                                                                                                         \
   wide_pixels,                                                                                                          \
   wide_outputs,                                                                                                         \
   dense_tail,                                                                                                           \
   narrow,                                                                                                               \
   flip,                                                                                                                 \
   NIWAKI_DENSE_##matrix(name, narrow),                                                                                  \
   conv_##name::sparse,                                                                                                  \
   conv_##name::wide,                                                                                                    \
   picks,                                                                                                                \
   NIWAKI_PICK_##picks(name),                                                                                            \
   conv_##name::fill,                                                                                                    \
   NIWAKI_FILL_BAND_##bands(name)},
#include "kernels/conv/kernels.inc"
#undef NIWAKI_CONV
};

std::span<const ConvKernels> conv_kernels() { return kRows; }

const ConvKernels& select_conv(Isa isa) { return select_kernel(conv_kernels(), isa); }

}  // namespace niwaki
