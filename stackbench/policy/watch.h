// A few pairs under watch: a new packet a millisecond of each, stamped where it leaves and where it
// arrives; and connections that are held open meanwhile.
#pragma once

#include <compare>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "bench/reach/flow_watch.h"
#include "bench/reach/hold.h"
#include "checks/policy/leak_window.h"
#include "stackbench/job_stop.h"
#include "stackbench/policy/policy_world.h"
#include "stackbench/policy/watch_plan.h"
#include "stackbench/session.h"

namespace stackbench {

// So that the two probes around an edge leave less than a millisecond open.
inline constexpr base::RequestRate watch_rate{1'500};

// A flow as it was seen from both ends, on our clock.
struct SeenFlow {
  std::vector<bench::SentProbe> sent;
  std::vector<bench::ReceivedProbe> received;
  std::uint32_t packet_bytes = 0;
  bool all_received = true;
  std::int64_t received_from_ns = 0;  // since when its receiver misses nothing
  // While both ends watched.
  std::int64_t from_ns = 0;
  std::int64_t until_ns = 0;
  base::Duration clock_uncertainty{0};

  // What was sent, and what arrived, before an instant.
  [[nodiscard]] checks::FlowStamps stamps(std::int64_t before_ns) const;
};

// Of a watch over which a pod is made anew.
struct WatchedRestart {
  // Where flows to its old address go.
  base::IpAddress old_address = {};
  // The pod, where its agent begins with it: what that is to do is in plan(), and nobody sends to
  // the pod before pod_has().
  std::optional<std::size_t> away = {};
};

// Called from the controller's thread; the session must outlive it. Without stop() its jobs end
// with it.
class FlowWatch {
 public:
  // Receivers watch before senders send. Errors: as AgentClient's.
  static base::Result<FlowWatch> start(Session& session, std::size_t environment, PolicyGrid grid,
                                       base::AddressFamily family,
                                       std::span<const ChosenFlow> flows,
                                       const WatchedRestart& restart = {});

  // Of a pod that is away. What its agent does from its first instant: it listens at every port,
  // receives what comes to it, and sends its flows.
  [[nodiscard]] const bench::AgentPlan& plan() const { return plan_; }
  // It has this address now: others send to it from here on. Errors: as start().
  base::Result<> pod_has(const base::IpAddress& address);
  // Its agent, which has taken up plan(). Errors: as AgentClient's.
  base::Result<> pod_is_there(bench::AgentClient& agent);

  // In the order of the flows. Errors: as AgentClient's.
  base::Result<std::vector<SeenFlow>> stop();

 private:
  // A sender: a pod, or the node of one.
  struct Sender {
    bool node = false;
    std::size_t pod = 0;

    auto operator<=>(const Sender&) const = default;
  };
  struct Running {
    bench::AgentClient* agent = nullptr;
    bench::JobId id = {};
    bench::ClockOffset clock = {};
    std::vector<std::size_t> flows = {};  // their places
    JobStop stop = {};
  };

  FlowWatch(Session& session, std::size_t environment, PolicyGrid grid, base::AddressFamily family,
            std::span<const ChosenFlow> flows, const WatchedRestart& restart);
  [[nodiscard]] bench::FlowReceiveJob receive_job(const std::vector<std::size_t>& flows) const;
  [[nodiscard]] bench::FlowSendJob send_job(const std::vector<std::size_t>& flows) const;
  // The flows that come to the pod that is away, or that it sends.
  [[nodiscard]] std::vector<std::size_t> flows_of_away(bool to) const;
  void make_plan();
  base::Result<bench::AgentClient*> agent_of(const Sender& sender);
  base::Result<> receive();
  // Flows for which `wanted` holds.
  base::Result<> send(const std::function<bool(const ChosenFlow&)>& wanted);
  base::Result<> add_planned(bench::AgentClient& agent, const std::vector<std::size_t>& flows,
                             bench::JobId id, std::vector<Running>& to);

  Session* session_;
  std::size_t environment_;
  PolicyGrid grid_;
  base::AddressFamily family_;
  std::vector<ChosenFlow> flows_;
  WatchedRestart restart_;
  bench::AgentPlan plan_;
  bench::JobId planned_listener_ = {};
  bench::JobId planned_receiver_ = {};
  bench::JobId planned_sender_ = {};  // 0: none
  std::vector<Running> senders_;
  std::vector<Running> receivers_;
};

// Flows that are open when they are forbidden.
struct HeldFlow {
  GridCell cell;
  bench::HeldKind kind = bench::HeldKind::busy_tcp;
};

// Its connections are closed with it, as a watch's jobs.
class FlowHold {
 public:
  // Opens them, to listeners that are there. Errors: as AgentClient's.
  static base::Result<FlowHold> start(Session& session, std::size_t environment,
                                      const PolicyGrid& grid, base::AddressFamily family,
                                      std::vector<HeldFlow> flows);
  [[nodiscard]] const std::vector<HeldFlow>& flows() const { return flows_; }
  // In the order of flows(). Errors: as AgentClient's.
  base::Result<std::vector<bench::HeldConnection>> stop();

 private:
  struct Running {
    bench::AgentClient* agent = nullptr;
    bench::JobId id = {};
    bench::ClockOffset clock = {};
    std::vector<std::size_t> flows = {};
    JobStop stop = {};
  };

  std::vector<HeldFlow> flows_;
  std::vector<Running> running_;
};

}  // namespace stackbench
