#include "base/canary.h"

#include <gtest/gtest.h>

namespace base {
namespace {

TEST(Canary, TokensAreMadeAnew) {
  const auto one = make_token();
  EXPECT_TRUE(is_token(one)) << one;
  EXPECT_NE(one, make_token());
  EXPECT_FALSE(is_token(one.substr(1)));
  EXPECT_FALSE(is_token("x" + one.substr(1)));
}

TEST(Canary, NumbersAreEightDigits) {
  std::string text(number_length, '?');
  write_number(0x2a, text.data());
  EXPECT_EQ(text, "0000002a");
  write_number(0xfedcba98, text.data());
  EXPECT_EQ(text, "fedcba98");
}

}  // namespace
}  // namespace base
