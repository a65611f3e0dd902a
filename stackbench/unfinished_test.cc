#include "stackbench/unfinished.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "reports/store.h"

namespace stackbench {
namespace {

namespace fs = std::filesystem;

// A state directory and a place for reports of the test's own.
class Unfinished : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::path(::testing::TempDir()) / "stackbench-unfinished-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    ::setenv("XDG_STATE_HOME", (folder_ / "state").c_str(), 1);
    fs::create_directory(folder_ / "results");
  }
  void TearDown() override {
    ::unsetenv("XDG_STATE_HOME");
    fs::remove_all(folder_);
  }

  [[nodiscard]] std::string report() const { return (folder_ / "results" / "run.json").string(); }
  [[nodiscard]] std::vector<std::string> files() const {
    std::vector<std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "results")) {
      files.push_back(entry.path().filename().string());
    }
    return files;
  }

  // A run that is killed while it writes.
  void killed_run() const {
    const auto child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto unfinished = UnfinishedReport::note(report());
      auto series = reports::SeriesWriter::create(report());
      if (!unfinished || !series || !series->append({{"row", 1}})) ::_exit(1);
      std::ofstream(folder_ / "results" / ".run.json.stackbench-a1B2c3") << "half a rep";
      ::raise(SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
  }

  fs::path folder_;
};

TEST_F(Unfinished, ARunThatWasKilledIsFoundAndItsPartsAreRemoved) {
  killed_run();
  ASSERT_EQ(files().size(), 3u);
  const auto would = clean_unfinished_reports(true);
  ASSERT_TRUE(would) << base::describe_error(would.error());
  EXPECT_EQ(would->size(), 2u);
  EXPECT_EQ(files().size(), 3u);
  const auto found = clean_unfinished_reports(false);
  ASSERT_TRUE(found) << base::describe_error(found.error());
  EXPECT_EQ(*found, *would);
  EXPECT_TRUE(files().empty());
  EXPECT_TRUE(clean_unfinished_reports(false)->empty());
  EXPECT_TRUE(fs::is_empty(folder_ / "state" / "stackbench" / "unfinished"));
}

TEST_F(Unfinished, AReportThatIsThereStaysAsItWas) {
  std::ofstream(report()) << "the old report";
  std::ofstream(folder_ / "results" / ".run.json.backup") << "somebody's own";
  killed_run();
  ASSERT_TRUE(clean_unfinished_reports(false));
  std::string text;
  std::getline(std::ifstream(report()), text);
  EXPECT_EQ(text, "the old report");
  EXPECT_EQ(files().size(), 2u);
}

TEST_F(Unfinished, ARunThatIsAliveIsLeftAlone) {
  auto unfinished = UnfinishedReport::note(report());
  ASSERT_TRUE(unfinished) << base::describe_error(unfinished.error());
  auto series = reports::SeriesWriter::create(report());
  ASSERT_TRUE(series);
  const auto found = clean_unfinished_reports(false);
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->empty());
  EXPECT_EQ(files().size(), 2u);
}

TEST_F(Unfinished, ARunThatIsAliveIsLeftAloneWhereADeadOneWroteBefore) {
  killed_run();
  {
    const auto unfinished = UnfinishedReport::note(report());
    ASSERT_TRUE(unfinished);
    auto series = reports::SeriesWriter::create(report());
    ASSERT_TRUE(series);
    ASSERT_TRUE(clean_unfinished_reports(false)->empty());
    EXPECT_EQ(files().size(), 4u);
    ASSERT_TRUE(series->append({{"row", 1}}));
    EXPECT_TRUE(series->finish());
  }
  EXPECT_EQ(clean_unfinished_reports(false)->size(), 2u);
}

TEST_F(Unfinished, ANoteThatIsBeingMadeGoesOnlyWithItsRun) {
  const auto notes = folder_ / "state" / "stackbench" / "unfinished";
  fs::create_directories(notes);
  const auto dead = ::fork();
  ASSERT_GE(dead, 0);
  if (dead == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(dead, nullptr, 0), dead);
  const auto of_the_dead = notes / ("." + std::to_string(dead) + "-1");
  const auto of_the_living = notes / ("." + std::to_string(::getpid()) + "-1");
  std::ofstream(of_the_dead) << "";
  std::ofstream(of_the_living) << "";
  EXPECT_TRUE(clean_unfinished_reports(false)->empty());
  EXPECT_FALSE(fs::exists(of_the_dead));
  EXPECT_TRUE(fs::exists(of_the_living));
}

TEST_F(Unfinished, ARunThatEndsTakesItsNoteAlong) {
  {
    const auto unfinished = UnfinishedReport::note(report());
    ASSERT_TRUE(unfinished);
    EXPECT_FALSE(fs::is_empty(folder_ / "state" / "stackbench" / "unfinished"));
  }
  EXPECT_TRUE(fs::is_empty(folder_ / "state" / "stackbench" / "unfinished"));
}

TEST_F(Unfinished, WithoutAStateDirectoryThereIsNothingToClean) {
  ::unsetenv("XDG_STATE_HOME");
  const std::string home = ::getenv("HOME") ? ::getenv("HOME") : "";
  ::unsetenv("HOME");
  EXPECT_TRUE(clean_unfinished_reports(false)->empty());
  EXPECT_EQ(UnfinishedReport::note(report()).error().kind, base::ErrorKind::missing);
  if (!home.empty()) ::setenv("HOME", home.c_str(), 1);
}

}  // namespace
}  // namespace stackbench
