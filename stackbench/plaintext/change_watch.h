// A mesh under watch while it changes: a client outside of it knocks at a pod in plaintext, one in
// it asks the Service by way of its proxy, and a capture at their node's uplink sees what of either
// is readable.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/agent/client.h"
#include "stackbench/job_stop.h"
#include "stackbench/session.h"

namespace stackbench {

// Everything that was seen, on our clock.
struct SeenChange {
  std::vector<bench::Knock> outsider;
  std::vector<bench::Knock> client;
  probes::WireReport wire;           // canaries "outsider" and "client"
  std::int64_t from_ns = 0;          // since all of it was at work
  std::int64_t client_since_ns = 0;  // the client has asked without a pause
  std::int64_t door_since_ns = 0;    // the outsider has knocked at the present address
  std::int64_t until_ns = 0;         // until the first of it was stopped
  base::Duration clock_uncertainty{0};
  bool all_kept = true;  // no knock had no room
};

// Called from the controller's thread; the session must outlive it. Without stop() its jobs end
// with it.
class ChangeWatch {
 public:
  // Servers answer at every pod of the Service, and the outsider knocks at `door`, one of them.
  // Errors: as AgentClient's, and as Session::agent() and observer().
  static base::Result<ChangeWatch> start(Session& session, std::size_t environment,
                                         const PlaintextWindowSpec& spec,
                                         const std::string& service_group, const std::string& door);

  // For a pod that is made anew. What is its own ends: its server, or the client's requests; what
  // it has seen is kept. Errors: as AgentClient's.
  base::Result<> stop_application(const std::string& pod);
  base::Result<> start_application(const std::string& pod);
  // The same where another agent begins with the pod: what that is to do from its first instant,
  // and that it is there, with it at work. Errors: as AgentClient's.
  [[nodiscard]] bench::AgentPlan plan_of(const std::string& pod) const;
  base::Result<> application_is_there(const std::string& pod, bench::AgentClient& agent);
  // The door has another address from here on. Errors: as AgentClient's.
  base::Result<> knock_at(const base::IpAddress& address);

  base::Result<SeenChange> stop();

 private:
  struct Running {
    bench::AgentClient* agent = nullptr;
    bench::JobId id = {};
    bench::ClockOffset clock = {};
    JobStop stop = {};
  };

  ChangeWatch(Session& session, std::size_t environment, const PlaintextWindowSpec& spec)
      : session_(&session), environment_(environment), spec_(&spec) {}

  [[nodiscard]] const cluster::PodHandle& pod(const std::string& name) const;
  [[nodiscard]] bench::ServerJob server_job(const std::string& pod) const;
  [[nodiscard]] bench::KnockJob requests_job() const;
  base::Result<Running> running(bench::AgentClient& agent, bench::JobId id);
  base::Result<> start_server(const std::string& name);
  base::Result<> start_capture(const std::string& door);
  base::Result<> start_knocks(const std::string& from, const bench::KnockJob& job,
                              std::optional<Running>& as);
  base::Result<> start_requests();
  base::Result<> end_knocks(std::optional<Running>& running, std::vector<bench::Knock>& into);

  Session* session_;
  std::size_t environment_;
  const PlaintextWindowSpec* spec_;
  std::string outsider_canary_;
  std::string client_canary_;
  std::map<std::string, Running> servers_;  // by pod
  std::optional<Running> capture_;
  std::optional<Running> outsider_;
  std::optional<Running> client_;
  bool client_began_with_its_pod_ = false;
  SeenChange seen_;
};

}  // namespace stackbench
