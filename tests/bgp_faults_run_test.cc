// Runs with `bgp.faults` in the lab: faults that go as predicted, and planted ones that must be
// found. Needs root and the gobgpd that ./bootstrap test unpacks. GoBGP waits 5 s and more before
// it connects, so that the runs are made side by side: they mostly wait.
#include <csignal>
#include <filesystem>
#include <future>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include "tests/host_snapshot.h"
#include "tests/run_scenario.h"

namespace {

using ::testing::HasSubstr;
using tests::Folder;
using tests::HostSnapshot;
using tests::Ran;

std::string scenario(std::string_view faults, std::string_view more = "") {
  return fmt::format(
      "question: What is lost?\n"
      "topology:\n"
      "  pods: {{web: {{node: 1, replicas: 2}}}}\n"
      "  services: {{web: {{target: web, type: LoadBalancer}}}}\n"
      "bgp:\n"
      "  service: web\n"
      "  datapath: ebpf_tc\n"
      "  hold_time_s: 3\n"
      "  restart_time_s: 5\n"
      "  repetitions: 1\n"
      "{}"
      "  faults: [{}]\n",
      more, faults);
}

// Every check's verdict, by "name of fault".
std::map<std::string, std::string> verdicts_of(const Ran& ran) {
  std::map<std::string, std::string> verdicts;
  for (const auto& check : ran.report["checks"]) {
    verdicts[check["name"].get<std::string>() + " of " + check["arm"].get<std::string>()] =
        check["verdict"].get<std::string>();
  }
  return verdicts;
}

std::vector<std::string> failed(const Ran& ran) {
  std::vector<std::string> names;
  for (const auto& [name, verdict] : verdicts_of(ran)) {
    if (verdict != "pass") names.push_back(name);
  }
  return names;
}

// A run that Ctrl-C reaches in the middle of a fault.
void interrupt_in_a_fault() {
  const Folder folder;
  std::ofstream(folder.file("it.yaml")) << scenario("{kind: speaker_silent, node: 2}");
  auto process =
      base::Process::spawn({.argv = {tests::command, "run", folder.file("it.yaml"), "--out",
                                     folder.file("it.json"), "--set", "bgp.hold_time_s=30"},
                            .out = base::Stdio::null(),
                            .err = base::Stdio::pipe()});
  ASSERT_TRUE(process) << base::describe_error(process.error());
  std::string said;
  while (said.find("speaker_silent") == std::string::npos) {
    pollfd told{.fd = process->err.get(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&told, 1, 60'000), 1) << said;
    std::array<char, 512> bytes{};
    const auto size = ::read(process->err.get(), bytes.data(), bytes.size());
    ASSERT_GT(size, 0) << said;
    said.append(bytes.data(), static_cast<std::size_t>(size));
  }
  ASSERT_TRUE(process->signal(SIGINT));
  const auto status = process->wait(tests::patience);
  ASSERT_TRUE(status) << base::describe_error(status.error());
  EXPECT_EQ(status->code, 128 + SIGINT);
}

TEST(BgpFaultsRun, GoAsPredictedPlantedOnesAreFoundAndTheHostIsAsItWas) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: the lab makes network namespaces";
  const auto before = HostSnapshot::take_settled();
  const auto begin = [](std::string text) {
    return std::async(std::launch::async, [text = std::move(text)] { return tests::run(text); });
  };
  auto clean = begin(scenario("{kind: speaker_killed, node: 2}, {kind: wrong_asn, node: 2}"));
  const auto of_lost = scenario("{kind: rollout}, {kind: speaker_lost, node: 2}");
  auto lost = begin(of_lost);
  // Its route stays for 2 s and more.
  auto budget = begin(scenario("{kind: speaker_silent, node: 2, budget: {stale: 1ms}}"));
  auto never = begin(scenario("{kind: speaker_killed, node: 2}", "  fault: never_restarted\n"));
  auto kept = begin(scenario("{kind: speaker_shutdown, node: 2}", "  fault: route_kept\n"));
  auto forgets = begin(scenario("{kind: speaker_restarted, node: 2, restart_time_s: 20}",
                                "  fault: restart_forgets_routes\n"));
  interrupt_in_a_fault();

  const auto fails = [](std::future<Ran>& one, const std::string& check,
                        const std::string& sentence) {
    const auto ran = one.get();
    EXPECT_EQ(ran.code, 1) << ran.out << ran.err;
    // Whatever was planted, labs side by side on few CPUs may lose packets, too.
    auto names = failed(ran);
    std::erase_if(names, [](const auto& name) { return name.starts_with("bgp_fault_loss"); });
    EXPECT_EQ(names, std::vector{check}) << ran.out;
    // Its words may be wrapped anywhere.
    for (const auto& found : ran.report["checks"]) {
      if (!check.starts_with(found["name"].get<std::string>() + " ")) continue;
      EXPECT_THAT(found["sentence"].get<std::string>(), HasSubstr(sentence));
      EXPECT_EQ(found["evidence"]["captures"].size(), 2U);
    }
  };
  fails(budget, "bgp_stale_route_in_time of speaker_silent/node2", "beyond the budget");
  fails(never, "bgp_session_recovers of speaker_killed/node2", "not established again");
  fails(kept, "bgp_stale_route_in_time of speaker_shutdown/node2", "the route never left");
  fails(forgets, "bgp_restart_keeps_route of speaker_restarted/node2", "its OPEN has no F bit");
  for (auto* one : {&clean, &lost}) {
    auto ran = one->get();
    // Side by side on few CPUs any may be late: a wrong timer is late when it is alone, too.
    if (ran.code == 1 && one == &lost) ran = begin(of_lost).get();
    EXPECT_EQ(ran.code, 0) << ran.out << ran.err;
    EXPECT_EQ(failed(ran), std::vector<std::string>()) << ran.out;
    EXPECT_THAT(ran.out, HasSubstr("BGP faults"));
    EXPECT_EQ(ran.report["bgp_faults"].size(), 2U);
  }
  EXPECT_EQ(tests::difference_from(before), "");
}

}  // namespace
