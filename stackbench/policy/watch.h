// A few pairs under watch: a new packet a millisecond of each, stamped where it leaves and where it
// arrives; and connections that are held open meanwhile.
#pragma once

#include <map>
#include <span>
#include <utility>
#include <vector>

#include "bench/reach/flow_watch.h"
#include "bench/reach/hold.h"
#include "checks/policy/leak_window.h"
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
  // While both ends watched.
  std::int64_t from_ns = 0;
  std::int64_t until_ns = 0;
  base::Duration clock_uncertainty{0};

  // What was sent, and what arrived, before an instant.
  [[nodiscard]] checks::FlowStamps stamps(std::int64_t before_ns) const;
};

// Asks a job to end, at the latest when this goes: then an error came between, and nobody reads its
// result. The agent must outlive it.
class JobStop {
 public:
  JobStop() = default;
  JobStop(bench::AgentClient& agent, bench::JobId id) : agent_(&agent), id_(id) {}
  JobStop(JobStop&& other) noexcept
      : agent_(std::exchange(other.agent_, nullptr)), id_(other.id_) {}
  JobStop& operator=(JobStop&& other) noexcept {
    std::swap(agent_, other.agent_);
    std::swap(id_, other.id_);
    return *this;
  }
  JobStop(const JobStop&) = delete;
  JobStop& operator=(const JobStop&) = delete;
  ~JobStop() { static_cast<void>(now()); }

  // Nothing where it was asked already. Errors: as AgentClient::send_stop().
  base::Result<> now() {
    auto* const agent = std::exchange(agent_, nullptr);
    return agent == nullptr ? base::Result<>() : agent->send_stop(id_);
  }

 private:
  bench::AgentClient* agent_ = nullptr;
  bench::JobId id_ = {};
};

// Called from the controller's thread; the session and the grid must outlive it. Without stop() its
// jobs end with it.
class FlowWatch {
 public:
  // Receivers watch before senders send. Errors: as AgentClient's.
  static base::Result<FlowWatch> start(Session& session, std::size_t environment,
                                       const PolicyGrid& grid, base::AddressFamily family,
                                       std::span<const ChosenFlow> flows);
  // In the order of the flows. Errors: as AgentClient's.
  base::Result<std::vector<SeenFlow>> stop();

 private:
  struct Running {
    bench::AgentClient* agent = nullptr;
    bench::JobId id = {};
    bench::ClockOffset clock = {};
    std::vector<std::size_t> flows = {};  // their places
    JobStop stop = {};
  };

  std::vector<Running> senders_;
  std::vector<Running> receivers_;
  std::size_t flows_ = 0;
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
