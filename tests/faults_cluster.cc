#include "tests/faults_cluster.h"

#include <array>
#include <cstdlib>
#include <sstream>

#include <fcntl.h>
#include <poll.h>

namespace tests {
namespace {

const fs::path tools = fs::weakly_canonical(fs::path(STACKBENCH_BINARY_DIR) / "../..");
constexpr std::string_view name = "faults";
std::string home;  // set once, before the first test

class FaultsCluster : public ::testing::Environment {
 public:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    ASSERT_TRUE(fs::exists(tools / "go/hyperkube")) << "run ./bootstrap up first";
    std::string path = (fs::path(::testing::TempDir()) / "stackbench-faults-XXXXXX").string();
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    home = path;
    ::setenv("XDG_STATE_HOME", home.c_str(), 1);
    ::setenv("KUBECONFIG", kubeconfig().c_str(), 1);
    const auto first = (tools / "go/bin").string();
    ::setenv("PATH", fmt::format("{}:{}", first, std::getenv("PATH")).c_str(), 1);
    const auto up = base::run(
        {command, "up", "--name", std::string(name), "--nodes", "3", "--clock-ahead", "node2=50ms"},
        {.timeout = patience});
    ASSERT_TRUE(up) << base::describe_error(up.error());
    ASSERT_EQ(up->status.code, 0) << up->err;
  }
  void TearDown() override {
    if (home.empty()) return;
    const auto down =
        base::run({command, "down", "--name", std::string(name)}, {.timeout = patience});
    EXPECT_TRUE(down && down->status.code == 0);
    std::error_code ignored;
    fs::remove_all(home, ignored);
  }
};

// The framework owns it.
const auto* const faults_cluster = ::testing::AddGlobalTestEnvironment(new FaultsCluster);

std::string directory() { return fmt::format("{}/stackbench/clusters/{}", home, name); }

}  // namespace

base::Json cluster_state() {
  const auto text = base::read_file(directory() + "/state.json");
  return text ? base::parse_json(*text).value_or(base::Json::object()) : base::Json::object();
}

std::string kubeconfig() { return directory() + "/kubeconfig"; }
std::string kubectl_program() { return (tools / "go/bin/kubectl").string(); }

pid_t pid_of(std::string_view component) {
  const auto state = cluster_state();
  const auto pid = pid_of(state, component);
  EXPECT_GT(pid, 0) << "no " << component << " in " << state;
  return pid > 0 ? pid : 0x3fffffff;  // nobody's
}

std::string kubectl(std::vector<std::string> words) {
  words.insert(words.begin(), kubectl_program());
  const auto output = base::run_for_output(words, {.timeout = patience});
  EXPECT_TRUE(output) << base::describe_error(output.error());
  return output.value_or("");
}

Variable::Variable(const char* name, const std::string& value) : name_(name) {
  if (const char* there = std::getenv(name)) before_ = there;
  ::setenv(name, value.c_str(), 1);
}

Variable::~Variable() {
  if (before_) {
    ::setenv(name_, before_->c_str(), 1);
  } else {
    ::unsetenv(name_);
  }
}

PlantedKubectl::PlantedKubectl(const std::string& faults) {
  const auto program = folder_.file("kubectl");
  std::ofstream(program) << fmt::format(
      "#!/bin/sh\nexec python3 {}/tests/planted_kubectl.py {} {} {} \"$@\"\n",
      STACKBENCH_SOURCE_DIR, kubectl_program(), folder_.file("log"), faults);
  fs::permissions(program, fs::perms::owner_all);
  path_.emplace(
      "PATH", fmt::format("{}:{}", fs::path(program).parent_path().string(), std::getenv("PATH")));
}

int PlantedKubectl::felt(std::string_view fault) const {
  std::istringstream lines(base::read_file(folder_.file("log")).value_or(""));
  int count = 0;
  for (std::string line; std::getline(lines, line);) count += line.starts_with(fault) ? 1 : 0;
  return count;
}

BackgroundRun::BackgroundRun(const std::string& scenario, const std::vector<std::string>& words) {
  std::ofstream(folder_.file("it.yaml")) << scenario;
  std::vector<std::string> argv{command,      "run",   folder_.file("it.yaml"), "--target",
                                "kubernetes", "--out", folder_.file("it.json")};
  argv.insert(argv.end(), words.begin(), words.end());
  const base::UniqueFd out(
      ::open(folder_.file("out").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  auto process = base::Process::spawn(
      {.argv = argv, .out = base::Stdio::descriptor(out.get()), .err = base::Stdio::pipe()});
  EXPECT_TRUE(process) << base::describe_error(process.error());
  if (process) process_.emplace(std::move(*process));
}

bool BackgroundRun::read_more(base::MonotonicTime deadline) {
  if (!process_) return false;
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - base::monotonic_now());
  pollfd watched{.fd = process_->err.get(), .events = POLLIN, .revents = 0};
  if (left.count() <= 0 || ::poll(&watched, 1, static_cast<int>(left.count())) <= 0) return false;
  std::array<char, 4096> chunk{};
  const auto count = ::read(process_->err.get(), chunk.data(), chunk.size());
  if (count > 0) said_.append(chunk.data(), static_cast<std::size_t>(count));
  return count > 0;
}

bool BackgroundRun::says(std::string_view step) {
  const auto deadline = base::monotonic_now() + patience;
  while (said_.find(step) == std::string::npos) {
    if (!read_more(deadline)) return false;
  }
  return true;
}

Ran BackgroundRun::finish() {
  const auto deadline = base::monotonic_now() + patience;
  while (read_more(deadline)) {
  }
  Ran ran{-1, "", said_, {}};
  if (!process_) return ran;
  const auto ended = process_->wait(std::chrono::seconds(10));
  EXPECT_TRUE(ended) << base::describe_error(ended.error()) << said_;
  if (ended) ran.code = ended->code;
  ran.out = base::read_file(folder_.file("out")).value_or("");
  if (const auto file = base::read_file(folder_.file("it.json"))) {
    ran.report = base::parse_json(*file).value_or(base::Json());
  }
  return ran;
}

void BackgroundRun::kill() {
  ASSERT_TRUE(process_);
  EXPECT_TRUE(process_->kill());
}

}  // namespace tests
