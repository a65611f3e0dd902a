// A directory of a test's own, for an agent's socket; it goes with everything in it.
#pragma once

#include <filesystem>
#include <string>

#include <gtest/gtest.h>
#include <stdlib.h>

namespace bench::testing {

class SocketFolder {
 public:
  SocketFolder() {
    std::string name =
        (std::filesystem::path(::testing::TempDir()) / "stackbench-socket-XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) path_ = name;
    EXPECT_NE(path_, "");
  }
  SocketFolder(const SocketFolder&) = delete;
  SocketFolder& operator=(const SocketFolder&) = delete;
  ~SocketFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string socket() const { return path_ + "/agent.sock"; }

 private:
  std::string path_;
};

}  // namespace bench::testing
