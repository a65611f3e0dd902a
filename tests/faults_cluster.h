// A cluster of a test program's own, for faults that would disturb others: brought up before its
// first test, taken down after its last. Node 2's clock is ahead. And what tests on it do: look for
// components and objects, and run a scenario beside themselves.
#pragma once

#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/process.h"
#include "tests/on_cluster.h"
#include "tests/run_scenario.h"

namespace tests {

inline constexpr auto clock_ahead = std::chrono::milliseconds(50);

// The program's KUBECONFIG, PATH and XDG_STATE_HOME lead to it while tests run.
[[nodiscard]] base::Json cluster_state();
[[nodiscard]] std::string kubeconfig();
[[nodiscard]] std::string kubectl_program();
// As pid_of of its state; a test fails where there is none.
[[nodiscard]] pid_t pid_of(std::string_view component);

// Its output; a test fails where it does not succeed.
std::string kubectl(std::vector<std::string> words);
// A process that stands still until this goes.
class Stopped {
 public:
  explicit Stopped(std::string_view component) : pid_(pid_of(component)) { ::kill(pid_, SIGSTOP); }
  ~Stopped() { ::kill(pid_, SIGCONT); }
  Stopped(const Stopped&) = delete;
  Stopped& operator=(const Stopped&) = delete;

 private:
  pid_t pid_;
};

// An environment variable that is another one until this goes.
class Variable {
 public:
  Variable(const char* name, const std::string& value);
  ~Variable();
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

// A kubectl in PATH whose proxy has faults (tests/planted_kubectl.py), while this lives.
class PlantedKubectl {
 public:
  explicit PlantedKubectl(const std::string& faults);
  // How often a fault was felt.
  [[nodiscard]] int felt(std::string_view fault) const;

 private:
  Folder folder_;
  std::optional<Variable> path_;
};

// `stackbench run` on the cluster, beside the test.
class BackgroundRun {
 public:
  explicit BackgroundRun(const std::string& scenario, const std::vector<std::string>& words = {});
  // Waits until it says this on its way ("warm-up block"). False where it ends before.
  [[nodiscard]] bool says(std::string_view step);
  // Waits for its end.
  [[nodiscard]] Ran finish();
  // Ends it at once.
  void kill();

 private:
  bool read_more(base::MonotonicTime deadline);

  Folder folder_;
  std::optional<base::Process> process_;
  std::string said_;
};

}  // namespace tests
