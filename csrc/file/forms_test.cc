// Codings and forms: round trips, the choice of the smallest, and payloads that are not what they should be.
#include <algorithm>
#include <utility>

#include "file/coding.h"
#include "file/forms.h"
#include "file/huffman.h"
#include "file/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

constexpr Coding kAll[] = {Coding::raw, Coding::codebook, Coding::huffman};

// `kinds` different bytes, the lower ones more often where `skewed`.
std::vector<uint8_t> some_bytes(size_t count, int kinds, bool skewed, uint64_t seed) {
  Random random(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) {
    const int most = skewed ? random.integer(0, kinds - 1) : kinds - 1;
    byte = static_cast<uint8_t>(random.integer(0, most) * 255 / kinds);
  }
  return bytes;
}

bool possible(std::span<const uint8_t> bytes, Coding coding) {
  const auto counts = huffman::count_bytes(bytes);
  const auto kinds = std::count_if(counts.begin(), counts.end(), [](int64_t count) { return count > 0; });
  return coding == Coding::raw || (coding == Coding::codebook ? kinds >= 1 && kinds <= 128 : kinds >= 2);
}

bool decodes(std::span<const uint8_t> encoded, Coding coding, size_t count) {
  std::vector<uint8_t> bytes(count);
  // Exactly as long as it says, so that a sanitizer sees a read beyond it.
  const std::vector<uint8_t> own(encoded.begin(), encoded.end());
  return decode(own, coding, bytes);
}

std::optional<Tensor> decoded(Storage storage, const std::vector<int64_t>& shape, std::span<const uint8_t> payload) {
  auto bytes = std::make_shared<std::vector<uint8_t>>(payload.begin(), payload.end());
  const auto refuse = [] { throw Error(Status::invalid_file, "bad"); };
  try {
    const Tensor tensor = decode(shape, {storage, {bytes, bytes->data()}, bytes->size(), refuse});
    return Tensor::copy_of(DType::i8, shape, tensor.unpacked().data());
  } catch (const Error&) {
    return std::nullopt;
  }
}

TEST(coding_round_trip) {
  for (size_t count : {1, 2, 3, 4, 5, 7, 8, 31, 64, 333, 1000, 4099})
    for (int kinds : {1, 2, 3, 16, 17, 100, 128, 255})
      for (bool skewed : {false, true}) {
        const auto bytes = some_bytes(count, kinds, skewed, count);
        int64_t smallest = static_cast<int64_t>(count);
        for (Coding coding : kAll) {
          if (!possible(bytes, coding)) continue;
          const auto code = encode(bytes, coding);
          std::vector<uint8_t> back(count);
          CHECK(decode(code, coding, back) && back == bytes);
          CHECK(static_cast<int64_t>(count) <= most_decoded(coding, static_cast<int64_t>(code.size())));
          for (int byte = 0; byte < 256; ++byte)
            CHECK_EQ(may_hold(code, coding, static_cast<uint8_t>(byte)),
                     std::find(bytes.begin(), bytes.end(), static_cast<uint8_t>(byte)) != bytes.end());
          if (coding != Coding::huffman) smallest = std::min(smallest, static_cast<int64_t>(code.size()));
        }
        const Choice choice = choose_coding(bytes);
        CHECK_EQ(choice.bytes, static_cast<int64_t>(encode(bytes, choice.coding).size()));
        if (choice.coding == Coding::huffman) CHECK(choice.bytes <= smallest - std::max<int64_t>(32, smallest / 32));
        else CHECK_EQ(choice.bytes, smallest);
      }
}

TEST(coding_wrong_length_is_refused) {
  for (Coding coding : kAll) {
    const auto bytes = some_bytes(777, 11, true, 3);
    const auto code = encode(bytes, coding);
    for (size_t size = 0; size < code.size(); ++size) CHECK(!decodes(std::span(code).first(size), coding, bytes.size()));
    for (uint8_t more : {0, 1}) {
      auto longer = code;
      longer.push_back(more);
      CHECK(!decodes(longer, coding, bytes.size()));
    }
  }
}

TEST(coding_any_bytes_are_safe) {
  Random random(11);
  for (Coding coding : kAll) {
    const auto bytes = some_bytes(300, 40, true, 4);
    for (int round = 0; round < testing::rounds(20000); ++round) {
      auto code = encode(bytes, coding);
      for (int change = random.integer(1, 3); change > 0; --change)
        code[static_cast<size_t>(random.integer(0, static_cast<int32_t>(code.size()) - 1))] = static_cast<uint8_t>(random.next());
      (void)decodes(code, coding, static_cast<size_t>(random.integer(0, 400)));
    }
  }
}

TEST(coding_huffman_code_is_complete_short_and_best) {
  huffman::Counts counts{};
  int64_t a = 1, b = 1;
  for (size_t i = 0; i < 40; ++i) {  // Fibonacci numbers: without a limit, codes of 39 bits
    counts[i] = a;
    b = std::exchange(a, a + b);
  }
  for (const auto& of :
       {counts, huffman::count_bytes(some_bytes(5000, 200, true, 1)), huffman::count_bytes(some_bytes(9, 2, false, 1))}) {
    const auto lengths = huffman::code_lengths(of);
    double used = 0;
    for (size_t i = 0; i < 256; ++i) {
      CHECK_EQ(lengths[i] > 0, of[i] > 0);
      CHECK(lengths[i] <= huffman::kLongest);
      if (lengths[i] > 0) used += 1.0 / static_cast<double>(1 << lengths[i]);
    }
    CHECK_EQ(used, 1.0);
  }
  counts = {};
  counts['a'] = 8, counts['b'] = 4, counts['c'] = 2, counts['d'] = 1, counts['e'] = 1;
  const auto lengths = huffman::code_lengths(counts);
  CHECK(lengths['a'] == 1 && lengths['b'] == 2 && lengths['c'] == 3 && lengths['d'] == 4 && lengths['e'] == 4);
}

TEST(coding_wrong_tables_are_refused) {
  const std::vector<uint8_t> ab = {'a', 'b', 'a', 'b'};
  const auto code = encode(ab, Coding::huffman);  // 'a', 'b', two lengths of 1, three sizes, four bytes
  REQUIRE(code.size() == 2 + 1 + 12 + 4 && code[2] == 0x11);
  const auto with = [&](size_t at, uint8_t value) {
    auto changed = code;
    changed[at] = value;
    return decodes(changed, Coding::huffman, ab.size());
  };
  CHECK(with(2, 0x11));
  CHECK(!with(2, 0x21));                           // an incomplete code: some bits mean nothing
  CHECK(!with(2, 0x01));                           // an end of the table without a code
  CHECK(!with(2, 0x1c));                           // an overlong code
  CHECK(!with(1, 'a'));                            // one byte only
  CHECK(!with(1, '`'));                            // ends the wrong way round
  CHECK(!with(3, 2));                              // a stream that is longer than its bits
  CHECK(!with(6, 0xff));                           // a stream that ends outside
  CHECK(!with(15, 2));                             // bits after the last code
  const auto book = encode(ab, Coding::codebook);  // 1, 'a', 'b', four bits
  REQUIRE(book.size() == 4);
  for (const auto& wrong : std::vector<std::vector<uint8_t>>{{0x80, 'a', 'b', 10},
                                                             {1, 'b', 'a', 10},
                                                             {1, 'a', 'a', 10},
                                                             {1, 'a', 'b', 10 + 16},
                                                             {2, 'a', 'b', 'c', 0xff},
                                                             {1, 'a'},
                                                             {}})
    CHECK(!decodes(wrong, Coding::codebook, ab.size()));
}

TEST(file_forms_round_trip) {
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{5, 6, 3, 3}, {1, 1}, {7, 13}, {4, 8, 1, 1}, {3, 1, 5, 5}, {2, 3, 2, 1}, {16, 32, 3, 3}})
    for (int kept : {0, 1, 20, 70, 100})
      for (bool blocks : {false, true}) {
        const Tensor tensor = weights(shape, kept, blocks, static_cast<uint64_t>(kept));
        const StoredSize stored = stored_size(tensor);
        if (stored.storage != Storage{}) CHECK_EQ(stored.bytes, static_cast<int64_t>(encode(tensor, stored.storage).size()));
        CHECK(stored.bytes <= tensor.bytes());
        for (Form form : {Form::dense, Form::block_mask, Form::bit_mask})
          for (Coding values : kAll)
            for (Coding mask : kAll) {
              const Storage storage{form, mask, values};
              if (form == Form::dense && mask != Coding::raw) continue;
              const auto plain = encode(tensor, {form, Coding::raw, Coding::raw});
              const auto size = static_cast<size_t>(mask_bytes(form, shape));
              if (!possible(std::span(plain).first(size), mask) || !possible(std::span(plain).subspan(size), values)) continue;
              const auto payload = encode(tensor, storage);
              CHECK(stored.bytes <= static_cast<int64_t>(payload.size()) + 64 + static_cast<int64_t>(payload.size()) / 16);
              const auto back = decoded(storage, shape, payload);
              REQUIRE(back.has_value());
              CHECK(same(tensor, *back));
              auto longer = payload;
              longer.push_back(1);
              CHECK(!decoded(storage, shape, longer).has_value());
              CHECK(!decoded(storage, shape, std::span(payload).first(payload.size() - 1)).has_value());
            }
      }
}

TEST(file_smallest_form) {
  CHECK(stored_size(weights({64, 64, 3, 3}, 100, false, 1)).storage == Storage{});  // no two weights are alike often enough
  CHECK(stored_size(weights({64, 64, 3, 3}, 15, true, 1)).storage.form == Form::block_mask);
  CHECK(stored_size(weights({64, 64, 3, 3}, 10, false, 1)).storage.form == Form::bit_mask);
  CHECK(stored_size(Tensor::copy_of(DType::i32, {4, 2}, std::vector<int32_t>(8, 0).data())).storage == Storage{});
  Random random(3);
  std::vector<int8_t> data(4096);
  for (int8_t& value : data) value = static_cast<int8_t>(random.integer(0, 15) * 3 - 20);
  const StoredSize four = stored_size(Tensor::copy_of(DType::i8, {64, 64}, data.data()));  // sixteen values, equally often
  CHECK(four.storage == (Storage{Form::dense, Coding::raw, Coding::codebook}));
  CHECK_EQ(four.bytes, 1 + 16 + 4096 / 2);
  for (int8_t& value : data) value = static_cast<int8_t>(random.integer(-9, 9) + random.integer(-9, 9) + random.integer(-9, 9));
  CHECK(stored_size(Tensor::copy_of(DType::i8, {64, 64}, data.data())).storage ==
        (Storage{Form::dense, Coding::raw, Coding::huffman}));
}

TEST(file_decode_refuses_what_should_not_be_there) {
  const Storage blocks{Form::block_mask, Coding::raw, Coding::raw}, bits{Form::bit_mask, Coding::raw, Coding::raw};
  std::vector<int64_t> shape = {1, 2};  // one block of two channels
  CHECK(decoded(blocks, shape, std::vector<uint8_t>{1, 5, 6, 0, 0}).has_value());
  CHECK(!decoded(blocks, shape, std::vector<uint8_t>{1, 5, 6, 7, 0}).has_value());  // a channel that does not exist
  CHECK(!decoded(blocks, shape, std::vector<uint8_t>{1, 0, 0, 0, 0}).has_value());  // a block of zeros
  CHECK(!decoded(blocks, shape, std::vector<uint8_t>{2, 5, 6, 0, 0}).has_value());  // a block that does not exist
  CHECK(decoded(bits, shape, std::vector<uint8_t>{2, 5}).has_value());
  CHECK(!decoded(bits, shape, std::vector<uint8_t>{2, 0}).has_value());
  CHECK(!decoded(bits, shape, std::vector<uint8_t>{4, 5}).has_value());
  CHECK(!decoded(bits, shape, std::vector<uint8_t>{}).has_value());
  // The same through codes: a codebook with the entry 0 for the mask 1, and for a mask that is a code itself.
  const Storage coded{Form::bit_mask, Coding::raw, Coding::codebook}, both{Form::bit_mask, Coding::codebook, Coding::codebook};
  CHECK(decoded(coded, shape, std::vector<uint8_t>{3, 1, 5, 6, 2}).has_value());
  CHECK(!decoded(coded, shape, std::vector<uint8_t>{3, 1, 0, 6, 2}).has_value());
  CHECK(decoded(both, shape, std::vector<uint8_t>{3, 0, 0, 0, 0, 3, 0, 1, 5, 6, 2}).has_value());
  CHECK(!decoded(both, shape, std::vector<uint8_t>{3, 0, 0, 0, 0, 7, 0, 1, 5, 6, 2}).has_value());
  CHECK(!decoded(both, shape, std::vector<uint8_t>{99, 0, 0, 0, 0, 3, 0, 1, 5, 6, 2}).has_value());
  CHECK(!decoded(both, shape, std::vector<uint8_t>{3, 0, 0}).has_value());
  // A shape that so few bytes cannot fill is refused before memory is asked for.
  const std::vector<int64_t> huge = {1 << 20, 1 << 20};
  for (Form form : {Form::dense, Form::block_mask, Form::bit_mask})
    for (Coding coding : kAll) {
      if (form == Form::dense && coding == Coding::raw) continue;
      const Storage storage{form, form == Form::dense ? Coding::raw : coding, coding};
      const auto refuse = [] { throw Error(Status::invalid_file, "bad"); };
      CHECK_THROWS(decode(huge, {storage, std::make_shared<uint8_t>(uint8_t{0}), 1, refuse}), "bad");
    }
}

TEST(file_coded_tensors_unpack_on_demand) {
  const Tensor dense = weights({5, 6, 3, 3}, 20, true, 3);
  const Storage storage{Form::block_mask, Coding::raw, Coding::huffman};
  const auto payload = encode(dense, storage);
  auto bytes = std::make_shared<std::vector<uint8_t>>(payload.begin(), payload.end());
  const Tensor packed = decode(dense.shape(), {storage, {bytes, bytes->data()}, bytes->size(), [] {}});
  const Tensor once = packed.unpacked(), twice = packed.unpacked();
  CHECK(once.data() != twice.data());  // not kept ...
  const Tensor copy = packed;
  const uint8_t* kept = packed.data();
  CHECK(copy.data() == kept && packed.unpacked().data() == kept);  // ... unless data() was asked for
  CHECK(same(once, dense) && same(copy, dense));
}

}  // namespace
}  // namespace niwaki
