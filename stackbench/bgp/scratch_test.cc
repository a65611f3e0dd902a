#include "stackbench/bgp/scratch.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

namespace stackbench::bgp {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Scratch, OfADeadRunIsCleanedAndOfOneThatLivesIsNot) {
  const auto* const before = ::getenv("TMPDIR");
  const auto kept = before == nullptr ? std::string() : std::string(before);
  const auto directory = fmt::format("{}/scratch-{}", ::testing::TempDir(), ::getpid());
  fs::create_directories(directory + "/stackbench-bgp-killed/router");
  fs::create_directories(directory + "/stackbench-others");
  ::setenv("TMPDIR", directory.c_str(), 1);
  std::string path;
  {
    const auto scratch = Scratch::make();
    ASSERT_TRUE(scratch) << base::describe_error(scratch.error());
    path = scratch->path();
    EXPECT_THAT(path, HasSubstr(directory + "/stackbench-bgp-"));
    const auto would = clean_scratch(true);
    ASSERT_TRUE(would);
    EXPECT_THAT(*would, ElementsAre(HasSubstr("stackbench-bgp-killed")));
    EXPECT_TRUE(fs::exists(directory + "/stackbench-bgp-killed"));
    const auto cleaned = clean_scratch(false);
    ASSERT_TRUE(cleaned);
    EXPECT_EQ(*cleaned, *would);
    EXPECT_FALSE(fs::exists(directory + "/stackbench-bgp-killed"));
    EXPECT_TRUE(fs::exists(path));
    EXPECT_TRUE(fs::exists(directory + "/stackbench-others"));
  }
  EXPECT_FALSE(fs::exists(path));
  EXPECT_THAT(clean_scratch(false).value(), IsEmpty());
  kept.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", kept.c_str(), 1);
  fs::remove_all(directory);
}

}  // namespace
}  // namespace stackbench::bgp
