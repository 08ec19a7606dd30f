// Expressions of sizes.
#include <limits>
#include <string>
#include <vector>

#include "graph/dim.h"
#include "testing/test.h"

namespace niwaki {
namespace {

const Dim h = Dim::size(0), w = Dim::size(1);

std::string text(const Dim& dim) { return dim.text(std::vector<std::string>{"h", "w"}); }

TEST(dim_folds_constants_and_identities) {
  CHECK_EQ((Dim(3) + 4).value(), 7);
  CHECK(h + 0 == h);
  CHECK(0 + h == h);
  CHECK(h * 1 == h);
  CHECK(h * 0 == Dim(0));
  CHECK(h - h == Dim(0));
  CHECK(floor_div(h, 1) == h);
  CHECK((h + 2) + 3 == h + 5);
  CHECK((h + 2) - 2 == h);
  CHECK((h + w) - w == h);
  CHECK((h - w) + w == h);
  CHECK(h + h == h * 2);
  CHECK(h * 3 - h == h * 2);
  CHECK((h * 2) * 3 == h * 6);
  CHECK((h + 1) * 4 == h * 4 + 4);
  CHECK((h * w) * 4 == (4 * h) * w);
  CHECK(floor_div(h * 6, 3) == h * 2);
  CHECK(floor_div(h + 5, 2) == floor_div(h + 1, 2) + 2);
  CHECK(floor_div(floor_div(h, 2), 3) == floor_div(h, 6));
  CHECK(floor_div(floor_div(h - 1, 2) + 1, 2) == floor_div(h + 1, 4));
  CHECK(mod(h * 6, 3) == Dim(0));
  CHECK(mod(h * 6 + 7, 3) == Dim(1));
  CHECK(max(h, 0) == h);
  CHECK(min(min(h, 5), 3) == min(h, 3));
  CHECK(!(h == w));
  CHECK(!(h + w == w + h));  // not known to be
}

TEST(dim_divides_as_python_does) {
  struct Case {
    int64_t a, b, quotient, remainder;
  };
  for (const Case& c :
       {Case{7, 2, 3, 1}, Case{-7, 2, -4, 1}, Case{7, -2, -4, -1}, Case{-7, -2, 3, -1}, Case{-8, 2, -4, 0}, Case{5, -1, -5, 0}}) {
    CHECK_EQ(floor_div(Dim(c.a), c.b).value(), c.quotient);
    CHECK_EQ(mod(Dim(c.a), c.b).value(), c.remainder);
  }
}

// Folding changes no value: random expressions, built from sizes and from their numbers.
TEST(dim_folding_keeps_values) {
  testing::Random random(5);
  for (int round = 0; round < 3000; ++round) {
    const std::vector<int64_t> sizes = {random.integer(0, 40), random.integer(0, 40)};
    std::vector<Dim> made = {h, w, random.integer(-5, 5), random.integer(1, 9)};
    std::vector<Dim> numbers = {sizes[0], sizes[1], made[2], made[3]};
    for (int step = 0; step < 12; ++step) {
      const auto a = static_cast<size_t>(random.integer(0, static_cast<int32_t>(made.size()) - 1));
      const auto b = static_cast<size_t>(random.integer(0, static_cast<int32_t>(made.size()) - 1));
      const int kind = random.integer(0, 6);
      const auto apply = [&](const Dim& x, const Dim& y) {
        switch (kind) {
          case 0: return x + y;
          case 1: return x - y;
          case 2: return x * y;
          case 3: return floor_div(x, y);
          case 4: return mod(x, y);
          case 5: return min(x, y);
          default: return max(x, y);
        }
      };
      try {
        const Dim number = apply(numbers[a], numbers[b]);
        if (std::abs(number.value()) > 1000000) continue;
        made.push_back(apply(made[a], made[b]));
        numbers.push_back(number);
      } catch (const DimError&) {
        continue;
      }
      if (made.back().is_unknown()) continue;
      CHECK_EQ(made.back().evaluate(sizes), numbers.back().value());
      CHECK(made.back().substitute(sizes) == numbers.back());
      if (made.back().never_negative()) CHECK(numbers.back().value() >= 0);
    }
  }
}

TEST(dim_refuses_what_is_no_number) {
  constexpr int64_t most = std::numeric_limits<int64_t>::max(), least = std::numeric_limits<int64_t>::min();
  CHECK_THROWS(Dim(most) + 1, "does not fit 64 bits");
  CHECK_THROWS(Dim(least) - 1, "does not fit 64 bits");
  CHECK_THROWS(Dim(0) - least, "does not fit 64 bits");
  CHECK_THROWS(Dim(most) * 2, "does not fit 64 bits");
  CHECK_THROWS(Dim(least) * -1, "does not fit 64 bits");
  CHECK_THROWS(floor_div(Dim(least), -1), "does not fit 64 bits");
  CHECK_THROWS(floor_div(h, 0), "divides by zero");
  CHECK_THROWS(mod(Dim(1), 0), "divides by zero");
  CHECK_EQ((Dim(-1) - least).value(), most);
  CHECK_THROWS(floor_div(w, h).evaluate(std::vector<int64_t>{0, 3}), "divides by zero");
  CHECK_THROWS((h * w).evaluate(std::vector<int64_t>{most, 3}), "does not fit 64 bits");
  CHECK_THROWS(w.evaluate(std::vector<int64_t>{1}), "not known");
  CHECK_THROWS(Dim::unknown().evaluate({}), "not known");
  CHECK((h + most) + most == (h + most) + most);  // would overflow where it were collected
}

TEST(dim_is_unknown_where_it_gets_out_of_hand) {
  CHECK((Dim::unknown() + 1).is_unknown());
  CHECK(!(Dim::unknown() == Dim::unknown()));
  Dim deep = h;
  for (int i = 0; i < 200; ++i) deep = max(mod(w, deep + 1), h);
  CHECK(deep.is_unknown());
  Dim wide = h + w;  // twice itself each time
  for (int i = 0; i < 60; ++i) wide = max(wide, mod(wide, 7));
  CHECK(wide.is_unknown());
}

TEST(dim_text) {
  CHECK_EQ(text(h * 4 + 1), "h * 4 + 1");
  CHECK_EQ(text(h - 3), "h - 3");
  CHECK_EQ(text((h + 1) * w), "(h + 1) * w");
  CHECK_EQ(text(h - (w - h)), "h - (w - h)");
  CHECK_EQ(text(floor_div(h, w) * floor_div(w, h)), "h // w * (w // h)");
  CHECK_EQ(text(mod(h, w)), "h % w");
  CHECK_EQ(text(min(h, max(w, 2))), "min(h, max(w, 2))");
  CHECK_EQ(text(Dim::size(2) + Dim::unknown()), "?");
  CHECK_EQ(text(Dim::size(2)), "size2");
}

TEST(dim_substitutes_what_is_known) {
  const std::vector<int64_t> sizes = {6, -1};
  CHECK_EQ(text((h * w + h).substitute(sizes)), "w * 6 + 6");
  CHECK_EQ((h + w).largest_size(), 1);
  CHECK_EQ(Dim(3).largest_size(), -1);
}

}  // namespace
}  // namespace niwaki
