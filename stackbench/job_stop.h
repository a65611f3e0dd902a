// A job of an agent that is not to outlast whoever started it.
#pragma once

#include <utility>

#include "bench/agent/client.h"

namespace stackbench {

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

}  // namespace stackbench
