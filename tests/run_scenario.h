// What tests of whole runs share: a scenario's text, run by the command, and what came of it.
#pragma once

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/process.h"

namespace tests {

namespace fs = std::filesystem;

inline constexpr auto patience = std::chrono::seconds(120);
inline const std::string command = STACKBENCH_BINARY_DIR "/stackbench";

// A folder that goes with the test.
class Folder {
 public:
  Folder() {
    std::string name = (fs::path(::testing::TempDir()) / "stackbench-run-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string file(std::string_view name) const { return (path_ / name).string(); }
  // What is in it, at any depth.
  [[nodiscard]] std::vector<std::string> files() const {
    std::vector<std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(path_)) {
      files.push_back(fs::relative(entry.path(), path_).string());
    }
    return files;
  }

 private:
  fs::path path_;
};

struct Ran {
  int code = -1;
  std::string out;
  std::string err;
  base::Json report;
};

inline Ran run(const std::string& text, const std::vector<std::string>& words = {},
               std::chrono::seconds within = patience) {
  const Folder folder;
  std::ofstream(folder.file("it.yaml")) << text;
  std::vector<std::string> argv{command, "run", folder.file("it.yaml"), "--out",
                                folder.file("it.json")};
  argv.insert(argv.end(), words.begin(), words.end());
  const auto result = base::run(argv, {.timeout = within});
  if (!result) {
    ADD_FAILURE() << base::describe_error(result.error());
    return {};
  }
  Ran ran{result->status.code, result->out, result->err, {}};
  if (const auto file = base::read_file(folder.file("it.json"))) {
    ran.report = base::parse_json(*file).value_or(base::Json());
  }
  return ran;
}

// Of what is judged by blocks, a run that found the machine too disturbed to judge (exit code 4) is
// repeated, as it says to.
inline Ran run_until_judged(const std::string& text) {
  constexpr int most_runs = 3;
  Ran ran = run(text);
  for (int runs = 1; ran.code == 4 && runs < most_runs; ++runs) ran = run(text);
  return ran;
}

// The verdicts of the checks on an arm.
inline std::vector<std::string> verdicts_of(const base::Json& report, std::string_view arm) {
  std::vector<std::string> verdicts;
  for (const auto& check : report.value("checks", base::Json::array())) {
    if (check["arm"] == arm) verdicts.push_back(check["verdict"]);
  }
  return verdicts;
}

inline std::vector<std::string> service_verdicts(const base::Json& report) {
  return verdicts_of(report, "service");
}

}  // namespace tests
