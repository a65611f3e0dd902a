#include "reports/store.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/file.h"
#include "reports/example.h"
#include "reports/golden.h"

namespace reports {
namespace {

using testing::HasSubstr;

// Every file this process writes ends at `bytes`, as on a full disk, until this is gone.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = ::signal(SIGXFSZ, SIG_IGN);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int) = SIG_DFL;
};

class Store : public testing::Test {
 protected:
  Store() {
    std::string pattern = (std::filesystem::temp_directory_path() / "store_test.XXXXXX").string();
    if (::mkdtemp(pattern.data()) != nullptr) directory_ = pattern;
    path_ = (directory_ / "run.json").string();
  }
  ~Store() override {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  // Every file below the directory, by its path from there.
  [[nodiscard]] std::vector<std::string> files() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_)) {
      if (entry.is_regular_file()) {
        found.push_back(std::filesystem::relative(entry.path(), directory_).string());
      }
    }
    std::ranges::sort(found);
    return found;
  }
  // Writes a series of these rows and gives the finished file.
  [[nodiscard]] SeriesFile series(const std::vector<base::Json>& rows) const {
    auto writer = SeriesWriter::create(path_);
    EXPECT_TRUE(writer);
    for (const auto& row : rows) EXPECT_TRUE(writer->append(row));
    auto file = writer->finish();
    EXPECT_TRUE(file);
    return file.value_or(SeriesFile{});
  }
  void write(const std::string& text) const { std::ofstream(path_) << text; }

  std::filesystem::path directory_;
  std::string path_;
};

TEST_F(Store, WhatIsSavedIsLoadedAgain) {
  const Report report = example_report();
  ASSERT_TRUE(save_report(report, path_));
  const auto loaded = load_report(path_);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(base::to_json(*loaded), base::to_json(report));
  EXPECT_EQ(loaded->histograms.at(0).latency, report.histograms.at(0).latency);
}

TEST_F(Store, MakesTheDirectoryOnTheWay) {
  path_ = (directory_ / "results/today/run.json").string();
  ASSERT_TRUE(save_report(example_report(), path_));
  EXPECT_TRUE(load_report(path_));
}

TEST_F(Store, ASeriesIsNamedByTheSha256OfItsContent) {
  const auto file = series({"abc"});
  // sha256sum of "\"abc\"\n"
  EXPECT_EQ(file.sha256, "a4fb58ab9e76dcf8d9b2638c78dc2ba08b72447170604684d3f1adfb9842f950");
  EXPECT_EQ(file.name, file.sha256 + ".ndjson");
  EXPECT_EQ(file.bytes, 6u);
  EXPECT_EQ(file.rows, 1u);
  EXPECT_EQ(base::read_file(path_ + ".d/" + file.name).value(), "\"abc\"\n");
}

TEST_F(Store, ALongSeriesArrivesWhole) {
  const std::string text(100'000, 'x');
  auto writer = SeriesWriter::create(path_);
  ASSERT_TRUE(writer);
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(writer->append({{"row", i}, {"text", text}}));
  const auto file = writer->finish();
  ASSERT_TRUE(file);
  const auto content = base::read_file(path_ + ".d/" + file->name).value();
  EXPECT_EQ(content.size(), file->bytes);
  EXPECT_EQ(std::ranges::count(content, '\n'), 30);
  EXPECT_EQ(base::parse_json(content.substr(content.rfind("{\"row\""))).value()["row"], 29);
}

TEST_F(Store, AnAbandonedSeriesLeavesNothing) {
  {
    auto writer = SeriesWriter::create(path_);
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->append(std::string(2'000'000, 'x')));
    EXPECT_EQ(files().size(), 1u);
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(Store, AReplacedReportTakesItsSeriesWithIt) {
  Report report = example_report();
  report.series = {series({1})};
  ASSERT_TRUE(save_report(report, path_));
  std::ofstream(path_ + ".d/notes.txt") << "the user's own";
  report.series = {series({2})};
  ASSERT_TRUE(save_report(report, path_));
  std::vector<std::string> expected{"run.json", "run.json.d/" + report.series[0].name,
                                    "run.json.d/notes.txt"};
  std::ranges::sort(expected);
  EXPECT_EQ(files(), expected);
}

TEST_F(Store, UntilTheReportIsReplacedTheOldSeriesStays) {
  Report report = example_report();
  report.series = {series({1})};
  ASSERT_TRUE(save_report(report, path_));
  const auto newer = series({2});
  EXPECT_TRUE(std::filesystem::exists(path_ + ".d/" + report.series[0].name));
  EXPECT_TRUE(std::filesystem::exists(path_ + ".d/" + newer.name));
}

TEST_F(Store, AFullDiskLeavesTheOldReport) {
  Report report = example_report();
  ASSERT_TRUE(save_report(report, path_));
  const auto before = files();
  report.question = "Another?";
  base::Result<> saved;
  {
    const FileSizeLimit limit(10'000);
    saved = save_report(report, path_);
  }
  ASSERT_FALSE(saved);
  EXPECT_THAT(saved.error().message, HasSubstr(path_));
  EXPECT_THAT(saved.error().mend, HasSubstr("Make room"));
  EXPECT_EQ(files(), before);
  EXPECT_EQ(load_report(path_).value().question, example_report().question);
}

TEST_F(Store, AFullDiskEndsASeriesAndLeavesNothing) {
  base::Result<> appended;
  {
    const FileSizeLimit limit(10'000);
    auto writer = SeriesWriter::create(path_);
    ASSERT_TRUE(writer);
    appended = writer->append(std::string(2'000'000, 'x'));
  }
  ASSERT_FALSE(appended);
  EXPECT_THAT(appended.error().mend, HasSubstr("Make room"));
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(Store, NothingIsWrittenBesideADevice) {
  EXPECT_FALSE(can_have_series("/dev/null"));
  EXPECT_TRUE(can_have_series(path_));
  EXPECT_EQ(SeriesWriter::create("/dev/null").error().kind, base::ErrorKind::input);
  EXPECT_TRUE(save_report(example_report(), "/dev/null"));
}

TEST_F(Store, ANewerReportIsRefusedWithWhatToDo) {
  base::Json json = base::to_json(example_report());
  json["schema_version"] = schema_version + 1;
  write(base::dump_json(json));
  const auto loaded = load_report(path_);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().kind, base::ErrorKind::input);
  EXPECT_THAT(loaded.error().message, HasSubstr("schema_version 2, this stackbench"));
  EXPECT_THAT(loaded.error().mend, HasSubstr("newer"));
}

TEST_F(Store, AFieldOfANewerPeerIsPassedOver) {
  base::Json json = base::to_json(example_report());
  json["mood"] = "good";
  write(base::dump_json(json));
  EXPECT_TRUE(load_report(path_));
}

TEST_F(Store, WhatIsNoReportIsRefused) {
  const auto error = [&](const std::string& text) {
    write(text);
    const auto loaded = load_report(path_);
    return loaded ? std::string("loaded") : loaded.error().message;
  };
  EXPECT_THAT(error("{"), HasSubstr("not JSON"));
  EXPECT_THAT(error("[1]"), HasSubstr("not a stackbench report"));
  EXPECT_THAT(error("{}"), HasSubstr("not a stackbench report"));
  EXPECT_THAT(error("{\"schema_version\": \"1\"}"), HasSubstr("not a stackbench report"));
  EXPECT_THAT(error("{\"schema_version\": 0}"), HasSubstr("schema_version 0"));
  EXPECT_THAT(error("{\"schema_version\": 1}"), HasSubstr("stackbench_version: missing"));
  for (const auto* text : {"{", "{}"}) EXPECT_THAT(error(text), HasSubstr(path_));
}

TEST_F(Store, AReportThatIsNotThereIsMissing) {
  EXPECT_EQ(load_report(path_).error().kind, base::ErrorKind::missing);
}

TEST(ReportFormat, TheCommittedSchemaIsTheOneOfTheStructs) {
  expect_golden(base::dump_json_pretty(report_schema()) + "\n", "report.schema.json");
}

TEST(ReportFormat, TheCommittedExampleIsWhatIsWritten) {
  Report report = example_report();
  // A few of its many blocks and samples show the shape.
  report.samples.resize(2);
  report.blocks.resize(3);
  expect_golden(report_text(report), "testdata/example.json");
}

}  // namespace
}  // namespace reports
