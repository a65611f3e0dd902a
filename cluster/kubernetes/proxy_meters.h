// What proxies on a cluster use: on each node a program of ours sees its processes, and answers for
// those of the proxies' user in the pods it is asked about (base/pod_usage.h), a line each time.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "base/pod_usage.h"
#include "base/result.h"
#include "cluster/kubernetes/observers.h"

namespace cluster {

// Whom injectors run proxies as; nobody else is (Istio's ProxyUID).
inline constexpr uid_t istio_proxy_user = 1337;

// Where a proxy runs.
struct MeteredPod {
  std::string name;  // as the scenario calls it
  std::string uid;
  std::string node;
};

struct MeterReading {
  std::int64_t at_ns =
      0;  // CLOCK_MONOTONIC of the controller: half way between question and answer
  base::PodUsage usage;
};

// Belongs to one thread. `observers` must outlive it.
class ProxyMeters {
 public:
  ProxyMeters(Observers& observers, const base::Interrupt* interrupt)
      : observers_(&observers), interrupt_(interrupt) {}

  // By the pods' names; a pod without a proxy is left out. The first time starts what answers,
  // which takes a second or two. Where that cannot be had, it is noted and nothing is read, now and
  // later. Errors: interrupted.
  base::Result<std::map<std::string, MeterReading>> read(const std::vector<MeteredPod>& pods);
  // What was read last, without a question.
  [[nodiscard]] const std::map<std::string, MeterReading>& last() const { return last_; }
  // Why nothing is read; empty where it is, or nobody asked.
  [[nodiscard]] const std::string& why_not() const { return why_not_; }

 private:
  base::Result<> ask(const std::string& node, const std::vector<const MeteredPod*>& pods);
  // An answer's line. Errors: timed_out, interrupted, system.
  base::Result<std::string> next_line(int fd);

  Observers* observers_;
  const base::Interrupt* interrupt_;
  std::map<std::string, AgentStreams> streams_;  // by node
  std::map<std::string, MeterReading> last_;
  std::string why_not_;
};

}  // namespace cluster
