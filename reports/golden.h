// Golden files: what a test produced must equal the committed file. Run the test with
// STACKBENCH_WRITE_GOLDEN=1 to write them anew, and read the difference before committing it.
#pragma once

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
  EXPECT_EQ(text, *committed) << "differs from " << path
                              << "; if that is meant, run with STACKBENCH_WRITE_GOLDEN=1";
}

}  // namespace reports
