// What base/file promises: whole or not at all.
#include "base/file.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace base {
namespace {

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/file_test.XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name; }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      all.push_back(entry.path().filename());
    }
    std::ranges::sort(all);
    return all;
  }

  std::string directory_;
};

TEST_F(FileTest, ReadsWhatWasWritten) {
  const std::string content("a\0b\n", 4);
  ASSERT_TRUE(write_file(path("report.json"), content));
  EXPECT_EQ(read_file(path("report.json")).value(), content);
  EXPECT_EQ(names(), std::vector<std::string>{"report.json"});
}

TEST_F(FileTest, ReadsFilesWhoseSizeTheKernelDoesNotSay) {
  EXPECT_THAT(read_file("/proc/self/status").value(), testing::HasSubstr("Umask:"));
}

TEST_F(FileTest, RefusesMoreThanTheLimit) {
  ASSERT_TRUE(write_file(path("a"), "12345"));
  EXPECT_EQ(read_file(path("a"), 5).value(), "12345");
  EXPECT_EQ(read_file(path("a"), 4).error().kind, ErrorKind::input);
}

TEST_F(FileTest, NamesAFileThatIsMissing) {
  const auto result = read_file(path("nothing"));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::missing);
  EXPECT_THAT(result.error().message, testing::HasSubstr(path("nothing")));
  EXPECT_EQ(write_file(path("no/such/place"), "x").error().kind, ErrorKind::missing);
}

TEST_F(FileTest, KeepsTheOldContentAndNoLitterWhenWritingFails) {
  ASSERT_TRUE(write_file(path("report.json"), "old"));
  // A file size limit makes write(2) fail in the middle, as a full disk does.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 4096, .rlim_max = before.rlim_max};
  const auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto result = write_file(path("report.json"), std::string(100'000, 'n'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, old_handler);

  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, EFBIG);
  EXPECT_EQ(read_file(path("report.json")).value(), "old");
  EXPECT_EQ(names(), std::vector<std::string>{"report.json"});
}

TEST_F(FileTest, SaysThatTheDiskIsFull) {
  const auto result = write_file("/dev/full", "x");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ENOSPC);
  EXPECT_THAT(result.error().message, testing::StartsWith("/dev/full: "));
}

TEST_F(FileTest, KeepsTheModeOfAFileAndTheLinkToIt) {
  ASSERT_TRUE(write_file(path("real"), "old"));
  ASSERT_EQ(::chmod(path("real").c_str(), 0640), 0);
  ASSERT_EQ(::symlink("real", path("link").c_str()), 0);
  ASSERT_TRUE(write_file(path("link"), "new"));
  EXPECT_TRUE(std::filesystem::is_symlink(path("link")));
  EXPECT_EQ(read_file(path("real")).value(), "new");
  struct stat status{};
  ASSERT_EQ(::stat(path("real").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, mode_t{0640});
}

TEST_F(FileTest, GivesANewFileTheModeThatTheUmaskLeaves) {
  const mode_t before = ::umask(027);
  ASSERT_TRUE(write_file(path("new"), "x"));
  ::umask(before);
  struct stat status{};
  ASSERT_EQ(::stat(path("new").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, mode_t{0640});
}

}  // namespace
}  // namespace base
