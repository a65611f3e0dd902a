// The servers of one invocation.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "stackbench/session.h"

namespace stackbench {

// A request that servers of TCP workloads answer, of others than HTTP.
[[nodiscard]] std::string framed_request();

// By pod. A pod's may end and be started again. Errors: as Session::invoke().
class Session::Servers {
 public:
  Servers(Session& session, const PlannedArm& arm, const bench::WorkloadSpec& workload,
          bool note_arrivals, std::optional<std::string> canary = {})
      : session_(session),
        arm_(arm),
        workload_(workload),
        note_arrivals_(note_arrivals),
        canary_(std::move(canary)) {}

  // Tells a pod's agent to start one, and does not wait.
  base::Result<> send(const std::string& pod);
  // Every one that was sent listens.
  base::Result<> await();
  base::Result<> start(const std::string& pod);
  base::Result<> stop(const std::string& pod);
  base::Result<> kill(const std::string& pod);
  // All are told to end before any of them is waited for. The first error, after trying all.
  base::Result<> stop_all();

  // What they said, by pod; nothing of one that was killed.
  [[nodiscard]] const std::map<std::string, bench::ServerResult>& results() const {
    return results_;
  }

 private:
  struct Running {
    std::string pod;
    bench::AgentClient* agent;
    bench::JobId id;
  };

  base::Result<Running> take(const std::string& pod);
  void add(const std::string& pod, const bench::ServerResult& more);

  Session& session_;
  const PlannedArm& arm_;
  const bench::WorkloadSpec& workload_;
  bool note_arrivals_;
  std::optional<std::string> canary_;
  std::vector<Running> running_;
  std::map<std::string, bench::ServerResult> results_;
};

}  // namespace stackbench
