// What tests of clusters of this machine's own share: a user with a state directory of its own, the
// commands as that user calls them, and the host as it was before. Needs root and what `./bootstrap
// up` makes.
#pragma once

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "tests/host_snapshot.h"

namespace tests {

inline constexpr auto patience = std::chrono::minutes(4);
inline const std::filesystem::path binaries = STACKBENCH_BINARY_DIR;
inline const std::filesystem::path tools = std::filesystem::weakly_canonical(binaries / "../..");

struct Ran {
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
    before_.emplace(HostSnapshot::take());
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
  Ran stackbench(std::vector<std::string> words) const {
    words.insert(words.begin(), (binaries / "stackbench").string());
    return run(words);
  }
  Ran kubectl(std::vector<std::string> words, const std::string& input = {}) const {
    words.insert(words.begin(), {(tools / "go/bin/kubectl").string()});
    return run(words, input);
  }
  Ran run(const std::vector<std::string>& words, const std::string& input = {}) const {
    const auto result =
        base::run(words, {.stdin_text = input, .timeout = patience, .environment = environment()});
    if (!result) {
      ADD_FAILURE() << base::describe_error(result.error());
      return {};
    }
    return {result->status.code, result->out, result->err};
  }
  [[nodiscard]] std::filesystem::path directory() const {
    return home_ / "stackbench/clusters/test";
  }
  [[nodiscard]] std::string kubeconfig() const { return (directory() / "kubeconfig").string(); }
  [[nodiscard]] base::Json state() const {
    const auto text = base::read_file(directory().string() + "/state.json");
    return text ? base::parse_json(*text).value_or(base::Json::object()) : base::Json::object();
  }
  // What changed on the host since the test began, without cgroups that are none of ours: other
  // programs of the machine make and remove theirs.
  [[nodiscard]] std::string difference() const {
    std::string ours;
    std::string section;
    std::istringstream lines(difference_from(*before_));
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with("  ")) {
        section = line + "\n";
        continue;
      }
      const auto has = [&](std::string_view name) { return line.find(name) != std::string::npos; };
      if (section == "cgroups:\n" && !has("stackbench") && !has("kube") && !has("k8s")) continue;
      ours += std::exchange(section, "") + line + "\n";
    }
    return ours;
  }
  // A process' pid by its component's name.
  [[nodiscard]] static pid_t pid_of(const base::Json& state, std::string_view component) {
    for (const auto& entry : state.value("components", base::Json::array())) {
      if (entry["name"] == component) return entry["pid"].get<pid_t>();
    }
    return -1;
  }
  // A zombie waits for a reaper that is not ours; it runs nothing any more.
  [[nodiscard]] static bool runs(pid_t pid) {
    const auto stat = base::read_file(fmt::format("/proc/{}/stat", pid), 4096);
    return stat && stat->find(") Z ") == std::string::npos;
  }
  // Asks until it is so, or `within` is over.
  template <typename Condition>
  [[nodiscard]] static bool comes_true(const Condition& condition,
                                       base::Duration within = std::chrono::seconds(30)) {
    const auto deadline = base::monotonic_now() + within;
    while (!condition()) {
      if (base::monotonic_now() > deadline) return false;
      ::poll(nullptr, 0, 50);
    }
    return true;
  }

  std::filesystem::path home_;
  std::string tools_;
  std::optional<HostSnapshot> before_;
};

}  // namespace tests
