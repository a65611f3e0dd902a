// Golden files: what a test produced must equal the committed file. Run the test with
// STACKBENCH_WRITE_GOLDEN=1 to write them anew, and read the difference before committing it.
#pragma once

#include <sstream>
#include <string>

#include <gtest/gtest.h>
#include <stdlib.h>

#include "base/file.h"

namespace reports {

// Fails the test where `text` differs from reports/<name>.
inline void expect_golden(const std::string& text, const std::string& name) {
  const std::string path = std::string(STACKBENCH_SOURCE_DIR) + "/reports/" + name;
  if (::getenv("STACKBENCH_WRITE_GOLDEN") != nullptr) {
    const auto written = base::write_file(path, text);
    ASSERT_TRUE(written) << written.error().message;
  }
  const auto committed = base::read_file(path);
  ASSERT_TRUE(committed) << committed.error().message;
  if (text == *committed) return;
  // Whole files would bury what differs.
  std::istringstream made_lines(text);
  std::istringstream committed_lines(*committed);
  std::string made;
  std::string expected;
  int line = 0;
  do {
    ++line;
    if (!std::getline(made_lines, made)) made = "(the end)";
    if (!std::getline(committed_lines, expected)) expected = "(the end)";
  } while (made == expected && made != "(the end)");
  constexpr std::size_t shown = 400;
  ADD_FAILURE() << path << ":" << line << ": expected\n  " << expected.substr(0, shown)
                << "\ngot\n  " << made.substr(0, shown)
                << "\nIf that is meant, run with STACKBENCH_WRITE_GOLDEN=1.";
}

}  // namespace reports
