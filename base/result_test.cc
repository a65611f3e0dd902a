#include "base/result.h"

#include <memory>

#include <gtest/gtest.h>

namespace base {
namespace {

Result<int> half(int number) {
  if (number % 2 != 0) return fail(ErrorKind::input, "{} is odd", number);
  return number / 2;
}

Result<int> quarter(int number) {
  ASSIGN_OR_RETURN(const int once, half(number));
  ASSIGN_OR_RETURN(const int twice, half(once));
  return twice;
}

Result<> must_be_even(int number) {
  RETURN_IF_ERROR(half(number));
  return {};
}

TEST(Result, MacrosHandOnTheFirstError) {
  EXPECT_EQ(quarter(8), 2);
  ASSERT_FALSE(quarter(6));
  EXPECT_EQ(quarter(6).error(), (Error{.kind = ErrorKind::input, .message = "3 is odd"}));
  EXPECT_TRUE(must_be_even(4));
  EXPECT_FALSE(must_be_even(5));
}

TEST(Result, MacrosMoveWhatCannotBeCopied) {
  const auto make = []() -> Result<std::unique_ptr<int>> { return std::make_unique<int>(7); };
  const auto use = [&]() -> Result<int> {
    ASSIGN_OR_RETURN(const auto owned, make());
    return *owned;
  };
  EXPECT_EQ(use(), 7);
}

TEST(SystemError, NamesTheCallAndTheReason) {
  const auto error = system_error(ECONNREFUSED, "connect {}", "10.0.0.1:80").error();
  EXPECT_EQ(error.message, "connect 10.0.0.1:80: Connection refused");
  EXPECT_EQ(error.code, ECONNREFUSED);
  EXPECT_EQ(error.kind, ErrorKind::system);
}

TEST(SystemError, TellsLackOfPrivilegeAndTimeFromTheRest) {
  EXPECT_EQ(system_error_text(EPERM, "bpf").error().kind, ErrorKind::not_permitted);
  EXPECT_EQ(system_error_text(EACCES, "open").error().kind, ErrorKind::not_permitted);
  EXPECT_EQ(system_error_text(ETIMEDOUT, "connect").error().kind, ErrorKind::timed_out);
  EXPECT_EQ(system_error_text(EIO, "read").error().kind, ErrorKind::system);
}

TEST(SystemError, SurvivesACodeTheKernelNeverGave) {
  EXPECT_EQ(system_error_text(99999, "read").error().message, "read: unknown error");
}

TEST(InContext, LeadsTheMessageAndKeepsTheRest) {
  const Error inner{
      .kind = ErrorKind::missing, .message = "nft: not found", .mend = "Install it.", .code = 2};
  const auto outer = in_context(inner, "node{}", 1).error();
  EXPECT_EQ(outer, (Error{.kind = ErrorKind::missing,
                          .message = "node1: nft: not found",
                          .mend = "Install it.",
                          .code = 2}));
}

TEST(DescribeError, ShowsTheMendBelowTheMessage) {
  EXPECT_EQ(
      describe_error(fail_with_mend(ErrorKind::missing, "no nft", "Install nftables.").error()),
      "no nft\n  Install nftables.");
  EXPECT_EQ(describe_error(fail(ErrorKind::usage, "no file").error()), "no file");
}

}  // namespace
}  // namespace base
