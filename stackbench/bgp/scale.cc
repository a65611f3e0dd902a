#include "stackbench/bgp/scale.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <unistd.h>

#include "base/process_cost.h"
#include "base/units.h"
#include "cluster/lab/addresses.h"
#include "cluster/lab/layout.h"
#include "stackbench/bgp/burst.h"
#include "stackbench/scenario/bgp_pool.h"

namespace stackbench::bgp {
namespace {

namespace kube = base::kube;
using base::ErrorKind;
using base::Result;
using bgp_peer::Prefix;

// What was not seen by then is judged as never.
constexpr auto burst_patience = std::chrono::seconds(60);
// Until GoBGP has connected to a router's successor: 5 s after the session's end, and 5 to 9 s.
constexpr auto sink_patience = std::chrono::seconds(40);
constexpr auto burst_look = std::chrono::milliseconds(50);
// So that what comes after the last route is the next burst's to none.
constexpr auto burst_settles = std::chrono::milliseconds(50);

// The fault `peer_slowed`, from construction to destruction.
class SlowedPeer {
 public:
  explicit SlowedPeer(bgp_peer::Daemon& daemon)
      : daemon_(daemon), thread_([this](const std::stop_token& stop) { run(stop); }) {}

 private:
  void run(const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any changed;
    std::unique_lock lock(mutex);
    const auto wait = [&](auto span) {
      changed.wait_for(lock, stop, span, [&] { return stop.stop_requested(); });
    };
    while (!stop.stop_requested()) {
      (void)daemon_.freeze();
      wait(slow_stop);
      (void)daemon_.thaw();
      wait(slow_period - slow_stop);
    }
  }

  bgp_peer::Daemon& daemon_;
  std::jthread thread_;
};

class ScaleMeasure {
 public:
  ScaleMeasure(Site& site, const ScaleRounds& rounds, const base::Interrupt& interrupt)
      : site_(site), rounds_(rounds), interrupt_(interrupt) {}

  Result<Outcome> run() {
    Outcome outcome;
    RETURN_IF_ERROR(prepare());
    RETURN_IF_ERROR(judge_sessions(outcome));
    auto ended = all_points(outcome);
    if (ended) ended = judge_sessions(outcome);
    if (ended && rounds_.reference) ended = measure_reference(outcome);
    if (!ended) {
      // A Ctrl-C reaches the daemons, too, so that it may show as any error.
      if (!interrupt_.requested()) return std::unexpected(std::move(ended).error());
      if (outcome.scale.empty()) {
        return base::fail(ErrorKind::interrupted,
                          "interrupted before the first number of Services was whole; no report "
                          "was written");
      }
      outcome.interrupted = true;
    }
    ASSIGN_OR_RETURN(const auto lost, site_.lost_by_captures());
    outcome.findings["bgp_peer_keeps_up"] = bgp_peer_keeps_up(outcome.scale, lost);
    outcome.findings["bgp_all_converged"] = all_converged(outcome.scale);
    return outcome;
  }

 private:
  // The template, and the addresses of the most there will be.
  Result<> prepare() {
    const auto& plan = site_.plan();
    ASSIGN_OR_RETURN(const auto layout, cluster::lay_out(plan));
    for (auto& service : cluster::services_of(plan, layout)) {
      if (service.metadata.name == rounds_.service) template_ = std::move(service);
    }
    if (template_.spec.type != kube::ServiceType::LoadBalancer) {
      return base::fail(ErrorKind::input, "bgp.service: {} is no LoadBalancer", rounds_.service);
    }
    template_.spec.allocate_load_balancer_node_ports = false;
    template_.spec.ip_families = {
        rounds_.family == base::AddressFamily::ipv4 ? kube::IpFamily::IPv4 : kube::IpFamily::IPv6};
    for (const auto& slice : cluster::slices_of(plan, layout)) {
      const auto label = slice.metadata.labels.find(std::string(kube::service_name_label));
      const bool its = label != slice.metadata.labels.end() && label->second == rounds_.service;
      if (its && slice.address_type == template_.spec.ip_families[0]) slice_ = slice;
    }
    most_ = *std::ranges::max_element(rounds_.scale.services);
    pool_ = rounds_.scale.pool.value_or(lab_pool(rounds_.family));
    addresses_ = take_addresses(pool_, plan.topology, most_);
    if (std::cmp_less(addresses_.size(), most_)) {
      return base::fail(ErrorKind::input, "bgp.scale.pool: {} has {} of {} addresses",
                        pool_.to_string(), addresses_.size(), most_);
    }
    // The topology's own Services announce nothing meanwhile.
    for (const auto& [name, service] : site_.environment().services) {
      RETURN_IF_ERROR(site_.target().remove(site_.environment().name, "Service", name));
    }
    return {};
  }

  static std::string name_of(int number) { return fmt::format("many-{:05}", number); }

  // The first `count` with their addresses, or without.
  [[nodiscard]] base::Json list_of(int count, bool with_addresses) const {
    base::Json list{{"apiVersion", "v1"}, {"kind", "ServiceList"}, {"items", base::Json::array()}};
    auto service = template_;
    for (int number = 1; number <= count; ++number) {
      service.metadata.name = name_of(number);
      service.status = {};
      if (with_addresses) {
        const auto& address = addresses_[static_cast<std::size_t>(number) - 1];
        service.status.load_balancer.ingress = {{address.to_string()}};
      }
      list["items"].push_back(base::to_json(service));
    }
    return list;
  }

  // With their endpoints, so that the writes that are measured are of addresses alone.
  Result<> make_services(int from, int to) const {
    base::Json slices{{"apiVersion", "discovery.k8s.io/v1"},
                      {"kind", "EndpointSliceList"},
                      {"items", base::Json::array()}};
    auto slice = slice_;
    for (int number = from; number <= to; ++number) {
      slice.metadata.name = name_of(number) + "-endpoints";
      slice.metadata.labels[std::string(kube::service_name_label)] = name_of(number);
      slices["items"].push_back(base::to_json(slice));
    }
    const auto& environment = site_.environment().name;
    RETURN_IF_ERROR(site_.target().apply(environment, slices));
    RETURN_IF_ERROR(site_.target().apply(environment, list_of(to, false)));
    return {};
  }

  Result<> all_points(Outcome& outcome) {
    auto counts = rounds_.scale.services;
    std::ranges::sort(counts);
    int made = 0;
    for (const int count : counts) {
      if (count > made) RETURN_IF_ERROR(make_services(made + 1, count));
      made = std::max(made, count);
      const auto with = list_of(count, true);
      const auto without = list_of(count, false);
      std::map<bool, std::vector<MeasuredBurst>> measured;
      for (int round = 0; round < rounds_.rounds; ++round) {
        for (const bool announced : {true, false}) {
          ASSIGN_OR_RETURN(auto one, burst(announced ? with : without, count, announced));
          measured[announced].push_back(std::move(one));
          if (round == 0) RETURN_IF_ERROR(judge_table(announced, outcome));
        }
      }
      for (const bool announced : {true, false}) {
        outcome.scale.push_back(summarise(count, announced, measured[announced]));
      }
    }
    return {};
  }

  Result<MeasuredBurst> burst(const base::Json& write, int count, bool announced) {
    auto burst = burst_of(count, announced);
    if (!announced) announcing(burst);
    ASSIGN_OR_RETURN(const auto before, costs());
    RETURN_IF_ERROR(site_.take_seen());
    std::optional<SlowedPeer> slowed;
    if (rounds_.fault == Fault::peer_slowed) slowed.emplace(site_.speakers().router_daemon());
    ASSIGN_OR_RETURN(const auto stamps, site_.target().apply(site_.environment().name, write));
    burst.sent = {stamps.sent_ns};
    if (stamps.programmed_ns) burst.programmed = base::MonotonicTime{*stamps.programmed_ns};
    if (announced) {
      announcing(burst);
      burst.next_hops = next_hops_;
    }
    RETURN_IF_ERROR(await(burst));
    slowed.reset();
    ASSIGN_OR_RETURN(auto cost, costs());
    cost.peer.cpu_ns -= before.peer.cpu_ns;
    cost.speakers.cpu_ns -= before.speakers.cpu_ns;
    cost.ours.cpu_ns -= before.ours.cpu_ns;
    cost.receiver_limited_ns -= std::min(cost.receiver_limited_ns, before.receiver_limited_ns);
    ASSIGN_OR_RETURN(const auto seen, site_.take_seen());
    return MeasuredBurst{.times = analyse(burst, seen), .cost = cost};
  }

  // The largest of them towards a sink: who stays behind it is limited by the peer, or by what the
  // peer and its observers take of the machine. Not the others: now that all Services are there,
  // each write takes the nodes longer.
  Result<> measure_reference(Outcome& outcome) {
    RETURN_IF_ERROR(site_.kill_router());
    ASSIGN_OR_RETURN(const auto sink, bgp_peer::Sink::start(site_.speakers().sink()));
    const auto give_up = base::monotonic_now() + sink_patience;
    while (sink.established() < site_.environment().nodes.size()) {
      if (base::monotonic_now() > give_up) {
        return base::fail(ErrorKind::timed_out,
                          "{} of {} speakers came back to a sink in the router's place",
                          sink.established(), site_.environment().nodes.size());
      }
      RETURN_IF_ERROR(interrupt_.wait_until(base::monotonic_now() + burst_look));
    }
    const std::array writes{list_of(most_, false), list_of(most_, true)};
    std::array<std::vector<std::int64_t>, 2> times;
    for (int round = 0; round < rounds_.rounds; ++round) {
      for (const std::size_t announced : {1U, 0U}) {
        ASSIGN_OR_RETURN(const auto time, updates_to_sink(writes.at(announced), announced == 1));
        times.at(announced).push_back(time);
      }
    }
    for (auto& point : outcome.scale) {
      if (point.services != most_) continue;
      point.sink_updates_ns = middle_of(times.at(point.announced ? 1 : 0));
    }
    return {};
  }

  // From the write to the UPDATE with the last prefix of the last speaker.
  Result<std::int64_t> updates_to_sink(const base::Json& write, bool announced) {
    auto burst = burst_of(most_, announced);
    if (!announced) announcing(burst);
    RETURN_IF_ERROR(site_.take_seen());
    ASSIGN_OR_RETURN(const auto stamps, site_.target().apply(site_.environment().name, write));
    burst.sent = {stamps.sent_ns};
    if (announced) announcing(burst);
    Seen all;
    std::size_t told = 0;
    while (base::monotonic_now() < burst.sent + burst_patience) {
      ASSIGN_OR_RETURN(auto seen, site_.take_seen());
      for (auto& one : seen.updates) {
        told += (announced ? one.update.announced : one.update.withdrawn).size();
        all.updates.push_back(std::move(one));
      }
      if (told >= burst.prefixes.size() * burst.speakers.size()) {
        const auto times = analyse(burst, all);
        if (times.all_updates_ns) return *times.all_updates_ns;
      }
      RETURN_IF_ERROR(interrupt_.wait_until(base::monotonic_now() + burst_look));
    }
    return base::fail(ErrorKind::timed_out,
                      "a sink in the router's place was not told all of {} addresses in {} s",
                      most_,
                      std::chrono::duration_cast<std::chrono::seconds>(burst_patience).count());
  }

  [[nodiscard]] Burst burst_of(int count, bool announced) const {
    Burst burst{.announced = announced};
    for (int i = 0; i < count; ++i) {
      burst.prefixes.push_back(Prefix::host(addresses_[static_cast<std::size_t>(i)]));
    }
    return burst;
  }

  // Who announces the first of them, and so all, as they are alike.
  void announcing(Burst& burst) {
    next_hops_.clear();
    for (const auto& expected : site_.speakers().expected(rounds_.family)) {
      if (expected.prefix == burst.prefixes.front()) next_hops_ = expected.next_hops;
    }
    std::ranges::sort(next_hops_);
    for (const auto& hop : next_hops_) {
      for (const auto& node : site_.environment().nodes) {
        if (node.address(rounds_.family) == hop) burst.speakers.push_back(node.ipv4);
      }
    }
  }

  Result<> await(const Burst& burst) const {
    const auto give_up = burst.sent + burst_patience;
    while (!site_.routes_are(burst.prefixes.size(), burst.next_hops) &&
           base::monotonic_now() < give_up) {
      RETURN_IF_ERROR(interrupt_.wait_until(base::monotonic_now() + burst_look));
    }
    return interrupt_.wait_until(base::monotonic_now() + burst_settles);
  }

  Result<reports::CostSummary> cost_of(pid_t pid) const {
    reports::CostSummary cost;
    ASSIGN_OR_RETURN(cost.cpu_ns, base::cpu_time_of(pid));
    ASSIGN_OR_RETURN(cost.memory_bytes, base::pss_of(pid));
    return cost;
  }

  Result<BurstCost> costs() const {
    BurstCost cost;
    ASSIGN_OR_RETURN(cost.peer, cost_of(site_.speakers().router_daemon().pid()));
    ASSIGN_OR_RETURN(cost.ours, cost_of(::getpid()));
    const auto& target = site_.target();
    for (const auto& [node, daemon] : site_.speakers().daemons()) {
      ASSIGN_OR_RETURN(const auto its, cost_of(daemon.pid()));
      cost.speakers.cpu_ns += its.cpu_ns;
      cost.speakers.memory_bytes += its.memory_bytes;
      const int netns =
          target.environment(site_.environment().name)->netns(fmt::format("node{}", node));
      ASSIGN_OR_RETURN(
          const auto sockets,
          target.sandbox()->run({.netns = netns}, {"ss", "-tinH", "state", "established", "dport",
                                                   "=", fmt::format(":{}", bgp_peer::bgp_port)}));
      cost.receiver_limited_ns = std::max(cost.receiver_limited_ns, receiver_limited(sockets));
    }
    return cost;
  }

  Result<> judge_sessions(Outcome& outcome) const {
    ASSIGN_OR_RETURN(const auto peers, site_.speakers().router().peers());
    auto finding = checks::bgp_session_established(site_.speakers().expected_sessions(), peers);
    auto& kept = outcome.findings["bgp_session_established"];
    if (kept.verdict != base::Verdict::fail) kept = std::move(finding);
    return {};
  }

  // What failed first is kept, else the largest table that was announced.
  Result<> judge_table(bool announced, Outcome& outcome) const {
    const auto family = bgp_peer::family_of(addresses_.front());
    ASSIGN_OR_RETURN(const auto paths, site_.speakers().router().paths(family));
    auto finding =
        checks::bgp_announces_lb_ip(site_.speakers().expected(rounds_.family), pool_, paths);
    auto& kept = outcome.findings["bgp_announces_lb_ip"];
    const bool failed = finding.verdict == base::Verdict::fail;
    if (kept.verdict != base::Verdict::fail && (announced || failed)) kept = std::move(finding);
    return {};
  }

  // Check bgp_all_converged.
  static checks::Finding all_converged(const std::vector<reports::BgpScalePoint>& points) {
    std::uint64_t updates = 0;
    std::uint64_t routes = 0;
    for (const auto& point : points) {
      updates += point.missing_updates;
      routes += point.missing_routes;
    }
    const auto waited = std::chrono::duration_cast<std::chrono::seconds>(burst_patience).count();
    if (updates + routes == 0) {
      return {.verdict = base::Verdict::pass,
              .sentence = fmt::format("every prefix of every round was told by every speaker, and "
                                      "its route came and went, within {} s",
                                      waited),
              .observed = "all"};
    }
    return {.verdict = base::Verdict::fail,
            .sentence = fmt::format("within {} s of the write, in all rounds: prefixes of which a "
                                    "speaker said nothing: {}; whose route was not as it must "
                                    "be: {}",
                                    waited, updates, routes),
            .observed = "not all"};
  }

  Site& site_;
  const ScaleRounds& rounds_;
  const base::Interrupt& interrupt_;
  kube::Service template_ = {};
  kube::EndpointSlice slice_ = {};
  int most_ = 0;
  Prefix pool_ = {};
  std::vector<base::IpAddress> addresses_ = {};
  std::vector<base::IpAddress> next_hops_ = {};
};

}  // namespace

Result<Outcome> measure_scale(Site& site, const ScaleRounds& rounds,
                              const base::Interrupt& interrupt) {
  return ScaleMeasure(site, rounds, interrupt).run();
}

}  // namespace stackbench::bgp
