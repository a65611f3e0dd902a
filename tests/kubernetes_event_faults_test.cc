// Faults planted beneath events on a real Kubernetes, and their clean twins: what is said of a
// backend that leaves holds the truth though clocks differ and answers are late, and a kube-proxy
// that stands still is found. Below the command, where an invocation can be had alone: whole runs
// of six blocks would tell no more.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <thread>

#include <gmock/gmock.h>
#include <poll.h>

#include "base/interrupt.h"
#include "base/noise.h"
#include "checks/stale_backend.h"
#include "cluster/kubernetes/kubernetes_target.h"
#include "stackbench/run.h"
#include "stackbench/scenario/reader.h"
#include "stackbench/session.h"
#include "tests/faults_cluster.h"

namespace tests {
namespace {

using base::Duration;
using base::Verdict;
using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::IsEmpty;

// 500 connections a second to two servers, of which one leaves early. `web`, `far`: their nodes.
std::string scenario(int web, int far, Duration duration, Duration budget) {
  using Text = base::StringScalar<Duration>;
  return fmt::format(R"(question: Is what is said of a departure true?
topology:
  nodes: 3
  pods: {{client: {{node: 1}}, far: {{node: {}}}, web: {{node: {}, replicas: 2}}}}
  services: {{web: {{target: web}}}}
environments: {{there: {{datapath: installed}}}}
arms:
  - {{name: near, in: there, dial: service/web}}
  - {{name: far,  in: there, dial: service/web, from: far}}
workloads: [{{kind: tcp_crr, rate: 500/s, connections: 16, duration: {}, timeout: 300ms}}]
events: [{{at: 100ms, kind: unready, pod: web-0}}]
checks: [stale_backend]
stale_budget: {}
blocks: 6
)",
                     far, web, Text::format(duration), Text::format(budget));
}

constexpr auto stands_still_for = milliseconds(1700);  // from the write to the window's end

class KubernetesEventFaults : public ::testing::Test {
 protected:
  // Everything in one namespace that is there: it need not go at the end of each test.
  static void SetUpTestSuite() { kubectl({"create", "namespace", "faults"}); }
  static void TearDownTestSuite() { kubectl({"delete", "namespace", "faults", "--wait=false"}); }

  void reach(const std::string& config) {
    auto made = cluster::KubernetesTarget::create(
        {.kubectl = kubectl_program(), .kubeconfig = config, .in_namespace = "faults"});
    ASSERT_TRUE(made) << base::describe_error(made.error());
    target_ = std::move(*made);
  }
  void plan(const std::string& text) {
    auto scenario = stackbench::parse_scenario(text, "faults.yaml", {});
    ASSERT_TRUE(scenario) << base::describe_error(scenario.error());
    auto plan = stackbench::make_plan(*scenario, {0, 1});
    ASSERT_TRUE(plan) << base::describe_error(plan.error());
    plan_ = std::move(*plan);
  }
  void open() {
    auto session = stackbench::Session::open(*target_, plan_, interrupt_);
    ASSERT_TRUE(session) << base::describe_error(session.error());
    session_.emplace(std::move(*session));
    const auto answered = session_->await_services();
    ASSERT_TRUE(answered) << base::describe_error(answered.error());
  }
  stackbench::Sample invoke(std::size_t arm) {
    auto sample = session_->invoke(arm, 0, arm + 1);
    EXPECT_TRUE(sample) << base::describe_error(sample.error());
    return sample.value_or(stackbench::Sample{});
  }
  void TearDown() override {
    session_.reset();
    target_.reset();
    EXPECT_THAT(left_behind(), IsEmpty());
  }

  base::Interrupt interrupt_ = base::Interrupt::never();
  std::optional<base::Process> relay_;  // outlives the target, which takes down by its way
  std::unique_ptr<cluster::KubernetesTarget> target_;
  stackbench::Plan plan_;
  std::optional<stackbench::Session> session_;
};

// What an invocation says is true of one clock, the controller's: its window lies within the
// invocation, and the server that stays is reached until the window's end and no longer.
void expect_true_stamps(const stackbench::Sample& sample, Duration uncertainty) {
  ASSERT_EQ(sample.outcomes.events.size(), 1U);
  ASSERT_EQ(sample.servers.size(), 2U);
  const auto slack = uncertainty.count();
  EXPECT_GT(sample.client.start_ns + slack, sample.begun.ns);
  EXPECT_LT(sample.client.end_ns - slack, sample.ended.ns);
  ASSERT_FALSE(sample.servers[1].arrivals_ns.empty());
  const auto last = std::ranges::max(sample.servers[1].arrivals_ns);
  // 500 a second: between two arrivals lie 2 ms in the mean, and this machine may be busy. A stamp
  // that were off by the clock would be so by 50 ms.
  constexpr std::int64_t busy = 20'000'000;
  EXPECT_LT(last - slack, sample.client.end_ns + busy);
  EXPECT_GT(last + slack, sample.client.end_ns - 10 * busy);
  // And it left nobody out: requests are those that servers took.
  EXPECT_EQ(sample.client.errors.total(), 0U);
}

TEST_F(KubernetesEventFaults, NoneIsTheCleanTwin) {
  ASSERT_NO_FATAL_FAILURE(reach(kubeconfig()));
  ASSERT_NO_FATAL_FAILURE(plan(scenario(3, 3, milliseconds(1800), milliseconds(1400))));
  ASSERT_NO_FATAL_FAILURE(open());
  std::vector<checks::Outcomes> outcomes;
  for (const std::size_t arm : {0U, 1U}) {
    const auto sample = invoke(arm);
    expect_true_stamps(sample, Duration(0));
    outcomes.push_back(sample.outcomes);
  }
  EXPECT_EQ(session_->clock().offset, Duration(0));
  EXPECT_EQ(session_->clock().uncertainty, Duration(0));
  const auto finding = checks::stale_backend(plan_.scenario.stale_budget, outcomes);
  EXPECT_EQ(finding.verdict, Verdict::pass) << finding.sentence;
}

TEST_F(KubernetesEventFaults, AClockThatIsAheadIsMeasuredAndNoStampIsOffByIt) {
  ASSERT_NO_FATAL_FAILURE(reach(kubeconfig()));
  // The servers' clock is ahead, and then also that of a client.
  ASSERT_NO_FATAL_FAILURE(plan(scenario(2, 2, milliseconds(500), milliseconds(300))));
  ASSERT_NO_FATAL_FAILURE(open());
  for (const std::size_t arm : {0U, 1U}) {
    const auto sample = invoke(arm);
    const auto clock = session_->clock();
    EXPECT_GT(clock.uncertainty, Duration(0));
    EXPECT_LT(clock.uncertainty, clock_ahead / 2);
    EXPECT_LE(clock.offset - clock.uncertainty, clock_ahead);
    EXPECT_GE(clock.offset + clock.uncertainty, clock_ahead);
    expect_true_stamps(sample, clock.uncertainty);
  }
}

// The times at which somebody else, who asks the API server directly, saw web-0 leave.
class Witness {
 public:
  Witness() {
    auto proxy = cluster::KubectlProxy::start(
        {.kubectl = kubectl_program(), .kubeconfig = kubeconfig(), .context = {}}, nullptr);
    EXPECT_TRUE(proxy) << base::describe_error(proxy.error());
    if (!proxy) return;
    proxy_.emplace(std::move(*proxy));
    thread_ = std::thread([this] { watch(); });
  }
  ~Witness() {
    done_ = true;
    if (thread_.joinable()) thread_.join();
  }
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;

  [[nodiscard]] std::vector<std::int64_t> departures() {
    const std::lock_guard lock(mutex_);
    return departures_;
  }

 private:
  void watch() {
    cluster::Watch pods(
        {.socket = proxy_->socket()},
        {.path = "/api/v1/namespaces/faults/pods", .label_selector = "stackbench.io/group=web"});
    while (!done_) {
      std::ignore = pods.until(
          [this](const cluster::Objects& all) -> base::Result<bool> {
            note(all);
            return false;
          },
          base::monotonic_now() + milliseconds(200));
    }
  }
  void note(const cluster::Objects& all) {
    bool ready = false;
    for (const auto& [name, pod] : all) {
      if (!name.ends_with("web-0") || !pod["status"].contains("conditions")) continue;
      for (const auto& condition : pod["status"]["conditions"]) {
        ready |= condition["type"] == "stackbench.io/in-service" && condition["status"] == "True";
      }
    }
    const std::lock_guard lock(mutex_);
    if (was_ready_ && !ready) departures_.push_back(base::monotonic_now().ns);
    was_ready_ = ready;
  }

  std::optional<cluster::KubectlProxy> proxy_;
  std::thread thread_;
  std::atomic<bool> done_ = false;
  std::mutex mutex_;
  std::vector<std::int64_t> departures_;  // guarded by mutex_
  bool was_ready_ = false;                // guarded by mutex_
};

TEST_F(KubernetesEventFaults, AnswersThatAreLateWidenWhatIsSaidAndItHoldsTheTruth) {
  constexpr auto late = milliseconds(20);
  auto state = cluster_state();
  auto relay = base::Process::spawn(
      {.argv = {"python3", std::string(STACKBENCH_SOURCE_DIR) + "/tests/late_relay.py",
                std::to_string(state["port"].get<int>()), std::to_string(late.count())},
       .in = base::Stdio::pipe(),
       .out = base::Stdio::pipe()});
  ASSERT_TRUE(relay) << base::describe_error(relay.error());
  relay_.emplace(std::move(*relay));
  std::string port;
  for (char letter = 0; letter != '\n';) {
    ASSERT_EQ(::read(relay_->out.get(), &letter, 1), 1);
    if (letter != '\n') port += letter;
  }
  auto config = base::read_file(kubeconfig()).value_or("");
  const auto direct = fmt::format("127.0.0.1:{}", state["port"].get<int>());
  ASSERT_NE(config.find(direct), std::string::npos);
  config.replace(config.find(direct), direct.size(), "127.0.0.1:" + port);
  const Folder folder;
  std::ofstream(folder.file("late")) << config;

  ASSERT_NO_FATAL_FAILURE(reach(folder.file("late")));
  // On the node whose clock is ahead, too: its offset is measured by streams that are late.
  ASSERT_NO_FATAL_FAILURE(plan(scenario(2, 2, milliseconds(500), milliseconds(300))));
  ASSERT_NO_FATAL_FAILURE(open());
  Witness witness;
  const auto sample = invoke(0);
  const auto clock = session_->clock();
  EXPECT_GE(clock.uncertainty, late / 2);
  EXPECT_LE(clock.offset - clock.uncertainty, clock_ahead);
  EXPECT_GE(clock.offset + clock.uncertainty, clock_ahead);
  ASSERT_NO_FATAL_FAILURE(expect_true_stamps(sample, clock.uncertainty));
  const auto& event = sample.outcomes.events[0];
  EXPECT_GE(event.what.acked_ns - event.what.sent_ns, std::chrono::nanoseconds(late).count());
  ASSERT_TRUE(comes_true([&] { return !witness.departures().empty(); }));
  // The truth lies between, a little before it was seen.
  const auto seen = witness.departures().front();
  EXPECT_GT(seen, event.what.sent_ns);
  EXPECT_LT(seen, event.what.acked_ns + 10'000'000);
  ASSERT_TRUE(event.stale);
  EXPECT_GE(event.stale->error_ns,
            event.what.acked_ns - event.what.sent_ns + (late / 2).count() * 1'000'000);
  EXPECT_GT(event.stale->less_ns, 0);
}

// Nor is an invocation begun before: a backend that is not in the rules cannot be seen to leave
// them.
TEST_F(KubernetesEventFaults, AKubeProxyThatIsLateToTakeABackendBackIsWaitedFor) {
  ASSERT_NO_FATAL_FAILURE(reach(kubeconfig()));
  ASSERT_NO_FATAL_FAILURE(plan(scenario(3, 3, milliseconds(500), milliseconds(300))));
  ASSERT_NO_FATAL_FAILURE(open());
  const auto turn = [&](cluster::Readiness readiness) {
    return target_
        ->set_readiness("there", base::AddressFamily::ipv4, {{std::string("web-0"), readiness}})
        .has_value();
  };
  ASSERT_TRUE(turn(cluster::Readiness::unready));
  ASSERT_TRUE(comes_true([&] {
    const auto sample = session_->observe_connections(0, 0);
    return sample && sample->servers[0].connections == 0 && sample->servers[1].connections > 0;
  }));
  std::optional<Stopped> proxy("node1-kube-proxy");
  ASSERT_TRUE(turn(cluster::Readiness::ready));
  base::MonotonicTime continued;
  std::thread later([&] {
    ::poll(nullptr, 0, 1000);  // the fault
    continued = base::monotonic_now();
    proxy.reset();
  });
  const auto sample = invoke(0);
  later.join();
  EXPECT_GT(sample.begun, continued);
  ASSERT_EQ(sample.outcomes.events.size(), 1U);
  EXPECT_TRUE(sample.outcomes.events[0].stale) << "it was there, and left";
}

// A machine on which nothing else runs, whatever does: what is planted is found by its length,
// 1.7 s, beside which what a busy machine adds is nothing; a block dropped for it is one less.
base::NoiseSources quiet_machine() {
  return {.gaps = [](const std::vector<int>& cpus, Duration span,
                     Duration) -> base::Result<std::vector<base::GapReading>> {
            std::vector<base::GapReading> readings;
            for (const int cpu : cpus) readings.push_back({.cpu = cpu, .watched_ns = span.count()});
            return readings;
          },
          .counters = [](const std::vector<int>&) { return base::NoiseCounters{}; }};
}

TEST_F(KubernetesEventFaults, AKubeProxyThatStandsStillIsFoundAsAStaleBackendAndTimed) {
  ASSERT_NO_FATAL_FAILURE(reach(kubeconfig()));
  ASSERT_NO_FATAL_FAILURE(plan(scenario(3, 3, milliseconds(1800), milliseconds(1400))));
  plan_.arms.pop_back();
  plan_.scenario.blocks = 2;  // it is seen in every invocation
  std::optional<Stopped> proxy;
  base::Progress progress({}, [&](std::string_view line) {
    if (line.find("environment up") != std::string_view::npos) proxy.emplace("node1-kube-proxy");
  });
  const Folder folder;
  const auto ran = stackbench::run_scenario(*target_, plan_,
                                            {.scenario_file = "it",
                                             .overrides = {},
                                             .command_line = {},
                                             .report_file = folder.file("it.json"),
                                             .noise = quiet_machine()},
                                            progress, interrupt_);
  ASSERT_TRUE(proxy);
  ASSERT_TRUE(ran) << base::describe_error(ran.error());
  const auto& report = ran->report;
  EXPECT_EQ(report.conclusion.exit_code, 1) << report.conclusion.sentence;
  ASSERT_EQ(report.checks.size(), 1U);
  EXPECT_EQ(report.checks[0].verdict, Verdict::fail) << report.checks[0].sentence;
  // Until the window's end, and of none of it a request failed.
  ASSERT_EQ(report.events.size(), 1U);
  ASSERT_TRUE(report.events[0].stale_median_ns);
  const Duration stale(*report.events[0].stale_median_ns);
  EXPECT_LE(stale, stands_still_for + milliseconds(20));
  EXPECT_GE(stale, stands_still_for - milliseconds(200));
  for (const auto& one : report.samples) EXPECT_EQ(one.failed(), 0U);
}

}  // namespace
}  // namespace tests
