// Whole runs in the lab: the answer, the planted fault, and the host left as it was however a run
// ends. Needs root; every wait is for a condition, bounded.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "tests/host_snapshot.h"
#include "tests/run_scenario.h"

namespace {

namespace fs = std::filesystem;
using tests::command;
using tests::Folder;
using tests::HostSnapshot;
using tests::patience;
using tests::Ran;
using tests::run;
using tests::verdicts_of;

// As short as a run can be.
std::string scenario(std::string_view environments, std::string_view arms,
                     std::string_view faults) {
  return fmt::format(
      "question: Is it translated where it promises?\n"
      "topology:\n"
      "  pods: {{client: {{node: 1}}, web: {{node: 2, replicas: 2}}}}\n"
      "  services: {{web: {{target: web}}}}\n"
      "environments: {{{}}}\n"
      "arms:\n"
      "{}"
      "workloads: [{{kind: tcp_crr, duration: 20ms, warm_up: 5ms}}]\n"
      "blocks: 6\n"
      "checks: [translated_at]\n"
      "faults: [{}]\n",
      environments, arms, faults);
}

// Two arms of one datapath.
std::string scenario(std::string_view datapath) {
  return scenario(fmt::format("it: {{datapath: {}}}", datapath),
                  "  - {name: pod, in: it, dial: pod/web}\n"
                  "  - {name: service, in: it, dial: service/web}\n",
                  "");
}

const std::vector<std::string> all_datapaths{"iptables", "nftables", "ebpf_socket", "ebpf_tc"};

// An environment of each, and one whose hook was left out, all up at once.
TEST(Run, EveryDatapathTranslatesWhereItPromisesAndAHookThatWasLeftOutIsFound) {
  std::string environments = "hookless: {datapath: ebpf_socket}";
  std::string arms = "  - {name: hookless, in: hookless, dial: service/web}\n";
  for (const auto& datapath : all_datapaths) {
    environments += fmt::format(", {0}: {{datapath: {0}}}", datapath);
    for (const auto* family : {"ipv4", "ipv6"}) {
      arms += fmt::format("  - {{name: {0}_{1}, in: {0}, dial: service/web, family: {1}}}\n",
                          datapath, family);
      arms += fmt::format("  - {{name: {0}_pod_{1}, in: {0}, dial: pod/web, family: {1}}}\n",
                          datapath, family);
    }
  }
  const auto ran =
      run(scenario(environments, arms, "{kind: hook_left_out, environment: hookless}"));
  EXPECT_EQ(ran.code, 1) << ran.out << ran.err;
  for (const auto& datapath : all_datapaths) {
    for (const auto* family : {"ipv4", "ipv6"}) {
      EXPECT_EQ(verdicts_of(ran.report, fmt::format("{}_{}", datapath, family)),
                std::vector<std::string>{"pass"})
          << datapath << family << ran.out << ran.err;
    }
  }
  // Though every request succeeds.
  EXPECT_EQ(verdicts_of(ran.report, "hookless"), std::vector<std::string>{"fail"}) << ran.out;
  ASSERT_TRUE(ran.report.contains("samples")) << ran.err;
  for (const auto& sample : ran.report["samples"]) {
    EXPECT_GT(sample["requests"], 0);
    EXPECT_TRUE(sample["errors"].empty()) << base::dump_json(sample);
  }
}

// Whether every section that differs is one that any process on the machine changes by starting or
// ending.
bool only_where_processes_are(const std::string& difference) {
  static const std::set<std::string> sections{"cgroups:", "namespaces of processes:", "/run:"};
  std::istringstream lines(difference);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("  ") && !sections.contains(line)) return false;
  }
  return true;
}

// What `act` changed on the host. Other processes come and go while it runs: a change of theirs,
// which does not carry our name, is looked at once more, for one that we make comes again.
template <typename Act>
std::string changed_by(Act&& act) {
  std::string difference;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto before = HostSnapshot::take_settled();
    EXPECT_EQ(before.unread(), std::vector<std::string>());
    act();
    difference = tests::difference_from(before);
    if (difference.empty() || !only_where_processes_are(difference) ||
        difference.find("stackbench") != std::string::npos) {
      break;
    }
  }
  return difference;
}

// Starts a run of so many blocks that whoever calls ends it.
base::Result<base::Process> start_run(const Folder& folder) {
  std::ofstream(folder.file("it.yaml")) << scenario("nftables");
  return base::Process::spawn({.argv = {command, "run", folder.file("it.yaml"), "--out",
                                        folder.file("it.json"), "--set", "blocks=1000"},
                               .out = base::Stdio::null(),
                               .err = base::Stdio::pipe()});
}

// Reads the progress lines of a run until one holds `text`; false when the run ended before, or
// no such line came in time.
bool wait_for_line(base::Process& process, std::string_view text) {
  std::string seen;
  char buffer[512];
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (seen.find(text) == std::string::npos) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd waiting{.fd = process.err.get(), .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || ::poll(&waiting, 1, static_cast<int>(left.count())) <= 0) return false;
    const auto got = ::read(process.err.get(), buffer, sizeof buffer);
    if (got <= 0) return false;
    seen.append(buffer, static_cast<std::size_t>(got));
  }
  return true;
}

TEST(Run, LeavesTheHostAsItWas) {
  EXPECT_EQ(changed_by([] {
              const auto ran = run(scenario("ebpf_socket"));
              EXPECT_TRUE(ran.code == 0 || ran.code == 4) << ran.err;
            }),
            "");
}

class Interrupted : public ::testing::TestWithParam<const char*> {};

TEST_P(Interrupted, CtrlCEndsARunInOrderAndLeavesTheHostAsItWas) {
  EXPECT_EQ(changed_by([] {
              const Folder folder;
              auto process = start_run(folder);
              ASSERT_TRUE(process) << base::describe_error(process.error());
              ASSERT_TRUE(wait_for_line(*process, GetParam()));
              ASSERT_TRUE(process->signal(SIGINT));
              const auto status = process->wait(patience);
              ASSERT_TRUE(status) << base::describe_error(status.error());
              EXPECT_EQ(status->code, 128 + SIGINT);
            }),
            "");
}

TEST_P(Interrupted, KillMinusNineLeavesNothingThatCleanDoesNotRemove) {
  EXPECT_EQ(changed_by([] {
              const Folder folder;
              auto process = start_run(folder);
              ASSERT_TRUE(process) << base::describe_error(process.error());
              ASSERT_TRUE(wait_for_line(*process, GetParam()));
              ASSERT_TRUE(process->signal(SIGKILL));
              ASSERT_TRUE(process->wait(patience));
              const auto cleaned = base::run({command, "clean"}, {.timeout = patience});
              ASSERT_TRUE(cleaned) << base::describe_error(cleaned.error());
              EXPECT_EQ(cleaned->status.code, 0) << cleaned->err;
              EXPECT_EQ(folder.files(), std::vector<std::string>{"it.yaml"});
            }),
            "");
  const auto again = base::run({command, "clean"}, {.timeout = patience});
  ASSERT_TRUE(again);
  EXPECT_EQ(again->out, "Nothing to clean: no interrupted run left anything.\n");
}

// From the first moment, with the lab half up, to the middle of measuring.
INSTANTIATE_TEST_SUITE_P(, Interrupted,
                         ::testing::Values("Is it", "environment", "checks done", "block 2"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           std::ranges::replace(name, ' ', '_');
                           return name;
                         });

// The parent of a process, 0 when it is gone.
pid_t parent_of(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto name_ends = text.rfind(')');  // a name may hold blanks and brackets
  if (name_ends == std::string::npos) return 0;
  std::istringstream rest(text.substr(name_ends + 1));
  char state = 0;
  pid_t parent = 0;
  rest >> state >> parent;
  return parent;
}

// Every agent that runs below `ancestor`.
std::vector<pid_t> agents_of(pid_t ancestor) {
  std::vector<pid_t> agents;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const auto name = entry.path().filename().string();
    std::error_code gone;
    const auto executable = fs::read_symlink(entry.path() / "exe", gone);
    if (gone || executable.filename() != "stackbench-agent") continue;
    const pid_t pid = std::stoi(name);
    pid_t above = pid;
    while (above > 1 && above != ancestor) above = parent_of(above);
    if (above == ancestor) agents.push_back(pid);
  }
  return agents;
}

TEST(Run, ALostAgentEndsItWithWhatWasMeasuredByThen) {
  const Folder folder;
  auto process = start_run(folder);
  ASSERT_TRUE(process);
  ASSERT_TRUE(wait_for_line(*process, "block 2 of 1000"));
  const auto agents = agents_of(process->pid());
  ASSERT_FALSE(agents.empty());
  for (const auto agent : agents) ::kill(agent, SIGKILL);
  const auto status = process->wait(patience);
  ASSERT_TRUE(status) << base::describe_error(status.error());
  EXPECT_EQ(status->code, 5);
  const auto text = base::read_file(folder.file("it.json"));
  ASSERT_TRUE(text) << base::describe_error(text.error());
  const auto report = base::parse_json(*text);
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->at("complete"));
  ASSERT_EQ(report->at("errors").size(), 1U);
  const std::string error = report->at("errors")[0]["message"];
  EXPECT_NE(error.find("signal 9 (Killed)"), std::string::npos) << error;
  EXPECT_GE(report->at("noise")["kept"], 1);
  EXPECT_FALSE(report->at("estimates").empty());
}

TEST(Run, CleanDoesNotTouchARunThatIsAlive) {
  const Folder folder;
  auto process = start_run(folder);
  ASSERT_TRUE(process);
  ASSERT_TRUE(wait_for_line(*process, "checks done"));
  const auto cleaned = base::run({command, "clean"}, {.timeout = patience});
  ASSERT_TRUE(cleaned);
  EXPECT_EQ(cleaned->out, "Nothing to clean: no interrupted run left anything.\n");
  EXPECT_TRUE(wait_for_line(*process, "block 2"));
  ASSERT_TRUE(process->signal(SIGINT));
  EXPECT_TRUE(process->wait(patience));
}

TEST(Run, AFullDiskIsOneClearErrorAndTheOldReportStays) {
  const Folder folder;
  const auto disk = folder.file("disk");
  fs::create_directory(disk);
  // Holds the old report, and not a whole new one beside it.
  ASSERT_EQ(::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=8k"), 0);
  const auto path = disk + "/it.json";
  std::ofstream(path) << "the old report";
  std::ofstream(folder.file("it.yaml")) << scenario("iptables");
  const auto result =
      base::run({command, "run", folder.file("it.yaml"), "--out", path}, {.timeout = patience});
  const auto old = base::read_file(path);
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(disk)) files += entry.is_regular_file();
  ASSERT_EQ(::umount(disk.c_str()), 0);
  ASSERT_TRUE(result) << base::describe_error(result.error());
  EXPECT_EQ(result->status.code, 2);
  EXPECT_NE(result->err.find("No space left on device"), std::string::npos) << result->err;
  ASSERT_TRUE(old);
  EXPECT_EQ(*old, "the old report");
  EXPECT_EQ(files, 1);
}

TEST(Run, AMissingToolIsNamedWithWhatToInstall) {
  const Folder folder;
  std::ofstream(folder.file("it.yaml")) << scenario("nftables");
  std::ofstream(folder.file("nothing")) << "";
  // In a mount namespace of its own, nft is a file nobody can execute.
  const auto script = fmt::format(
      "for nft in /usr/sbin/nft /sbin/nft; do [ -e $nft ] && mount --bind {} $(readlink -f $nft); "
      "done 2>/dev/null; exec {} run {} --out {}",
      folder.file("nothing"), command, folder.file("it.yaml"), folder.file("it.json"));
  const auto result = base::run({"unshare", "--mount", "sh", "-c", script}, {.timeout = patience});
  ASSERT_TRUE(result) << base::describe_error(result.error());
  EXPECT_EQ(result->status.code, 2);
  EXPECT_NE(result->err.find("nft: "), std::string::npos) << result->err;
  EXPECT_NE(result->err.find("apt-get install nftables"), std::string::npos) << result->err;
  EXPECT_FALSE(fs::exists(folder.file("it.json")));
}

}  // namespace
