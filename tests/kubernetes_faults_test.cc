// Faults planted beneath whole runs on a real Kubernetes, and their clean twins: each run comes to
// a right result or to one clear error, and leaves nothing behind. Of clocks, late answers and
// stale backends: tests/kubernetes_event_faults_test.cc.
#include <algorithm>
#include <cstdlib>

#include <gmock/gmock.h>
#include <poll.h>

#include "tests/faults_cluster.h"

namespace tests {
namespace {

using std::chrono::seconds;
using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// An open loop, so that a sample that lost something has too few requests. `node`: where the
// servers are.
std::string scenario(int node) {
  return fmt::format(R"(question: Does a run go on?
topology:
  nodes: 3
  pods: {{client: {{node: 1}}, web: {{node: {}, replicas: 2}}}}
  services: {{web: {{target: web}}}}
environments: {{there: {{datapath: installed}}}}
arms: [{{name: service, in: there, dial: service/web}}]
workloads: [{{kind: tcp_rr, rate: 1000/s, connections: 4, duration: 150ms, warm_up: 10ms}}]
blocks: 6
)",
                     node);
}

// In a namespace that is there: one of its own takes five seconds to go.
const std::vector<std::string> there{"--namespace", "default"};
const std::vector<std::string> on_cluster{"--target", "kubernetes", "--namespace", "default"};

// A whole run whose every sample is there and right, whatever went on meanwhile.
void expect_whole(const Ran& ran) {
  // On a busy machine it may call itself disturbed.
  EXPECT_THAT(ran.code, AnyOf(0, 4)) << ran.err << ran.out;
  ASSERT_TRUE(ran.report.is_object()) << ran.err;
  EXPECT_TRUE(ran.report["complete"].get<bool>());
  EXPECT_TRUE(ran.report["errors"].empty()) << ran.report["errors"];
  const auto& samples = ran.report["samples"];
  EXPECT_EQ(samples.size(), 2 * ran.report["blocks"].size());
  EXPECT_GE(ran.report["blocks"].size(), 7U);
  for (const auto& sample : samples) {
    EXPECT_TRUE(sample["errors"].empty()) << sample;
    // What the schedule drew: 150, of a Poisson process.
    EXPECT_NEAR(sample["requests"].get<double>(), 150, 60) << sample;
  }
}

// The measured offset of node 2's clock holds the true one.
void expect_clock(const base::Json& report, std::chrono::nanoseconds ahead) {
  const auto& plan = report["plan"];
  EXPECT_NEAR(plan["clock_offset_ns"].get<double>(), static_cast<double>(ahead.count()),
              plan["clock_uncertainty_ns"].get<double>());
  EXPECT_LT(plan["clock_uncertainty_ns"].get<std::int64_t>(), clock_ahead.count() * 1'000'000 / 2);
}

// From the end of one sample to the beginning of the next, at most.
std::chrono::nanoseconds longest_pause(const base::Json& report) {
  std::int64_t longest = 0;
  std::int64_t last = 0;
  for (const auto& sample : report["samples"]) {
    if (last != 0) longest = std::max(longest, sample["start_ns"].get<std::int64_t>() - last);
    last = sample["end_ns"].get<std::int64_t>();
  }
  return std::chrono::nanoseconds(longest);
}

TEST(KubernetesFaults, NoneIsTheCleanTwin) {
  const auto ran = run(scenario(3), on_cluster);
  expect_whole(ran);
  expect_clock(ran.report, std::chrono::nanoseconds(0));
  EXPECT_THAT(ran.out, HasSubstr("one clock for client and controller"));
  EXPECT_LT(longest_pause(ran.report), seconds(3));
  // Nothing looks at packets, so nobody with privileges was there.
  EXPECT_EQ(ran.report["drop_watch"]["watched"], false);
  EXPECT_THAT(ran.report["drop_watch"]["reason"].get<std::string>(), HasSubstr("privileged pod"));
  EXPECT_THAT(left_behind(), IsEmpty());
}

TEST(KubernetesFaults, AnApiServerThatStandsStillForFiveSecondsIsWaitedFor) {
  BackgroundRun background(scenario(2), there);
  ASSERT_TRUE(background.says("warm-up block"));
  {
    const Stopped server("kube-apiserver");
    ::poll(nullptr, 0, 5000);  // the fault
  }
  const auto ran = background.finish();
  expect_whole(ran);
  expect_clock(ran.report, clock_ahead);
  EXPECT_GT(longest_pause(ran.report), seconds(4)) << "it was felt";
  EXPECT_THAT(left_behind(), IsEmpty());
}

TEST(KubernetesFaults, StreamsToAgentsThatAreCutAreResumedAndNoSampleIsLost) {
  const PlantedKubectl planted("cut");
  const auto ran = run(scenario(2), on_cluster);
  expect_whole(ran);
  expect_clock(ran.report, clock_ahead);
  EXPECT_THAT(ran.out, testing::ContainsRegex("one is [45][0-9]\\.?[0-9]* ms ahead"));
  // The client's and those of both servers.
  EXPECT_GE(planted.felt("cut"), 3);
  EXPECT_THAT(left_behind(), IsEmpty());
}

TEST(KubernetesFaults, AServerThatIsBusyIsAskedAgainAndAWatchThatIsGoneBegunAnew) {
  const PlantedKubectl planted("busy,gone");
  const auto ran = run(scenario(3), {"--target", "kubernetes"});
  expect_whole(ran);
  EXPECT_GE(planted.felt("busy"), 8) << "one of every sort of request";
  // Of the pods that come up and of the namespace that goes; what else is waited for may be there
  // before a watch begins.
  EXPECT_GE(planted.felt("gone"), 2);
  EXPECT_THAT(left_behind(), IsEmpty());
}

TEST(KubernetesFaults, WithoutRightsARunNamesThemAndMakesNothing) {
  kubectl({"create", "serviceaccount", "nobody", "--namespace=default"});
  auto config = base::parse_json(
      kubectl({"config", "view", "--raw", "--minify", "--flatten", "--output=json"}));
  ASSERT_TRUE(config);
  auto token = kubectl({"create", "token", "nobody", "--namespace=default"});
  while (!token.empty() && token.back() == '\n') token.pop_back();
  (*config)["users"][0]["user"] = {{"token", token}};
  const Folder folder;
  std::ofstream(folder.file("nobody")) << base::dump_json(*config);
  const auto ran =
      run(scenario(3), {"--target", "kubernetes", "--kubeconfig", folder.file("nobody")});
  EXPECT_EQ(ran.code, 2);
  for (const auto* right : {"lack rights that a run needs in all namespaces", "list nodes",
                            "create namespaces", "get pods/exec", "create pods"}) {
    EXPECT_THAT(ran.err, HasSubstr(right));
  }
  EXPECT_EQ(std::ranges::count(ran.err, '\n'), 2) << "one error and its mend: " << ran.err;
  EXPECT_TRUE(ran.report.is_null());
  EXPECT_THAT(left_behind(), IsEmpty());
}

// Whoever waits for replies that nobody will ever send measures only its own patience.
TEST(KubernetesFaults, AServiceOfWhichNoEndpointIsReadyIsSaidAndHasNoLatency) {
  auto text = scenario(3);
  text.replace(text.find("tcp_rr"), 6, "tcp_crr");
  // Long enough that the pods are unready before the first block ends.
  text.replace(text.find("150ms"), 5, "2s");
  BackgroundRun background(text, there);
  ASSERT_TRUE(background.says("1 environment up"));
  const std::string names =
      "jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name} {end}";
  const std::string unready =
      R"({"status":{"conditions":[{"type":"stackbench.io/in-service","status":"False"}]}})";
  const auto pods = kubectl({"get", "pods", "--all-namespaces",
                             "--selector=stackbench.io/group=web", "--output=" + names});
  std::istringstream words(pods);
  for (std::string space, pod; words >> space >> pod;) {
    kubectl({"patch", "pod", pod, "--namespace=" + space, "--subresource=status",
             "--patch=" + unready});
  }
  const auto ran = background.finish();
  EXPECT_EQ(ran.code, 5) << ran.err << ran.out;
  EXPECT_THAT(ran.err + ran.out, HasSubstr("no endpoint of Service web is ready"));
  EXPECT_THAT(ran.err + ran.out, HasSubstr("web-0, web-1"));
  EXPECT_THAT(ran.out, Not(HasSubstr("pass")));
  // Before the first block was whole, so there are no figures at all.
  EXPECT_TRUE(ran.report.is_null()) << ran.report["estimates"];
  EXPECT_THAT(left_behind(), IsEmpty());
}

// The last one: node 3 does not come back.
TEST(KubernetesFaults, ANodeThatDiesIsNamedAndNothingIsLeftNotEvenByAKilledRun) {
  BackgroundRun killed(scenario(3));
  ASSERT_TRUE(comes_true([] { return left_behind().find("pod/web-1") != std::string::npos; }));
  killed.kill();
  const auto of_killed = left_behind();

  BackgroundRun background(scenario(3));
  ASSERT_TRUE(background.says("warm-up block"));
  ASSERT_EQ(::kill(pid_of("node3"), SIGKILL), 0);
  const auto ran = background.finish();
  EXPECT_EQ(ran.code, 5) << ran.err << ran.out;
  // Until the cluster has noticed, an agent that does not answer is all that can be known.
  EXPECT_THAT(ran.err + ran.out,
              AnyOf(HasSubstr("node node3 is not Ready"), HasSubstr("agent web-0 in environment")));
  EXPECT_THAT(ran.err + ran.out, Not(HasSubstr("still there")));
  // Its own are gone; those of the run that was killed wait for whoever cleans.
  EXPECT_EQ(std::ranges::count(left_behind(), '/'), std::ranges::count(of_killed, '/'))
      << left_behind();

  const auto cleaned =
      base::run({command, "clean", "--target", "kubernetes"}, {.timeout = patience});
  ASSERT_TRUE(cleaned) << base::describe_error(cleaned.error());
  EXPECT_EQ(cleaned->status.code, 0) << cleaned->err;
  EXPECT_THAT(cleaned->out, HasSubstr("removed namespace stackbench-"));
  EXPECT_THAT(left_behind(), IsEmpty());
}

}  // namespace
}  // namespace tests
