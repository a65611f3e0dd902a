// What tests of clusters of this machine's own share: a user with a state directory of its own, the
// commands as that user calls them, and the host as it was before. Needs root and what `./bootstrap
// up` makes.
#pragma once

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "tests/host_snapshot.h"
#include "tests/on_cluster.h"

namespace tests {

inline constexpr auto command_patience = std::chrono::minutes(4);
inline const std::filesystem::path binaries = STACKBENCH_BINARY_DIR;
inline const std::filesystem::path tools = std::filesystem::weakly_canonical(binaries / "../..");

struct RanCommand {
  int code = -1;
  std::string out;
  std::string err;
};

// The cluster is called "test". Whatever a test leaves up is taken down.
class OwnCluster : public ::testing::Test {
 protected:
  void SetUp() override {
    namespace fs = std::filesystem;
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    ASSERT_TRUE(fs::exists(tools / "go/hyperkube")) << "run ./bootstrap up first";
    std::string name = (fs::path(::testing::TempDir()) / "stackbench-cluster-XXXXXX").string();
    home_ = ::mkdtemp(name.data());
    before_.emplace(HostSnapshot::take_settled());
  }
  void TearDown() override {
    namespace fs = std::filesystem;
    if (home_.empty()) return;
    for (const auto& entry : fs::directory_iterator(home_)) {
      if (!fs::exists(entry.path() / "clusters")) continue;
      for (const auto& cluster : fs::directory_iterator(entry.path() / "clusters")) {
        stackbench({"down", "--name", cluster.path().filename().string()});
      }
    }
    fs::remove_all(home_);
  }

  // With the cluster's kubectl and its kubeconfig at hand.
  [[nodiscard]] std::vector<std::string> environment() const {
    std::vector<std::string> all{
        "XDG_STATE_HOME=" + home_.string(), "HOME=" + home_.string(),
        fmt::format("PATH={}:{}", (tools / "go/bin").string(), ::getenv("PATH")),
        "KUBECONFIG=" + kubeconfig()};
    if (!tools_.empty()) all.push_back("STACKBENCH_TOOLS=" + tools_);
    return all;
  }
  RanCommand stackbench(std::vector<std::string> words) const {
    words.insert(words.begin(), (binaries / "stackbench").string());
    return run(words);
  }
  RanCommand kubectl(std::vector<std::string> words, const std::string& input = {}) const {
    words.insert(words.begin(), {(tools / "go/bin/kubectl").string()});
    return run(words, input);
  }
  RanCommand run(const std::vector<std::string>& words, const std::string& input = {}) const {
    const auto result = base::run(
        words, {.stdin_text = input, .timeout = command_patience, .environment = environment()});
    if (!result) {
      ADD_FAILURE() << base::describe_error(result.error());
      return {};
    }
    return {result->status.code, result->out, result->err};
  }
  [[nodiscard]] std::filesystem::path directory(std::string_view cluster = "test") const {
    return home_ / "stackbench/clusters" / cluster;
  }
  [[nodiscard]] std::string kubeconfig(std::string_view cluster = "test") const {
    return (directory(cluster) / "kubeconfig").string();
  }
  [[nodiscard]] base::Json state() const {
    const auto text = base::read_file(directory().string() + "/state.json");
    return text ? base::parse_json(*text).value_or(base::Json::object()) : base::Json::object();
  }
  // What changed on the host since the test began.
  [[nodiscard]] std::string difference() const { return difference_from(*before_); }
  // A zombie waits for a reaper that is not ours; it runs nothing any more.
  [[nodiscard]] static bool runs(pid_t pid) {
    const auto stat = base::read_file(fmt::format("/proc/{}/stat", pid), 4096);
    return stat && stat->find(") Z ") == std::string::npos;
  }
  std::filesystem::path home_;
  std::string tools_;
  std::optional<HostSnapshot> before_;
};

}  // namespace tests
